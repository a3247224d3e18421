import { setTimeout as sleep } from 'node:timers/promises';
import type { Api, WatchEvent } from '../../kube/contract/server.ts';

const REOPEN_MS = 200;
const MOST_FAILURES = 50;

/**
 * Tells of every object of a collection and of each change, by a watch that is opened again when it ends: an object may be told
 * of more than once. Resolves when the signal aborts; rejects when the watch cannot be opened any more.
 */
export async function follow(
  api: Api,
  path: string,
  query: Readonly<Record<string, string>>,
  signal: AbortSignal,
  onEvent: (event: WatchEvent) => void,
): Promise<void> {
  for (let failures = 0; !signal.aborted; await pause(signal)) {
    try {
      const lines = await api.client.stream({ path, query: { ...query, watch: '1' }, doing: 'watch', signal });
      for await (const line of lines) {
        const event = JSON.parse(line) as WatchEvent;
        if (event.type === 'ERROR') break;
        failures = 0;
        onEvent(event);
      }
    } catch (error) {
      failures += 1;
      if (!signal.aborted && failures > MOST_FAILURES) throw error;
    }
  }
}

async function pause(signal: AbortSignal): Promise<void> {
  await sleep(REOPEN_MS, undefined, { signal }).catch(() => undefined);
}
