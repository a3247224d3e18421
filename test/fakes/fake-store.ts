/**
 * Object stores in memory with the semantics of the real ones: one writer wins for each resourceVersion, a conflict is read and
 * computed again, finalizers hold a deletion back, and the cache may be behind the truth.
 */
import { isDeepStrictEqual } from 'node:util';
import { DomainError } from '../../src/api/errors.ts';
import type { MeshStorNodeDevice } from '../../src/api/node-device.ts';
import type { EventRecorder, NewMeta, ObjectMeta, ObjectStore, StatusOf } from '../../src/api/object.ts';
import type { MeshStorVolume } from '../../src/api/volume.ts';

const MOST_ATTEMPTS = 16;

export type StoreStep = 'read' | 'create' | 'mutate' | 'mutateStatus' | 'delete';

export interface FakeStoreOptions {
  /** Awaited before each read and before each write reaches the server: an interleaving point for schedulers. */
  readonly pause?: (step: string) => Promise<void>;
  /** The cache follows only when `deliver` is called. */
  readonly lagging?: boolean;
}

interface Stored {
  readonly metadata: ObjectMeta;
  readonly spec?: unknown;
  readonly status?: unknown;
}

/** The server: shared by as many stores (replicas) as a test wants. */
export class FakeServer<T extends Stored> {
  readonly objects = new Map<string, T>();
  readonly stores = new Set<FakeStore<T>>();
  /** Objects that no store can understand: caches lack them, they are there all the same. */
  readonly broken = new Set<string>();
  /** Every write that changed something, in order. */
  readonly writes: { readonly step: StoreStep; readonly name: string; readonly after: T | undefined }[] = [];
  /** Nobody gets an answer; caches stay as they are. */
  isDown = false;
  /** Requests hang, and go on when it is over. */
  isSilent = false;
  #version = 0;
  #uid = 0;

  /** Puts an object there as it is, as somebody else would. */
  put(object: T): T {
    const stored = this.#stamp(object, object.metadata);
    this.#keep('mutate', stored);
    return stored;
  }

  remove(name: string): void {
    this.objects.delete(name);
    for (const store of this.stores) store.follow(name, undefined);
  }

  create(meta: NewMeta, spec: unknown): T {
    if (this.objects.has(meta.name)) throw new DomainError('conflict', `create ${meta.name}: it exists already`);
    const metadata: ObjectMeta = {
      name: meta.name,
      uid: `uid-${(this.#uid += 1)}`,
      resourceVersion: '',
      generation: 1,
      creationTimestamp: '2026-01-01T00:00:00Z',
      finalizers: meta.finalizers ?? [],
      annotations: meta.annotations ?? {},
      labels: meta.labels ?? {},
    };
    const stored = this.#stamp({ spec } as unknown as T, metadata);
    this.#keep('create', stored);
    return stored;
  }

  /** Replaces `before`, if it is still what is there; false on a conflict. */
  swap(step: StoreStep, before: T, next: T): T | false {
    const { name } = before.metadata;
    const now = this.objects.get(name);
    if (now === undefined) throw new DomainError('notFound', `write ${name}: it is gone`);
    if (now.metadata.resourceVersion !== before.metadata.resourceVersion) return false;
    const isSpecChanged = !isDeepStrictEqual(now.spec, next.spec);
    const generation = now.metadata.generation + (isSpecChanged ? 1 : 0);
    const stored = this.#stamp(next, { ...next.metadata, uid: now.metadata.uid, generation });
    if (stored.metadata.deletionTimestamp !== undefined && stored.metadata.finalizers.length === 0) {
      this.writes.push({ step, name, after: undefined });
      this.remove(name);
    } else {
      this.#keep(step, stored);
    }
    return stored;
  }

  delete(name: string, uid: string | undefined): void {
    const now = this.objects.get(name);
    if (now === undefined || (uid !== undefined && now.metadata.uid !== uid)) return;
    if (now.metadata.finalizers.length === 0) {
      this.writes.push({ step: 'delete', name, after: undefined });
      this.remove(name);
    } else if (now.metadata.deletionTimestamp === undefined) {
      this.#keep('delete', this.#stamp(now, { ...now.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' }));
    }
  }

