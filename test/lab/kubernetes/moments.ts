import { setTimeout as sleep } from 'node:timers/promises';
import type { Api, WatchEvent } from '../../kube/contract/server.ts';
import { follow } from './follow.ts';

const LOOK_MS = 20;

/** When things happened, on this process's clock, as watches tell of them. */
export class Moments {
  readonly #at = new Map<string, number>();
  readonly #cut = new AbortController();
  readonly #watches: Promise<void>[] = [];
  #failure: unknown;

  /** Notes the first time at which `nameOf` says something of an event of this collection. */
  watch(api: Api, path: string, nameOf: (event: WatchEvent) => readonly string[]): void {
    const watching = follow(api, path, {}, this.#cut.signal, (event) => {
      for (const name of nameOf(event)) this.note(name);
    });
    this.#watches.push(watching.catch((error: unknown) => void (this.#failure ??= error)));
  }

  note(name: string): void {
    if (!this.#at.has(name)) this.#at.set(name, performance.now());
  }

  has(name: string): boolean {
    return this.#at.has(name);
  }

  /** Waits for a moment; `check` may throw why it will never come. */
  async until(name: string, limitMs: number, check: () => void): Promise<void> {
    const deadline = performance.now() + limitMs;
    while (!this.#at.has(name)) {
      check();
      if (this.#failure !== undefined) throw new Error(`"${name}": a watch has failed`, { cause: this.#failure });
      if (performance.now() > deadline) throw new Error(`"${name}" was not seen within ${limitMs} ms`);
      await sleep(LOOK_MS);
    }
  }

  /** Milliseconds from one moment to another; throws when one has not been seen. */
  between(from: string, to: string): number {
    const [start, end] = [from, to].map((name) => {
      const at = this.#at.get(name);
      if (at === undefined) throw new Error(`"${name}" was not seen`);
      return at;
    }) as [number, number];
    return end - start;
  }

  async stop(): Promise<void> {
    this.#cut.abort();
    await Promise.all(this.#watches);
  }
}
