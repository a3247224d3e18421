/**
 * Growing a volume, as its object tells it (SPEC §9): wished, answered by every holder, grown by every holder, moved on. What a
 * holder does is in growth.ts, what the consumer does in grow.ts.
 */
import { partitionSizeBytes } from '../api/layout.ts';
import type { MeshStorVolume, PartitionState, PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { EMPTY_STATUS } from '../api/volume.ts';
import { wantedMembers } from './lifecycle.ts';
import { describeMember, memberEntries } from './view.ts';

/** `False` when a holder cannot grow its partition: who, and why. Gone with the next wish and with the end of an expansion. */
export const EXPANDABLE_CONDITION = 'Expandable';

/** Members that are as they should be: all others are waited for. */
const READY: ReadonlySet<PartitionState> = new Set(['Created', 'Synced']);

export const isReadyToGrow = ({ state }: PartitionStatus): boolean => READY.has(state);

/** What a partition must have for this capacity. */
export function neededBytes({ spec }: MeshStorVolume, capacityBytes: number): number {
  return partitionSizeBytes(capacityBytes, spec.drivesPerCopy);
}

export type ExpansionProgress =
  | { readonly kind: 'none' }
  /** Says which nodes are awaited. */
  | { readonly kind: 'waiting'; readonly reason: string }
  /** A holder cannot grow: nothing has been changed anywhere on its account. */
  | { readonly kind: 'impossible'; readonly message: string }
  /** Every member's partition has the size. */
  | { readonly kind: 'grown' };

/** What a holder has answered to the wish that stands now. */
export type Answer = 'none' | 'yes' | 'no';

export function answerOf(volume: MeshStorVolume, entry: PartitionStatus): Answer {
  const wish = volume.spec.expandToBytes;
  if (wish === undefined || entry.growToBytes !== wish || entry.growableToBytes === undefined) return 'none';
  return entry.growableToBytes >= neededBytes(volume, wish) ? 'yes' : 'no';
}

function isLargeEnough(volume: MeshStorVolume, entry: PartitionStatus): boolean {
  const wish = volume.spec.expandToBytes;
  return wish !== undefined && entry.sizeBytes >= neededBytes(volume, wish);
}

/** Before it, no holder changes a size: every member is there, and each has the size or has said that it can have it. */
export function mayGrow(volume: MeshStorVolume): boolean {
  const entries = memberEntries(volume.status ?? EMPTY_STATUS);
  return (
    entries.length >= wantedMembers(volume) &&
    entries.every((entry) => isLargeEnough(volume, entry) || answerOf(volume, entry) === 'yes')
  );
}

function awaited(volume: MeshStorVolume, entry: PartitionStatus): string {
  const what = describeMember(entry);
  if (!isReadyToGrow(entry)) return `${what} is ${entry.state}`;
  if (answerOf(volume, entry) === 'none') return `${what}: node ${entry.nodeID} has not said yet whether it can grow`;
  return `${what}: node ${entry.nodeID} has not grown it yet`;
}

function refusalOf(volume: MeshStorVolume, entry: PartitionStatus, needed: number): string {
  const { nodeID, device, serial, growableToBytes } = entry;
  return `node ${nodeID}, drive ${device} (serial ${serial}): the partition needs ${needed} bytes for a volume of ${volume.spec.expandToBytes ?? 0}, in its place it can have ${growableToBytes ?? entry.sizeBytes}`;
}

function progressOf(volume: MeshStorVolume, status: VolumeStatus, wish: number): ExpansionProgress {
  const entries = memberEntries(status);
  const isPlaced = entries.length > 0 || volume.spec.activatedAt !== undefined;
  // Not placed yet: placed with the new size.
  if (!isPlaced) return { kind: 'grown' };
  const short = entries.filter((entry) => !isLargeEnough(volume, entry));
  const refused = short.filter((entry) => answerOf(volume, entry) === 'no');
  if (refused.length > 0) {
    const needed = neededBytes(volume, wish);
    return { kind: 'impossible', message: refused.map((entry) => refusalOf(volume, entry, needed)).join('; ') };
  }
  const missing = wantedMembers(volume) - entries.length;
  const waits = short.map((entry) => awaited(volume, entry));
  if (missing > 0) waits.push(`${missing} of its members are not placed yet`);
  return waits.length === 0 ? { kind: 'grown' } : { kind: 'waiting', reason: waits.join('; ') };
}

/** How far the wish has come. */
export function expansionProgress(volume: MeshStorVolume): ExpansionProgress {
  const wish = volume.spec.expandToBytes;
  const isGoing = volume.metadata.deletionTimestamp !== undefined || volume.status?.phase === 'Deleting';
  if (wish === undefined || isGoing) return { kind: 'none' };
  return progressOf(volume, volume.status ?? EMPTY_STATUS, wish);
}

/** An entry without an answer. */
export function withoutAnswer(entry: PartitionStatus): PartitionStatus {
  if (entry.growToBytes === undefined && entry.growableToBytes === undefined) return entry;
  const { growToBytes: _growToBytes, growableToBytes: _growableToBytes, ...rest } = entry;
  return rest;
}
