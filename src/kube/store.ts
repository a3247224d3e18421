import { DomainError } from '../api/errors.ts';
import { removeCondition, setCondition } from '../api/conditions.ts';
import { serializeNew } from '../api/parse.ts';
import type { Parser } from '../api/parse.ts';
import type { Condition, NewMeta, ObjectMeta, ObjectStore, StatusOf } from '../api/object.ts';
import { isConflict, isNotFound } from './api-error.ts';
import { BackOff } from './back-off.ts';
import { ObjectCache } from './cache.ts';
import type { KubeClient } from './client.ts';
import type { Clock, Log } from './clock.ts';
import { sleep, systemClock, timestamp } from './clock.ts';
import { listAll } from './list.ts';
import { Watch } from './watch.ts';
import type { WatchOptions } from './watch.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Condition on an object that cannot be understood. */
export const MALFORMED_CONDITION = 'Malformed';

export interface ResourceKind {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  /** For messages, e.g. `volume`. */
  readonly noun: string;
}

export interface KubeStoreOptions<T> {
  readonly client: KubeClient;
  readonly resource: ResourceKind;
  readonly parse: Parser<T>;
  /** Wire form; only its `spec` and `status` are used. */
  readonly serialize: (object: T) => Fields;
  /** Lists of the status whose entries are told apart by a field: the list's name → that field's name. */
  readonly entriesBy?: Readonly<Record<string, string>>;
  readonly log: Log;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly watch?: Partial<
    Pick<WatchOptions, 'labelSelector' | 'pageSize' | 'watchSeconds' | 'stallMs' | 'relistMs' | 'backOff'>
  >;
}

/** How often a write that lost a race is computed again before the caller hears of it. */
const MUTATE_ATTEMPTS = 8;
const NAMES_PAGE_SIZE = 500;
const CONFLICT_BACK_OFF = { baseMs: 10, capMs: 500 };

function nameOf(object: unknown): string | undefined {
  const metadata = (object as Fields)['metadata'] as Fields | undefined;
  return typeof metadata?.['name'] === 'string' ? metadata['name'] : undefined;
}

/** Objects of one cluster-scoped kind. Starts to watch at `start()`; reads and writes work without. */
export class KubeStore<T extends { readonly metadata: ObjectMeta }> implements ObjectStore<T> {
  readonly #options: KubeStoreOptions<T>;
  readonly #clock: Clock;
  readonly #cache: ObjectCache<T>;
  readonly #watch: Watch;
  readonly #collection: string;
  /** Versions of objects on which the condition was, or is being, put right. */
  readonly #marked = new Map<string, string>();

