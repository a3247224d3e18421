/**
 * What is written to a volume's object, as pure functions of the object just read: a new status, or `undefined` when nothing
 * changes. A writer whom the object does not name any more gets a `precondition`. Used by compare-and-swap writes.
 */
import { findCondition, setCondition } from '../api/conditions.ts';
import { DomainError } from '../api/errors.ts';
import type { MeshStorVolume, PartitionState, PartitionStatus, VolumeStatus } from '../api/volume.ts';
import type { ConsumerObservation, DroppedMember } from './health.ts';
import type { Actor } from './lifecycle.ts';
import { isLegalTransition, wantedMembers } from './lifecycle.ts';
import { findOwnEntry, finish, requireOwnEntry, withEntries } from './recording.ts';
import type { StartRecord } from './steps.ts';
import type { Who } from './owner.ts';
import { refusal, requireOwner, requireStatus } from './owner.ts';
import { columnOfEntry, emptyColumns, isWitnessBehind, memberEntries } from './view.ts';

/** Condition that says why a partition could not be made; gone when it is placed again. */
export const PLACED_CONDITION = 'Placed';
/** `False` from the report of trouble to the report that it is over, whichever node makes it; absent before the first trouble. */
export const HEALTHY_CONDITION = 'Healthy';

/** The same entry in another state; an illegal transition is refused. A state that stays keeps its time. */
function moved(
  volume: MeshStorVolume,
  entry: PartitionStatus,
  to: PartitionState,
  by: Actor,
  now: string,
): PartitionStatus {
  if (entry.state === to) return entry;
  if (!isLegalTransition(entry.state, to, by)) {
    throw refusal(volume, `partition ${entry.partitionUUID} is ${entry.state}, a ${by} must not make it ${to}`);
  }
  return { ...entry, state: to, updatedAt: now };
}

/** A member that holds everything: nothing is remembered against it. */
function asSynced(entry: PartitionStatus): PartitionStatus {
  const { stale: _stale, missingEpoch: _missingEpoch, ...rest } = entry;
  return rest;
}

// ---------------------------------------------------------------- holder

/** The partition is there and zeroed. */
export function recordCreated(
  volume: MeshStorVolume,
  nodeName: string,
  partitionUUID: string,
  now: string,
): VolumeStatus | undefined {
  const own = requireOwnEntry(volume, nodeName, partitionUUID);
  if (own.state === 'Created') return undefined;
  const next = moved(volume, own, 'Created', 'holder', now);
  return finish(
    volume,
    withEntries(requireStatus(volume), (entry) => (entry === own ? next : entry)),
  );
}

/** The partition cannot be made: its entry goes, and a condition says why. */
export function recordImpossible(
  volume: MeshStorVolume,
  nodeName: string,
  partitionUUID: string,
  reason: string,
  now: string,
): VolumeStatus | undefined {
  const own = findOwnEntry(volume, nodeName, partitionUUID);
  if (own === undefined) return undefined;
  if (own.state !== 'Requested') throw refusal(volume, `partition ${partitionUUID} is ${own.state}, not Requested`);
  const status = requireStatus(volume);
  const condition = {
    type: PLACED_CONDITION,
    status: 'False' as const,
    reason: 'PartitionImpossible',
    message: `node ${nodeName}, drive ${own.device} (serial ${own.serial}): ${reason}`,
    lastTransitionTime: now,
  };
  return finish(volume, {
    ...status,
    partitions: status.partitions.filter((entry) => entry !== own),
    conditions: [...status.conditions.filter(({ type }) => type !== PLACED_CONDITION), condition],
  });
}

/** This holder serves the epoch's consumer and nobody else (with no consumer: nobody). */
export function recordGranted(
  volume: MeshStorVolume,
  nodeName: string,
  partitionUUID: string,
  epoch: number,
  attachmentID: string,
  now: string,
): VolumeStatus | undefined {
  const own = requireOwnEntry(volume, nodeName, partitionUUID);
  const status = requireStatus(volume);
  if (status.attachmentEpoch !== epoch || status.attachmentID !== attachmentID) {
    throw refusal(
      volume,
      `it is at epoch ${status.attachmentEpoch} with another attachment, the grant was for epoch ${epoch}`,
    );
  }
  if (own.epoch > epoch)
    throw refusal(volume, `partition ${partitionUUID} was granted at epoch ${own.epoch}, above ${epoch}`);
  if (own.epoch === epoch) return undefined;
  return finish(
    volume,
    withEntries(status, (entry) => (entry === own ? { ...entry, epoch, updatedAt: now } : entry)),
  );
}

