/** Every start after the first: assembled read-only from what is recorded and confirmed, recorded, then writable (SPEC §7.6, §7.7). */
import { arrayUuidFor, shortIdFor } from '../api/names.ts';
import type { PartitionStatus, VolumeStatus } from '../api/volume.ts';
import type { Member } from './connections.ts';
import { readyLegs, stepsOf, waitsOf, wayOf } from './connections.ts';
import { inSyncMembers } from './health.ts';
import type { FlagStep, StageStep, StartRecord } from './steps.ts';
import {
  columnOfEntry,
  describeMember,
  emptyColumns,
  isHealthyGuard,
  mdSlotOf,
  memberEntries,
  sortedBy,
  wait,
} from './view.ts';
import type { ArraySeen, ConsumerWorld, Plan } from './world.ts';

/** Columns without a member, as text that says what would help. */
function lackText(
  world: ConsumerWorld,
  status: VolumeStatus,
  columns: readonly number[],
  why: readonly string[],
): string {
  const hopes = memberEntries(status).filter((entry) => columns.includes(columnOfEntry(world.volume, entry)));
  const named = hopes.map((entry) => `${describeMember(entry)} is ${entry.state}`);
  const where = world.volume.spec.drivesPerCopy === 1 ? '' : ` in column ${columns.join(', ')}`;
  return [`no member that holds every write is there${where}`, ...named, ...why].join('; ');
}

/** No array in the kernel: members are connected and guarded, then it is assembled read-only from those recorded `Synced`. */
export function planAssembly(world: ConsumerWorld, status: VolumeStatus): Plan<StageStep> {
  const { volume } = world;
  const synced = memberEntries(status).filter(({ state }) => state === 'Synced');
  const members: readonly Member[] = synced.map((entry) => ({ entry, way: wayOf(world, status, entry) }));
  const ready = readyLegs(members);
  const graceIsOver = world.waitedMs >= world.startGraceMs;
  const lacking = emptyColumns(
    volume,
    ready.map(({ entry }) => entry),
  );
  const isAwaited = ({ entry }: Member): boolean => !graceIsOver && !world.offNodes.includes(entry.nodeID);
  const isEnough = members.every((member) => member.way.kind === 'ready' || !isAwaited(member));
  const needed =
    lacking.length === 0
      ? members.filter((member) => isAwaited(member) || (member.way.kind === 'steps' && member.way.quick))
      : members;
  const preparation = stepsOf(needed);
  if (preparation.length > 0) return { kind: 'steps', steps: preparation };
  if (lacking.length > 0 || !isEnough) {
    const waits = waitsOf(members);
    return wait(lacking.length > 0 ? lackText(world, status, lacking, waits) : waits.join('; '));
  }
  const { volumeUUID } = volume.spec;
  const legs = sortedBy(ready, ({ entry }) => mdSlotOf(volume, entry)).map(({ leg }) => leg.path);
  return {
    kind: 'steps',
    steps: [
      { kind: 'assembleArray', arrayUUID: arrayUuidFor(volumeUUID), name: shortIdFor(volumeUUID), members: legs },
    ],
  };
}

/** MD reads, and resyncs, from the first member of a column; in RAID1 from one that is not write-mostly first. */
function readOrder(world: ConsumerWorld, entry: PartitionStatus): number {
  const isRemote = world.volume.spec.drivesPerCopy === 1 && entry.nodeID !== world.me.nodeName;
  return (isRemote ? 1_000_000 : 0) + mdSlotOf(world.volume, entry);
}

/** The member of each column that MD will read from, given flags as `flagSteps` sets them. */
function primaries(world: ConsumerWorld, inSync: readonly PartitionStatus[]): readonly PartitionStatus[] {
  const ordered = sortedBy(inSync, (entry) => readOrder(world, entry));
  return ordered.filter(
    (entry, index) =>
      ordered.findIndex((other) => columnOfEntry(world.volume, other) === columnOfEntry(world.volume, entry)) === index,
  );
}

/**
 * After a hand-over that was not clean the mirrors may differ in what was in flight: only the member that MD reads from keeps
 * `Synced`. Members in the array that are `Syncing` were demoted by an earlier pass of this same start, which was cut off:
 * it makes the same record. Undefined when the array holds a member that may not be in it.
 */
function startRecord(world: ConsumerWorld, status: VolumeStatus, array: ArraySeen): StartRecord | undefined {
  const entries = memberEntries(status);
  const inArray = new Set(array.members.flatMap(({ partitionUUID }) => partitionUUID ?? []));
  const allowed = entries.filter(({ state }) => state === 'Synced' || state === 'Syncing');
  if ([...inArray].some((partitionUUID) => !allowed.some((entry) => entry.partitionUUID === partitionUUID)))
    return undefined;
  const inSyncUuids = inSyncMembers(array);
  const inSync = allowed.filter(({ partitionUUID }) => inSyncUuids.has(partitionUUID));
  const isClean = status.releasedEpoch > 0;
  const first = primaries(world, inSync);
  const synced = isClean ? inSync.filter(({ state }) => state === 'Synced') : first;
  if (first.some(({ state }) => state !== 'Synced')) return undefined;
  const uuids = (list: readonly PartitionStatus[]): readonly string[] => list.map(({ partitionUUID }) => partitionUUID);
  return {
    synced: uuids(synced),
    syncing: uuids(inSync.filter((entry) => !synced.includes(entry))),
    missing: uuids(allowed.filter((entry) => !inSync.includes(entry))),
    missingAreStale: !isClean,
  };
}

