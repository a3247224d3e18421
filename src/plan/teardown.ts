/** NodeUnstage, of a fenced consumer too (SPEC §4, §7.10). Works from what the kernel shows; the object may be gone. */
import { droppedMembers, observeConsumer } from './health.ts';
import type { UnstageStep } from './steps.ts';
import {
  describeMember,
  fencedReason,
  hasPath,
  isHealthyGuard,
  memberEntries,
  notConsumerReason,
  refuseBehind,
  sortedBy,
  stepsOrDone,
  wait,
} from './view.ts';
import type { ArraySeen, ConsumerWorld, LegSeen, Plan } from './world.ts';

/** Every place where the array is mounted, the deepest first, the staging path last. */
export function ourMounts(world: ConsumerWorld, stagingPath: string): readonly string[] {
  const seen = world.mounts.filter(({ isOurs }) => isOurs).map(({ mountPoint }) => mountPoint);
  const more = (world.array?.mountPoints ?? []).filter((path) => !seen.includes(path));
  const rank = (path: string): number => (path === stagingPath ? 1 : 0);
  return [...seen, ...more].sort((a, b) => rank(a) - rank(b) || b.length - a.length || (a < b ? -1 : 1));
}

/** Guards and what was left of them. A holder's claims are not touched. */
export function ownGuards(world: ConsumerWorld): readonly LegSeen[] {
  const guards = world.legs.filter(({ kind }) => kind !== 'linear');
  return sortedBy(guards, ({ name }) => name);
}

export function arrayGuards(world: ConsumerWorld, array: ArraySeen): readonly LegSeen[] {
  const isMember = (leg: LegSeen): boolean =>
    array.members.some((member) => member.partitionUUID === leg.partitionUUID && member.epoch === leg.epoch);
  return ownGuards(world).filter(isMember);
}

function release(world: ConsumerWorld): readonly UnstageStep[] {
  const legs = ownGuards(world).map(({ name }): UnstageStep => ({ kind: 'removeLeg', name }));
  const nqns = sortedBy([...new Set(world.imports.map(({ nqn }) => nqn))], (nqn) => nqn);
  return [...legs, ...nqns.map((nqn): UnstageStep => ({ kind: 'disconnect', nqn }))];
}

/** Why the array must not be flushed any more: another consumer may have been granted its members. */
export function fencedHere(world: ConsumerWorld): string | undefined {
  const { volume, me } = world;
  if (volume.status === undefined) return undefined;
  return fencedReason(world) ?? notConsumerReason(volume, me);
}

/** Who has the array open, beside mounts; undefined when nobody is known to. */
export function openersOf(array: ArraySeen): string | undefined {
  const openers = [...array.holders, ...(array.openers ?? [])].sort();
  return openers.length === 0 ? undefined : openers.join(', ');
}

/**
 * XFS is shut down first, so that writes in flight return errors; only then may a guard fail. ext4 and raw block acknowledge
 * what the surviving leg took: their guards stay closed until nobody has the device open.
 */
function planFenced(world: ConsumerWorld, array: ArraySeen, stagingPath: string, why: string): Plan<UnstageStep> {
  const mounts = ourMounts(world, stagingPath);
  const filesystems = world.mounts.filter(({ isOurs }) => isOurs);
  const known = new Set(filesystems.map(({ mountPoint }) => mountPoint));
  const isAllXfs = filesystems.every(({ fsType }) => fsType === 'xfs') && mounts.every((path) => known.has(path));
  if (mounts.length > 0 && !isAllXfs) {
    return wait(`${why}; it stays closed until its openers are gone: mounted at ${mounts.join(', ')}`);
  }
  if (mounts.length === 0 && array.openers === undefined)
    return wait(`${why}; who has ${array.path} open is not known`);
  const openers = openersOf(array);
  if (openers !== undefined && mounts.length === 0) {
    return wait(`${why}; it stays closed until its openers are gone: ${openers}`);
  }
  const shutdown = sortedBy([...new Set(mounts)], (path) => path).slice(0, 1);
  return {
    kind: 'steps',
    steps: [
      ...shutdown.map((mountPoint): UnstageStep => ({ kind: 'shutdownFilesystem', mountPoint })),
      ...arrayGuards(world, array).map(({ name }): UnstageStep => ({ kind: 'failGuard', name })),
      ...mounts.map((target): UnstageStep => ({ kind: 'unmount', target })),
      { kind: 'stopArray', array: array.name },
      ...release(world),
    ],
  };
}

