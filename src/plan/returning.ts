/** The way back into the array of a member that is out (SPEC §7.2, §7.8, §8). Every guard of the array has its path by now. */
import type { PartitionStatus, VolumeStatus } from '../api/volume.ts';
import type { Member } from './connections.ts';
import { stepsOf, waitsOf, wayOf } from './connections.ts';
import type { MendStep } from './steps.ts';
import { describeMember, mdSlotOf, memberEntries, wait } from './view.ts';
import type { ArraySeen, ConsumerWorld, LegSeen, MendingWorld, Plan } from './world.ts';

/** Members that belong into the array and are not in it. A `Faulty` one does not come back: another one takes its place. */
function absent(status: VolumeStatus, array: ArraySeen): readonly PartitionStatus[] {
  return memberEntries(status).filter(
    ({ state, partitionUUID }) =>
      (state === 'Missing' || state === 'Syncing') &&
      !array.members.some((member) => member.partitionUUID === partitionUUID),
  );
}

/** Without an array that uses it, a guard may be made anew. */
function unused(world: ConsumerWorld): ConsumerWorld {
  const { array: _array, ...rest } = world;
  return rest;
}

function oldGuard(world: ConsumerWorld, status: VolumeStatus, entry: PartitionStatus): LegSeen | undefined {
  return world.legs.find(
    (leg) => leg.partitionUUID === entry.partitionUUID && leg.epoch === status.attachmentEpoch && leg.kind === 'guard',
  );
}

/**
 * A member that was dropped in use: its drive may have acknowledged writes and lost them since. Only the guard of that time, which
 * names the boot of the holder's kernel, proves that it ran on (SPEC §7.2): of another boot, or gone with its epoch, it cannot be told
 * what the member holds. One that was left out of this epoch's start, clean as it was, never had a guard.
 */
function mustBeWiped(world: ConsumerWorld, status: VolumeStatus, entry: PartitionStatus): boolean {
  if (entry.stale === true || entry.missingEpoch === undefined) return false;
  if (entry.missingEpoch !== status.attachmentEpoch) return true;
  const leg = oldGuard(world, status, entry);
  const seen = world.imports.find(
    ({ partitionUUID, epoch }) => partitionUUID === entry.partitionUUID && epoch === entry.missingEpoch,
  );
  return leg !== undefined && seen?.namespaceUUID !== undefined && seen.namespaceUUID !== leg.namespaceUUID;
}

/** MD gives a new member the first empty slot. In RAID10 the slot says which part of the data it has. */
function isNextSlot(world: ConsumerWorld, array: ArraySeen, entry: PartitionStatus): boolean {
  if (world.volume.spec.drivesPerCopy === 1) return true;
  const taken = new Set(array.members.flatMap(({ slot }) => slot ?? []));
  const wanted = mdSlotOf(world.volume, entry);
  return Array.from({ length: wanted }, (_, slot) => slot).every((slot) => taken.has(slot));
}

function joinSteps(
  { volume }: ConsumerWorld,
  status: VolumeStatus,
  array: ArraySeen,
  entry: PartitionStatus,
  leg: LegSeen,
): readonly MendStep[] {
  const { partitionUUID } = entry;
  const { attachmentEpoch: epoch, attachmentID } = status;
  return [
    ...(entry.state === 'Missing' ? [{ kind: 'recordReturning' as const, partitionUUID }] : []),
    ...(entry.stale === true ? [{ kind: 'wipeSuperblocks' as const, legs: [leg.path] }] : []),
    // The members that were there at the start have theirs.
    { kind: 'writeStamps', legs: [leg.path], volumeUUID: volume.spec.volumeUUID, epoch, attachmentID },
    { kind: 'addMember', partitionUUID, array: array.path, leg: leg.path },
  ];
}

export function planReturn(world: MendingWorld, status: VolumeStatus, array: ArraySeen): Plan<MendStep> {
  const out = absent(status, array);
  if (out.length === 0) return { kind: 'done' };
  const doubtful = out.find((entry) => mustBeWiped(world, status, entry));
  if (doubtful !== undefined) {
    return { kind: 'steps', steps: [{ kind: 'recordStale', partitionUUID: doubtful.partitionUUID }] };
  }
  // Whoever was tried in vain a moment ago rests.
  const due = out.filter(({ partitionUUID }) => !world.resting.includes(partitionUUID));
  const members = due.map((entry): Member => ({ entry, way: wayOf(unused(world), status, entry) }));
  const steps = stepsOf(members);
  if (steps.length > 0) return { kind: 'steps', steps };
  // One at a time, and not beside another copying: what MD reads from must be certain.
  const isQuiet = array.syncAction === 'idle' && array.resyncPending !== true;
  for (const { entry, way } of isQuiet ? members : []) {
    if (way.kind === 'ready' && isNextSlot(world, array, entry)) {
      return { kind: 'steps', steps: joinSteps(world, status, array, entry, way.leg) };
    }
  }
  const waits = [...waitsOf(members), ...(isQuiet ? [] : [`array ${array.name} is copying`])];
  return wait(waits.length > 0 ? waits.join('; ') : `${out.map(describeMember).join(', ')}: tried again later`);
}
