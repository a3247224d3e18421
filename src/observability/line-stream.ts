import { write, writeSync } from 'node:fs';

/** What may wait for a reader that does not read. Beyond it lines are dropped and counted. */
const LIMIT_BYTES = 4 * 1024 * 1024;
const RETRY_MS = 20;

/**
 * Lines to a file descriptor, off the event loop. `process.stdout` and `process.stderr` write synchronously to a pipe: a
 * container runtime that stops reading would stop the whole process, guards included.
 */
export class LineStream {
  readonly #fd: number;
  readonly #limitBytes: number;
  #queue: string[] = [];
  #queuedBytes = 0;
  #busy = false;
  #closed = false;
  #dropped = 0;
  #idle: (() => void)[] = [];

  constructor(fd: number, limitBytes: number = LIMIT_BYTES) {
    this.#fd = fd;
    this.#limitBytes = limitBytes;
  }

  /** Lines that found no room or no reader, since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Takes a line, or drops it when too much waits already. Never blocks. */
  writeLine(line: string): void {
    if (this.#closed || this.#queuedBytes > this.#limitBytes) {
      this.#dropped += 1;
      return;
    }
    this.#queue.push(line);
    this.#queuedBytes += Buffer.byteLength(line) + 1;
    if (!this.#busy) this.#pump();
  }

  /** Resolves when everything that was taken has been written or dropped. */
  flush(): Promise<void> {
    if (!this.#busy) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Writes what waits, for the very end of the process; blocks. What the kernel already has in hand is not waited for. */
  flushSync(): void {
    const rest = this.#take();
    for (let at = 0; at < rest.length;) {
      try {
        at += writeSync(this.#fd, rest, at);
      } catch {
        // Nobody reads: there is nowhere left to say so.
        return;
      }
    }
  }

  #take(): Buffer {
    const data = Buffer.from(this.#queue.map((line) => `${line}\n`).join(''));
    this.#queue = [];
    this.#queuedBytes = 0;
    return data;
  }

  #pump(): void {
    if (this.#queue.length === 0) {
      this.#busy = false;
      const idle = this.#idle;
      this.#idle = [];
      for (const resolve of idle) resolve();
      return;
    }
    this.#busy = true;
    this.#put(this.#take());
  }

  #put(data: Buffer): void {
    write(this.#fd, data, 0, data.length, null, (error, written) => {
      if (error?.code === 'EAGAIN') {
        setTimeout(() => this.#put(data), RETRY_MS);
      } else if (error !== null) {
        // EPIPE and the like: the reader is gone for good.
        this.#closed = true;
        this.#dropped += this.#queue.length + 1;
        this.#queue = [];
        this.#pump();
      } else if (written < data.length) {
        this.#put(data.subarray(written));
      } else {
        this.#pump();
      }
    });
  }
}
