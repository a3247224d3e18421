import { BackOff } from './back-off.ts';
import type { Clock, Log } from './clock.ts';
import { systemClock } from './clock.ts';
import { causeField } from './reason.ts';

export interface ReconcileResult {
  /** Look at the key again after this time, whatever happens. */
  readonly requeueAfterMs?: number;
}

export interface ReconcileContext {
  /** Fires when the queue shuts down. */
  readonly signal: AbortSignal;
  /** Failures in a row of this key before this run. */
  readonly failures: number;
}

/** Brings one key nearer to what it should be. Never told why it is called. */
export interface Reconciler {
  reconcile(key: string, context: ReconcileContext): Promise<ReconcileResult>;
}

/** Trying again is no use until the object changes. */
export class TerminalError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TerminalError';
  }
}

export interface WorkQueueOptions {
  readonly reconciler: Reconciler;
  readonly log: Log;
  /** For messages. */
  readonly name: string;
  /** Keys worked on at once. */
  readonly concurrency?: number;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly backOff?: { readonly baseMs: number; readonly capMs: number };
  /** Told after each run; for metrics. */
  readonly onDone?: (key: string, outcome: 'done' | 'failed' | 'terminal', durationMs: number) => void;
}

interface Delay {
  readonly at: number;
  readonly cancel: () => void;
}

/**
 * Runs a reconciler over keys. A key added while it waits is not added twice; one added while it is worked on is worked on
 * again afterwards, never at the same time. Failures come back by themselves, later each time.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #clock: Clock;
  readonly #concurrency: number;
  /** To be worked on, in this order. */
  readonly #dirty = new Set<string>();
  readonly #processing = new Map<string, Promise<void>>();
  readonly #delays = new Map<string, Delay>();
  readonly #failing = new Map<string, BackOff>();
  readonly #stopping = new AbortController();
  #started = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#concurrency = options.concurrency ?? 4;
    if (!Number.isSafeInteger(this.#concurrency) || this.#concurrency < 1) {
      throw new RangeError(`Expected "concurrency" to be a positive integer, got ${String(options.concurrency)}`);
    }
  }

  /** Keys that wait for their turn. */
  get waiting(): number {
    return this.#dirty.size;
  }

  get processing(): number {
    return this.#processing.size;
  }

  /** Keys that come back later by themselves. */
  get delayed(): number {
    return this.#delays.size;
  }

  /** Before this, keys are only collected. */
  start(): void {
    this.#started = true;
    this.#next();
  }

  /** As soon as possible. */
  add(key: string): void {
    if (this.#stopping.signal.aborted) return;
    this.#dirty.add(key);
    this.#next();
  }

  /** After this time, or earlier if it is due earlier already. */
  addAfter(key: string, ms: number): void {
    if (this.#stopping.signal.aborted) return;
    if (ms <= 0) {
      this.add(key);
      return;
    }
    const at = this.#clock.now() + ms;
    const known = this.#delays.get(key);
    if (known !== undefined && known.at <= at) return;
    known?.cancel();
    const cancel = this.#clock.after(ms, () => {
      this.#delays.delete(key);
      this.add(key);
    });
    this.#delays.set(key, { at, cancel });
  }

  /** Takes nothing new, tells what runs to end, and resolves when it has. */
  async shutdown(): Promise<void> {
    this.#stopping.abort();
    this.#dirty.clear();
    for (const delay of this.#delays.values()) delay.cancel();
    this.#delays.clear();
    await Promise.all(this.#processing.values());
  }

  #next(): void {
    if (!this.#started) return;
    for (const key of this.#dirty) {
      if (this.#processing.size >= this.#concurrency) return;
      if (this.#processing.has(key)) continue;
      this.#dirty.delete(key);
      const run = this.#run(key).finally(() => {
        this.#processing.delete(key);
        this.#next();
      });
      this.#processing.set(key, run);
    }
  }

  async #run(key: string): Promise<void> {
    const { reconciler, onDone } = this.#options;
    const startedAt = this.#clock.now();
    let outcome: 'done' | 'failed' | 'terminal' = 'done';
    try {
      const failures = this.#failing.get(key)?.failures ?? 0;
      // Not before the caller of `add` has returned.
      await Promise.resolve();
      const result = await reconciler.reconcile(key, { signal: this.#stopping.signal, failures });
      this.#failing.delete(key);
      if (result.requeueAfterMs !== undefined) this.addAfter(key, result.requeueAfterMs);
    } catch (error) {
      outcome = this.#failed(key, error);
    }
    try {
      onDone?.(key, outcome, this.#clock.now() - startedAt);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#options.log.error('reconcile observer failed', { queue: this.#options.name, key, error: message });
    }
  }

  #failed(key: string, error: unknown): 'failed' | 'terminal' {
    const { log, name, backOff, random } = this.#options;
    if (error instanceof TerminalError) {
      this.#failing.delete(key);
      log.error('reconcile gave up', { queue: name, key, error: error.message, ...causeField(error) });
      return 'terminal';
    }
    const failing =
      this.#failing.get(key) ??
      new BackOff({ ...(backOff ?? { baseMs: 100, capMs: 60_000 }), ...(random === undefined ? {} : { random }) });
    this.#failing.set(key, failing);
    const delayMs = failing.next();
    const message = error instanceof Error ? error.message : String(error);
    const { failures } = failing;
    log.warn('reconcile failed', { queue: name, key, error: message, ...causeField(error), delayMs, failures });
    this.addAfter(key, delayMs);
    return 'failed';
  }
}
