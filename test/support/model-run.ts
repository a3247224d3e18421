/** Runs the planners on the model the way the roles do: observe, plan, act, until nothing is left, with kills between steps. */
import { expect } from 'chai';
import { DATA_OFFSET_BYTES } from '../../src/api/layout.ts';
import { planGrow } from '../../src/plan/grow.ts';
import { observeConsumer } from '../../src/plan/health.ts';
import { planHolder } from '../../src/plan/holding.ts';
import { membersWithoutPath, planMending } from '../../src/plan/mending.ts';
import { planPublish, planUnpublish } from '../../src/plan/publishing.ts';
import { recordObserved } from '../../src/plan/records.ts';
import { planStage } from '../../src/plan/staging.ts';
import { planUnstage } from '../../src/plan/teardown.ts';
import type { MendStep } from '../../src/plan/steps.ts';
import type { Plan, StagingWanted } from '../../src/plan/world.ts';
import type { ModelCluster, ModelNode } from './model-cluster.ts';
import { NOW, STAGING, TARGET } from './model-cluster.ts';
import { applyHolderStep } from './model-holder-steps.ts';
import { applyMendStep } from './model-mend-steps.ts';
import { Away, Broken, whoOf } from './model-rules.ts';
import { applyPublishStep } from './model-publish-steps.ts';
import { applyStageStep, applyUnstageStep } from './model-steps.ts';

/** The process of a role is killed after so many steps; `half`: inside the last one. */
export interface Life {
  stepsLeft: number;
  readonly half: boolean;
}

export const forever = (): Life => ({ stepsLeft: Number.POSITIVE_INFINITY, half: false });

class Killed extends Error {}

/** Every acknowledged write is on every member recorded `Synced`, and mirrors that are called equal are equal (SPEC §7). */
export function checkData(cluster: ModelCluster): void {
  if (cluster.volume.spec.activatedAt === undefined) return;
  for (const entry of cluster.status.partitions.filter(({ state }) => state === 'Synced')) {
    const { data } = cluster.mustPartition(entry.partitionUUID);
    if (Math.floor(data) < cluster.acknowledged)
      throw new Broken(`member ${entry.slot} is Synced and lacks an acknowledged write`);
  }
  const array = cluster.consumer?.array;
  if (
    array === undefined ||
    array.readOnly ||
    array.members.some(({ epoch }) => epoch !== cluster.status.attachmentEpoch)
  )
    return;
  for (const column of cluster.columns(array)) {
    const synced = column.filter(({ partitionUUID }) => cluster.entry(partitionUUID)?.state === 'Synced');
    const versions = new Set(synced.map(({ partitionUUID }) => cluster.mustPartition(partitionUUID).data));
    if (versions.size > 1) throw new Broken('members that are Synced differ');
  }
}

/** What is recorded of a size is true, and no array reaches into what nobody has zeroed (SPEC §7.12). */
export function checkSizes(cluster: ModelCluster): void {
  for (const entry of cluster.status.partitions.filter(({ state }) => state === 'Created' || state === 'Synced')) {
    const partition = cluster.partition(entry.partitionUUID);
    if (partition === undefined) continue;
    if (partition.sizeBytes < entry.sizeBytes) throw new Broken(`member ${entry.slot} is recorded larger than it is`);
    if (partition.zeroedBytes < entry.sizeBytes) throw new Broken(`member ${entry.slot} has what nobody zeroed`);
    const used = cluster.arrayBytes / cluster.shape.drives + DATA_OFFSET_BYTES;
    if (entry.state === 'Synced' && used > entry.sizeBytes) throw new Broken('the array is larger than a member');
  }
}

/** The plan, made twice: it does not depend on the order in which the world was listed. */
export function planTwice<S>(cluster: ModelCluster, plan: () => Plan<S>): Plan<S> {
  cluster.reversed = false;
  const first = plan();
  cluster.reversed = true;
  const second = plan();
  cluster.reversed = false;
  expect(second, 'a plan does not depend on the order of its input').to.deep.equal(first);
  return first;
}

/** Carries out a plan; false when it had no steps. `away`: gets the members that could not be reached. */
function act<S extends { readonly kind: string }>(
  cluster: ModelCluster,
  life: Life,
  plan: Plan<S>,
  apply: (step: S, half: boolean) => void,
  away?: Set<string>,
): boolean {
  if (plan.kind !== 'steps') return false;
  const failed = new Set<string>();
  for (const step of plan.steps) {
    const member = 'partitionUUID' in step ? String(step.partitionUUID) : '';
    if (failed.has(member)) continue;
    life.stepsLeft -= 1;
    if (life.stepsLeft < 0) throw new Killed();
    const isLast = life.stepsLeft === 0 && life.half;
    try {
      apply(step, isLast);
    } catch (error) {
      if (!(error instanceof Away)) throw error;
      failed.add(member);
      away?.add(member);
    }
    checkData(cluster);
    checkSizes(cluster);
    if (isLast) throw new Killed();
  }
  return failed.size === 0;
}

export function wantedOf(cluster: ModelCluster): StagingWanted {
  const access =
    cluster.shape.mode === 'Block'
      ? { kind: 'block' as const }
      : { kind: 'mount' as const, fsType: 'xfs' as const, mountFlags: [] };
  return { stagingPath: STAGING, access, readOnly: false };
}

const ROUNDS = 60;

function tillNothing(round: () => boolean): void {
  for (let count = 0; round(); count += 1) {
    if (count === ROUNDS) throw new Error(`not converged after ${ROUNDS} rounds`);
  }
}

function alive(body: () => void): void {
  try {
    body();
  } catch (error) {
    if (!(error instanceof Killed)) throw error;
  }
}

