/** What is written to a volume's object while it grows, in the manner of records.ts. */
import { removeCondition, setCondition } from '../api/conditions.ts';
import type { MeshStorVolume, VolumeStatus } from '../api/volume.ts';
import { EMPTY_STATUS } from '../api/volume.ts';
import { EXPANDABLE_CONDITION, expansionProgress, withoutAnswer } from './expansion.ts';
import type { Who } from './owner.ts';
import { requireOwner, requireStatus } from './owner.ts';
import { findOwnEntry, finish, withEntries } from './recording.ts';

// ---------------------------------------------------------------- holder

/** A holder's answer to the wish; nothing when another wish, or none, stands by now. */
export function recordGrowable(
  volume: MeshStorVolume,
  nodeName: string,
  partitionUUID: string,
  answer: { readonly expandToBytes: number; readonly growableToBytes: number },
  now: string,
): VolumeStatus | undefined {
  const own = findOwnEntry(volume, nodeName, partitionUUID);
  if (own === undefined || volume.spec.expandToBytes !== answer.expandToBytes) return undefined;
  const { expandToBytes: growToBytes, growableToBytes } = answer;
  const next = { ...own, growToBytes, growableToBytes, updatedAt: now };
  return finish(
    volume,
    withEntries(requireStatus(volume), (entry) => (entry === own ? next : entry)),
  );
}

/** The partition has the size, what was added is zeroed. It never gets smaller again, whatever became of the wish. */
export function recordGrown(
  volume: MeshStorVolume,
  nodeName: string,
  partitionUUID: string,
  sizeBytes: number,
  now: string,
): VolumeStatus | undefined {
  const own = findOwnEntry(volume, nodeName, partitionUUID);
  if (own === undefined || own.sizeBytes >= sizeBytes) return undefined;
  const next = { ...withoutAnswer(own), sizeBytes, updatedAt: now };
  return finish(
    volume,
    withEntries(requireStatus(volume), (entry) => (entry === own ? next : entry)),
  );
}

// ---------------------------------------------------------------- consumer

/** Array and filesystem fill that capacity. Nothing while more is wished, or was added meanwhile. */
export function recordExpanded(volume: MeshStorVolume, who: Who, capacityBytes: number): VolumeStatus | undefined {
  const status = requireOwner(volume, who);
  if (volume.spec.expandToBytes !== undefined || volume.spec.capacityBytes !== capacityBytes) return undefined;
  const { servedBytes, ...rest } = status;
  if (servedBytes === undefined) return undefined;
  return finish(volume, { ...rest, conditions: removeCondition(status.conditions, EXPANDABLE_CONDITION) });
}

// ---------------------------------------------------------------- controller

/** A holder cannot grow: says so and forgets all answers. The wish goes next. */
export function recordRefused(volume: MeshStorVolume, now: string): VolumeStatus | undefined {
  const progress = expansionProgress(volume);
  if (progress.kind !== 'impossible') return undefined;
  const status = requireStatus(volume);
  const { message } = progress;
  const conditions = setCondition(
    status.conditions,
    { type: EXPANDABLE_CONDITION, status: 'False', reason: 'NoRoom', message },
    now,
  );
  return finish(volume, withEntries(status, withoutAnswer, { conditions }));
}

/**
 * Before the capacity of a born volume moves on: what its array has until then. Without it, nobody would know that the consumer
 * still has to grow array and filesystem.
 */
export function recordServed(volume: MeshStorVolume): VolumeStatus | undefined {
  if (expansionProgress(volume).kind !== 'grown' || volume.spec.activatedAt === undefined) return undefined;
  const status = requireStatus(volume);
  if (status.servedBytes !== undefined) return undefined;
  return finish(volume, { ...status, servedBytes: volume.spec.capacityBytes });
}

/** A new wish: what was said of an earlier one is over. */
export function recordWished(volume: MeshStorVolume): VolumeStatus | undefined {
  if (volume.spec.expandToBytes === undefined) return undefined;
  const status = volume.status ?? EMPTY_STATUS;
  return finish(volume, { ...status, conditions: removeCondition(status.conditions, EXPANDABLE_CONDITION) });
}

// ---------------------------------------------------------------- spec

/** The last wish counts; undefined when it stands already, or the volume has that much. */
export function wished(volume: MeshStorVolume, expandToBytes: number): MeshStorVolume | undefined {
  const { spec } = volume;
  if (spec.capacityBytes >= expandToBytes || spec.expandToBytes === expandToBytes) return undefined;
  return { ...volume, spec: { ...spec, expandToBytes } };
}

/** Every partition has the size: it is the capacity from here on. Undefined before that, and before `recordServed`. */
export function expanded(volume: MeshStorVolume): MeshStorVolume | undefined {
  if (expansionProgress(volume).kind !== 'grown') return undefined;
  const isRemembered = volume.spec.activatedAt === undefined || volume.status?.servedBytes !== undefined;
  const { expandToBytes, ...rest } = volume.spec;
  if (!isRemembered || expandToBytes === undefined) return undefined;
  return { ...volume, spec: { ...rest, capacityBytes: expandToBytes } };
}

/** The wish that was refused, taken back. */
export function unwished(volume: MeshStorVolume, refused: number): MeshStorVolume | undefined {
  const { expandToBytes, ...rest } = volume.spec;
  return expandToBytes === refused ? { ...volume, spec: rest } : undefined;
}
