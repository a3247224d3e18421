import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError } from '../../../src/kube/index.ts';

const PAUSE_MS = 100;
/** Not there yet; not allowed yet, since rules about nodes follow their objects a moment later; not served yet. */
const LATER: ReadonlySet<number> = new Set([404, 403, 429, 503]);

/** Asks until there is an answer. What the API server does not have or show yet is none; any other error is the caller's. */
export async function waitFor<T>(what: string, limitMs: number, ask: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (error) {
      if (!(error instanceof ApiError) || !LATER.has(error.status)) throw error;
      last = error;
    }
    if (Date.now() > deadline) {
      const said = last instanceof Error ? `: ${last.message}` : '';
      throw new Error(`${what}: not so after ${limitMs} ms${said}`, { cause: last });
    }
    await sleep(PAUSE_MS);
  }
}

/** Waits until an object is gone. */
export async function waitUntilGone(what: string, limitMs: number, get: () => Promise<unknown>): Promise<void> {
  await waitFor(`${what} to be gone`, limitMs, async () => {
    try {
      await get();
      return undefined;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return true;
      throw error;
    }
  });
}
