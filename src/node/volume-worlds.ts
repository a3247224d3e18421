/** Where this node's operations get their worlds: a fresh look at the kernel and a linearizable read of the volume, each time. */
import { lstat } from 'node:fs/promises';
import { errnoCode } from '../api/errors.ts';
import { RDMA_ADDRESS_ANNOTATION, TCP_ADDRESS_ANNOTATION, parseVolumeMark, volumeMarkFor } from '../api/names.ts';
import type { Kernel } from '../api/kernel.ts';
import type { NodeInfo, ObjectStore } from '../api/object.ts';
import { isOutOfService } from '../api/out-of-service.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import type { Plan, ConsumerWorld, FilesystemSeen, HolderWorld, NodeIdentity } from '../plan/world.ts';
import type { HolderStep } from '../plan/steps.ts';
import { planHolder } from '../plan/holding.ts';
import type { Processes } from './openers.ts';
import type { HolderView } from './observe-volume.ts';
import { observeConsumer, observeHolder } from './observe-volume.ts';
import { volumeFromKernel } from './orphan.ts';
import type { SharedLook } from './shared-look.ts';
import type { NodeSnapshot } from './snapshot.ts';
import { lookAtArrays, takeSnapshot } from './snapshot.ts';

/** Reads a Node; the only thing that this role needs of them. */
export interface NodeReader {
  read(name: string): Promise<NodeInfo | undefined>;
}

export interface WorldParts {
  readonly kernel: Kernel;
  readonly volumes: ObjectStore<MeshStorVolume>;
  readonly nodes: NodeReader;
  readonly me: NodeIdentity;
  readonly startGraceMs: number;
  readonly holderView: () => HolderView;
  readonly look: SharedLook;
  readonly processes: Pick<Processes, 'findOpeners'>;
}

export interface ConsumerLook {
  readonly filesystem: FilesystemSeen;
  readonly waitedMs: number;
  readonly paths: readonly string[];
  /** Look for programs that have the array open, too: a walk through /proc. */
  readonly openers?: boolean;
}

const UNPROBED: FilesystemSeen = { kind: 'unprobed' };

/** Those of the paths at which there is something. */
async function existing(paths: readonly string[]): Promise<readonly string[]> {
  const found = await Promise.all(
    paths.map(async (path) => {
      try {
        await lstat(path);
        return [path];
      } catch (error) {
        if (errnoCode(error) === 'ENOENT') return [];
        throw error;
      }
    }),
  );
  return found.flat();
}

/** A node's NVMe-oF addresses: its annotations, else its InternalIP (SPEC §1). */
export function addressesOf(node: NodeInfo): { readonly tcp: string; readonly rdma?: string } {
  const rdma = node.metadata.annotations[RDMA_ADDRESS_ANNOTATION];
  const tcp = node.metadata.annotations[TCP_ADDRESS_ANNOTATION] ?? node.internalIP;
  return rdma === undefined ? { tcp } : { tcp, rdma };
}

const ASK_EVERY_MS = 5000;

type Holders = Pick<ConsumerWorld, 'addresses' | 'offNodes'>;

const NOBODY: Holders = { addresses: {}, offNodes: [] };

function holdersFrom(names: readonly string[], find: (name: string) => NodeInfo | undefined): Holders {
  const addresses = names.flatMap((name) => {
    const node = find(name);
    return node === undefined ? [] : [[name, addressesOf(node)] as const];
  });
  return {
    addresses: Object.fromEntries(addresses),
    offNodes: names.filter((name) => isOutOfService(find(name))),
  };
}

