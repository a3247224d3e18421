/** What all writers of a volume's object share: whose entry it is, and whether anything changes. */
import type { MeshStorVolume, PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { findCondition, setCondition } from '../api/conditions.ts';
import { deriveStatus } from './lifecycle.ts';
import { refusal, requireStatus } from './owner.ts';

export function findOwnEntry(
  volume: MeshStorVolume,
  nodeName: string,
  partitionUUID: string,
): PartitionStatus | undefined {
  const entry = requireStatus(volume).partitions.find((candidate) => candidate.partitionUUID === partitionUUID);
  if (entry !== undefined && entry.nodeID !== nodeName) {
    throw refusal(volume, `partition ${partitionUUID} belongs to node ${entry.nodeID}, not to ${nodeName}`);
  }
  return entry;
}

export function requireOwnEntry(volume: MeshStorVolume, nodeName: string, partitionUUID: string): PartitionStatus {
  const entry = findOwnEntry(volume, nodeName, partitionUUID);
  if (entry === undefined) throw refusal(volume, `it does not list partition ${partitionUUID}`);
  return entry;
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** With everything derived again; `undefined` when that is what the object says already. */
export function finish(volume: MeshStorVolume, next: VolumeStatus): VolumeStatus | undefined {
  const derived = deriveStatus(volume, next);
  return volume.status !== undefined && isSame(sorted(derived), sorted(volume.status)) ? undefined : derived;
}

function sorted(status: VolumeStatus): unknown {
  const keys = Object.keys(status).sort() as (keyof VolumeStatus)[];
  return keys.map((key) => [key, status[key]]);
}

export function withEntries(
  status: VolumeStatus,
  change: (entry: PartitionStatus) => PartitionStatus,
  more: Partial<VolumeStatus> = {},
): VolumeStatus {
  return { ...status, ...more, partitions: status.partitions.map(change) };
}

/** A refusal that people have to see on the volume. */
export interface TellingRefusal {
  readonly condition?: 'WitnessBehind' | 'StatusLost';
  readonly message: string;
  readonly judged?: { readonly epoch: number; readonly attachmentID: string };
}

/**
 * The status with the refusal as a condition. Who tells first is heard: nodes that all found the same, each in its own words, would
 * wake one another by overwriting it, for ever.
 */
export function recordRefusal(
  { status }: MeshStorVolume,
  { condition, message, judged }: TellingRefusal,
  now: string,
): VolumeStatus | undefined {
  if (condition === undefined || status === undefined) return undefined;
  // Attached anew since the look: what was seen then says nothing of the object as it is now.
  const isOfNow =
    judged === undefined || (judged.epoch === status.attachmentEpoch && judged.attachmentID === status.attachmentID);
  if (!isOfNow || findCondition(status.conditions, condition)?.status === 'True') return undefined;
  const told = { type: condition, status: 'True' as const, reason: condition, message };
  return { ...status, conditions: setCondition(status.conditions, told, now) };
}
