/** What both roles do with their process: signals, the last words of an unexpected end, an orderly stop. */
import type { RootLog } from '../observability/log.ts';
import { errorFields } from '../support/log.ts';

/** Kubelet sends SIGKILL after the pod's grace period; calls in flight get this long before. */
export const STOP_LIMIT_MS = 20_000;

/** Resolves at the first SIGTERM or SIGINT. A second one ends the process at once. */
export function untilToldToStop(log: RootLog): Promise<string> {
  return new Promise((resolve) => {
    let told = false;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (told) {
        log.flushSync();
        process.exit(1);
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
export function endOnUnexpectedErrors(log: RootLog): void {
  const end = (what: string) => (error: unknown) => {
    log.error(what, { error: errorFields(error) });
    log.flushSync();
    process.exit(1);
  };
  process.on('uncaughtException', end('uncaught exception'));
  process.on('unhandledRejection', end('unhandled rejection'));
}

/** What has been started so far. */
export class StartedParts {
  readonly #log: RootLog;
  readonly #parts: (readonly [string, () => Promise<void> | void])[] = [];

  constructor(log: RootLog) {
    this.#log = log;
  }

  add(name: string, stop: () => Promise<void> | void): void {
    this.#parts.push([name, stop]);
  }

  /** The last one first; one that fails does not keep the others from stopping. */
  async stopAll(): Promise<void> {
    for (const [name, stop] of this.#parts.splice(0).reverse()) {
      try {
        await stop();
      } catch (error) {
        this.#log.error('stopping a part failed', { part: name, error: errorFields(error) });
      }
    }
  }
}

/** Starts a role's parts and waits to be told to stop. However it ends, what was started is stopped. */
export async function runParts(
  log: RootLog,
  stopped: Promise<unknown>,
  start: (parts: StartedParts) => Promise<void>,
): Promise<void> {
  const parts = new StartedParts(log);
  try {
    await start(parts);
    await stopped;
  } finally {
    await parts.stopAll();
    log.info('role ended');
    log.flushSync();
  }
}
