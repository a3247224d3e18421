/** Reads of drives that may hang: `open` and `pread` of a dying drive last as long as the drive does. */
import { constants } from 'node:os';

import { withTimeLimit } from '../support/time-limit.ts';
import { NativeError } from './native-error.ts';

/**
 * How long somebody waits for a drive's table or signatures, turns of others included. A healthy drive takes milliseconds. Longer than
 * from one pass to the next: a timer that was cleared still wakes the process when it would have run out, unless another one does before.
 */
export const DRIVE_READ_LIMIT_MS = 12_000;

/** The kernel still works on it: the outcome is unknown, and nothing was undone. */
export function timedOut(operation: string, limitMs: number, syscall: string, path: string): NativeError {
  const code = 'ETIMEDOUT';
  return new NativeError(`${operation}: ${code}: no answer within ${String(limitMs / 1000)} s, ${syscall} '${path}'`, {
    errno: -constants.errno.ETIMEDOUT,
    code,
    syscall,
    path,
  });
}

/** The drive was not asked: no thread was free for so long. */
function neverBegan(operation: string, limitMs: number, path: string): NativeError {
  const code = 'EBUSY';
  const message = `${operation}: ${code}: not begun within ${String(limitMs / 1000)} s, all threads were taken, '${path}'`;
  return new NativeError(message, { errno: -constants.errno.EBUSY, code, syscall: operation, path });
}

/** Partitions share the fate of their drive. */
function driveOf(path: string): string {
  return path.replace(/(nvme\d+n\d+)p\d+$/, '$1');
}

interface Reading {
  /** Who waits for a turn. */
  readonly waiting: (() => void)[];
  /** The drive was asked; before, the read waits for a thread. */
  hasBegun: boolean;
  /** The read under way was given up and has not come back yet. */
  isOverdue: boolean;
}

/**
 * One read at a time for each drive, so that a drive that hangs holds one thread of the pool and no more. Whoever waits, for its
 * turn, a thread or the drive, gives up at the limit; a read that was given up before it had a thread never begins, and is not
 * the drive's fault. While a read is overdue nobody waits at all: one look at the node is late, not every one. Nobody gets what
 * somebody else has read: every result began after its call.
 */
export class DriveReads {
  readonly #limitMs: number;
  /** By drive. No entry: no read under way. */
  readonly #readings = new Map<string, Reading>();

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** `read` may wait before it begins. It asks right before that, and must not begin when the answer is no. */
  async run<T>(operation: string, path: string, read: (mayBegin: () => boolean) => Promise<T>): Promise<T> {
    const drive = driveOf(path);
    const failure = () => timedOut(operation, this.#limitMs, 'pread', path);
    if (this.#readings.get(drive)?.isOverdue === true) throw failure();
    let isGivenUp = false;
    let begin = (): void => undefined;
    const turn = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const mayBegin = (): boolean => !isGivenUp && this.#begin(drive);
    const work = turn.then(() => read(mayBegin)).finally(() => this.#next(drive));
    this.#enter(drive, begin);
    return withTimeLimit(work, this.#limitMs, () => {
      isGivenUp = true;
      return this.#giveUp(drive, begin) ? failure() : neverBegan(operation, this.#limitMs, path);
    });
  }

  #begin(drive: string): true {
    const reading = this.#readings.get(drive);
    if (reading !== undefined) reading.hasBegun = true;
    return true;
  }

  #enter(drive: string, begin: () => void): void {
    const reading = this.#readings.get(drive);
    if (reading !== undefined) {
      reading.waiting.push(begin);
      return;
    }
    this.#readings.set(drive, { waiting: [], hasBegun: false, isOverdue: false });
    begin();
  }

  #next(drive: string): void {
    const reading = this.#readings.get(drive);
    const begin = reading?.waiting.shift();
    if (reading === undefined || begin === undefined) {
      this.#readings.delete(drive);
      return;
    }
    reading.hasBegun = false;
    reading.isOverdue = false;
    begin();
  }

  /** Leaves the queue; whoever is not in it is the one whose turn it is. Returns whether it was the drive that took so long. */
  #giveUp(drive: string, begin: () => void): boolean {
    const reading = this.#readings.get(drive);
    if (reading === undefined) return true;
    const at = reading.waiting.indexOf(begin);
    if (at >= 0) reading.waiting.splice(at, 1);
    else reading.isOverdue = reading.hasBegun;
    return reading.hasBegun;
  }
}
