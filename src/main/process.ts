/** What both roles do with their process: signals, the last words of an unexpected end, an orderly stop. */
import type { RootLog } from '../observability/log.ts';
import { errorFields } from '../support/log.ts';

/**
 * Kubelet sends SIGKILL after the pod's grace period, 30 s; calls in flight get this long before. What stops one after the other
 * must stay below it together: calls (with `CUT_OFF_MS`), running work, and four more parts.
 */
export const STOP_LIMIT_MS = 20_000;
/** Until calls that were cut off have returned. */
export const CUT_OFF_MS = 1_000;
/** Work under way: a step that hangs in the kernel is left to it. Every effect can be repeated. */
export const WORK_LIMIT_MS = 3_000;
/** Any other part: closing sockets and watches takes milliseconds. */
export const PART_LIMIT_MS = 1_000;
/** Until calls into the kernel have come back at the very end. */
export const KERNEL_LIMIT_MS = 500;
const LOOK_EVERY_MS = 20;
/** A line is written in microseconds, where a thread is free to write it. */
const LAST_WORDS_MS = 500;

/** Requests of Node's own that run on the pool, and last as long as a drive or a name server does. */
const POOL_REQUESTS: ReadonlySet<string> = new Set([
  'FSReqCallback',
  'FSReqPromise',
  'FileHandleCloseReq',
  'GetAddrInfoReqWrap',
  'GetNameInfoReqWrap',
]);

/** What holds threads of the pool. `process.exit` waits for them, for ever if need be. */
export class Threads {
  #calls: () => readonly unknown[] = () => [];

  /** `calls`: calls into the kernel that have not come back. */
  watch(calls: () => readonly unknown[]): void {
    this.#calls = calls;
  }

  calls(): readonly unknown[] {
    return this.#calls();
  }

  /** Whether anything, of Node's own too, is under way. */
  get areBusy(): boolean {
    return this.#calls().length > 0 || process.getActiveResourcesInfo().some((type) => POOL_REQUESTS.has(type));
  }
}

/**
 * Ends the process at once, whatever hangs. `process.exit` joins the threads of the pool, so one call that does not come back
 * would keep it for ever. The first process of a container is deaf to its own SIGKILL, but not to `abort`.
 */
function endNow(): never {
  // A thread may have the last words in hand.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LAST_WORDS_MS);
  process.kill(process.pid, 'SIGKILL');
  process.abort();
}

/** With exit code 1, unless that would wait for a thread. `areBusy`: threads, before the last words took one. */
function endFailed(log: RootLog, areBusy: boolean): never {
  log.flushSync();
  if (!areBusy) process.exit(1);
  endNow();
}

/** As `endFailed`, once what is on its way through the pool, such as a line of the log, has had the time that it takes. */
async function endSoon(log: RootLog, threads: Threads): Promise<never> {
  for (let waitedMs = 0; threads.areBusy && waitedMs < LAST_WORDS_MS; waitedMs += LOOK_EVERY_MS) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  return endFailed(log, threads.areBusy);
}

/** Resolves at the first SIGTERM or SIGINT. A second one ends the process at once. */
export function untilToldToStop(log: RootLog, threads: Threads): Promise<string> {
  return new Promise((resolve) => {
    let told = false;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (told) {
        void endSoon(log, threads);
        return;
      }
      told = true;
      log.info('told to stop', { signal });
      resolve(signal);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

/** An error that nobody handled: its state is unknown, so the process ends. It is restarted and observes afresh. */
export function endOnUnexpectedErrors(log: RootLog, threads: Threads): void {
  const end = (what: string) => (error: unknown) => {
    const { areBusy } = threads;
    log.error(what, { error: errorFields(error) });
    endFailed(log, areBusy);
  };
  process.on('uncaughtException', end('uncaught exception'));
  process.on('unhandledRejection', end('unhandled rejection'));
}

interface Part {
  readonly name: string;
  readonly stop: () => Promise<void> | void;
  readonly limitMs: number;
}

/** What has been started so far. */
export class StartedParts {
  readonly #log: RootLog;
  /** Parts of one group stop side by side. */
  readonly #groups: Part[][] = [];
  readonly #threads: Threads;

  constructor(log: RootLog, threads = new Threads()) {
    this.#log = log;
    this.#threads = threads;
  }

  add(name: string, stop: Part['stop'], limitMs = PART_LIMIT_MS): void {
    this.#groups.push([{ name, stop, limitMs }]);
  }

  /** As `add`, for one that neither needs the part added last nor is needed by it. */
  addBeside(name: string, stop: Part['stop'], limitMs = PART_LIMIT_MS): void {
    const part = { name, stop, limitMs };
    const last = this.#groups.at(-1);
    if (last === undefined) this.#groups.push([part]);
    else last.push(part);
  }

  /** `calls`: calls into the kernel that still hold a thread. */
  watchThreads(calls: () => readonly unknown[]): void {
    this.#threads.watch(calls);
  }

  /**
   * The last one first; one that fails or takes too long does not keep the others from stopping. Gives what did not stop: parts
   * by name, then calls that hold a thread.
   */
  async stopAll(): Promise<readonly unknown[]> {
    const late: string[] = [];
    for (const group of this.#groups.splice(0).reverse()) {
      const stopped = await Promise.all(group.map((part) => this.#stop(part)));
      late.push(...group.filter((_, index) => stopped[index] === false).map(({ name }) => name));
    }
    return [...late, ...(await this.#stuckCalls())];
  }

  /** False when it did not stop in time. */
  async #stop({ name, stop, limitMs }: Part): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), limitMs);
    });
    const done = (async () => stop())().then(
      () => true as const,
      (error: unknown) => {
        this.#log.error('stopping a part failed', { part: name, error: errorFields(error) });
        return true as const;
      },
    );
    const inTime = await Promise.race([done, late]);
    clearTimeout(timer);
    if (!inTime) this.#log.error('a part did not stop in time', { part: name, limitMs });
    return inTime;
  }

  async #stuckCalls(): Promise<readonly unknown[]> {
    for (let waitedMs = 0; this.#threads.calls().length > 0 && waitedMs < KERNEL_LIMIT_MS; waitedMs += LOOK_EVERY_MS) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
    return this.#threads.calls();
  }
}

export interface RunOptions {
  /** Also watched by whoever may end the process before. */
  readonly threads?: Threads;
  readonly end?: () => void;
}

/**
 * Starts a role's parts and waits to be told to stop. However it ends, what was started is stopped; when something of it cannot
 * be stopped the process ends here, by `end`.
 */
export async function runParts(
  log: RootLog,
  stopped: Promise<unknown>,
  start: (parts: StartedParts) => Promise<void>,
  { threads = new Threads(), end = endNow }: RunOptions = {},
): Promise<void> {
  const parts = new StartedParts(log, threads);
  const failures: unknown[] = [];
  try {
    await start(parts);
    await stopped;
  } catch (error) {
    failures.push(error);
    throw error;
  } finally {
    const hanging = await parts.stopAll();
    if (hanging.length > 0) {
      log.error('role ended; the process is killed, since not all of it stopped', {
        hanging,
        failures: failures.map(errorFields),
      });
      log.flushSync();
      end();
    } else {
      log.info('role ended');
      log.flushSync();
    }
  }
}
