export interface BackOffOptions {
  readonly baseMs: number;
  readonly capMs: number;
  /** In [0, 1). */
  readonly random?: () => number;
}

/** Exponential, capped, with jitter: each delay lies in the upper half of its step, so that clients part without hammering. */
export class BackOff {
  readonly #options: BackOffOptions;
  #failures = 0;

  constructor(options: BackOffOptions) {
    this.#options = options;
  }

  /** Failures in a row. */
  get failures(): number {
    return this.#failures;
  }

  /** Delay before the next attempt, in milliseconds; each call counts one failure. */
  next(): number {
    const { baseMs, capMs, random = Math.random } = this.#options;
    const step = Math.min(capMs, baseMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return step * (0.5 + random() / 2);
  }

  reset(): void {
    this.#failures = 0;
  }
}