/** Members whose guard `isStuck` and would hold I/O back: unmounting or stopping would hang. */
function stuckMembers(world: ConsumerWorld, array: ArraySeen, isStuck: (leg: LegSeen) => boolean): readonly string[] {
  const { status } = world.volume;
  const stuck = arrayGuards(world, array).filter((leg) => leg.suspended || (leg.queues && isStuck(leg)));
  return stuck.map((leg) => {
    const entry =
      status === undefined
        ? undefined
        : memberEntries(status).find((candidate) => candidate.partitionUUID === leg.partitionUUID);
    return entry === undefined ? leg.name : describeMember(entry);
  });
}

/** Only after a stop of an array that may have been written, under the epoch that runs it: the record that the hand-over is clean. */
function releaseRecord(world: ConsumerWorld, array: ArraySeen): readonly UnstageStep[] {
  const { status, spec } = world.volume;
  if (status === undefined || spec.activatedAt === undefined || array.isReadOnly) return [];
  if (array.arrayState === 'inactive' || array.arrayState === 'clear') return [];
  return [
    {
      kind: 'recordReleased',
      epoch: status.attachmentEpoch,
      attachmentID: status.attachmentID,
      dropped: droppedMembers(world),
    },
  ];
}

/** What MD dropped and nobody recorded: once the array is stopped, nothing shows it any more. */
function dropRecord(world: ConsumerWorld): readonly UnstageStep[] {
  const { status, spec } = world.volume;
  if (status === undefined || spec.activatedAt === undefined) return [];
  const seen = observeConsumer(world);
  if (seen.dropped.length === 0) return [];
  return [{ kind: 'recordDropped', epoch: status.attachmentEpoch, attachmentID: status.attachmentID, seen }];
}

function planOrderly(world: ConsumerWorld, array: ArraySeen, stagingPath: string): Plan<UnstageStep> {
  const stuck = stuckMembers(world, array, (leg) => !hasPath(world, leg));
  if (stuck.length > 0) return wait(`the path of ${stuck.join(', ')} is lost: its I/O is held back until it returns`);
  const mounts = ourMounts(world, stagingPath);
  if (mounts.length > 0) return { kind: 'steps', steps: unmountsOf(mounts) };
  const openers = openersOf(array);
  if (openers !== undefined) return wait(`array ${array.name} is in use by ${openers}`);
  return {
    kind: 'steps',
    steps: [
      ...dropRecord(world),
      { kind: 'stopArray', array: array.name },
      ...releaseRecord(world, array),
      ...release(world),
    ],
  };
}

/**
 * The holders let go before the object went, and a guard learns that its path is lost only from an I/O: MD's own last write would
 * wait for ever. Nobody has the array by now, so its guards may fail; one that has its path goes on as before.
 */
function stopOrphan(world: ConsumerWorld, array: ArraySeen): readonly UnstageStep[] {
  const guards = arrayGuards(world, array).map(({ name }): UnstageStep => ({ kind: 'failGuard', name }));
  return [...guards, { kind: 'stopArray', array: array.name }];
}

const unmountsOf = (mounts: readonly string[]): readonly UnstageStep[] =>
  mounts.map((target) => ({ kind: 'unmount', target }));

/**
 * There is no object any more; the guards lead to what is left. Lost paths count as fenced. Whoever merely sees a mounted filesystem
 * counts as an opener of the array, so those are judged when it is unmounted; one that uses it keeps it from being unmounted.
 */
function planOrphan(world: ConsumerWorld, stagingPath: string): Plan<UnstageStep> {
  const { array } = world;
  if (array !== undefined && stuckMembers(world, array, (leg) => !isHealthyGuard(leg)).length > 0) {
    return planFenced(world, array, stagingPath, 'the volume is gone and so are paths of its members');
  }
  const unmounts = unmountsOf(ourMounts(world, stagingPath));
  if (world.mounts.some(({ isOurs, fsType }) => isOurs && fsType !== 'devtmpfs')) return stepsOrDone(unmounts);
  const openers = array === undefined ? undefined : openersOf(array);
  if (openers !== undefined) return wait(`array ${array?.name ?? ''} is in use by ${openers}`);
  const stop = array === undefined ? [] : stopOrphan(world, array);
  return stepsOrDone([...unmounts, ...stop, ...release(world)]);
}

/** Works from the kernel alone when the volume was made up from it (see `ConsumerWorld.volume`). */
export function planUnstage(world: ConsumerWorld, stagingPath: string): Plan<UnstageStep> {
  if (world.volume.metadata.uid === '') return planOrphan(world, stagingPath);
  const behind = refuseBehind(world);
  if (behind !== undefined) return behind;
  const { array } = world;
  if (array === undefined) {
    return stepsOrDone([...unmountsOf(ourMounts(world, stagingPath)), ...release(world)]);
  }
  const why = fencedHere(world);
  if (why !== undefined) return planFenced(world, array, stagingPath, why);
  return planOrderly(world, array, stagingPath);
}
