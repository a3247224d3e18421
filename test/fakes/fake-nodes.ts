/** What the roles only read of the cluster: Nodes, and which volumes PersistentVolumes name. */
import type { ClaimedVolumes, NodeInfo, NodeStore } from '../../src/api/object.ts';
import { newMeta, requireName } from './fake-store.ts';

/** Nodes: read only for the code under test, settable by the test. */
export class FakeNodeStore implements NodeStore {
  readonly synced = Promise.resolve();
  isSynced = true;
  readonly #nodes = new Map<string, NodeInfo>();
  readonly #listeners = new Set<(name: string) => void>();

  set(name: string, more: Partial<Omit<NodeInfo, 'metadata'>> & { annotations?: Record<string, string> } = {}): void {
    const { annotations = {}, ...rest } = more;
    this.#nodes.set(name, {
      metadata: { ...newMeta(name), annotations },
      internalIP: '10.0.0.1',
      machineID: `machine-of-${name}`,
      ready: true,
      unschedulable: false,
      taints: [],
      ...rest,
    });
    for (const listener of this.#listeners) listener(name);
  }

  remove(name: string): void {
    this.#nodes.delete(name);
    for (const listener of this.#listeners) listener(name);
  }

  list(): readonly NodeInfo[] {
    return [...this.#nodes.values()];
  }

  get(name: string): NodeInfo | undefined {
    return this.#nodes.get(name);
  }

  onChange(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async read(name: string): Promise<NodeInfo | undefined> {
    requireName(name);
    return this.#nodes.get(name);
  }
}

/** PersistentVolumes: every volume has one, but for those that are named. */
export class FakeClaimedVolumes implements ClaimedVolumes {
  isSynced = true;
  watchAgeMs = 0;
  readonly #without = new Set<string>();
  readonly #listeners = new Set<(volumeId: string) => void>();

  has(volumeId: string): boolean {
    return this.isSynced && !this.#without.has(volumeId);
  }

  remove(volumeId: string): void {
    this.#without.add(volumeId);
    for (const listener of this.#listeners) listener(volumeId);
  }

  add(volumeId: string): void {
    this.#without.delete(volumeId);
    for (const listener of this.#listeners) listener(volumeId);
  }

  onChange(listener: (volumeId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
