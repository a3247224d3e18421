import type { NodeInfo, NodeStore } from '../api/object.ts';
import { deepFreeze, parseMeta } from '../api/parse.ts';
import { DomainError } from '../api/errors.ts';
import { isNotFound } from './api-error.ts';
import { ObjectCache } from './cache.ts';
import type { KubeClient } from './client.ts';
import type { Clock, Log } from './clock.ts';
import { Watch } from './watch.ts';
import type { WatchOptions } from './watch.ts';

type Fields = Readonly<Record<string, unknown>>;

const NODES = '/api/v1/nodes';

/** Reads one node at a time; all the node role may do. */
export interface NodeReader {
  /** What the API says now; undefined when there is no such node. */
  read(name: string): Promise<NodeInfo | undefined>;
}

export function createNodeReader(client: KubeClient): NodeReader {
  return { read: (name) => readNode(client, name) };
}

export interface NodeStoreOptions {
  readonly client: KubeClient;
  readonly log: Log;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly watch?: Partial<Pick<WatchOptions, 'pageSize' | 'watchSeconds' | 'stallMs' | 'relistMs' | 'backOff'>>;
}

/** All nodes of the cluster, kept by a watch; for the controller role. */
export class KubeNodeStore implements NodeStore {
  readonly #client: KubeClient;
  readonly #cache: ObjectCache<NodeInfo>;
  readonly #watch: Watch;

  constructor(options: NodeStoreOptions) {
    this.#client = options.client;
    this.#cache = new ObjectCache({ read: (wire) => parseOrLog(wire, options.log), log: options.log });
    this.#watch = new Watch({
      ...options.watch,
      client: options.client,
      path: NODES,
      what: 'nodes',
      sink: this.#cache,
      log: options.log,
      ...(options.clock === undefined ? {} : { clock: options.clock }),
      ...(options.random === undefined ? {} : { random: options.random }),
    });
  }

  start(): void {
    this.#watch.start();
  }

  async stop(): Promise<void> {
    await this.#watch.stop();
  }

  get watchAgeMs(): number {
    return this.#watch.ageMs;
  }

  get synced(): Promise<void> {
    return this.#watch.synced;
  }

  get isSynced(): boolean {
    return this.#watch.isSynced;
  }

  list(): readonly NodeInfo[] {
    return this.#cache.list();
  }

  get(name: string): NodeInfo | undefined {
    return this.#cache.get(name);
  }

  onChange(listener: (name: string) => void): () => void {
    return this.#cache.onChange(listener);
  }

  read(name: string): Promise<NodeInfo | undefined> {
    return readNode(this.#client, name);
  }
}

/** What the project reads of a core Node; a string says what is wrong. Lenient: nodes are not ours. */
export function parseNode(wire: unknown): NodeInfo | string {
  const fields = asFields(wire);
  const metadata = parseMeta(fields['metadata']);
  if (typeof metadata === 'string') return metadata;
  const spec = asFields(fields['spec']);
  const status = asFields(fields['status']);
  const address = asList(status['addresses']).find((entry) => entry['type'] === 'InternalIP');
  const ready = asList(status['conditions']).find((entry) => entry['type'] === 'Ready');
  return deepFreeze({
    metadata,
    internalIP: text(address?.['address']),
    machineID: text(asFields(status['nodeInfo'])['systemUUID']).toLowerCase(),
    ready: ready?.['status'] === 'True',
    unschedulable: spec['unschedulable'] === true,
    taints: asList(spec['taints']).map((taint) => ({
      key: text(taint['key']),
      value: text(taint['value']),
      effect: text(taint['effect']),
    })),
  });
}

async function readNode(client: KubeClient, name: string): Promise<NodeInfo | undefined> {
  const doing = `reading node ${name}`;
  try {
    const wire = await client.request({ method: 'GET', path: `${NODES}/${encodeURIComponent(name)}`, doing });
    const node = parseNode(wire);
    if (typeof node === 'string') throw new DomainError('internal', `${doing}: the object is malformed: ${node}`);
    return node;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function parseOrLog(wire: unknown, log: Log): NodeInfo | undefined {
  const node = parseNode(wire);
  if (typeof node !== 'string') return node;
  log.warn('node object is malformed', { problem: node });
  return undefined;
}

function asFields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

function asList(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.map(asFields) : [];
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
