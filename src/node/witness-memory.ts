/** Since when the API does not answer whoever mends, by what came of asking it. */

/** Failures further apart than this say nothing of the time between them. */
const LONGEST_GAP_MS = 60_000;

export class WitnessMemory {
  readonly #now: () => number;
  #silence: { readonly since: number; readonly last: number } | undefined;

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  answered(): void {
    this.#silence = undefined;
  }

  failed(): void {
    const now = this.#now();
    const known = this.#silence;
    const isGoingOn = known !== undefined && now - known.last <= LONGEST_GAP_MS;
    this.#silence = { since: isGoingOn ? known.since : now, last: now };
  }

  /** Milliseconds from the first failure to the last; 0 when it answered last. */
  get awayMs(): number {
    return this.#silence === undefined ? 0 : this.#silence.last - this.#silence.since;
  }
}