export class VolumeWorlds {
  readonly #parts: WorldParts;
  /** As they were when somebody asked last. */
  readonly #lastNodes = new Map<string, NodeInfo>();
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: WorldParts) {
    this.#parts = parts;
  }

  get me(): NodeIdentity {
    return this.#parts.me;
  }

  /**
   * The holder's plan. A first look takes the cached volume and leaves the stamps unread, so that a pass with nothing to do costs
   * neither a request nor a read; every decision to act is made again on a linearizable read (SPEC §7.5) and with the stamps.
   */
  async planHolding(volumeId: string): Promise<Plan<HolderStep>> {
    const { kernel, volumes, holderView } = this.#parts;
    const cached = volumes.get(volumeId);
    if (cached === undefined) return { kind: 'done' };
    const glance = planHolder(await observeHolder(kernel, await this.#parts.look.take(), cached, holderView(), false));
    if (glance.kind === 'done') return glance;
    const world = await this.holder(volumeId);
    return world === undefined ? { kind: 'done' } : planHolder(world);
  }

  async holder(volumeId: string): Promise<HolderWorld | undefined> {
    const { kernel, volumes, holderView } = this.#parts;
    const volume = await volumes.read(volumeId);
    if (volume === undefined) return undefined;
    return observeHolder(kernel, await takeSnapshot(kernel), volume, holderView(), true);
  }

  /** Undefined when there is no such volume. */
  async consumer(volumeId: string, look: ConsumerLook): Promise<ConsumerWorld | undefined> {
    const volume = await this.#parts.volumes.read(volumeId);
    if (volume === undefined) return undefined;
    return this.#observe(await takeSnapshot(this.#parts.kernel), volume, look);
  }

  /** From the cache and a shared look, without stamps: for reports, which are written by compare and swap. */
  async reported(volumeId: string): Promise<ConsumerWorld | undefined> {
    const volume = this.#parts.volumes.get(volumeId);
    if (volume === undefined) return undefined;
    const holders = await this.#lastHolders(volume);
    const look = { filesystem: UNPROBED, waitedMs: 0, paths: [], ...holders, withStamps: false };
    const { kernel, me, startGraceMs } = this.#parts;
    return observeConsumer(kernel, await this.#parts.look.take(), volume, { me, startGraceMs, ...look });
  }

  /**
   * Volumes of which this node is the consumer, by the cache and one look at guards and arrays: no request, no read of a drive. They have
   * neither partitions nor connections nor mounts.
   */
  async consumedHere(): Promise<readonly ConsumerWorld[]> {
    const { kernel, me, startGraceMs, volumes } = this.#parts;
    const mine = volumes.list().filter(({ status }) => status?.nodeName === me.nodeName);
    if (mine.length === 0) return [];
    const snapshot = await lookAtArrays(kernel);
    const view = { me, ...NOBODY, filesystem: UNPROBED, waitedMs: 0, startGraceMs, withStamps: false, paths: [] };
    return Promise.all(mine.map((volume) => observeConsumer(kernel, snapshot, volume, view)));
  }

  /**
   * Of these volumes, those that have guards here and another consumer, or none: by the cache and a shared look. The guards say by
   * their dm uuid whose they are.
   */
  async leftHere(candidates: readonly MeshStorVolume[]): Promise<readonly string[]> {
    const marks = await this.marksHere();
    if (marks.size === 0) return [];
    const others = candidates.filter(({ status }) => status?.nodeName !== this.me.nodeName);
    // One hash for each volume of the cluster, and none of each guard with each.
    return others.map(({ metadata }) => metadata.name).filter((volumeId) => marks.has(volumeMarkFor(volumeId)));
  }

  /** What stands for the volumes of which guards are here, by a shared look. */
  async marksHere(): Promise<ReadonlySet<string>> {
    const { legs } = await this.#parts.look.take();
    return new Set(legs.flatMap(({ uuid }) => parseVolumeMark(uuid) ?? []));
  }

  /** From the cache: for answers about a volume. */
  async cachedConsumer(volumeId: string, paths: readonly string[]): Promise<ConsumerWorld | undefined> {
    const volume = this.#parts.volumes.get(volumeId);
    if (volume === undefined) return undefined;
    const snapshot = await takeSnapshot(this.#parts.kernel);
    return this.#observeWith(snapshot, volume, { filesystem: UNPROBED, waitedMs: 0, paths }, NOBODY);
  }

  /** For a volume without an object: its guards, their array, their connections, its mounts. Undefined when nothing of it is there. */
  async orphan(volumeId: string, stagingPath: string): Promise<ConsumerWorld | undefined> {
    const snapshot = await takeSnapshot(this.#parts.kernel);
    const volume = volumeFromKernel({ name: volumeId, mark: volumeMarkFor(volumeId), stagingPath }, snapshot);
    const look = { filesystem: UNPROBED, waitedMs: 0, paths: [stagingPath], openers: true };
    // Its holders' names are not known, and a teardown connects to nobody.
    return volume === undefined ? undefined : this.#observeWith(snapshot, volume, look, NOBODY);
  }

  /** The same by what stands for the volume in its guards: what else it was called is not known. */
  async orphanOf(mark: string, waitedMs: number): Promise<ConsumerWorld | undefined> {
    const snapshot = await takeSnapshot(this.#parts.kernel);
    const volume = volumeFromKernel({ name: mark, mark }, snapshot);
    const look = { filesystem: UNPROBED, waitedMs, paths: [], openers: true };
    return volume === undefined ? undefined : this.#observeWith(snapshot, volume, look, NOBODY);
  }

  /** What is at a path, whatever volume it belongs to: enough to take it away. */
  async pathWorld(path: string): Promise<Pick<ConsumerWorld, 'mounts' | 'existingPaths'>> {
    const mounted = (await this.#parts.kernel.mounts()).filter((mount) => mount.mountPoint === path);
    const mounts = mounted.map((mount) => ({
      mountPoint: path,
      devNumber: mount.devNumber,
      isOurs: true,
      fsType: mount.fsType,
      readOnly: mount.options.includes('ro'),
    }));
    return { mounts, existingPaths: await existing([path]) };
  }

  async #observe(snapshot: NodeSnapshot, volume: MeshStorVolume, look: ConsumerLook): Promise<ConsumerWorld> {
    return this.#observeWith(snapshot, volume, look, await this.#holders(volume));
  }

  async #observeWith(
    snapshot: NodeSnapshot,
    volume: MeshStorVolume,
    look: ConsumerLook,
    holders: Holders,
  ): Promise<ConsumerWorld> {
    const { kernel, me, startGraceMs } = this.#parts;
    const world = await observeConsumer(kernel, snapshot, volume, {
      me,
      ...holders,
      startGraceMs,
      withStamps: true,
      ...look,
    });
    const seen = { ...world, existingPaths: await existing(look.paths) };
    const devNumber = snapshot.arrays.find(({ name }) => name === world.array?.name)?.devNumber;
    if (look.openers !== true || world.array === undefined || devNumber === undefined) return seen;
    return { ...seen, array: { ...world.array, openers: await this.#parts.processes.findOpeners(devNumber) } };
  }

  /**
   * Where they were when somebody asked last: a look that costs no request. Only a consumer that knows nothing of a holder asks, as after
   * a restart of its process: it could never connect to it.
   */
  async #lastHolders(volume: MeshStorVolume): Promise<Holders> {
    const names = this.#otherHolders(volume);
    const isUnknown = (name: string): boolean => !this.#lastNodes.has(name);
    if (volume.status?.nodeName === this.me.nodeName && names.some(isUnknown) && this.#mayAsk()) {
      await this.#holders(volume).catch(() => undefined); // Without the API there is nothing to be known.
    }
    const { addresses } = holdersFrom(names, (name) => this.#lastNodes.get(name));
    return { addresses, offNodes: [] };
  }

  /** Of nodes that are not there, and without the API, not at every look. */
  #mayAsk(): boolean {
    const now = performance.now();
    if (now - this.#askedAt < ASK_EVERY_MS) return false;
    this.#askedAt = now;
    return true;
  }

  async #holders(volume: MeshStorVolume): Promise<Holders> {
    const names = this.#otherHolders(volume);
    const nodes = new Map<string, NodeInfo>();
    for (const node of await Promise.all(names.map((name) => this.#parts.nodes.read(name)))) {
      if (node !== undefined) nodes.set(node.metadata.name, node);
    }
    for (const name of names) {
      const node = nodes.get(name);
      if (node === undefined) this.#lastNodes.delete(name);
      else this.#lastNodes.set(name, node);
    }
    return holdersFrom(names, (name) => nodes.get(name));
  }

  #otherHolders(volume: MeshStorVolume): readonly string[] {
    const holders = new Set((volume.status?.partitions ?? []).map((partition) => partition.nodeID));
    holders.delete(this.#parts.me.nodeName);
    return [...holders];
  }
}
