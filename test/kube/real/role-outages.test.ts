/**
 * Both roles through outages of the API: they go on by themselves, and no update is lost. The controller is a process of the built
 * program; node roles run in this process, where an error that nobody handles, which ends the program, fails the test. The
 * outages are of three control planes, side by side.
 */
import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { DEVICES } from '../contract/server.ts';
import { until } from '../harness.ts';
import { create, done, publish, remove, settled, unpublish } from './controller-calls.ts';
import type { ControllerProcess } from './controller-process.ts';
import { Replicas } from './replicas.ts';

const OUTAGE_MS = 60_000;
const PATIENCE_MS = 180_000;
const NODES = ['node1', 'node2'] as const;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Attaches and detaches one volume, creates and removes others, without end until told. */
class Load {
  /** Whole rounds: an attach and a detach each. */
  rounds = 0;
  longestMs = 0;
  readonly #replicas: Replicas;
  readonly #controller: ControllerProcess;
  readonly #name = `pvc-${randomUUID()}`;
  #isOver = false;
  #running: Promise<unknown> | undefined;

  constructor(replicas: Replicas, controller: ControllerProcess) {
    this.#replicas = replicas;
    this.#controller = controller;
  }

  async start(): Promise<void> {
    await done(this.#controller.csi, create(this.#name, 'node1'));
    await this.#replicas.untilMade(this.#name);
    const running = Promise.all([this.#attachAndDetach(), this.#createAndRemove()]);
    running.catch(() => undefined); // Told by `stop`.
    this.#running = running;
  }

  /** Throws what broke meanwhile. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#running;
    const { attachmentEpoch } = await this.#replicas.status(this.#name);
    expect(attachmentEpoch, 'no update was lost and none came twice').to.equal(2 * this.rounds);
  }

  async #attachAndDetach(): Promise<void> {
    const { csi } = this.#controller;
    while (!this.#isOver) {
      const startedAt = Date.now();
      const node = NODES[this.rounds % NODES.length] ?? '';
      const answer = await done(csi, publish(this.#name, node), PATIENCE_MS);
      const { publishContext } = answer as { readonly publishContext: { readonly epoch: string } };
      expect(publishContext.epoch).to.equal(String(2 * this.rounds + 1));
      await done(csi, unpublish(this.#name, node), PATIENCE_MS);
      this.rounds += 1;
      this.longestMs = Math.max(this.longestMs, Date.now() - startedAt);
      await pause(20);
    }
  }

  /** As the provisioner: right after an outage the nodes' drives count as silent until they beat, and it asks again. */
  async #created(name: string): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const outcome = await settled(this.#controller.csi, create(name, 'node2'), PATIENCE_MS);
      if ('answer' in outcome) return;
      if (outcome.code !== 'RESOURCE_EXHAUSTED' || Date.now() > deadline)
        throw new Error(`refused with ${outcome.code}`);
      await pause(1000);
    }
  }

  async #createAndRemove(): Promise<void> {
    const { csi } = this.#controller;
    while (!this.#isOver) {
      const name = `pvc-${randomUUID()}`;
      await this.#created(name);
      await done(csi, remove(name), PATIENCE_MS);
      await pause(200);
    }
  }
}

/** A control plane with both roles at work. */
class Place {
  readonly replicas: Replicas;
  readonly controller: ControllerProcess;
  readonly load: Load;

  private constructor(replicas: Replicas, controller: ControllerProcess) {
    this.replicas = replicas;
    this.controller = controller;
    this.load = new Load(replicas, controller);
  }

  static async start(): Promise<Place> {
    const replicas = await Replicas.start(NODES);
    const place = new Place(replicas, await replicas.startController({ leaseNamespace: 'default' }));
    await place.load.start();
    await until('some rounds', () => place.load.rounds >= 3, PATIENCE_MS).catch((error: unknown) => {
      throw new Error(`${String(error)}; ${place.load.rounds} were\n${place.controller.log()}`, { cause: error });
    });
    return place;
  }

  /** Waits until both roles do all their work again; says how long each took since now. */
  async untilRecovered(after: string): Promise<void> {
    const backAt = Date.now();
    const { rounds } = this.load;
    const beats = async (): Promise<boolean> => {
      // The server may need a moment more.
      const drives = await this.replicas.plane.api.list(DEVICES).catch(() => undefined);
      return drives?.items.every(({ status }) => Date.parse(String(status?.['updatedAt'])) > backAt) ?? false;
    };
    const told = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
      await until(`${what} ${after}`, holds, PATIENCE_MS);
      console.log(`      ${after}: ${what} after ${Date.now() - backAt} ms`);
    };
    await Promise.all([
      told('a volume is attached and detached', () => this.load.rounds > rounds + 1),
      told('every node beats', beats),
    ]);
  }

  /** Both roles have lived through it, and every volume can be removed. */
  async finish(): Promise<void> {
    await this.load.stop();
    expect(this.controller.runs, this.controller.log()).to.equal(true);
    expect(this.controller.log(100_000)).not.to.match(/uncaught exception|unhandled rejection|role ended/);
  }
}

describe('both roles through outages of the API', function () {
  this.timeout(600_000);
  const places: Place[] = [];
  const outages = new Map<string, Promise<void>>();

  const OUTAGES: Readonly<Record<string, (place: Place) => Promise<void>>> = {
    'etcd stopped for a minute': async (place) => {
      const { plane } = place.replicas;
      await plane.stopEtcd();
      const { rounds } = place.load;
      await pause(OUTAGE_MS);
      expect(place.load.rounds, 'nothing can be written').to.be.within(rounds, rounds + 1);
      await plane.startEtcd();
      await place.untilRecovered('etcd was away for a minute');
    },
    'the API server killed and restarted, and asked to end and restarted': async (place) => {
      const { plane } = place.replicas;
      for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
        await plane.stopApiServer(signal);
        await plane.startApiServer();
        await place.untilRecovered(`the API server got ${signal}`);
      }
    },
    'every watch cut each second for a minute': async (place) => {
      const end = Date.now() + OUTAGE_MS;
      const { rounds } = place.load;
      let cuts = 0;
      while (Date.now() < end) {
        for (const relay of [place.controller.relay, place.replicas.nodeRelay]) cuts += relay.cutWatches();
        await pause(1000);
      }
      const meanwhile = place.load.rounds - rounds;
      console.log(`      ${cuts} watches cut in a minute: ${meanwhile} rounds, the longest ${place.load.longestMs} ms`);
      expect(cuts).to.be.greaterThan(60);
      expect(meanwhile, 'work goes on').to.be.greaterThan(2);
      await place.untilRecovered('watches were cut for a minute');
    },
  };

  before(async () => {
    const started = await Promise.all(Object.keys(OUTAGES).map(() => Place.start()));
    places.push(...started);
    for (const [index, [what, run]] of Object.entries(OUTAGES).entries()) {
      const place = started[index];
      if (place === undefined) throw new Error('no place for an outage');
      const outage = run(place).then(() => place.finish());
      outage.catch(() => undefined); // Told by its test.
      outages.set(what, outage);
    }
  });

  after(async () => {
    await Promise.allSettled(outages.values());
    await Promise.all(places.map(({ replicas }) => replicas.stop()));
  });

  for (const what of Object.keys(OUTAGES)) {
    it(`go on, and lose no update: ${what}`, async () => {
      await outages.get(what);
    });
  }
});
