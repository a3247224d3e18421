import { expect } from 'chai';
import type { StepDone } from '../../src/node/converge.ts';
import type { StageRequest } from '../../src/node/operations.ts';
import { MIB } from '../../src/support/units.ts';
import { Killed } from '../fakes/fake-faults.ts';
import { InProcessCluster } from './in-process-cluster.ts';

const VOLUME = 'pvc-0b8a1f9e-2c3d-4e5f-8a7b-6c5d4e3f2a1b';
// Two, so that the second copy has one place to go.
const NAMES = ['node1', 'node2'];
const LIMIT_MS = 10_000;
const GROWN = 768 * MIB;

/** Kills one node's process after its n-th step, once. */
class StepKiller {
  readonly steps: string[] = [];
  #left: number;
  readonly #node: string;

  constructor(node: string, after: number) {
    this.#node = node;
    this.#left = after;
  }

  readonly onStep = (node: string, done: StepDone): void => {
    if (node !== this.#node) return;
    this.steps.push(`${done.operation}:${done.step}`);
    this.#left -= 1;
    if (this.#left === 0) throw new Killed(done.step);
  };

  get struck(): boolean {
    return this.#left <= 0;
  }
}

/** Watches over the victim as a supervisor does: a killed process is started again, once. */
function supervise(cluster: InProcessCluster, node: string, killer: StepKiller): () => void {
  const timer = setInterval(() => {
    if (!killer.struck) return;
    clearInterval(timer);
    cluster.restart(node);
  }, 10);
  return () => clearInterval(timer);
}

/** Calls again as kubelet does. */
async function again(call: () => Promise<void>): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      if (attempt === 19) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Online, both calls as their callers repeat them. */
async function expand(cluster: InProcessCluster, volumeId: string, volumePath: string): Promise<void> {
  const signal = (): AbortSignal => AbortSignal.timeout(LIMIT_MS);
  const range = { requiredBytes: GROWN, limitBytes: 0 };
  await again(async () => void (await cluster.controller.operations.expandVolume(volumeId, range, signal())));
  await again(
    async () => void (await cluster.role('node1').operations.expand({ volumeId, volumePath, ...range }, signal())),
  );
  const { kernel } = cluster.fake('node1');
  expect((await kernel.mdArrays())[0]?.sizeBytes).to.equal(GROWN);
  expect((await kernel.filesystemUsage(volumePath, LIMIT_MS)).totalBytes).to.equal(GROWN);
  await cluster.until('the expansion is over', () => cluster.volume(volumeId)?.status?.phase === 'Synced', LIMIT_MS);
}

async function live(cluster: InProcessCluster): Promise<void> {
  await cluster.ready();
  const volumeId = await cluster.create(VOLUME, 'node1');
  const { operations } = cluster.controller;
  let request: StageRequest | undefined;
  await again(async () => {
    request = await cluster.stageRequest(volumeId, 'node1');
    await cluster.role('node1').operations.stage(request, AbortSignal.timeout(LIMIT_MS));
  });
  const staged = cluster.volume(volumeId);
  expect(staged?.status?.partitions.map(({ state }) => state)).to.deep.equal(['Synced', 'Synced']);
  const mounts = await cluster.fake('node1').kernel.mounts();
  expect(mounts.filter(({ mountPoint }) => mountPoint === request?.stagingPath)).to.have.length(1);
  await expand(cluster, volumeId, request?.stagingPath ?? '');
  await again(() => cluster.unstage(volumeId, 'node1'));
  await again(() => operations.unpublishVolume(volumeId, 'node1'));
  expect(cluster.volume(volumeId)?.spec.formattedAt).to.equal(staged?.spec.formattedAt);
  await again(() => operations.deleteVolume(volumeId));
  await cluster.until('the volume is gone', () => cluster.volume(volumeId) === undefined, LIMIT_MS);
  expect(await cluster.remains()).to.deep.equal([]);
}

/** One life in which the victim is killed after that many steps; returns the steps it made before. */
async function liveWithDeath(victim: string, after: number): Promise<readonly string[]> {
  const killer = new StepKiller(victim, after);
  const cluster = new InProcessCluster(NAMES, { onStep: killer.onStep });
  const stopSupervising = supervise(cluster, victim, killer);
  try {
    await live(cluster);
  } catch (error) {
    throw new Error(`killed after step ${after} (${killer.steps[after - 1] ?? 'none'})`, { cause: error });
  } finally {
    stopSupervising();
    await cluster.stop();
  }
  if (after <= killer.steps.length) expect(killer.struck, `step ${after} was reached`).to.equal(true);
  return killer.steps;
}

describe('a node process killed after each of its steps', () => {
  for (const victim of ['node1', 'node2']) {
    it(`converges when it is ${victim}'s, and nothing is left over`, async () => {
      const steps = await liveWithDeath(victim, Number.MAX_SAFE_INTEGER);
      expect(steps.length).to.be.greaterThan(victim === 'node1' ? 20 : 8);
      for (let after = 1; after <= steps.length; after += 1) await liveWithDeath(victim, after);
    }).timeout(400_000);
  }
});

/** One life in which the victim's kernel takes that many changes and then no more, until the process is started again. */
async function liveWithKernelDeath(victim: string, when: 'before' | 'after', nth: number): Promise<number> {
  const cluster = new InProcessCluster(NAMES);
  const { faults } = cluster.fake(victim);
  if (when === 'before') faults.killBefore(nth);
  else faults.killAfter(nth);
  let changes = 0;
  const timer = setInterval(() => {
    if (faults.changes.length < (when === 'before' ? nth - 1 : nth)) return;
    clearInterval(timer);
    setTimeout(() => {
      changes = faults.changes.length;
      cluster.restart(victim);
    }, 15);
  }, 5);
  try {
    await live(cluster);
  } catch (error) {
    throw new Error(`killed ${when} change ${nth} of the kernel (${faults.changes.join(', ')})`, { cause: error });
  } finally {
    clearInterval(timer);
    await cluster.stop();
  }
  return Math.max(changes, faults.changes.length);
}

describe('a node process killed around each change that it makes to its kernel', () => {
  for (const victim of ['node1', 'node2']) {
    for (const when of ['before', 'after'] as const) {
      it(`converges when it dies ${when} it on ${victim}, and nothing is left over`, async () => {
        const changes = await liveWithKernelDeath(victim, when, Number.MAX_SAFE_INTEGER);
        expect(changes).to.be.greaterThan(victim === 'node1' ? 12 : 6);
        for (let nth = 1; nth <= changes; nth += 1) await liveWithKernelDeath(victim, when, nth);
      }).timeout(400_000);
    }
  }
});
