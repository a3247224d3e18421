/**
 * One volume in a small cluster, in memory: its object, and for every node what the kernel holds. Worlds are taken from it, and
 * `model-steps.ts` carries out the planners' steps on it. Data is a version number for each partition: what was acknowledged
 * last, plus 0.5 when a write that nobody acknowledged got there.
 */
import { hostIdFor, hostNqnFor } from '../../src/api/names.ts';
import type { MeshStorVolume, PartitionStatus, VolumeStatus } from '../../src/api/volume.ts';
import { deriveStatus } from '../../src/plan/lifecycle.ts';
import type { ConsumerWorld, FilesystemSeen, HolderWorld, NodeIdentity } from '../../src/plan/world.ts';
import { MIB } from '../../src/support/units.ts';
import { uuidV5 } from '../../src/support/uuid.ts';
import type { ModelArray, ModelNode, ModelPartition } from './model-parts.ts';
import type { Shape } from './model-volume.ts';
import { newVolume, roomBehind, VOLUME_UUID } from './model-volume.ts';

export type { ModelArray, ModelNode, ModelPartition } from './model-parts.ts';
export type { Shape } from './model-volume.ts';
export { NOW, VOLUME_UUID } from './model-volume.ts';

export const STAGING = '/var/lib/kubelet/staging';
/** Drives of each node beyond those that a copy takes. */
export const SPARE_DRIVES = 3;
export const TARGET = '/var/lib/kubelet/pods/a/mount';

export class ModelCluster {
  readonly shape: Shape;
  readonly nodes: ModelNode[];
  volume: MeshStorVolume;
  /** The highest version that a pod was told is on disk. */
  acknowledged = 0;
  /** What is on the array, whichever members it has. */
  filesystem: FilesystemSeen = { kind: 'none' };
  /** What the superblocks say, and what the filesystem fills. */
  arrayBytes = 0;
  filesystemBytes = 0;
  /** By NQN: the size that hosts were told. */
  readonly namespaceBytes = new Map<string, number>();
  births = 0;
  waitedMs = 0;
  attachments = 0;
  /** Order in which worlds list things. */
  reversed = false;

  constructor(shape: Shape) {
    this.shape = shape;
    this.nodes = Array.from({ length: shape.nodes }, (_, index) => ({
      name: `node-${index}`,
      bootCount: 1,
      up: true,
      partitions: new Map(),
      legs: [],
      exports: [],
      imports: [],
      array: undefined,
      mounts: [],
      shutDown: false,
      roomBytes: 2048 * MIB,
      zeroedTo: new Map(),
    }));
    this.volume = newVolume(shape);
  }

  get status(): VolumeStatus {
    if (this.volume.status === undefined) throw new Error('the model always has a status');
    return this.volume.status;
  }

  set status(status: VolumeStatus) {
    this.volume = { ...this.volume, status };
  }

  node(name: string): ModelNode {
    const found = this.nodes.find((node) => node.name === name);
    if (found === undefined) throw new Error(`no node ${name}`);
    return found;
  }

  get consumer(): ModelNode | undefined {
    return this.status.nodeName === '' ? undefined : this.node(this.status.nodeName);
  }

  partition(partitionUUID: string): ModelPartition | undefined {
    return this.nodes.map((node) => node.partitions.get(partitionUUID)).find((found) => found !== undefined);
  }

  entry(partitionUUID: string): PartitionStatus | undefined {
    return this.status.partitions.find((entry) => entry.partitionUUID === partitionUUID);
  }

  identity(node: ModelNode): NodeIdentity {
    return {
      nodeName: node.name,
      machineID: uuidV5(VOLUME_UUID, `machine/${node.name}`),
      bootID: uuidV5(VOLUME_UUID, `boot/${node.name}/${node.bootCount}`),
      hostNqn: hostNqnFor(node.name),
      hostID: hostIdFor(node.name),
    };
  }