  #stamp(object: T, metadata: ObjectMeta): T {
    return deepFreeze(
      structuredClone({ ...object, metadata: { ...metadata, resourceVersion: String((this.#version += 1)) } }),
    );
  }

  #keep(step: StoreStep, object: T): void {
    this.objects.set(object.metadata.name, object);
    this.writes.push({ step, name: object.metadata.name, after: object });
    for (const store of this.stores) store.follow(object.metadata.name, object);
  }
}

export class FakeStore<T extends Stored> implements ObjectStore<T> {
  readonly server: FakeServer<T>;
  readonly synced = Promise.resolve();
  isSynced = true;
  readonly #options: FakeStoreOptions;
  readonly #cache = new Map<string, T>();
  readonly #behind: (() => void)[] = [];
  readonly #listeners = new Set<(name: string) => void>();
  readonly #failures: { readonly step: StoreStep; readonly error: unknown; readonly isLost: boolean }[] = [];

  constructor(server: FakeServer<T>, options: FakeStoreOptions = {}) {
    this.server = server;
    this.#options = options;
    for (const [name, object] of server.objects) if (!server.broken.has(name)) this.#cache.set(name, object);
    server.stores.add(this);
  }

  /** The next such call fails before it reaches the server; with `after`, its answer is lost after it did. */
  failNext(step: StoreStep, error: unknown, when: 'before' | 'after' = 'before'): void {
    this.#failures.push({ step, error, isLost: when === 'after' });
  }

  /** Lets a lagging cache see everything up to now. */
  deliver(): void {
    for (const apply of this.#behind.splice(0)) apply();
  }

  follow(name: string, object: T | undefined): void {
    const apply = (): void => {
      if (object === undefined || this.server.broken.has(name)) this.#cache.delete(name);
      else this.#cache.set(name, object);
      for (const listener of this.#listeners) listener(name);
    };
    if (this.#options.lagging === true) this.#behind.push(apply);
    else apply();
  }

  list(): readonly T[] {
    return [...this.#cache.values()];
  }

  get(name: string): T | undefined {
    return this.#cache.get(name);
  }

  onChange(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async read(name: string): Promise<T | undefined> {
    requireName(name);
    await this.#pause('read', name);
    return this.#faulty('read', () => this.server.objects.get(name));
  }

  async names(): Promise<readonly string[]> {
    await this.#pause('names', '');
    return this.#faulty('read', () => [...this.server.objects.keys()]);
  }

  async create(meta: NewMeta, spec: unknown): Promise<T> {
    await this.#pause('create', meta.name);
    return this.#faulty('create', () => this.server.create(meta, spec));
  }

  mutateStatus(name: string, change: (current: T) => StatusOf<T> | undefined): Promise<T> {
    return this.#write('mutateStatus', name, (current) => {
      const status = change(current);
      return status === undefined ? undefined : { ...current, status };
    });
  }

  mutate(name: string, change: (current: T) => T | undefined): Promise<T> {
    return this.#write('mutate', name, (current) => {
      const next = change(current);
      // The main resource does not take a status.
      return next === undefined ? undefined : { ...next, status: current.status };
    });
  }

  async delete(name: string, options: { readonly uid?: string } = {}): Promise<void> {
    await this.#pause('delete', name);
    this.#faulty('delete', () => this.server.delete(name, options.uid));
  }

  async #write(step: StoreStep, name: string, change: (current: T) => T | undefined): Promise<T> {
    for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt += 1) {
      await this.#pause(`${step}: read`, name);
      this.#requireAnswer(name);
      const current = this.server.objects.get(name);
      if (current === undefined) throw new DomainError('notFound', `write ${name}: there is no such object`);
      const next = change(current);
      if (next === undefined) return current;
      await this.#pause(`${step}: write`, name);
      const stored = this.#faulty(step, () => this.server.swap(step, current, next));
      if (stored !== false) return stored;
    }
    throw new DomainError('unavailable', `write ${name}: too many conflicts; try again`);
  }

  async #pause(step: string, name: string): Promise<void> {
    while (this.server.isSilent) await new Promise((resolve) => setTimeout(resolve, 5));
    await (this.#options.pause?.(`${step} ${name}`) ?? Promise.resolve());
  }

  #requireAnswer(name: string): void {
    if (this.server.isDown) throw new DomainError('unavailable', `asking for ${name}: the API server does not answer`);
  }

  #faulty<R>(step: StoreStep, work: () => R): R {
    this.#requireAnswer(step);
    const at = this.#failures.findIndex((failure) => failure.step === step);
    const [failure] = at < 0 ? [] : this.#failures.splice(at, 1);
    if (failure !== undefined && !failure.isLost) throw failure.error as Error;
    const result = work();
    if (failure !== undefined) throw failure.error as Error;
    return result;
  }
}

/** Over HTTP the path without a name is the whole list's, whose answer is no object. */
export function requireName(name: string): void {
  if (name === '') throw new Error('reading an object without a name');
}

export interface RecordedEvent {
  readonly name: string;
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

export class FakeEventRecorder implements EventRecorder {
  readonly events: RecordedEvent[] = [];

  record(about: { readonly name: string }, type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.events.push({ name: about.name, type, reason, message });
  }

  reasons(): readonly string[] {
    return this.events.map((event) => event.reason);
  }
}

/** Time that moves only when told; timers fire in order. */
export class FakeClock {
  #now = Date.parse('2026-06-01T00:00:00Z');
  #timers: { at: number; callback: () => void }[] = [];
  #setByMs = 0;

  /** Since the beginning, whatever the clock was set to. */
  get elapsedMs(): number {
    return this.#now - this.#setByMs;
  }

  /** Somebody sets the clock: no time passes. Timers that wait are not for this. */
  setBy(ms: number): void {
    this.#now += ms;
    this.#setByMs += ms;
  }

  now(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#now + ms, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const [next] = this.#timers.filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#now = next.at;
      next.callback();
    }
    this.#now = until;
  }
}

export type VolumeServer = FakeServer<MeshStorVolume>;
export type DeviceServer = FakeServer<MeshStorNodeDevice>;

export function newMeta(name: string): ObjectMeta {
  return {
    name,
    uid: `uid-of-${name}`,
    resourceVersion: '1',
    generation: 1,
    creationTimestamp: '2026-01-01T00:00:00Z',
    finalizers: [],
    annotations: {},
    labels: {},
  };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
