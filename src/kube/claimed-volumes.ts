import { DRIVER_NAME } from '../api/names.ts';
import type { ClaimedVolumes } from '../api/object.ts';
import type { KubeClient } from './client.ts';
import type { Clock, Log } from './clock.ts';
import { Watch } from './watch.ts';
import type { WatchOptions, WatchSink } from './watch.ts';

type Fields = Readonly<Record<string, unknown>>;

const PERSISTENT_VOLUMES = '/api/v1/persistentvolumes';

export interface ClaimedVolumesOptions {
  readonly client: KubeClient;
  readonly log: Log;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly watch?: Partial<Pick<WatchOptions, 'pageSize' | 'watchSeconds' | 'stallMs' | 'relistMs' | 'backOff'>>;
}

/** All that is kept of a PersistentVolume: there may be ten thousands of them. */
interface Claim {
  readonly name: string;
  /** The volume of ours that it names. */
  readonly volumeId: string;
}

/** The volumes that PersistentVolumes of this driver name by their handle, whoever made those; kept by a watch. */
export class KubeClaimedVolumes implements ClaimedVolumes, WatchSink {
  readonly #watch: Watch;
  readonly #log: Log;
  readonly #listeners = new Set<(volumeId: string) => void>();
  /** Name of the PersistentVolume → what it names. */
  #volumeIds = new Map<string, string>();
  /** How many name it: two made by hand may. */
  #counts = new Map<string, number>();

  constructor(options: ClaimedVolumesOptions) {
    this.#log = options.log;
    this.#watch = new Watch({
      ...options.watch,
      client: options.client,
      path: PERSISTENT_VOLUMES,
      what: 'persistent volumes',
      sink: this,
      trim: claimIn,
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

  has(volumeId: string): boolean {
    return this.#counts.has(volumeId);
  }

  /** How many PersistentVolumes are kept. */
  get size(): number {
    return this.#volumeIds.size;
  }

  get isSynced(): boolean {
    return this.#watch.isSynced;
  }

  get synced(): Promise<void> {
    return this.#watch.synced;
  }

  get watchAgeMs(): number {
    return this.#watch.ageMs;
  }

  onChange(listener: (volumeId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** `items` were trimmed. */
  replace(items: readonly unknown[]): void {
    const before = this.#counts;
    this.#volumeIds = new Map();
    this.#counts = new Map();
    for (const { name, volumeId } of items as readonly Claim[]) this.#add(name, volumeId);
    for (const volumeId of before.keys()) if (!this.#counts.has(volumeId)) this.#notify(volumeId);
    for (const volumeId of this.#counts.keys()) if (!before.has(volumeId)) this.#notify(volumeId);
  }

  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: unknown): void {
    const name = textAt(object, 'metadata', 'name');
    const claim = type === 'DELETED' ? undefined : claimIn(object);
    const before = this.#volumeIds.get(name);
    if (before === claim?.volumeId) return;
    if (before !== undefined) this.#remove(name, before);
    if (claim !== undefined) this.#add(name, claim.volumeId);
    for (const volumeId of [before, claim?.volumeId]) if (volumeId !== undefined) this.#notify(volumeId);
  }

  progress(): void {
    // Nothing is compared by version: there are no own writes.
  }

  #add(name: string, volumeId: string): void {
    this.#volumeIds.set(name, volumeId);
    this.#counts.set(volumeId, (this.#counts.get(volumeId) ?? 0) + 1);
  }

  #remove(name: string, volumeId: string): void {
    this.#volumeIds.delete(name);
    const left = (this.#counts.get(volumeId) ?? 1) - 1;
    if (left === 0) this.#counts.delete(volumeId);
    else this.#counts.set(volumeId, left);
  }

  #notify(volumeId: string): void {
    for (const listener of this.#listeners) {
      try {
        listener(volumeId);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        this.#log.error('change listener failed', { name: volumeId, error: message });
      }
    }
  }
}

/** Undefined for a PersistentVolume that is none of ours. */
function claimIn(object: unknown): Claim | undefined {
  const name = textAt(object, 'metadata', 'name');
  const volumeId = textAt(object, 'spec', 'csi', 'volumeHandle');
  if (name === '' || volumeId === '' || textAt(object, 'spec', 'csi', 'driver') !== DRIVER_NAME) return undefined;
  return { name, volumeId };
}

function textAt(object: unknown, ...path: readonly string[]): string {
  let value = object;
  for (const key of path) value = typeof value === 'object' && value !== null ? (value as Fields)[key] : undefined;
  return typeof value === 'string' ? value : '';
}