  attach(name: string): void {
    if (this.status.nodeName !== '' || this.status.phase === 'Deleting') return;
    this.attachments += 1;
    this.status = deriveStatus(this.volume, {
      ...this.status,
      nodeName: name,
      machineID: this.identity(this.node(name)).machineID,
      attachmentEpoch: this.status.attachmentEpoch + 1,
      attachmentID: uuidV5(VOLUME_UUID, `attachment/${this.attachments}`),
      mdState: '',
    });
  }

  detach(): void {
    if (this.status.nodeName === '') return;
    const { attachmentEpoch } = this.status;
    const next = {
      ...this.status,
      nodeName: '',
      machineID: '',
      attachmentID: '',
      attachmentEpoch: attachmentEpoch + 1,
    };
    this.status = deriveStatus(this.volume, next);
  }

  delete(): void {
    const partitions = this.status.partitions.map((entry) => ({ ...entry, state: 'Deleting' as const }));
    this.status = deriveStatus(this.volume, { ...this.status, phase: 'Deleting', partitions });
  }

  /** Power cut: the kernel forgets, the drives keep. With `torn`, a write in flight reached one member only. */
  reboot(node: ModelNode, torn: boolean): void {
    const { array } = node;
    // Before the birth is recorded nobody has the array: nothing is in flight.
    const isUsed = this.volume.spec.activatedAt !== undefined;
    if (array !== undefined && torn && isUsed && !array.readOnly) {
      const first = array.members.find(({ faulty }) => !faulty);
      const partition = first === undefined ? undefined : this.partition(first.partitionUUID);
      if (partition !== undefined && this.reaches(node, partition.partitionUUID))
        partition.data = Math.floor(partition.data) + 0.5;
    }
    for (const partition of node.partitions.values()) if (partition.unflushed === true) partition.shaky = true;
    node.bootCount += 1;
    node.zeroedTo.clear();
    node.legs = [];
    node.exports = [];
    node.imports = [];
    node.array = undefined;
    node.mounts = [];
    node.shutDown = false;
    for (const other of this.nodes) this.refreshPaths(other);
  }

  /** The link to a holder is gone for a while, and the kernel has given the connections up. Its kernel runs on. */
  cut(holder: ModelNode): void {
    for (const node of this.nodes) node.imports = node.imports.filter((seen) => seen.holder !== holder.name);
    for (const node of this.nodes) this.refreshPaths(node);
  }

  /** Whether I/O of this node's array gets to a partition now. */
  reaches(node: ModelNode, partitionUUID: string): boolean {
    const member = node.array?.members.find((candidate) => candidate.partitionUUID === partitionUUID);
    const leg = node.legs.find((seen) => seen.partitionUUID === partitionUUID && seen.epoch === member?.epoch);
    return leg?.pathState === 'active';
  }

  /** A guard whose namespace is gone loses its path. */
  refreshPaths(node: ModelNode): void {
    node.imports = node.imports.filter(({ nqn, holder }) => this.node(holder).exports.some((seen) => seen.nqn === nqn));
    node.legs = node.legs.map((leg) => {
      const isLocal = node.partitions.has(leg.partitionUUID);
      if (leg.kind !== 'guard' || isLocal) return leg;
      const has = node.imports.some((seen) => seen.partitionUUID === leg.partitionUUID && seen.epoch === leg.epoch);
      if (has) return leg;
      const { underPath: _gone, ...rest } = leg;
      return { ...rest, pathState: 'failed' };
    });
  }

  /** The pod writes: acknowledged when every member that MD has took it. */
  write(): void {
    const node = this.consumer;
    const array = node?.array;
    if (node === undefined || array === undefined || array.readOnly || node.shutDown) return;
    if (this.volume.spec.activatedAt === undefined) return;
    if (array.members.some((member) => member.epoch !== this.status.attachmentEpoch)) return;
    if (this.shape.mode === 'Filesystem' && node.mounts.length === 0) return;
    // From the md event until it is recorded every other guard of the array is suspended (SPEC §7.3): nothing is acknowledged.
    if (array.members.some(({ partitionUUID, faulty }) => faulty && this.entry(partitionUUID)?.state === 'Synced'))
      return;
    const members = array.members.filter(({ faulty }) => !faulty);
    if (members.some(({ partitionUUID }) => !this.reaches(node, partitionUUID))) return;
    this.acknowledged += 1;
    for (const { partitionUUID, recovering } of members) {
      const partition = this.mustPartition(partitionUUID);
      if (recovering !== true) partition.data = this.acknowledged;
      partition.unflushed = true;
    }
  }

