import type { Kernel } from '../api/kernel.ts';
import { NativeCalls } from './calls.ts';
import type { CallLimits } from './calls.ts';
import type { InFlightCall } from './in-flight.ts';
import { DRIVE_READ_LIMIT_MS } from './drive-reads.ts';
import { InFlightTable } from './in-flight.ts';
import { loadAddon } from './load.ts';
import { NodeKernel } from './node-kernel.ts';
import type { RawAddon } from './raw.ts';

export { NativeError } from './native-error.ts';
export { DRIVE_READ_LIMIT_MS } from './drive-reads.ts';
export type { InFlightCall } from './in-flight.ts';

/** libuv's own default, when the environment says nothing. */
const DEFAULT_POOL_SIZE = 4;
/** Threads that native calls never take: `fs`, DNS and crypto share the pool. */
const RESERVED_THREADS = 4;
const MINIMUM_THREADS = 2;
const WARN_EVERY_MS = 30_000;
/** How long somebody waits for the removal of an export, which waits for the requests in flight. A slow drive takes seconds. */
export const EXPORT_REMOVAL_LIMIT_MS = 10_000;

export interface KernelOptions {
  /** Default: loaded from the built file. */
  readonly addon?: RawAddon;
  /** `UV_THREADPOOL_SIZE` of this process; default: read from the environment. */
  readonly poolSize?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  readonly warnEveryMs?: number;
  /** Default: `DRIVE_READ_LIMIT_MS` and `EXPORT_REMOVAL_LIMIT_MS`. */
  readonly limits?: Partial<CallLimits>;
  /** Called every 30 s with the calls that have held a thread for longer than that. */
  readonly onStuck?: (calls: readonly InFlightCall[]) => void;
}

/** `Kernel` of this machine, and what the metrics and the readiness check want to know about it. */
export interface NativeKernel extends Kernel {
  inFlight(): readonly InFlightCall[];
  /** Calls that wait for a thread. */
  readonly waiting: number;
}

/** How many native calls may run at once in a pool of that size. */
export function nativeThreads(poolSize: number): number {
  return Math.max(MINIMUM_THREADS, poolSize - RESERVED_THREADS);
}

/** Size of libuv's pool as the environment sets it. It counts only if it was set before the process started. */
export function poolSizeOf(env: Readonly<Record<string, string | undefined>>): number {
  const wanted = Number(env['UV_THREADPOOL_SIZE'] ?? '');
  return Number.isSafeInteger(wanted) && wanted >= 1 ? Math.min(wanted, 1024) : DEFAULT_POOL_SIZE;
}

/** Loads the addon (throws one error that says what was tried) and puts the checks in front of it. */
export function createKernel(options: KernelOptions = {}): NativeKernel {
  const inFlight = new InFlightTable({
    now: options.now ?? (() => performance.now()),
    warnEveryMs: options.warnEveryMs ?? WARN_EVERY_MS,
    onStuck: options.onStuck ?? (() => undefined),
  });
  const threads = nativeThreads(options.poolSize ?? poolSizeOf(process.env));
  const limits = {
    driveReadMs: DRIVE_READ_LIMIT_MS,
    ownThreadMs: EXPORT_REMOVAL_LIMIT_MS,
    ...options.limits,
  };
  return new NodeKernel(new NativeCalls(options.addon ?? loadAddon(), threads, inFlight, limits));
}
