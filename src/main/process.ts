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

/** Runs every part's stop in turn; one that fails does not keep the others from stopping. */
export async function stopAll(
  log: RootLog,
  parts: readonly (readonly [string, () => Promise<void> | void])[],
): Promise<void> {
  for (const [name, stop] of parts) {
    try {
      await stop();
    } catch (error) {
      log.error('stopping a part failed', { part: name, error: errorFields(error) });
    }
  }
}
