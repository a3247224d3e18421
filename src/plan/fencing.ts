/**
 * What a node does by itself with what it has left of a volume that is another's now (SPEC §7.10): nobody may call NodeUnstage there any
 * more, and as a holder it cannot serve its own partition before its array is gone (SPEC §7.5).
 */
import type { FenceStep } from './steps.ts';
import { arrayGuards, fencedHere, openersOf, ourMounts, ownGuards } from './teardown.ts';
import { notConsumerReason, refuseBehind, sortedBy, stepsOrDone, wait } from './view.ts';
import type { ArraySeen, ConsumerWorld, LegSeen, Plan } from './world.ts';

/** A program that got an error may close its files by itself; after this it is killed. */
export const KILL_AFTER_MS = 5000;

/** Guards and connections of attachments that are over: all of them where this node is not the consumer. */
function leftovers(world: ConsumerWorld): readonly FenceStep[] {
  const { me, volume, imports } = world;
  const isOver = (epoch: number): boolean =>
    notConsumerReason(volume, me) !== undefined || epoch !== volume.status?.attachmentEpoch;
  const guards = ownGuards(world).filter(({ epoch }) => isOver(epoch));
  const nqns = imports.filter(({ epoch }) => isOver(epoch)).map(({ nqn }) => nqn);
  return [
    ...guards.map(({ name }): FenceStep => ({ kind: 'removeLeg', name })),
    ...sortedBy([...new Set(nqns)], (nqn) => nqn).map((nqn): FenceStep => ({ kind: 'disconnect', nqn })),
  ];
}

/** Shut down first, so that writes in flight return errors and no later one is taken; only then may a guard fail. */
function takeDown(world: ConsumerWorld, array: ArraySeen, mounts: readonly string[]): Plan<FenceStep> {
  const shutdown = sortedBy(mounts, (path) => path).slice(0, 1);
  const mustKill = mounts.length > 0 && world.waitedMs >= KILL_AFTER_MS;
  return {
    kind: 'steps',
    steps: [
      ...shutdown.map((mountPoint): FenceStep => ({ kind: 'shutdownFilesystem', mountPoint })),
      ...arrayGuards(world, array).map(({ name }): FenceStep => ({ kind: 'failGuard', name })),
      ...(mustKill ? [{ kind: 'killUsers' as const, array: array.name }] : []),
      ...mounts.map((target): FenceStep => ({ kind: 'unmount', target })),
      { kind: 'stopArray', array: array.name },
      ...leftovers(world),
    ],
  };
}

function planArray(world: ConsumerWorld, array: ArraySeen, why: string): Plan<FenceStep> {
  if (array.members.some(({ partitionUUID, epoch }) => partitionUUID === undefined || epoch === undefined)) {
    return wait(`${why}: what is not this driver's is left alone`);
  }
  const { fsType, volumeMode } = world.volume.spec;
  const mounts = ourMounts(world, '');
  const isXfs = (path: string): boolean =>
    world.mounts.some(({ mountPoint, fsType: mounted }) => mountPoint === path && mounted === 'xfs');
  // ext4, and whoever has a raw block volume open, would be told that what the surviving leg takes is written.
  if (volumeMode === 'Block') {
    return wait(`${why}; its guards stay closed until it is unstaged with nobody using it, or the node restarts`);
  }
  if (fsType !== 'xfs' || !mounts.every(isXfs)) {
    return wait(`${why}; its guards stay closed until the node restarts`);
  }
  if (mounts.length > 0) return takeDown(world, array, mounts);
  // Shut down and unmounted by an earlier round, or never mounted, or by now in the sight of other mount namespaces alone.
  if (array.openers === undefined) return wait(`${why}; who has ${array.path} open is not known`);
  const openers = openersOf(array);
  return openers === undefined ? takeDown(world, array, []) : wait(`${why}; still in use by ${openers}`);
}

/** For so long no member of a volume without an object may be within reach before it is taken down. */
export const GONE_GRACE_MS = 30_000;

/** A connection lives, or the partition is here, whatever its guard says: without an object nobody mends guards. */
function isWithinReach({ imports, partitions }: ConsumerWorld, { partitionUUID, epoch }: LegSeen): boolean {
  const isLive = imports.some(
    (seen) =>
      seen.partitionUUID === partitionUUID &&
      seen.epoch === epoch &&
      seen.controllers.some(({ state }) => state === 'live'),
  );
  return isLive || partitions.some((partition) => partition.partitionUUID === partitionUUID);
}

/**
 * Of a volume that was deleted while this node slept: pods that write to it wait in its guards for ever. An API restored from a backup
 * may lack a volume that is in use, so one of which any member is within reach is left to its pods.
 */
function planGone(world: ConsumerWorld, graceMs: number): Plan<FenceStep> {
  const { array, waitedMs } = world;
  if (ownGuards(world).some((leg) => isWithinReach(world, leg))) return { kind: 'done' };
  const why = 'the volume is gone, and so are the paths of its members';
  if (waitedMs < graceMs) return wait(why);
  if (array === undefined) return stepsOrDone(leftovers(world));
  return planArray({ ...world, waitedMs: waitedMs - graceMs }, array, why);
}

/**
 * `waitedMs`: since this fencing began. `done` for whatever is this node's to use, and for a volume whose status is gone. Whoever gives a
 * volume without an object (no uid) has asked the API that there is none.
 */
export function planFencing(world: ConsumerWorld, goneGraceMs = GONE_GRACE_MS): Plan<FenceStep> {
  const { array, volume, me } = world;
  if (volume.status === undefined) return { kind: 'done' };
  if (volume.metadata.uid === '') return planGone(world, goneGraceMs);
  const behind = refuseBehind(world);
  if (behind !== undefined) return behind;
  const why = fencedHere(world);
  if (why === undefined) return { kind: 'done' };
  if (array !== undefined) return planArray(world, array, why);
  return notConsumerReason(volume, me) === undefined ? { kind: 'done' } : stepsOrDone(leftovers(world));
}
