import type { JsonObject } from './json.ts';
import { objectAt, textAt } from './json.ts';
import type { Resource } from './resources.ts';
import { collectionOf, groupVersion } from './resources.ts';
import type { Filter } from './selectors.ts';
import { expired, StatusError } from './status.ts';
import type { Storage } from './storage.ts';

export interface ListRequest {
  readonly resource: Resource;
  readonly filter: Filter;
  readonly limit: number;
  readonly token: string;
  /** 0: any will do. */
  readonly resourceVersion: number;
  /** Then nobody counts how many are left. */
  readonly isSelected: boolean;
}

interface Snapshot {
  readonly revision: number;
  readonly objects: readonly JsonObject[];
}

/** Pages of lists. All pages of one list show the same moment, until the history is compacted. */
export class Lists {
  readonly #storage: Storage;
  readonly #snapshots = new Map<string, Snapshot>();
  #issued = 0;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** Makes all tokens given out so far invalid. */
  forget(): void {
    this.#snapshots.clear();
  }

  list(request: ListRequest): { readonly objects: readonly JsonObject[]; readonly metadata: JsonObject } {
    const asked = request.resourceVersion;
    if (asked > this.#storage.revision) this.#storage.assertKnown(asked);
    const { id, offset } = request.token === '' ? { id: '', offset: 0 } : readToken(request.token);
    const snapshot = id === '' ? this.#take(request) : this.#snapshots.get(id);
    if (snapshot === undefined) throw expired(0, this.#storage.revision);
    const limit = request.limit > 0 ? request.limit : snapshot.objects.length;
    const objects = snapshot.objects.slice(offset, offset + limit);
    const left = snapshot.objects.length - offset - objects.length;
    const metadata = { resourceVersion: String(snapshot.revision) };
    if (left <= 0) return { objects, metadata };
    const next = id === '' ? this.#keep(snapshot) : id;
    const token = Buffer.from(JSON.stringify({ id: next, offset: offset + objects.length })).toString('base64url');
    const count = request.isSelected ? {} : { remainingItemCount: left };
    return { objects, metadata: { ...metadata, continue: token, ...count } };
  }

  #take(request: ListRequest): Snapshot {
    const all = this.#storage.list(collectionOf(request.resource)).map(([, object]) => object);
    return { revision: this.#storage.revision, objects: all.filter(request.filter) };
  }

  #keep(snapshot: Snapshot): string {
    this.#issued += 1;
    const id = `${snapshot.revision}-${this.#issued}`;
    this.#snapshots.set(id, snapshot);
    const [oldest] = this.#snapshots.keys();
    if (this.#snapshots.size > 64 && oldest !== undefined) this.#snapshots.delete(oldest);
    return id;
  }
}

/** The wire form of a list. */
export function toList(resource: Resource, objects: readonly JsonObject[], metadata: JsonObject): JsonObject {
  return { kind: `${resource.kind}List`, apiVersion: groupVersion(resource), metadata, items: objects };
}

/** Objects of one namespace; all where none is named. */
export function inNamespace(namespace: string): Filter {
  return (object) => namespace === '' || textAt(objectAt(object, 'metadata'), 'namespace') === namespace;
}

function readToken(token: string): { readonly id: string; readonly offset: number } {
  try {
    const fields = JSON.parse(Buffer.from(token, 'base64url').toString('utf8')) as { id: unknown; offset: unknown };
    if (typeof fields.id === 'string' && typeof fields.offset === 'number')
      return { id: fields.id, offset: fields.offset };
  } catch {
    // Falls through to the refusal.
  }
  throw new StatusError(400, 'continue key is not valid');
}