/** The partition is wiped and gone. */
export function recordRemoved(
  volume: MeshStorVolume,
  nodeName: string,
  partitionUUID: string,
  _now: string,
): VolumeStatus | undefined {
  const own = findOwnEntry(volume, nodeName, partitionUUID);
  if (own === undefined) return undefined;
  if (own.state !== 'Deleting') throw refusal(volume, `partition ${partitionUUID} is ${own.state}, not Deleting`);
  const status = requireStatus(volume);
  return finish(volume, { ...status, partitions: status.partitions.filter((entry) => entry !== own) });
}

// ---------------------------------------------------------------- consumer

/** What the array was created from and for. */
export interface Birth {
  readonly partitionUUIDs: readonly string[];
  readonly capacityBytes: number;
}

function requireCapacity({ metadata, spec }: MeshStorVolume, capacityBytes: number): void {
  if (spec.capacityBytes === capacityBytes) return;
  const why = `its array was created for ${capacityBytes} bytes, it has ${spec.capacityBytes} by now`;
  throw new DomainError('unavailable', `recording the birth of volume ${metadata.name}: ${why}; try again`);
}

/** All members are equal and in the array; `spec.activatedAt` is written next (SPEC §7.12). */
export function recordBirth(
  volume: MeshStorVolume,
  who: Who,
  { partitionUUIDs, capacityBytes }: Birth,
  now: string,
): VolumeStatus | undefined {
  const status = requireOwner(volume, who);
  requireCapacity(volume, capacityBytes);
  if (volume.spec.activatedAt !== undefined)
    throw refusal(volume, `its array was born at ${volume.spec.activatedAt} already`);
  if (status.phase === 'Deleting') throw refusal(volume, 'it is being deleted');
  const members = memberEntries(status);
  const isWhole =
    members.length === wantedMembers(volume) && new Set(members.map(({ slot }) => slot)).size === members.length;
  const isMeant = members.every(({ partitionUUID }) => partitionUUIDs.includes(partitionUUID));
  if (!isWhole || !isMeant || partitionUUIDs.length !== members.length) {
    throw refusal(volume, 'the members of the array are not the ones that it lists');
  }
  const ungranted = members.find(({ epoch }) => epoch !== who.epoch);
  if (ungranted !== undefined)
    throw refusal(volume, `partition ${ungranted.partitionUUID} is not granted for epoch ${who.epoch}`);
  const born = (entry: PartitionStatus): PartitionStatus =>
    members.includes(entry) ? asSynced(moved(volume, entry, 'Synced', 'consumer', now)) : entry;
  return finish(volume, withEntries(status, born, { releasedEpoch: 0, mdState: 'clean' }));
}

/** The one write that lets the array become writable (SPEC §7.6). */
export function recordStart(
  volume: MeshStorVolume,
  who: Who,
  record: StartRecord,
  now: string,
): VolumeStatus | undefined {
  const status = requireOwner(volume, who);
  if (status.phase === 'Deleting') throw refusal(volume, 'it is being deleted');
  if (isWitnessBehind(volume))
    throw refusal(volume, 'WitnessBehind: one of its nodes says that it is older than the disks');
  const listed = new Set(status.partitions.map(({ partitionUUID }) => partitionUUID));
  const unknown = [...record.synced, ...record.syncing].find((partitionUUID) => !listed.has(partitionUUID));
  if (unknown !== undefined) throw refusal(volume, `partition ${unknown} of the array is listed no more`);
  const synced = status.partitions.filter(({ partitionUUID }) => record.synced.includes(partitionUUID));
  const notSynced = synced.find(({ state }) => state !== 'Synced');
  if (notSynced !== undefined)
    throw refusal(volume, `partition ${notSynced.partitionUUID} is ${notSynced.state}, not Synced`);
  if (emptyColumns(volume, synced).length > 0) throw refusal(volume, 'a column would have no member that is Synced');
  const started = (entry: PartitionStatus): PartitionStatus => startedEntry(volume, entry, record, who.epoch, now);
  // From here on pods may write: an empty state would let a detach take the array for not in use. The next report says more.
  const isKnown = status.mdState !== '' && status.mdState !== 'missing';
  return finish(
    volume,
    withEntries(status, started, { releasedEpoch: 0, mdState: isKnown ? status.mdState : 'clean' }),
  );
}

