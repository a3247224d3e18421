/** Lets at most `limit` pieces of work run at once; the rest wait in the order in which they came. */
export class Semaphore {
  readonly limit: number;
  #free: number;
  readonly #waiters: (() => void)[] = [];

  constructor(limit: number) {
    if (!Number.isSafeInteger(limit) || limit < 1) {
      throw new RangeError(`Expected "limit" to be a positive integer, got ${String(limit)}`);
    }
    this.limit = limit;
    this.#free = limit;
  }

  /** Slots that nobody holds. */
  get free(): number {
    return this.#free;
  }

  /** Callers in the queue. */
  get waiting(): number {
    return this.#waiters.length;
  }

  /** Waits for a slot, runs `work`, and gives the slot on when `work` has settled. */
  async run<T>(work: () => T | Promise<T>): Promise<T> {
    await this.#acquire();
    try {
      return await work();
    } finally {
      this.#release();
    }
  }

  #acquire(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Hands the slot to the first waiter directly: a newcomer cannot slip in between. */
  #release(): void {
    const next = this.#waiters.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}
