/** A whole collection, page by page. */
import type { KubeClient } from './client.ts';

type Fields = Readonly<Record<string, unknown>>;

export interface ListWanted {
  readonly client: KubeClient;
  /** Path of the collection. */
  readonly path: string;
  /** For messages, e.g. `volumes`. */
  readonly what: string;
  readonly pageSize: number;
  /** Selectors of the API. */
  readonly query?: Readonly<Record<string, string>>;
  /** What is kept of a listed object, undefined for nothing. Without it, the whole collection is in memory at once. */
  readonly trim?: ((object: unknown) => unknown) | undefined;
  readonly signal?: AbortSignal;
}

export interface Listed {
  readonly items: readonly unknown[];
  readonly resourceVersion: string;
}

/**
 * Asks without a resourceVersion: what etcd's quorum says now. Rejects as `KubeClient.request`; with an error for which `isVersionGone`
 * holds when the list took so long that its next page is no more to be had.
 */
export async function listAll(wanted: ListWanted): Promise<Listed> {
  const { client, path, what, pageSize, query, signal } = wanted;
  const items: unknown[] = [];
  let page: Page = { version: '', next: '' };
  do {
    const more = page.next === '' ? {} : { continue: page.next };
    const answer = await client.request({
      method: 'GET',
      path,
      query: { limit: String(pageSize), ...query, ...more },
      doing: `listing ${what}`,
      ...(signal === undefined ? {} : { signal }),
    });
    page = readPage(answer, items, wanted);
  } while (page.next !== '');
  return { items, resourceVersion: page.version };
}

interface Page {
  readonly version: string;
  readonly next: string;
}

function readPage(answer: unknown, items: unknown[], { what, trim }: ListWanted): Page {
  const list = answer as Fields | undefined;
  const metadata = list?.['metadata'] as Fields | undefined;
  const version = metadata?.['resourceVersion'];
  if (typeof version !== 'string' || version === '') throw new Error(`listing ${what}: the answer is no list`);
  // An empty list may come as null.
  const found = list?.['items'] ?? [];
  if (!Array.isArray(found)) throw new Error(`listing ${what}: the answer is no list`);
  for (const object of found as unknown[]) {
    const kept = trim === undefined ? object : trim(object);
    if (kept !== undefined) items.push(kept);
  }
  return { version, next: typeof metadata?.['continue'] === 'string' ? metadata['continue'] : '' };
}