const STALE_WHEN_UNCLEAN: ReadonlySet<PartitionState> = new Set([
  'Syncing',
  'Missing',
  'Faulty',
  'Replacing',
  'Unknown',
]);

function startedEntry(
  volume: MeshStorVolume,
  entry: PartitionStatus,
  record: StartRecord,
  epoch: number,
  now: string,
): PartitionStatus {
  if (record.synced.includes(entry.partitionUUID)) return asSynced(entry);
  if (record.syncing.includes(entry.partitionUUID)) return moved(volume, entry, 'Syncing', 'consumer', now);
  if (entry.state === 'Synced' && !record.missing.includes(entry.partitionUUID)) {
    throw refusal(volume, `partition ${entry.partitionUUID} is Synced and the start does not mention it`);
  }
  const isMissing = record.missing.includes(entry.partitionUUID);
  const next = isMissing ? { ...moved(volume, entry, 'Missing', 'consumer', now), missingEpoch: epoch } : entry;
  // It was dropped in use before: the guard that could prove what it holds went with the array of that time.
  const isUnproven = next.state === 'Missing' && entry.missingEpoch !== undefined;
  const isStale = isUnproven || (record.missingAreStale && STALE_WHEN_UNCLEAN.has(next.state));
  return isStale ? { ...next, stale: true } : next;
}

/** Dropped members, but never the last `Synced` one of its column among those that MD still has: that one is waited for. */
function droppable(
  volume: MeshStorVolume,
  status: VolumeStatus,
  dropped: readonly DroppedMember[],
): readonly DroppedMember[] {
  const out = new Set(dropped.map(({ partitionUUID }) => partitionUUID));
  const stay = status.partitions.filter((entry) => entry.state === 'Synced' && !out.has(entry.partitionUUID));
  const kept = new Set(stay.map((entry) => columnOfEntry(volume, entry)));
  return dropped.filter(({ partitionUUID }) => {
    const entry = status.partitions.find((candidate) => candidate.partitionUUID === partitionUUID);
    return entry !== undefined && (entry.state !== 'Synced' || kept.has(columnOfEntry(volume, entry)));
  });
}

function afterDrop(
  volume: MeshStorVolume,
  entry: PartitionStatus,
  dropped: readonly DroppedMember[],
  epoch: number,
  now: string,
): PartitionStatus {
  const drop = dropped.find(({ partitionUUID }) => partitionUUID === entry.partitionUUID);
  // Recorded as lost since the look: MD marks faulty whatever it is told to let fail.
  if (entry.state === 'Missing') return entry;
  const to = drop?.faulty === true ? 'Faulty' : 'Missing';
  if (drop === undefined || !isLegalTransition(entry.state, to, 'consumer')) return entry;
  return { ...moved(volume, entry, to, 'consumer', now), missingEpoch: epoch };
}

/** This epoch's consumer has stopped its array in order: the next start finds equal members. */
export function recordReleased(
  volume: MeshStorVolume,
  who: Who,
  now: string,
  dropped: readonly DroppedMember[] = [],
): VolumeStatus | undefined {
  const status = requireOwner(volume, who);
  if (volume.spec.activatedAt === undefined) throw refusal(volume, 'its array is not born yet');
  const out = droppable(volume, status, dropped);
  const after = (entry: PartitionStatus): PartitionStatus => afterDrop(volume, entry, out, who.epoch, now);
  return finish(volume, withEntries(status, after, { releasedEpoch: who.epoch, mdState: '', syncPercentage: '' }));
}

