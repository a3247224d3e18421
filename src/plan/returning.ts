/**
 * The way into the array of a member that is out, or that takes the place of one (SPEC §7.2, §7.8, §8). Every guard of the array has its
 * path by now. Of those that stand for one slot, one comes in: who can come back by the bitmap, else the youngest. It is in the array
 * from then on, and what the bitmap says is about it alone: MD forgets as it copies what the others lack, too, so that each of them comes
 * back, if ever, only wiped.
 */
import type { MeshStorVolume, PartitionState, PartitionStatus, VolumeStatus } from '../api/volume.ts';
import type { Member } from './connections.ts';
import { stepsOf, waitsOf, wayOf } from './connections.ts';
import type { MendStep } from './steps.ts';
import { describeMember, mdSlotOf, memberEntries, sortedBy, wait } from './view.ts';
import type { ArraySeen, ConsumerWorld, LegSeen, MendingWorld, Plan } from './world.ts';

/** `Faulty` is not among them: another one takes its place. */
const ABSENT: ReadonlySet<PartitionState> = new Set(['Missing', 'Syncing', 'Created']);

/** Its place was given up. It comes back by the bitmap as long as no other one has its place, or when there is no other one. */
function mayReturn(entry: PartitionStatus, mates: readonly PartitionStatus[]): boolean {
  if (entry.failed === true) return false;
  return entry.stale !== true || mates.every(({ state }) => state === 'Replacing');
}

/** Smaller comes first. */
const preference = (entry: PartitionStatus): number =>
  (entry.state === 'Created' || entry.stale === true ? 1_000_000 : 0) - entry.generation;

/** Who may fill a slot of the array, in that order; nobody while a member of it is in the array, or holds every write. */
function candidatesFor(
  volume: MeshStorVolume,
  mates: readonly PartitionStatus[],
  array: ArraySeen,
): readonly PartitionStatus[] {
  const isThere = ({ partitionUUID }: PartitionStatus): boolean =>
    array.members.some((member) => member.partitionUUID === partitionUUID);
  if (mates.some((entry) => entry.state === 'Synced' || isThere(entry))) return [];
  const able = mates.filter((entry) => {
    if (entry.state === 'Replacing') return mayReturn(entry, mates);
    return ABSENT.has(entry.state) && (entry.state !== 'Created' || volume.spec.activatedAt !== undefined);
  });
  return sortedBy(able, preference);
}

/** Members that belong into the array and are not in it, slot by slot, the one that is preferred first. */
function absent({ volume }: ConsumerWorld, status: VolumeStatus, array: ArraySeen): readonly PartitionStatus[] {
  const entries = memberEntries(status);
  const slots = [...new Set(entries.map(({ slot }) => slot))];
  return slots.flatMap((slot) =>
    candidatesFor(
      volume,
      entries.filter((entry) => entry.slot === slot),
      array,
    ),
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
  const isWiped = entry.stale === true || entry.state === 'Created';
  return [
    ...(entry.state === 'Syncing' ? [] : [{ kind: 'recordReturning' as const, partitionUUID }]),
    ...(isWiped ? [{ kind: 'wipeSuperblocks' as const, legs: [leg.path] }] : []),
    // The members that were there at the start have theirs.
    { kind: 'writeStamps', legs: [leg.path], volumeUUID: volume.spec.volumeUUID, epoch, attachmentID },
    { kind: 'addMember', partitionUUID, array: array.path, leg: leg.path },
  ];
}

export function planReturn(world: MendingWorld, status: VolumeStatus, array: ArraySeen): Plan<MendStep> {
  const out = absent(world, status, array);
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
