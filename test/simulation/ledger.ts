/** What clients were told: which writes are on disk, and what they read. */
import { BLOCKS } from './parts.ts';

export class Ledger {
  /** By block: the last write that was acknowledged. */
  readonly acknowledged: number[] = Array.from({ length: BLOCKS }, () => 0);
  /** By block: the newest write that somebody read through the array of a consumer in office. */
  readonly read: number[] = Array.from({ length: BLOCKS }, () => 0);
  /**
   * By block: writes that the drive of the last complete member refused while MD was copying to another one, which took them. Their
   * client was told that they failed: they may be there or not, and stay on one mirror alone (drivers/md/raid1.c).
   */
  readonly #refused: Set<number>[] = Array.from({ length: BLOCKS }, () => new Set());
  count = 0;
  /** The highest epoch whose start is on record. */
  startedEpoch = 0;
  /** When each start was recorded, in ms of virtual time, by epoch. */
  readonly #starts = new Map<number, number>();
  #next = 0;

  nextValue(): number {
    this.#next += 1;
    return this.#next;
  }

  start(epoch: number, atMs: number): void {
    if (epoch <= this.startedEpoch) return;
    this.startedEpoch = epoch;
    this.#starts.set(epoch, atMs);
  }

  /** When the first consumer after that of this epoch started; never, if none did. */
  successorOf(epoch: number): number {
    return Math.min(...[...this.#starts].filter(([other]) => other > epoch).map(([, atMs]) => atMs));
  }

  refuse(block: number, value: number): void {
    this.#refused[block]?.add(value);
  }

  isRefused(block: number, value: number | undefined): boolean {
    return value !== undefined && this.#refused[block]?.has(value) === true;
  }

  /** What a copy must have of a block at least. */
  atLeast(block: number): number {
    return Math.max(this.acknowledged[block] ?? 0, this.read[block] ?? 0);
  }
}
