/** A native call that has a thread and has not come back yet. */
export interface InFlightCall {
  /** Method of `Kernel`. */
  readonly op: string;
  /** What it works on: a path, a device name, an NQN; empty for calls about the whole node. */
  readonly key: string;
  /** Milliseconds on the clock that the table was given. */
  readonly since: number;
}

export interface InFlightOptions {
  readonly now: () => number;
  readonly warnEveryMs: number;
  /** Told about every call that is older than `warnEveryMs`, again and again until it returns. */
  readonly onStuck: (calls: readonly InFlightCall[]) => void;
}

/** The calls under way. A timer runs only while there is one, and never keeps the process alive. */
export class InFlightTable {
  readonly #options: InFlightOptions;
  readonly #calls = new Set<InFlightCall>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: InFlightOptions) {
    this.#options = options;
  }

  list(): readonly InFlightCall[] {
    return [...this.#calls];
  }

  async track<T>(op: string, key: string, call: () => Promise<T>): Promise<T> {
    const entry: InFlightCall = { op, key, since: this.#options.now() };
    this.#calls.add(entry);
    this.#timer ??= setInterval(() => this.#warn(), this.#options.warnEveryMs).unref();
    try {
      return await call();
    } finally {
      this.#calls.delete(entry);
      if (this.#calls.size === 0) {
        clearInterval(this.#timer);
        this.#timer = undefined;
      }
    }
  }

  #warn(): void {
    const oldest = this.#options.now() - this.#options.warnEveryMs;
    const stuck = this.list().filter((call) => call.since <= oldest);
    if (stuck.length > 0) this.#options.onStuck(stuck);
  }
}
