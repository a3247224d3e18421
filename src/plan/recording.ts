/** What all writers of a volume's object share: whose entry it is, and whether anything changes. */
import type { MeshStorVolume, PartitionStatus, VolumeStatus } from '../api/volume.ts';
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