  constructor(options: KubeStoreOptions<T>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const { group, version, plural, noun } = options.resource;
    this.#collection = `/apis/${group}/${version}/${plural}`;
    this.#cache = new ObjectCache({ read: (wire) => this.#readOrMark(wire), log: options.log });
    this.#watch = new Watch({
      ...options.watch,
      client: options.client,
      path: this.#collection,
      what: `${noun}s`,
      sink: this.#cache,
      log: options.log,
      clock: this.#clock,
      ...(options.random === undefined ? {} : { random: options.random }),
    });
  }

  start(): void {
    this.#watch.start();
  }

  /** Resolves when nothing of it runs any more. */
  async stop(): Promise<void> {
    await this.#watch.stop();
  }

  /** Milliseconds since the watch's last sign of life. */
  get watchAgeMs(): number {
    return this.#watch.ageMs;
  }

  get synced(): Promise<void> {
    return this.#watch.synced;
  }

  get isSynced(): boolean {
    return this.#watch.isSynced;
  }

  list(): readonly T[] {
    return this.#cache.list();
  }

  get(name: string): T | undefined {
    return this.#cache.get(name);
  }

  onChange(listener: (name: string) => void): () => void {
    return this.#cache.onChange(listener);
  }

  async read(name: string): Promise<T | undefined> {
    try {
      return this.#understand(await this.#fetch(name), `reading ${this.#noun} ${name}`);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async names(): Promise<readonly string[]> {
    const { client, watch } = this.#options;
    const pageSize = watch?.pageSize ?? NAMES_PAGE_SIZE;
    const what = `${this.#noun}s`;
    const { items } = await listAll({ client, path: this.#collection, what, pageSize, trim: nameOf });
    return items as readonly string[];
  }

  async create(meta: NewMeta, spec: unknown): Promise<T> {
    const doing = `creating ${this.#noun} ${meta.name}`;
    const body = serializeNew(this.#options.resource.kind, meta, spec);
    return this.#taken(
      await this.#options.client.request({ method: 'POST', path: this.#collection, body, doing }),
      doing,
    );
  }

  async mutateStatus(name: string, change: (current: T) => StatusOf<T> | undefined): Promise<T> {
    const doing = `writing the status of ${this.#noun} ${name}`;
    return this.#compareAndSwap(name, doing, '/status', (raw, current) => {
      const status = change(current);
      if (status === undefined) return undefined;
      const before = this.#options.serialize(current)['status'];
      const after = this.#options.serialize({ ...current, status })['status'];
      return { ...raw, status: overlay(raw['status'], before, after, this.#options.entriesBy) };
    });
  }

  async mutate(name: string, change: (current: T) => T | undefined): Promise<T> {
    const doing = `writing ${this.#noun} ${name}`;
    return this.#compareAndSwap(name, doing, '', (raw, current) => {
      const next = change(current);
      if (next === undefined) return undefined;
      const { annotations, labels, finalizers } = next.metadata;
      const spec = overlay(
        raw['spec'],
        this.#options.serialize(current)['spec'],
        this.#options.serialize(next)['spec'],
      );
      // Owners, field managers and what else we do not read stay as they are.
      return { ...raw, metadata: { ...(raw['metadata'] as Fields), annotations, labels, finalizers }, spec };
    });
  }

  async delete(name: string, options: { readonly uid?: string } = {}): Promise<void> {
    const preconditions = options.uid === undefined ? {} : { preconditions: { uid: options.uid } };
    try {
      await this.#options.client.request({
        method: 'DELETE',
        path: this.#path(name),
        body: { apiVersion: 'v1', kind: 'DeleteOptions', ...preconditions },
        doing: `deleting ${this.#noun} ${name}`,
      });
    } catch (error) {
      // A conflict says that the name belongs to another incarnation by now: ours is gone.
      if (isNotFound(error) || (isConflict(error) && options.uid !== undefined)) return;
      throw error;
    }
  }

  get #noun(): string {
    return this.#options.resource.noun;
  }

  #path(name: string, subresource = ''): string {
    return `${this.#collection}/${encodeURIComponent(name)}${subresource}`;
  }

  #fetch(name: string): Promise<unknown> {
    return this.#options.client.request({
      method: 'GET',
      path: this.#path(name),
      doing: `reading ${this.#noun} ${name}`,
    });
  }

  async #compareAndSwap(
    name: string,
    doing: string,
    subresource: string,
    compute: (raw: Fields, current: T) => Fields | undefined,
  ): Promise<T> {
    const backOff = new BackOff({
      ...CONFLICT_BACK_OFF,
      ...(this.#options.random === undefined ? {} : { random: this.#options.random }),
    });
    for (;;) {
      const raw = (await this.#fetch(name)) as Fields;
      const current = this.#understand(raw, doing);
      const body = compute(raw, current);
      if (body === undefined) {
        // The cache may be what made the caller believe that there was something to change.
        this.#cache.written(current);
        return current;
      }
      try {
        const path = this.#path(name, subresource);
        return this.#taken(await this.#options.client.request({ method: 'PUT', path, body, doing }), doing);
      } catch (error) {
        if (!isConflict(error)) throw error;
        if (backOff.failures + 1 >= MUTATE_ATTEMPTS) {
          throw new DomainError(
            'unavailable',
            `${doing}: others wrote it ${MUTATE_ATTEMPTS} times meanwhile; try again`,
            {
              cause: error,
            },
          );
        }
        await sleep(this.#clock, backOff.next());
      }
    }
  }

  #understand(wire: unknown, doing: string): T {
    const parsed = this.#options.parse(wire);
    if (parsed.ok) return parsed.value;
    throw new DomainError('internal', `${doing}: the object is malformed: ${parsed.problem}; repair it by hand`);
  }

  #taken(wire: unknown, doing: string): T {
    const object = this.#understand(wire, doing);
    this.#cache.written(object);
    return object;
  }

  /** For the cache: the object, or undefined and a condition written on it; a condition that no longer holds is removed. */
  #readOrMark(wire: unknown): T | undefined {
    const parsed = this.#options.parse(wire);
    const { name, uid, version } = identityOf(wire);
    if (name === undefined) {
      this.#options.log.error('object without a name', { kind: this.#options.resource.kind });
      return undefined;
    }
    const problem = parsed.ok ? undefined : parsed.problem;
    const conditions = correctedConditions(wire, problem, timestamp(this.#clock));
    if (conditions === undefined) this.#marked.delete(name);
    else if (this.#marked.get(name) !== `${uid}/${version}`) {
      this.#marked.set(name, `${uid}/${version}`);
      if (problem !== undefined) {
        this.#options.log.error('object is malformed', { kind: this.#options.resource.kind, name, problem });
      }
      void this.#mark(name, version, conditions);
    }
    return parsed.ok ? parsed.value : undefined;
  }

  async #mark(name: string, resourceVersion: string, conditions: readonly unknown[]): Promise<void> {
    try {
      await this.#options.client.request({
        method: 'PATCH',
        path: this.#path(name, '/status'),
        body: { metadata: { resourceVersion }, status: { conditions } },
        contentType: 'application/merge-patch+json',
        doing: `writing the condition ${MALFORMED_CONDITION} of ${this.#noun} ${name}`,
      });
    } catch (error) {
      // Lost a race: whoever won made a new version, and the watch brings it here.
      if (isConflict(error) || isNotFound(error)) return;
      this.#marked.delete(name);
      const message = error instanceof Error ? error.message : String(error);
      this.#options.log.warn('condition not written', { name, error: message });
    }
  }
}

