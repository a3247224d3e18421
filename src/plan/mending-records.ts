/** What the mending of a staged volume writes to its status, as pure functions of the object just read (as `records.ts`). */
import type { MeshStorVolume, PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { deriveStatus, isLegalTransition } from './lifecycle.ts';
import type { Who } from './owner.ts';
import { refusal, requireOwner } from './owner.ts';
import { columnOfEntry } from './view.ts';

/** The object with one of its entries changed; undefined when nothing changes. */
function withEntry(
  volume: MeshStorVolume,
  who: Who,
  partitionUUID: string,
  change: (entry: PartitionStatus, status: VolumeStatus) => PartitionStatus,
): VolumeStatus | undefined {
  const status = requireOwner(volume, who);
  if (status.phase === 'Deleting') throw refusal(volume, 'it is being deleted');
  const entry = status.partitions.find((candidate) => candidate.partitionUUID === partitionUUID);
  if (entry === undefined) throw refusal(volume, `it does not list partition ${partitionUUID}`);
  const next = change(entry, status);
  if (next === entry) return undefined;
  if (!isLegalTransition(entry.state, next.state, 'consumer')) {
    throw refusal(volume, `partition ${partitionUUID} is ${entry.state}, a consumer must not make it ${next.state}`);
  }
  const partitions = status.partitions.map((each) => (each === entry ? next : each));
  return deriveStatus(volume, { ...status, partitions });
}

/**
 * The write that lets a member fail (SPEC §7.2). Never for the last `Synced` one of its column: only a copy that holds every
 * acknowledged write makes another one dispensable.
 */
export function recordLost(
  volume: MeshStorVolume,
  who: Who,
  partitionUUID: string,
  lost: { readonly state: 'Missing' | 'Faulty'; readonly stale: boolean },
  now: string,
): VolumeStatus | undefined {
  return withEntry(volume, who, partitionUUID, (entry, status) => {
    if (entry.state === lost.state) return entry;
    const column = columnOfEntry(volume, entry);
    const isKept = status.partitions.some(
      (other) => other !== entry && other.state === 'Synced' && columnOfEntry(volume, other) === column,
    );
    if (!isKept) throw refusal(volume, `partition ${partitionUUID} is the last one of its column that may be Synced`);
    const stale = lost.stale || entry.stale === true;
    return {
      ...entry,
      state: lost.state,
      updatedAt: now,
      missingEpoch: who.epoch,
      ...(stale ? { stale: true } : {}),
    };
  });
}

/** What a member that is out holds cannot be told: it comes back only wiped (SPEC §7.8). */
export function recordStale(volume: MeshStorVolume, who: Who, partitionUUID: string): VolumeStatus | undefined {
  return withEntry(volume, who, partitionUUID, (entry) => {
    if (entry.stale === true) return entry;
    if (entry.state !== 'Missing' && entry.state !== 'Syncing' && entry.state !== 'Replacing') {
      throw refusal(volume, `partition ${partitionUUID} is ${entry.state}, not one that is out`);
    }
    return { ...entry, stale: true };
  });
}

/** The others of its slot: what they hold is not known from the array's bitmap any more, and one at a time is being added. */
function outdone(entry: PartitionStatus, now: string): PartitionStatus {
  if (entry.state === 'Deleting') return entry;
  return { ...entry, stale: true, ...(entry.state === 'Syncing' ? { state: 'Missing' as const, updatedAt: now } : {}) };
}

/**
 * It is about to be added: a source of data only once it is `Synced`. One that never was a member has nothing that the bitmap could
 * complete; should the copying to it be cut off, it begins anew.
 */
export function recordReturning(
  volume: MeshStorVolume,
  who: Who,
  partitionUUID: string,
  now: string,
): VolumeStatus | undefined {
  const next = withEntry(volume, who, partitionUUID, (entry, status) => {
    if (entry.state === 'Syncing') return entry;
    const isFilled = status.partitions.some((other) => other.slot === entry.slot && other.state === 'Synced');
    if (isFilled) throw refusal(volume, `partition ${partitionUUID} is for slot ${entry.slot}, which has a member`);
    const isNew = entry.state === 'Created';
    return { ...entry, state: 'Syncing', updatedAt: now, ...(isNew ? { stale: true } : {}) };
  });
  const own = next?.partitions.find((entry) => entry.partitionUUID === partitionUUID);
  if (next === undefined || own === undefined) return next;
  const partitions = next.partitions.map((entry) =>
    entry !== own && entry.slot === own.slot ? outdone(entry, now) : entry,
  );
  return deriveStatus(volume, { ...next, partitions });
}
