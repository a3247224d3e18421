/**
 * Both roles through outages of the API: they go on by themselves, and no update is lost. The controller is a process of the built
 * program; node roles run in this process, where an error that nobody handles, which ends the program, fails the test. Both run
 * with the accounts and the rules of the chart. Each outage is of a control plane of its own, side by side.
 */
import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import type { CsiError } from '../../csi/client.ts';
import { tell } from '../../support/tell.ts';
import { NAMESPACE } from '../../chart/node-tokens.ts';
import { DEVICES } from '../contract/server.ts';
import { until } from '../harness.ts';
import type { ApiRelay } from './api-relay.ts';
import { ChartAccounts } from './chart-accounts.ts';
import type { Call } from './controller-calls.ts';
import { AGAIN, create, publish, remove, settled, unpublish } from './controller-calls.ts';
import type { ControlPlane } from './control-plane.ts';
import type { ControllerProcess } from './controller-process.ts';
import { Replicas } from './replicas.ts';

const OUTAGE_MS = 60_000;
const WITHOUT_RIGHTS_MS = 45_000;
const PATIENCE_MS = 180_000;
const NODES = ['node1', 'node2'] as const;

type Roles = Replicas<ChartAccounts>;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** As sidecars, which also ask again where the driver says that its account lacks a right. */
function isAgain({ code, details }: CsiError): boolean {
  return AGAIN.has(code) || (code === 'INTERNAL' && details.includes('check the role bound to the service account'));
}

/** Of a controller that lived through it. */
function expectAlive(controller: ControllerProcess): void {
  expect(controller.runs, controller.log()).to.equal(true);
  expect(controller.log(100_000)).not.to.match(/uncaught exception|unhandled rejection|role ended/);
}

/** Attaches and detaches one volume, creates and removes others, without end until told. */
class Load {
  /** Whole rounds: an attach and a detach each. */
  rounds = 0;
  longestMs = 0;
  readonly #replicas: Roles;
  readonly #controller: ControllerProcess;
  readonly #name = `pvc-${randomUUID()}`;
  #isOver = false;
  #running: Promise<unknown> | undefined;

  constructor(replicas: Roles, controller: ControllerProcess) {
    this.#replicas = replicas;
    this.#controller = controller;
  }

  async start(): Promise<void> {
    await this.#done(create(this.#name, 'node1'));
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

  async #done(call: Call): Promise<unknown> {
    const outcome = await settled(this.#controller.csi, call, PATIENCE_MS, isAgain);
    if ('answer' in outcome) return outcome.answer;
    throw new Error(`refused with ${outcome.code}`);
  }

  async #attachAndDetach(): Promise<void> {
    while (!this.#isOver) {
      const startedAt = Date.now();
      const node = NODES[this.rounds % NODES.length] ?? '';
      const answer = await this.#done(publish(this.#name, node));
      const { publishContext } = answer as { readonly publishContext: { readonly epoch: string } };
      expect(publishContext.epoch).to.equal(String(2 * this.rounds + 1));
      await this.#done(unpublish(this.#name, node));
      this.rounds += 1;
      this.longestMs = Math.max(this.longestMs, Date.now() - startedAt);
      await pause(20);
    }
  }

  /** As the provisioner: right after an outage the nodes' drives count as silent until they beat, and it asks again. */
  async #created(name: string): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const outcome = await settled(this.#controller.csi, create(name, 'node2'), PATIENCE_MS, isAgain);
      if ('answer' in outcome) return;
      if (outcome.code !== 'RESOURCE_EXHAUSTED' || Date.now() > deadline)
        throw new Error(`refused with ${outcome.code}`);
      await pause(1000);
    }
  }

  async #createAndRemove(): Promise<void> {
    while (!this.#isOver) {
      const name = `pvc-${randomUUID()}`;
      await this.#created(name);
      await this.#done(remove(name));
      await pause(200);
    }
  }
}

/** A control plane with both roles at work. */
class Place {
  readonly replicas: Roles;
  readonly controller: ControllerProcess;
  readonly load: Load;

  private constructor(replicas: Roles, controller: ControllerProcess) {
    this.replicas = replicas;
    this.controller = controller;
    this.load = new Load(replicas, controller);
  }

