/** What is where inside a member's partition (SPEC §5). Bytes from the start of the partition. */
import { GIB, KIB, MIB, TIB } from '../support/units.ts';

/** md's data area begins here; before it: superblock (4 KiB), bitmap (behind it), stamp (near the end). */
export const DATA_OFFSET_BYTES = 8 * MIB;
/** Start of the 4 KiB stamp {volumeUUID, epoch, attachmentID}: far above any bitmap, below the data. */
export const STAMP_OFFSET_BYTES = DATA_OFFSET_BYTES - 64 * KIB;
export const STAMP_SIZE_BYTES = 4 * KIB;
/** GPT alignment of partitions. */
export const PARTITION_ALIGNMENT_BYTES = MIB;
export const SMALLEST_VOLUME_BYTES = 512 * MIB;
/** A bitmap grows with its array: with the smallest chunk that an array is born with, it stays below the stamp up to here. */
export const LARGEST_EXPANDED_BYTES = 60 * TIB;
/** RAID10 chunk. */
export const RAID10_CHUNK_BYTES = 512 * KIB;

/** Chunk of the write-intent bitmap: small enough for a quick re-add, large enough that the bitmap stays below 1 MiB on any drive. */
export function bitmapChunkBytes(capacityBytes: number): number {
  return capacityBytes <= 256 * GIB ? MIB : 8 * MIB;
}

/** What every member contributes to the array: all of it (RAID1), or its stripe (RAID10). `capacityBytes` is a multiple of `drivesPerCopy` MiB. */
export function memberDataBytes(capacityBytes: number, drivesPerCopy: number): number {
  return capacityBytes / drivesPerCopy;
}

export function partitionSizeBytes(capacityBytes: number, drivesPerCopy: number): number {
  return memberDataBytes(capacityBytes, drivesPerCopy) + DATA_OFFSET_BYTES;
}

/** RAID10 near layout puts the copies of a column in neighbouring slots: slot = column × copies + copy. RAID1 has one column. */
export function columnOf(slot: number, numberOfCopies: number): number {
  return Math.floor(slot / numberOfCopies);
}

export function copyOf(slot: number, numberOfCopies: number): number {
  return slot % numberOfCopies;
}

/** The start record that each consumer leaves in every member (SPEC §7.11). */
export interface Stamp {
  readonly volumeUUID: string;
  readonly epoch: number;
  readonly attachmentID: string;
}