const isFlip = (from: string, to: string): boolean =>
  (from === 'active' && to === 'clean') || (from === 'clean' && to === 'active');

/** What the consumer sees now. MD's flips between `active` and `clean` are not written. */
export function recordObserved(
  volume: MeshStorVolume,
  who: Who,
  observation: ConsumerObservation,
  now: string,
): VolumeStatus | undefined {
  const status = requireOwner(volume, who);
  if (status.phase === 'Deleting' || volume.spec.activatedAt === undefined) return undefined;
  // First who is in sync now: a member that was dropped may go on record when another one of its column has come.
  const promoted = withEntries(status, (entry) =>
    entry.state === 'Syncing' && observation.inSync.includes(entry.partitionUUID)
      ? asSynced(moved(volume, entry, 'Synced', 'consumer', now))
      : entry,
  );
  const out = droppable(volume, promoted, observation.dropped);
  const after = (entry: PartitionStatus): PartitionStatus => afterDrop(volume, entry, out, who.epoch, now);
  const mdState = isFlip(status.mdState, observation.mdState) ? status.mdState : observation.mdState;
  return finish(volume, withEntries(promoted, after, { mdState, syncPercentage: observation.syncPercentage }));
}

/** Without an array to speak of nothing is said: trouble that was reported is not over by a detach. */
function withHealth(status: VolumeStatus, message: string, now: string): VolumeStatus['conditions'] {
  const { conditions, mdState } = status;
  if (mdState === '') return conditions;
  const type = HEALTHY_CONDITION;
  if (mdState !== 'active' && mdState !== 'clean') {
    return setCondition(conditions, { type, status: 'False', reason: 'Degraded', message }, now);
  }
  if (findCondition(conditions, type)?.status !== 'False') return conditions;
  const over = 'all members are in sync';
  return setCondition(conditions, { type, status: 'True', reason: 'InSync', message: over }, now);
}

/** `recordObserved` with the condition that whoever tells people goes by (see `healthChange`). */
export function recordReported(
  volume: MeshStorVolume,
  who: Who,
  observation: ConsumerObservation,
  now: string,
): VolumeStatus | undefined {
  const observed = recordObserved(volume, who, observation, now);
  const status = observed ?? volume.status;
  if (status === undefined || status.phase === 'Deleting' || volume.spec.activatedAt === undefined) return observed;
  const conditions = withHealth(status, observation.message, now);
  return conditions === status.conditions ? observed : { ...status, conditions };
}

/** What a write says of the volume's health that the object did not say before it. */
export function healthChange(
  before: VolumeStatus | undefined,
  after: VolumeStatus | undefined,
): 'degraded' | 'healthy' | undefined {
  const isTroubled = (status: VolumeStatus | undefined): boolean =>
    findCondition(status?.conditions ?? [], HEALTHY_CONDITION)?.status === 'False';
  if (after === undefined || isTroubled(before) === isTroubled(after)) return undefined;
  return isTroubled(after) ? 'degraded' : 'healthy';
}

// ---------------------------------------------------------------- spec

/** The array is born: nobody creates it any more. After `recordBirth`. */
export function activated(
  volume: MeshStorVolume,
  who: Who,
  capacityBytes: number,
  now: string,
): MeshStorVolume | undefined {
  const status = requireOwner(volume, who);
  if (volume.spec.activatedAt !== undefined) return undefined;
  requireCapacity(volume, capacityBytes);
  const members = memberEntries(status);
  if (members.length !== wantedMembers(volume) || members.some(({ state }) => state !== 'Synced')) {
    throw refusal(volume, 'not all its members are recorded Synced');
  }
  return { ...volume, spec: { ...volume.spec, activatedAt: now } };
}

/** mkfs has finished: nobody formats it any more. */
export function formatted(volume: MeshStorVolume, who: Who, now: string): MeshStorVolume | undefined {
  requireOwner(volume, who);
  if (volume.spec.formattedAt !== undefined) return undefined;
  if (volume.spec.activatedAt === undefined) throw refusal(volume, 'its array is not born yet');
  return { ...volume, spec: { ...volume.spec, formattedAt: now } };
}