export function holdAll(cluster: ModelCluster, life: Life = forever()): void {
  alive(() => {
    for (const node of cluster.nodes.filter(({ up }) => up)) {
      tillNothing(() =>
        act(
          cluster,
          life,
          planTwice(cluster, () => planHolder(cluster.holderWorld(node))),
          (step) => {
            applyHolderStep(cluster, node, step);
          },
        ),
      );
    }
  });
  if (life.stepsLeft < 0 || (life.half && life.stepsLeft === 0))
    for (const node of cluster.nodes) node.zeroedTo.clear();
}

/** What a node does for a volume that was taken from it. */
export function tearDownFenced(cluster: ModelCluster, life: Life = forever()): void {
  alive(() => {
    for (const node of cluster.nodes.filter((candidate) => candidate.up)) {
      const isOld = node.array?.members.some(({ epoch }) => epoch !== cluster.status.attachmentEpoch) ?? false;
      if (isOld || (node !== cluster.consumer && node.legs.some(({ kind }) => kind === 'guard')))
        unstageOn(cluster, node, life);
    }
  });
}

export function unstageOn(cluster: ModelCluster, node: ModelNode, life: Life = forever()): Plan<unknown> {
  const plan = (): ReturnType<typeof planUnstage> =>
    planTwice(cluster, () => planUnstage(cluster.consumerWorld(node, false), STAGING));
  alive(() => {
    tillNothing(() =>
      act(cluster, life, plan(), (step) => {
        applyUnstageStep(cluster, node, step);
      }),
    );
  });
  return plan();
}

export function observe(cluster: ModelCluster): void {
  const node = cluster.consumer;
  if (node === undefined || !node.up) return;
  const seen = observeConsumer(cluster.consumerWorld(node, false));
  const next = recordObserved(cluster.volume, whoOf(cluster, node), seen, NOW);
  if (next !== undefined) cluster.status = next;
  checkData(cluster);
}

/** One NodeStage call on the consumer: holders work beside it; time passes when nothing moves. Returns how it ended. */
export function stage(cluster: ModelCluster, life: Life = forever()): Plan<unknown> {
  const node = cluster.consumer;
  if (node === undefined || !node.up) return { kind: 'wait', reason: 'no consumer' };
  cluster.waitedMs = 0;
  let probed = false;
  const plan = (): ReturnType<typeof planStage> =>
    planTwice(cluster, () => planStage(cluster.consumerWorld(node, probed), wantedOf(cluster)));
  alive(() => {
    tillNothing(() => {
      tearDownFenced(cluster);
      holdAll(cluster);
      const acted = act(cluster, life, plan(), (step, half) => {
        applyStageStep(cluster, node, step, half);
        if (step.kind === 'probeFilesystem') probed = true;
      });
      if (acted) return true;
      if (plan().kind === 'done' || cluster.waitedMs > 0) return false;
      cluster.waitedMs = 20_000;
      return true;
    });
  });
  return plan();
}

/** Carries the mending of the consumer's array as far as it goes. `late`: paths that are lost have been lost for long. */
export function mend(cluster: ModelCluster, late: boolean, life: Life = forever()): Plan<unknown> {
  const node = cluster.consumer;
  if (node === undefined || !node.up) return { kind: 'wait', reason: 'no consumer' };
  // Who was tried in vain rests.
  const away = new Set<string>();
  const plan = (): ReturnType<typeof planMending> =>
    planTwice(cluster, () => {
      const world = cluster.consumerWorld(node, false);
      const lostMs = Object.fromEntries(
        membersWithoutPath(world).map(({ partitionUUID }) => [partitionUUID, late ? 60_000 : 0]),
      );
      return planMending({ ...world, lostMs, dropGraceMs: 1000, failing: [], resting: [...away] });
    });
  alive(() => {
    tillNothing(() => {
      const before = away.size;
      const apply = (step: MendStep): void => {
        applyMendStep(cluster, node, step);
      };
      return act(cluster, life, plan(), apply, away) || away.size > before;
    });
  });
  return plan();
}

/** The consumer's part of an expansion. Returns what is left to do. */
export function grow(cluster: ModelCluster, life: Life = forever()): Plan<unknown> {
  const node = cluster.consumer;
  if (node === undefined || !node.up) return { kind: 'wait', reason: 'no consumer' };
  const plan = (): ReturnType<typeof planGrow> =>
    planTwice(cluster, () => planGrow(cluster.consumerWorld(node, false)));
  alive(() => {
    tillNothing(() =>
      act(cluster, life, plan(), (step, half) => {
        applyStageStep(cluster, node, step, half);
      }),
    );
  });
  return plan();
}

export function publish(cluster: ModelCluster, life: Life = forever()): Plan<unknown> {
  const node = cluster.consumer;
  if (node === undefined) return { kind: 'wait', reason: 'no consumer' };
  const access = cluster.shape.mode === 'Block' ? 'block' : 'mount';
  const wanted = { stagingPath: STAGING, targetPath: TARGET, access, readOnly: false } as const;
  const plan = (): ReturnType<typeof planPublish> => planPublish(cluster.consumerWorld(node, false), wanted);
  alive(() => {
    tillNothing(() =>
      act(cluster, life, plan(), (step) => {
        applyPublishStep(node, step);
      }),
    );
  });
  return plan();
}

export function unpublish(cluster: ModelCluster, node: ModelNode): void {
  tillNothing(() =>
    act(cluster, forever(), planUnpublish(cluster.consumerWorld(node, false), TARGET), (step) => {
      applyPublishStep(node, step);
    }),
  );
}