  /**
   * An I/O error on a live path: MD drops a member by itself, which nobody has recorded. Never its last source of the data, nor the only
   * one of its column that the record calls whole: no start goes by the others then, and a person has to decide (docs/limits.md).
   */
  drop(choice: number): void {
    const array = this.consumer?.array;
    if (array === undefined || array.readOnly || this.volume.spec.activatedAt === undefined) return;
    if (array.members.some(({ recovering }) => recovering === true)) return;
    const able = this.columns(array).flatMap((column) => {
      const whole = column.filter(({ partitionUUID }) => this.entry(partitionUUID)?.state === 'Synced');
      const others = array.resyncPending || column.length === 1 ? column.slice(1) : column;
      return others.filter((member) => whole.length > 1 || member !== whole[0]);
    });
    const dropped = able[choice % Math.max(1, able.length)];
    if (dropped === undefined) return;
    dropped.faulty = true;
    for (const { partitionUUID, faulty } of array.members) if (!faulty) this.mustPartition(partitionUUID).events += 1;
  }

  /** MD's resync ends: every mirror has what the member that MD reads from has. */
  settle(): void {
    const node = this.consumer;
    const array = node?.array;
    if (node === undefined || array === undefined || array.readOnly) return;
    for (const member of array.members.filter(({ recovering, faulty }) => recovering === true && !faulty)) {
      if (!this.reaches(node, member.partitionUUID)) continue;
      const source = this.columns(array)[this.columnOf(member.partitionUUID)]?.[0];
      if (source === undefined) continue;
      const { data, events } = this.mustPartition(source.partitionUUID);
      Object.assign(this.mustPartition(member.partitionUUID), { data, events, lost: false, shaky: false });
      member.recovering = false;
    }
    if (!array.resyncPending) return;
    for (const column of this.columns(array)) {
      const source = column[0];
      if (source === undefined) continue;
      const { data } = this.mustPartition(source.partitionUUID);
      for (const member of column) this.mustPartition(member.partitionUUID).data = data;
    }
    array.resyncPending = false;
  }

  mustPartition(partitionUUID: string): ModelPartition {
    const partition = this.partition(partitionUUID);
    if (partition === undefined) throw new Error(`no partition ${partitionUUID}`);
    return partition;
  }

  /** Members of each column in the order in which MD reads from them. */
  columns(array: ModelArray): readonly (readonly ModelArray['members'][number][])[] {
    const rank = (member: ModelArray['members'][number]): number =>
      (this.shape.drives === 1 && member.writeMostly ? 1000 : 0) + (this.entry(member.partitionUUID)?.slot ?? 0);
    const columns = Array.from({ length: this.shape.drives }, (_, column) =>
      array.members.filter(
        ({ partitionUUID, faulty, recovering }) =>
          !faulty && recovering !== true && this.columnOf(partitionUUID) === column,
      ),
    );
    return columns.map((column) => column.sort((a, b) => rank(a) - rank(b)));
  }

  columnOf(partitionUUID: string): number {
    return Math.floor((this.entry(partitionUUID)?.slot ?? 0) / this.shape.copies);
  }

