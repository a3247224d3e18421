import type { JsonObject } from './json.ts';
import { freeze, objectAt } from './json.ts';
import { expired, StatusError, tooLargeVersion } from './status.ts';

export interface Change {
  readonly revision: number;
  /** `group/plural`. */
  readonly collection: string;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: JsonObject;
  /** What stood there before. */
  readonly previous?: JsonObject;
}

/** Objects with one revision counter over all of them, and the history since the last compaction. */
export class Storage {
  #revision = 1000;
  #compacted = 1000;
  #changes: Change[] = [];
  readonly #collections = new Map<string, Map<string, JsonObject>>();
  readonly #subscribers = new Set<() => void>();

  get revision(): number {
    return this.#revision;
  }

  get(collection: string, key: string): JsonObject | undefined {
    return this.#collections.get(collection)?.get(key);
  }

  /** Sorted by key. */
  list(collection: string): readonly (readonly [string, JsonObject])[] {
    const found = [...(this.#collections.get(collection) ?? [])];
    return found.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  }

  /** Stores the object under the next revision, which becomes its resourceVersion, and returns it as stored. */
  put(collection: string, key: string, object: JsonObject): JsonObject {
    const previous = this.get(collection, key);
    const stored = this.#stamp(object);
    const objects = this.#collections.get(collection) ?? new Map<string, JsonObject>();
    this.#collections.set(collection, objects);
    objects.set(key, stored);
    this.#record(collection, previous === undefined ? 'ADDED' : 'MODIFIED', stored, previous);
    return stored;
  }

  /** Removes the object; what is returned carries the revision of its end. */
  remove(collection: string, key: string): JsonObject | undefined {
    const previous = this.get(collection, key);
    if (previous === undefined) return undefined;
    this.#collections.get(collection)?.delete(key);
    const last = this.#stamp(previous);
    this.#record(collection, 'DELETED', last, previous);
    return last;
  }

  /** Changes after this revision, oldest first. Throws when they are forgotten or lie in the future. */
  since(revision: number): readonly Change[] {
    this.assertKnown(revision);
    let first = this.#changes.length;
    while (first > 0 && (this.#changes[first - 1]?.revision ?? 0) > revision) first -= 1;
    return this.#changes.slice(first);
  }

  assertKnown(revision: number): void {
    if (!Number.isSafeInteger(revision) || revision < 0) {
      throw new StatusError(400, `Invalid value: "${revision}": resource version must be a number`);
    }
    if (revision > this.#revision) throw tooLargeVersion(revision, this.#revision);
    if (revision < this.#compacted) throw expired(revision, this.#compacted);
  }

  /** Forgets all history. */
  compact(): void {
    this.#changes = [];
    this.#compacted = this.#revision;
  }

  /** Called after each change. Returns the unsubscriber. */
  subscribe(listener: () => void): () => void {
    this.#subscribers.add(listener);
    return () => {
      this.#subscribers.delete(listener);
    };
  }

  #stamp(object: JsonObject): JsonObject {
    this.#revision += 1;
    const metadata = { ...objectAt(object, 'metadata'), resourceVersion: String(this.#revision) };
    return freeze({ ...structuredClone(object), metadata: structuredClone(metadata) });
  }

  #record(collection: string, type: Change['type'], object: JsonObject, previous: JsonObject | undefined): void {
    const change = { revision: this.#revision, collection, type, object };
    this.#changes.push(previous === undefined ? change : { ...change, previous });
    for (const listener of this.#subscribers) listener();
  }
}
