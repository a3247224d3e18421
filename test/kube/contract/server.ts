import { randomUUID } from 'node:crypto';
import type { KubeClient } from '../../../src/kube/index.ts';
import { ApiError, createKubeClient } from '../../../src/kube/index.ts';

/** A running API server with our kinds installed, real or stand-in. */
export interface ContractServer {
  /** Path of a kubeconfig that may do everything. */
  readonly kubeconfig: string;
  /** Path of the kubectl to use; undefined: the one on the PATH, if there is one. */
  readonly kubectl?: string;
  /** Forgets the history of changes; undefined where that cannot be asked for. */
  readonly compact?: () => Promise<void>;
  close(): Promise<void>;
}

export type ServerFactory = () => Promise<ContractServer>;

export const VOLUMES = '/apis/csi.meshstor.io/v1alpha1/meshstorvolumes';
export const DEVICES = '/apis/csi.meshstor.io/v1alpha1/meshstornodedevices';

/** What the tests read of any object. */
export interface Wire {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly generation: number;
    readonly deletionTimestamp?: string;
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
    readonly finalizers?: string[];
  };
  readonly spec: Record<string, unknown>;
  readonly status?: Record<string, unknown>;
}

export interface WireList {
  readonly items: readonly Wire[];
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
}

/** Short words for requests. */
export class Api {
  readonly client: KubeClient;

  constructor(kubeconfig: string) {
    this.client = createKubeClient({ kubeconfig });
  }

  async get(path: string): Promise<Wire> {
    return (await this.client.request({ method: 'GET', path, doing: 'get' })) as Wire;
  }

  async list(path: string, query: Record<string, string> = {}): Promise<WireList> {
    return (await this.client.request({ method: 'GET', path, query, doing: 'list' })) as WireList;
  }

  async create(path: string, body: unknown, query: Record<string, string> = {}): Promise<Wire> {
    return (await this.client.request({ method: 'POST', path, query, body, doing: 'create' })) as Wire;
  }

  async put(path: string, body: unknown): Promise<Wire> {
    return (await this.client.request({ method: 'PUT', path, body, doing: 'put' })) as Wire;
  }

  async patch(path: string, body: unknown, contentType = 'application/merge-patch+json'): Promise<Wire> {
    return (await this.client.request({ method: 'PATCH', path, body, contentType, doing: 'patch' })) as Wire;
  }

  async delete(path: string, body?: unknown): Promise<unknown> {
    return this.client.request({ method: 'DELETE', path, ...(body === undefined ? {} : { body }), doing: 'delete' });
  }
}

/** The error of a request that must fail. */
export async function failure(request: Promise<unknown>): Promise<ApiError> {
  try {
    await request;
  } catch (error) {
    if (error instanceof ApiError) return error;
    throw error;
  }
  throw new Error('the request succeeded');
}

let counter = 0;

/** A name that no other test uses. */
export function freshName(prefix = 'vol'): string {
  counter += 1;
  return `${prefix}-${process.pid}-${counter}`;
}

export function volumeSpec(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    capacityBytes: 1073741824,
    numberOfCopies: 2,
    drivesPerCopy: 1,
    memberMissingTimeout: 900,
    nvmeofNamespaceIDs: [1, 2],
    volumeUUID: randomUUID(),
    fsType: 'xfs',
    volumeMode: 'Filesystem',
    dataLocality: 'best-effort',
    onWitnessLoss: 'suspend',
    onLastCopyLoss: 'hold',
    ...changes,
  };
}

export function volume(name: string, spec: Record<string, unknown> = {}, meta: Record<string, unknown> = {}): object {
  return {
    apiVersion: 'csi.meshstor.io/v1alpha1',
    kind: 'MeshStorVolume',
    metadata: { name, ...meta },
    spec: volumeSpec(spec),
  };
}

export function partition(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    nodeID: 'node1',
    partitionUUID: randomUUID(),
    nvmeofNamespaceID: 1,
    state: 'Requested',
    sizeBytes: 1074790400,
    updatedAt: '2026-08-01T10:00:00Z',
    device: 'nvme0n1',
    serial: 'S1-1',
    slot: 0,
    generation: 0,
    transport: 'tcp',
    epoch: 0,
    ...changes,
  };
}

/** The first `count` events of a watch, bookmarks left out; fails after five seconds. */
export async function collect(
  api: Api,
  path: string,
  query: Record<string, string>,
  count: number,
): Promise<WatchEvent[]> {
  const cut = new AbortController();
  const timer = setTimeout(() => cut.abort(), 5000);
  const events: WatchEvent[] = [];
  try {
    const lines = await api.client.stream({
      path,
      query: { watch: '1', ...query },
      doing: 'watch',
      signal: cut.signal,
    });
    for await (const line of lines) {
      const event = JSON.parse(line) as WatchEvent;
      if (event.type !== 'BOOKMARK') events.push(event);
      if (events.length >= count) break;
    }
  } finally {
    clearTimeout(timer);
    cut.abort();
  }
  return events;
}

export interface WatchEvent {
  readonly type: string;
  readonly object: Wire & { readonly code?: number; readonly reason?: string };
}
