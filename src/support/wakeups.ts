/** A bell for whoever waits for "something changed": many may wait, one ring wakes them all. Rings are hints, never lost between look and wait. */
export class Wakeups {
  #count = 0;
  #waiting = new Set<() => void>();

  /** Where the bell stands; pass it to `next` so that a ring since then returns at once. */
  get mark(): number {
    return this.#count;
  }

  ring(): void {
    this.#count += 1;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const wake of waiting) wake();
  }

  /** Resolves at the first ring after `mark`, after `limitMs`, or when the signal aborts, whichever is first. */
  next(mark: number, limitMs: number, signal?: AbortSignal): Promise<void> {
    if (this.#count !== mark || signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, limitMs);
      signal?.addEventListener('abort', wake, { once: true });
      this.#waiting.add(wake);
    });
  }
}