/** Remote members are write-mostly, the local one is not; MD knows the flag in RAID1 only. */
export function flagSteps(world: ConsumerWorld, status: VolumeStatus, array: ArraySeen): readonly FlagStep[] {
  if (world.volume.spec.drivesPerCopy > 1) return [];
  const nodes = new Map(memberEntries(status).map(({ partitionUUID, nodeID }) => [partitionUUID, nodeID]));
  return sortedBy(array.members, ({ device }) => device).flatMap((member): readonly FlagStep[] => {
    const node = member.partitionUUID === undefined ? undefined : nodes.get(member.partitionUUID);
    if (node === undefined || member.faulty) return [];
    const value = node !== world.me.nodeName;
    if (value === member.writeMostly) return [];
    return [{ kind: 'setWriteMostly', array: array.name, member: member.device, value }];
  });
}

/** Guards of the array that hold I/O back, or would not: writing a stamp through one would hang. */
function unguarded(world: ConsumerWorld, status: VolumeStatus, array: ArraySeen): readonly PartitionStatus[] {
  const inArray = new Set(array.members.flatMap(({ partitionUUID }) => partitionUUID ?? []));
  const epoch = status.attachmentEpoch;
  return memberEntries(status)
    .filter(({ partitionUUID }) => inArray.has(partitionUUID))
    .filter(({ partitionUUID }) => {
      const leg = world.legs.find((seen) => seen.partitionUUID === partitionUUID && seen.epoch === epoch);
      return leg === undefined || !isHealthyGuard(leg);
    });
}

/**
 * Gives up an array that nobody has been handed yet: it holds nothing but MD's own records. A guard that holds I/O back would keep
 * the stop waiting, and there is no I/O in it that anybody waits for.
 */
export function abandonSteps(world: ConsumerWorld, array: ArraySeen): readonly StageStep[] {
  const inArray = new Set(array.members.map(({ partitionUUID }) => partitionUUID));
  const stuck = world.legs.filter(
    (leg) => inArray.has(leg.partitionUUID) && (leg.suspended || (leg.queues && !isHealthyGuard(leg))),
  );
  const fail = sortedBy(stuck, ({ name }) => name).map(({ name }): StageStep => ({ kind: 'failGuard', name }));
  return [...fail, { kind: 'stopArray', array: array.name }];
}

/** Members of the array whose guard is not as it should be, and what they need. */
export function brokenMembers(world: ConsumerWorld, status: VolumeStatus, array: ArraySeen): readonly Member[] {
  const inSync = inSyncMembers(array);
  return unguarded(world, status, array)
    .filter(({ partitionUUID }) => inSync.has(partitionUUID) || array.isReadOnly)
    .map((entry) => ({ entry, way: wayOf(world, status, entry) }));
}

/** A read-only array of this epoch: stamped, recorded, flags corrected, then writable. */
export function planStart(world: ConsumerWorld, status: VolumeStatus, array: ArraySeen): Plan<StageStep> {
  const broken = brokenMembers(world, status, array);
  const repairs = stepsOf(broken);
  if (repairs.length > 0) return { kind: 'steps', steps: repairs };
  // Nothing was written through it yet: put together anew, without a member that does not come back in time.
  if (broken.length > 0) return { kind: 'steps', steps: abandonSteps(world, array) };
  const record = startRecord(world, status, array);
  if (record === undefined) return { kind: 'steps', steps: [{ kind: 'stopArray', array: array.name }] };
  const synced = memberEntries(status).filter(({ partitionUUID }) => record.synced.includes(partitionUUID));
  const lacking = emptyColumns(world.volume, synced);
  if (lacking.length > 0) {
    return wait(lackText(world, status, lacking, [`array ${array.name} was assembled without one in sync`]));
  }
  const started = [...record.synced, ...record.syncing];
  const legs = world.legs.filter((leg) => leg.epoch === status.attachmentEpoch && started.includes(leg.partitionUUID));
  const { volumeUUID } = world.volume.spec;
  return {
    kind: 'steps',
    steps: [
      {
        kind: 'writeStamps',
        legs: legs.map(({ path }) => path).sort(),
        volumeUUID,
        epoch: status.attachmentEpoch,
        attachmentID: status.attachmentID,
      },
      { kind: 'recordStart', record },
      ...flagSteps(world, status, array),
      { kind: 'makeWritable', array: array.name },
    ],
  };
}
