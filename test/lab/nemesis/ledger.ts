/**
 * What was acknowledged to the host, compared with what a later reader found. No clock is needed: a writer's time is over when its
 * successor has read the file. Whatever it had acknowledged must be there by then, and nothing of it may come afterwards, neither an
 * acknowledgement of a record that the successor did not find nor such a record in the file.
 */
import type { Found, Range } from './records.ts';
import { holds } from './records.ts';

interface Writer {
  readonly acknowledged: number[];
  /** What its successor found of it; undefined while it may write. */
  atHandOver?: readonly Range[];
}

/** Of one volume. */
export class Ledger {
  readonly #writers = new Map<string, Writer>();
  readonly #lost = new Set<string>();
  readonly #doubles = new Set<string>();
  #reads = 0;

  /** A writer is about to start; the time of those before is over once it has `found` what they left. */
  begin(writer: string): void {
    if (this.#writers.has(writer)) throw new Error(`writer ${writer} was there before`);
    this.#writers.set(writer, { acknowledged: [] });
  }

  /** The writer says that a record is on disk. It may have said so some time ago: a message from a paused machine is late. */
  acknowledge(name: string, number: number): void {
    const writer = this.#writers.get(name);
    if (writer === undefined) throw new Error(`writer ${name} has not begun`);
    if (writer.atHandOver !== undefined && !holds(writer.atHandOver, number)) {
      this.#doubles.add(`${name} acknowledged record ${number} after its hand-over`);
      return;
    }
    writer.acknowledged.push(number);
  }

  /** What a reader found. It is a writer that has begun, or one that only reads and ends the time of all. */
  found(reader: string, { writers }: Found): void {
    this.#reads += 1;
    for (const [name, writer] of this.#writers) {
      if (name === reader) continue;
      const ranges = writers[name] ?? [];
      for (const number of writer.acknowledged) if (!holds(ranges, number)) this.#lost.add(`${name} record ${number}`);
      const before = writer.atHandOver;
      if (before === undefined) writer.atHandOver = ranges;
      else if (ranges.some((range) => !before.some(([first, last]) => first <= range[0] && range[1] <= last)))
        this.#doubles.add(`${name} wrote records after its hand-over`);
    }
    for (const name of Object.keys(writers)) {
      if (!this.#writers.has(name)) this.#doubles.add(`${name} wrote records and never began`);
    }
  }

  get acknowledged(): number {
    return [...this.#writers.values()].reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
  }

  /** How often a reader has told what it found. */
  get reads(): number {
    return this.#reads;
  }

  /** Acknowledged records that a later reader did not find. */
  get lost(): readonly string[] {
    return [...this.#lost];
  }

  /** Signs of a writer that went on after its hand-over. */
  get doubles(): readonly string[] {
    return [...this.#doubles];
  }
}
