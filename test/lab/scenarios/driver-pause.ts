/**
 * The machine of a writing pod stands still with a write under way, is called off and replaced, and wakes up believing that nothing has
 * happened. Its write never succeeds, and it takes down by itself what it had (SPEC §7.5, §7.10).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { untilClean } from '../consumer-remains.ts';
import { createVolume } from '../kubelet.ts';
import type { PodVolume } from '../kubelet.ts';
import type { Checker } from '../nemesis/checker.ts';
import { buildChecker, readOnce, startChecker } from '../nemesis/checker.ts';
import { Ledger } from '../nemesis/ledger.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import { untilSynced } from '../volume-state.ts';
import type { Driver } from '../with-driver.ts';
import { untilUsable, withDriver } from '../with-driver.ts';

const MIB = 1024 * 1024;
const OUT_OF_SERVICE = { key: 'node.kubernetes.io/out-of-service', value: 'nodeshutdown', effect: 'NoExecute' };
/** Shorter than the grace after which the holder would be recorded as lost: the write that waits is neither done nor given up. */
const PENDING_MS = 800;

interface Writer extends Checker {
  readonly name: string;
  /** The last record that is acknowledged. */
  last: number;
  readonly errors: string[];
}

class Story {
  readonly ledger = new Ledger();
  readonly checker = buildChecker();
  readonly #context: ScenarioContext;
  readonly #driver: Driver;

  constructor(context: ScenarioContext, driver: Driver) {
    this.#context = context;
    this.#driver = driver;
  }

  async write(volume: PodVolume): Promise<Writer> {
    const name = `${volume.node}-e${volume.publishContext['epoch'] ?? ''}`;
    const state = { name, last: 0, errors: [] as string[] };
    this.ledger.begin(name);
    const started = await startChecker(this.#context.cluster.node(volume.node), `pod-${name}`, {
      checker: this.checker,
      volume,
      writer: name,
      pauseMs: 20,
      onWritten: (number) => {
        state.last = number;
        this.ledger.acknowledge(name, number);
      },
      onError: (number, code) => void state.errors.push(`${code} for record ${number}`),
    });
    started.program.ended.catch(() => undefined); // It is killed in the end.
    this.ledger.found(name, await started.found);
    return Object.assign(state, started);
  }

  /** Paused with a write that waits for its holder; the path is whole again before it wakes up. */
  async pause(pod: Writer): Promise<void> {
    const node1 = this.#context.cluster.node('node1');
    await sleep(3000);
    await node1.cutNetwork();
    await sleep(PENDING_MS);
    await node1.pause();
    await node1.restoreNetwork();
    if (pod.last < 3) throw new Error(`only ${pod.last} records were acknowledged`);
  }

  async takeOver(volume: PodVolume): Promise<PodVolume> {
    const { deployment, kubelet } = this.#driver;
    await deployment.setTaints('node1', [OUT_OF_SERVICE]);
    const startedAt = Date.now();
    await kubelet.detach(volume);
    const moved = await kubelet.bringUp(volume.volumeId, 'node3');
    this.#context.note(`node3 serves ${((Date.now() - startedAt) / 1000).toFixed(1)} s after the detach began`);
    return moved;
  }

  /** Nobody lifts a hand on the old node. */
  async wakeUp(volume: PodVolume, pod: Writer, lastBefore: number): Promise<void> {
    const { cluster, note } = this.#context;
    const node1 = cluster.node('node1');
    await node1.resume();
    await this.#driver.deployment.setTaints('node1', []);
    await untilClean(node1, String(pod.program.pid));
    await pod.program.ended;
    if (pod.last !== lastBefore)
      throw new Error(`record ${pod.last} was acknowledged after the hand-over, ${lastBefore} was the last before`);
    const kernel = await node1.run(`dmesg | grep -iE 'xfs.*(shut|unmount)' | tail -n 3`);
    note(
      `record ${lastBefore + 1} was under way and got ${pod.errors.at(0) ?? 'no answer before its program was killed'}`,
    );
    note(kernel.trim().replaceAll('\n', '; '));
    await untilSynced(this.#driver.deployment, volume.volumeId);
  }

  check(): void {
    const wrong = [...this.ledger.lost.map((record) => `lost: ${record}`), ...this.ledger.doubles];
    if (wrong.length > 0) throw new Error(wrong.slice(0, 20).join('\n'));
    this.#context.note(`${this.ledger.acknowledged} records were acknowledged, all are there`);
  }
}

async function run(context: ScenarioContext): Promise<void> {
  const { step, cluster } = context;
  await withDriver(context, {}, async (driver) => {
    const { deployment, kubelet } = driver;
    await untilUsable(deployment, cluster.nodes);
    const wanted = { name: 'pause', sizeBytes: 512 * MIB, consumer: 'node1' };
    const volumeId = await createVolume(deployment.controller, wanted);
    const volume = await step('a volume is up on node1', () => kubelet.bringUp(volumeId, 'node1'));
    const story = new Story(context, driver);
    const pod = await story.write(volume);
    await step('its machine stands still with a write under way', () => story.pause(pod));
    const lastBefore = pod.last;
    const moved = await step('it is called off, and node3 takes over', () => story.takeOver(volume));
    const heir = await story.write(moved);
    await step('it wakes up, takes down what it had, and its member is filled anew', () =>
      story.wakeUp(volume, pod, lastBefore),
    );
    await step('every record is there, on the old node too', async () => {
      await heir.program.kill();
      story.ledger.found('reader at node3', await readOnce(cluster.node('node3'), story.checker, moved));
      await kubelet.takeDown(moved);
      const again = await kubelet.bringUp(volumeId, 'node1');
      story.ledger.found('reader at node1', await readOnce(cluster.node('node1'), story.checker, again));
      story.check();
      await kubelet.takeDown(again);
    });
    await step('deleted', () => kubelet.deleteVolume(volumeId));
  });
}

export const driverPause: Scenario = {
  name: 'driver-pause',
  title: 'a consumer that stood still with a write under way never finishes it, and cleans up by itself',
  nodes: 3,
  run,
};
