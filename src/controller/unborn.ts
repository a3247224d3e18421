/** Which members of an unborn volume have to be placed again. Before birth (SPEC §7.12) nothing is lost by that. */
import { copyOf } from '../api/layout.ts';
import type { MeshStorVolume, PartitionStatus } from '../api/volume.ts';
import { nextGeneration } from '../plan/lifecycle.ts';
import type { Part } from './placer.ts';

/** Nothing was written to the members yet, so any of them may be given up. */
export function isUnborn(volume: MeshStorVolume): boolean {
  if (volume.spec.activatedAt !== undefined || volume.status === undefined) return false;
  return volume.status.partitions.every(
    ({ state }) => state === 'Requested' || state === 'Created' || state === 'Deleting',
  );
}

/**
 * What a volume that was placed once lacks; undefined when nothing. One without any entry that is attached nowhere is `New`: its
 * first attach places it.
 */
export function findGap(volume: MeshStorVolume): Part | undefined {
  const status = volume.status;
  if (status === undefined || !isUnborn(volume)) return undefined;
  if (status.partitions.length === 0 && status.nodeName === '') return undefined;
  const keep = members(volume);
  if (keep.length >= volume.spec.numberOfCopies * volume.spec.drivesPerCopy) return undefined;
  return {
    keep,
    generation: nextGeneration(status),
    consumer: status.nodeName === '' ? undefined : status.nodeName,
    excludeNodes: [],
  };
}

/** Members of copies that lack others: a copy lives on one node, so they go when that node has no more room. */
export function membersOfBrokenCopies(volume: MeshStorVolume): readonly PartitionStatus[] {
  const { numberOfCopies, drivesPerCopy } = volume.spec;
  const all = members(volume);
  const countOf = (copy: number): number => all.filter((entry) => copyOf(entry.slot, numberOfCopies) === copy).length;
  return all.filter((entry) => countOf(copyOf(entry.slot, numberOfCopies)) < drivesPerCopy);
}

/** Entries whose holders have been silent for longer than the volume tolerates, or are gone. */
export function silentMembers(volume: MeshStorVolume, silenceMs: (node: string) => number): readonly PartitionStatus[] {
  if (!isUnborn(volume)) return [];
  const limitMs = volume.spec.memberMissingTimeout * 1000;
  return members(volume).filter((entry) => silenceMs(entry.nodeID) > limitMs);
}

function members(volume: MeshStorVolume): readonly PartitionStatus[] {
  return (volume.status?.partitions ?? []).filter((entry) => entry.state !== 'Deleting');
}
