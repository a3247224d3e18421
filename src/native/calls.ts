import { Semaphore } from '../support/semaphore.ts';
import { checkPath } from './arguments.ts';
import type { Check } from './check.ts';
import { isNothing } from './check.ts';
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

/** The way of every call into the addon: check arguments, wait for a thread, call, check the result, rebuild the error. */
export class NativeCalls {
  readonly addon: RawAddon;
  readonly #threads: Semaphore;
  readonly #inFlight: InFlightTable;

  /** `threads`: native calls that may run at once; the pool's threads beyond are left to `fs` and DNS. */
  constructor(addon: RawAddon, threads: number, inFlight: InFlightTable) {
    this.addon = addon;
    this.#threads = new Semaphore(threads);
    this.#inFlight = inFlight;
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

  async call<T>(call: NativeCall, shape: Check): Promise<T> {
    try {
      call.check();
    } catch (error: unknown) {
      throw invalidArgument(call.op, (error as Error).message, call.key);
    }
    const result = await this.#native(call);
    try {
      shape(result, 'result');
    } catch (error: unknown) {
      throw contractBroken(call.op, (error as Error).message, error);
    }
    return result as T;
  }

  async #native(call: NativeCall): Promise<unknown> {
    try {
      return await this.#threads.run(() => this.#inFlight.track(call.op, call.key, () => call.run(this.addon)));
    } catch (error: unknown) {
      throw error instanceof NativeError ? error : wrapNativeError(call.op, error);
    }
  }
}