  static async start(): Promise<Place> {
    const accounts = (plane: ControlPlane): Promise<ChartAccounts> => ChartAccounts.install(plane, NODES);
    const replicas = await Replicas.start(NODES, { accounts });
    const place = new Place(replicas, await replicas.startController({ leaseNamespace: NAMESPACE }));
    await place.load.start();
    await until('some rounds', () => place.load.rounds >= 3, PATIENCE_MS).catch((error: unknown) => {
      throw new Error(`${String(error)}; ${place.load.rounds} were\n${place.controller.log()}`, { cause: error });
    });
    return place;
  }

  /** When each drive's node beat last, by the node's clock. */
  async beats(): Promise<readonly number[]> {
    const { items } = await this.replicas.plane.api.list(DEVICES);
    return items.map(({ status }) => Date.parse(String(status?.['updatedAt'])));
  }

  /** Breaks every watch of both roles; returns how many there were. */
  cutWatches(): number {
    return this.controller.relay.cutWatches() + this.replicas.nodeRelay.cutWatches();
  }

  /** Waits until both roles do all their work again; says how long each took since now. */
  async untilRecovered(after: string): Promise<void> {
    const backAt = Date.now();
    const { rounds } = this.load;
    const beat = async (): Promise<boolean> => {
      // The server may need a moment more.
      const times = await this.beats().catch(() => undefined);
      return times?.every((time) => time > backAt) ?? false;
    };
    const told = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
      await until(`${what} ${after}`, holds, PATIENCE_MS);
      tell(`${after}: ${what} after ${Date.now() - backAt} ms`);
    };
    await Promise.all([
      told('a volume is attached and detached', () => this.load.rounds > rounds + 1),
      told('every node beats', beat),
    ]);
  }

  /** Both roles have lived through it, and every volume can be removed. */
  async finish(): Promise<void> {
    await this.load.stop();
    expectAlive(this.controller);
  }

  /** How many requests of each role were forbidden so far. */
  countForbidden(): { readonly controller: number; readonly nodes: number } {
    const count = ({ requests }: ApiRelay): number => requests.filter(({ status }) => status === 403).length;
    return { controller: count(this.controller.relay), nodes: count(this.replicas.nodeRelay) };
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
        cuts += place.cutWatches();
        await pause(1000);
      }
      const meanwhile = place.load.rounds - rounds;
      tell(`${cuts} watches cut in a minute: ${meanwhile} rounds, the longest ${place.load.longestMs} ms`);
      expect(cuts).to.be.greaterThan(60);
      expect(meanwhile, 'work goes on').to.be.greaterThan(2);
      await place.untilRecovered('watches were cut for a minute');
    },
    'the rights of both roles taken for 45 seconds, and a role that starts without any': async (place) => {
      const { accounts } = place.replicas;
      if (accounts === undefined) throw new Error('the roles run as the administrator');
      expect(place.countForbidden(), 'the chart gives them what they need').to.deep.equal({ controller: 0, nodes: 0 });
      await accounts.takeRights();
      const [takenAt, { rounds }] = [Date.now(), place.load];
      let isServing = false;
      const late = place.replicas
        .startController({ leaseNamespace: NAMESPACE, readyMs: WITHOUT_RIGHTS_MS + PATIENCE_MS })
        .finally(() => (isServing = true));
      late.catch(() => undefined); // Told below.
      while (Date.now() < takenAt + WITHOUT_RIGHTS_MS) {
        place.cutWatches();
        await pause(1000);
      }
      expect(place.load.rounds, 'nothing can be written').to.be.within(rounds, rounds + 1);
      for (const time of await place.beats()) expect(time, 'no node beats').to.be.at.most(takenAt);
      const { controller, nodes } = place.countForbidden();
      expect(Math.min(controller, nodes), 'both have noticed').to.be.greaterThan(10);
      tell(`without rights: ${controller} requests of the controller and ${nodes} of the nodes forbidden`);
      expect(isServing, 'a role without rights is up but not ready').to.equal(false);
      expectAlive(place.controller);
      await accounts.giveRights();
      await place.untilRecovered('the rights were away for 45 seconds');
      expectAlive(await late);
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
