import { StatusError } from './status.ts';

export interface Failure {
  /** HTTP status to answer. */
  readonly status: number;
  /** How many requests; all by default. */
  readonly count?: number;
  /** For how long. */
  readonly forMs?: number;
  readonly retryAfterSeconds?: number;
  /** Which requests. */
  readonly match?: (method: string, path: string) => boolean;
}

interface ActiveFailure extends Failure {
  left: number;
  readonly until: number;
}

/** What a test makes the server do wrong. */
export class Faults {
  #failures: ActiveFailure[] = [];
  #delayMs = 0;
  #resume: (() => void) | undefined;
  #pausing: Promise<void> | undefined;

  get isPaused(): boolean {
    return this.#pausing !== undefined;
  }

  /** Answers requests with a failure. */
  fail(failure: Failure): void {
    const until = failure.forMs === undefined ? Infinity : Date.now() + failure.forMs;
    this.#failures.push({ ...failure, left: failure.count ?? Infinity, until });
  }

  /** Answers each request this much later. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  /** Takes requests but answers none, and sends nothing on watches: a process that was stopped. */
  pause(): void {
    this.#pausing ??= new Promise((resolve) => {
      this.#resume = resolve;
    });
  }

  resume(): void {
    this.#pausing = undefined;
    this.#resume?.();
  }

  /** Ends all faults. */
  heal(): void {
    this.#failures = [];
    this.#delayMs = 0;
    this.resume();
  }

  /** Waits and throws as the faults want it; called before each request is worked on. */
  async strike(method: string, path: string): Promise<void> {
    if (this.#delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.#delayMs));
    while (this.#pausing !== undefined) await this.#pausing;
    const now = Date.now();
    this.#failures = this.#failures.filter((failure) => failure.left > 0 && failure.until > now);
    const failure = this.#failures.find((candidate) => candidate.match?.(method, path) ?? true);
    if (failure === undefined) return;
    failure.left -= 1;
    const details = failure.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: failure.retryAfterSeconds };
    throw new StatusError(failure.status, 'the test wants it so', details);
  }
}