  #ordered<T>(items: readonly T[]): readonly T[] {
    return this.reversed ? [...items].reverse() : items;
  }

  #localPartitions(node: ModelNode): HolderWorld['partitions'] {
    const partitions = [...node.partitions.values()].map((partition, index) => ({
      partitionUUID: partition.partitionUUID,
      diskPath: `/dev/nvme${index}n1`,
      path: pathOf(partition.partitionUUID),
      startBytes: MIB,
      sizeBytes: partition.sizeBytes,
      label: 'meshstor-x',
      foreignHolders: [],
      ...(partition.stamp === undefined ? {} : { stamp: partition.stamp }),
    }));
    return this.#ordered(partitions);
  }

  #arraySeen(node: ModelNode): Pick<ConsumerWorld, 'array'> {
    const { array } = node;
    if (array === undefined) return {};
    const members = array.members.map((member) => ({
      partitionUUID: member.partitionUUID,
      epoch: member.epoch,
      device: deviceOf(member.partitionUUID),
      slot: this.entry(member.partitionUUID)?.slot ?? 0,
      inSync: !member.faulty && member.recovering !== true,
      faulty: member.faulty,
      writeMostly: member.writeMostly,
      stateWords: [],
    }));
    const seen = {
      name: array.name,
      path: `/dev/${array.name}`,
      arrayState: array.readOnly ? 'readonly' : 'clean',
      isReadOnly: array.readOnly,
      openers: [],
      raidDisks: Math.max(2, this.shape.copies) * this.shape.drives,
      degraded: 0,
      syncAction: array.readOnly
        ? 'idle'
        : array.resyncPending
          ? 'resync'
          : array.members.some(({ recovering, faulty }) => recovering === true && !faulty)
            ? 'recover'
            : 'idle',
      resyncPending: array.resyncPending,
      sizeBytes: this.arrayBytes,
      members: this.#ordered(members),
      mountPoints: node.mounts.map(({ mountPoint }) => mountPoint),
      holders: [],
    };
    return { array: seen };
  }

  holderWorld(node: ModelNode): HolderWorld {
    const sizes = [...node.partitions.values()].map(({ sizeBytes }) => sizeBytes);
    const drives = Array.from({ length: this.shape.drives + SPARE_DRIVES }, (_, index) => ({
      diskPath: `/dev/nvme${index}n1`,
      device: `nvme${index}n1`,
      serial: `${node.name}-${index}`,
      sectorSize: 512,
      usable: true,
      unusableReason: '',
      gptState: 'valid' as const,
      freeExtents: [
        { startBytes: MIB, sizeBytes: 4096 * MIB },
        { startBytes: 8192 * MIB, sizeBytes: 2048 * MIB },
        ...roomBehind(node.roomBytes, sizes[index]),
      ],
    }));
    return {
      me: this.identity(node),
      volume: this.#shuffledVolume(),
      drives: this.#ordered(drives),
      partitions: this.#localPartitions(node),
      legs: this.#ordered(node.legs),
      exports: this.#ordered(node.exports),
      zeroedTo: Object.fromEntries(node.zeroedTo),
      portIds: { tcp: 4420 },
      ...this.#arraySeen(node),
    };
  }

  consumerWorld(node: ModelNode, probed: boolean): ConsumerWorld {
    const imports = node.imports.map(({ nqn, partitionUUID, epoch, attachmentID, holder }) => {
      const exported = this.node(holder).exports.find((seen) => seen.nqn === nqn);
      const uuid = exported?.namespaces[0]?.uuid;
      return {
        nqn,
        partitionUUID,
        epoch,
        attachmentID,
        controllers: [{ name: 'nvme9', state: 'live', traddr: holder }],
        namespacePath: pathOf(`remote-${partitionUUID}`),
        namespaceSizeBytes: this.namespaceBytes.get(nqn) ?? 0,
        ...(uuid === undefined ? {} : { namespaceUUID: uuid }),
      };
    });
    return {
      me: this.identity(node),
      volume: this.#shuffledVolume(),
      partitions: this.#localPartitions(node),
      legs: this.#ordered(node.legs),
      imports: this.#ordered(imports),
      filesystem: probed ? this.filesystem : { kind: 'unprobed' },
      mounts: node.mounts,
      addresses: Object.fromEntries(this.nodes.map(({ name }) => [name, { tcp: name }])),
      offNodes: [],
      waitedMs: this.waitedMs,
      startGraceMs: 10_000,
      ...this.#arraySeen(node),
    };
  }

  #shuffledVolume(): MeshStorVolume {
    return { ...this.volume, status: { ...this.status, partitions: this.#ordered(this.status.partitions) } };
  }
}

/** Of the leg of a member, as MD names it. */
export const deviceOf = (partitionUUID: string): string => `dm-${partitionUUID}`;

export const pathOf = (partitionUUID: string): string => `/dev/part-${partitionUUID}`;
