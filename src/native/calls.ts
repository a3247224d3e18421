import { Semaphore } from '../support/semaphore.ts';
import { withTimeLimit } from '../support/time-limit.ts';
import { checkPath } from './arguments.ts';
import type { Check } from './check.ts';
import { isNothing } from './check.ts';
import { DriveReads, timedOut } from './drive-reads.ts';
import type { InFlightCall, InFlightTable } from './in-flight.ts';
import { contractBroken, invalidArgument, NativeError, wrapNativeError } from './native-error.ts';
import type { RawAddon } from './raw.ts';

export interface NativeCall {
  readonly op: string;
  readonly key: string;
  /** Throws on the first bad argument; runs before anything else. */
  readonly check: () => void;
  readonly run: (addon: RawAddon) => Promise<unknown>;
}

export interface CallLimits {
  /** For a drive's table and signatures. */
  readonly driveReadMs: number;
  /** For work that the addon does on a thread of its own. */
  readonly ownThreadMs: number;
}

/** The way of every call into the addon: check arguments, wait for a thread, call, check the result, rebuild the error. */
export class NativeCalls {
  readonly addon: RawAddon;
  readonly #threads: Semaphore;
  readonly #inFlight: InFlightTable;
  readonly #limits: CallLimits;
  readonly #driveReads: DriveReads;

  /** `threads`: native calls that may run at once; the pool's threads beyond are left to `fs` and DNS. */
  constructor(addon: RawAddon, threads: number, inFlight: InFlightTable, limits: CallLimits) {
    this.addon = addon;
    this.#threads = new Semaphore(threads);
    this.#inFlight = inFlight;
    this.#limits = limits;
    this.#driveReads = new DriveReads(limits.driveReadMs);
  }

  inFlight(): readonly InFlightCall[] {
    return this.#inFlight.list();
  }

  get waiting(): number {
    return this.#threads.waiting;
  }

  run<T>(op: string, key: string, shape: Check, run: NativeCall['run']): Promise<T> {
    return this.call({ op, key, check: () => undefined, run }, shape);
  }

  onPath<T>(op: string, path: string, shape: Check, run: NativeCall['run']): Promise<T> {
    return this.call({ op, key: path, check: () => checkPath('path', path), run }, shape);
  }

  perform(call: NativeCall): Promise<void> {
    return this.call(call, isNothing);
  }

  /**
   * A read of the drive that `key` names: rejects `ETIMEDOUT` when it hangs, and holds at most one thread while it does.
   * `EBUSY` when no thread was free: the drive was not asked.
   */
  async readDrive<T>(op: string, path: string, shape: Check, run: NativeCall['run']): Promise<T> {
    const call: NativeCall = { op, key: path, check: () => checkPath('path', path), run };
    this.#checkArguments(call);
    const read = (mayBegin: () => boolean): Promise<unknown> =>
      this.#onPool({ ...call, run: (addon) => (mayBegin() ? run(addon) : Promise.resolve(undefined)) });
    return this.#shaped(call, await this.#driveReads.run(op, path, read), shape);
  }

  /**
   * For what the addon does on a thread of its own: takes none of the pool. Rejects `ETIMEDOUT` when it lasts too long; it goes on
   * all the same.
   */
  async onOwnThread(call: NativeCall, syscall: string): Promise<void> {
    this.#checkArguments(call);
    const { ownThreadMs } = this.#limits;
    const late = () => timedOut(call.op, ownThreadMs, syscall, call.key);
    this.#shaped(call, await withTimeLimit(this.#native(call), ownThreadMs, late), isNothing);
  }

  async call<T>(call: NativeCall, shape: Check): Promise<T> {
    this.#checkArguments(call);
    return this.#shaped(call, await this.#onPool(call), shape);
  }

  #checkArguments(call: NativeCall): void {
    try {
      call.check();
    } catch (error: unknown) {
      throw invalidArgument(call.op, (error as Error).message, call.key);
    }
  }

  #shaped<T>(call: NativeCall, result: unknown, shape: Check): T {
    try {
      shape(result, 'result');
    } catch (error: unknown) {
      throw contractBroken(call.op, (error as Error).message, error);
    }
    return result as T;
  }

  async #onPool(call: NativeCall): Promise<unknown> {
    return this.#threads.run(() => this.#native(call));
  }

  async #native(call: NativeCall): Promise<unknown> {
    try {
      return await this.#inFlight.track(call.op, call.key, () => call.run(this.addon));
    } catch (error: unknown) {
      throw error instanceof NativeError ? error : wrapNativeError(call.op, error);
    }
  }
}