function identityOf(wire: unknown): {
  readonly name: string | undefined;
  readonly uid: string;
  readonly version: string;
} {
  const metadata = ((wire as Fields | undefined)?.['metadata'] ?? {}) as Fields;
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  const name = text(metadata['name']);
  return {
    name: name === '' ? undefined : name,
    uid: text(metadata['uid']),
    version: text(metadata['resourceVersion']),
  };
}

/** The conditions the object should carry with regard to being malformed; undefined when it carries them. */
function correctedConditions(
  wire: unknown,
  problem: string | undefined,
  now: string,
): readonly Condition[] | undefined {
  const status = (wire as { readonly status?: unknown } | undefined)?.status;
  const raw = (status as { readonly conditions?: unknown } | null | undefined)?.conditions;
  const old = Array.isArray(raw) ? raw.filter(isCondition) : [];
  const reason = 'DoesNotFitSchema';
  const next =
    problem === undefined
      ? removeCondition(old, MALFORMED_CONDITION)
      : setCondition(old, { type: MALFORMED_CONDITION, status: 'True', reason, message: problem }, now);
  return next === old ? undefined : next;
}

function isCondition(value: unknown): value is Condition {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Fields;
  const words = ['type', 'status', 'reason', 'message', 'lastTransitionTime'];
  return words.every((key) => typeof fields[key] === 'string');
}

/**
 * What is stored, with what changed between two wire forms of it: fields that this version does not know, in entries of these
 * lists too, stay as they are. A newer version of the driver may have written them.
 */
function overlay(
  stored: unknown,
  before: unknown,
  after: unknown,
  entriesBy: Readonly<Record<string, string>> = {},
): Fields {
  const [old, was, next] = [fieldsOf(stored), fieldsOf(before), fieldsOf(after)];
  const isRemoved = (key: string) => key in was && !(key in next);
  const kept = Object.entries(old).filter(([key]) => !isRemoved(key));
  const lists = Object.entries(entriesBy).map(([list, id]) => [
    list,
    entriesOf(next[list]).map((entry) => {
      const same = (other: Fields) => other[id] === entry[id];
      return overlay(entriesOf(old[list]).find(same), entriesOf(was[list]).find(same), entry);
    }),
  ]);
  return { ...Object.fromEntries(kept), ...next, ...(Object.fromEntries(lists) as Fields) };
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

function entriesOf(list: unknown): readonly Fields[] {
  return Array.isArray(list) ? list.map(fieldsOf) : [];
}
