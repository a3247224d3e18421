import type { ObjectMeta } from '../api/object.ts';
import type { WatchSink } from './watch.ts';
import type { Log } from './clock.ts';

/** Objects of one kind by name, as a watch tells them and as own writes answer; never goes back in time. */
export interface CacheOptions<T> {
  /** Undefined: leave this object out. */
  readonly read: (wire: unknown) => T | undefined;
  readonly log: Log;
}

export class ObjectCache<T extends { readonly metadata: ObjectMeta }> implements WatchSink {
  readonly #options: CacheOptions<T>;
  readonly #listeners = new Set<(name: string) => void>();
  #objects = new Map<string, T>();
  /** Everything up to here has been told by the watch. */
  #seen = 0n;
  /** Answers to own requests since the last complete list. */
  #own = new Set<T>();

  constructor(options: CacheOptions<T>) {
    this.#options = options;
  }

  list(): readonly T[] {
    return [...this.#objects.values()];
  }

  get(name: string): T | undefined {
    return this.#objects.get(name);
  }

  onChange(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  replace(items: readonly unknown[], resourceVersion: string): void {
    const before = this.#objects;
    const version = versionOf(resourceVersion);
    const after = new Map<string, T>();
    for (const item of items) {
      const object = this.#options.read(item);
      if (object !== undefined) after.set(object.metadata.name, object);
    }
    // What we were answered after this list was taken is newer than the list. Anything else above its version stems from a time
    // that the server, restored from a backup, knows nothing of.
    for (const [name, object] of before) {
      if (this.#own.has(object) && versionOf(object.metadata.resourceVersion) > version) after.set(name, object);
    }
    this.#own.clear();
    this.#objects = after;
    this.#seen = version;
    for (const name of new Set([...before.keys(), ...after.keys()])) this.#notify(name);
  }

  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', wire: unknown): void {
    const name = nameOf(wire);
    if (name === undefined) return;
    const object = type === 'DELETED' ? undefined : this.#options.read(wire);
    if (object === undefined) {
      const last = this.#objects.get(name);
      if (last !== undefined) this.#own.delete(last);
      if (this.#objects.delete(name) || type === 'DELETED') this.#notify(name);
      return;
    }
    const known = this.#objects.get(name);
    if (known !== undefined && isNewer(known, object)) return;
    if (known !== undefined) this.#own.delete(known);
    const isEcho = known?.metadata.resourceVersion === object.metadata.resourceVersion;
    this.#objects.set(name, object);
    if (!isEcho) this.#notify(name);
  }

  progress(resourceVersion: string): void {
    const version = versionOf(resourceVersion);
    if (version > this.#seen) this.#seen = version;
  }

  /** Takes in the answer to an own write or read. What the watch has told already, perhaps with the object's end, it knows better. */
  written(object: T): void {
    const version = versionOf(object.metadata.resourceVersion);
    if (version <= this.#seen) return;
    const known = this.#objects.get(object.metadata.name);
    if (known !== undefined && versionOf(known.metadata.resourceVersion) >= version) return;
    if (known !== undefined) this.#own.delete(known);
    this.#own.add(object);
    this.#objects.set(object.metadata.name, object);
    this.#notify(object.metadata.name);
  }

  #notify(name: string): void {
    for (const listener of this.#listeners) {
      try {
        listener(name);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        this.#options.log.error('change listener failed', { name, error: message });
      }
    }
  }
}

function isNewer(a: { readonly metadata: ObjectMeta }, b: { readonly metadata: ObjectMeta }): boolean {
  return versionOf(a.metadata.resourceVersion) > versionOf(b.metadata.resourceVersion);
}

/** Versions are numbers that grow in every API server there is (and since 1.35 by contract). */
function versionOf(resourceVersion: string): bigint {
  return /^[0-9]+$/.test(resourceVersion) ? BigInt(resourceVersion) : 0n;
}

function nameOf(wire: unknown): string | undefined {
  if (typeof wire !== 'object' || wire === null || !('metadata' in wire)) return undefined;
  const { metadata } = wire;
  if (typeof metadata !== 'object' || metadata === null || !('name' in metadata)) return undefined;
  return typeof metadata.name === 'string' ? metadata.name : undefined;
}
