/** What a node sees: the worlds of the planners, taken from the simulated kernels in one look. */
import type { MeshStorVolume, VolumeStatus } from '../../src/api/volume.ts';
import { EMPTY_STATUS } from '../../src/api/volume.ts';
import type {
  ArraySeen,
  ConsumerWorld,
  FilesystemSeen,
  HolderWorld,
  ImportSeen,
  LegSeen,
  LocalPartitionSeen,
} from '../../src/plan/world.ts';
import { isOutOfService } from '../../src/api/out-of-service.ts';
import { MIB } from '../../src/support/units.ts';
import type { Cluster } from './cluster.ts';
import { importPath, partitionPath } from './kernel-dm.ts';
import { kernelNameOf } from './kernel-md.ts';
import type { SimArray, SimLeg, SimMachine } from './parts.ts';

/** As the driver's default. */
export const START_GRACE_MS = 10_000;

function legsOf(cluster: Cluster, machine: SimMachine): readonly LegSeen[] {
  return [...machine.legs.values()].map((leg) => {
    const isThere = isUnderThere(cluster, machine, leg);
    return {
      name: leg.name,
      path: `/dev/mapper/${leg.name}`,
      kernelName: kernelNameOf(leg),
      partitionUUID: leg.partitionUUID,
      epoch: leg.epoch,
      kind: leg.kind,
      namespaceUUID: leg.namespaceUUID,
      queues: (leg.queues && !leg.suspended) || (leg.kind === 'guard' && cluster.rules.isOff(2)),
      pathState: leg.kind === 'linear' ? 'none' : leg.pathState,
      suspended: leg.suspended,
      openCount: isMember(machine, leg) ? 1 : 0,
      sizeBytes: leg.sizeBytes,
      ...(isThere ? { underPath: leg.under } : {}),
    };
  });
}

const isMember = ({ array }: SimMachine, leg: SimLeg): boolean =>
  array?.members.some(({ partitionUUID, epoch }) => partitionUUID === leg.partitionUUID && epoch === leg.epoch) ??
  false;

function isUnderThere(cluster: Cluster, machine: SimMachine, leg: SimLeg): boolean {
  for (const seen of machine.imports.values()) if (importPath(seen) === leg.under) return true;
  const local = cluster.partition(leg.partitionUUID);
  return local?.node === machine && local.drive.isOnline && partitionPath(local) === leg.under;
}

function partitionsOf(machine: SimMachine): readonly LocalPartitionSeen[] {
  return machine.drives
    .filter(({ isOnline }) => isOnline)
    .flatMap((drive) =>
      [...drive.partitions.values()].map((partition) => ({
        partitionUUID: partition.partitionUUID,
        diskPath: `/dev/nvme${drive.index}n1`,
        path: partitionPath(partition),
        startBytes: MIB,
        sizeBytes: partition.sizeBytes,
        label: 'meshstor-x',
        foreignHolders: [],
        ...(partition.stamp === undefined ? {} : { stamp: partition.stamp }),
      })),
    );
}

function importsOf(machine: SimMachine): readonly ImportSeen[] {
  return [...machine.imports.values()].map((seen) => ({
    nqn: seen.nqn,
    partitionUUID: seen.partitionUUID,
    epoch: seen.epoch,
    attachmentID: seen.attachmentID,
    controllers: [{ name: 'nvme1', state: seen.state, traddr: seen.holder.name }],
    namespacePath: importPath(seen),
    namespaceUUID: seen.target.namespaceUUID,
  }));
}

function syncActionOf(array: SimArray): string {
  if (array.isFrozen) return 'frozen';
  if (array.isReadOnly) return 'idle';
  if (array.resyncPending) return 'resync';
  return array.members.some(({ recovering, faulty }) => recovering && !faulty) ? 'recover' : 'idle';
}

function arrayOf(cluster: Cluster, machine: SimMachine): Pick<ConsumerWorld, 'array'> {
  const { array } = machine;
  if (array === undefined) return {};
  const seen: ArraySeen = {
    name: array.name,
    path: `/dev/${array.name}`,
    arrayState: array.isReadOnly ? 'readonly' : array.dirty ? 'active' : 'clean',
    isReadOnly: array.isReadOnly,
    raidDisks: Math.max(2, cluster.shape.copies) * cluster.shape.drives,
    degraded: 0,
    syncAction: syncActionOf(array),
    resyncPending: array.resyncPending,
    sizeBytes: cluster.api.truth?.spec.capacityBytes ?? 0,
    members: array.members.map((member) => ({
      partitionUUID: member.partitionUUID,
      epoch: member.epoch,
      device: member.kernelName,
      ...(member.faulty ? {} : { slot: member.slot }),
      inSync: !member.faulty && !member.recovering,
      faulty: member.faulty,
      writeMostly: member.writeMostly,
      stateWords: [],
    })),
    mountPoints: machine.mounts.map(({ mountPoint }) => mountPoint),
    holders: [],
    openers: machine.hasClient && cluster.shape.mode === 'Block' ? ['pod (1)'] : [],
  };
  return { array: seen };
}

function addressesOf(cluster: Cluster, machine: SimMachine): Pick<ConsumerWorld, 'addresses' | 'offNodes'> {
  const others = cluster.machines.filter((other) => other !== machine);
  const known = others.filter(({ name }) => cluster.api.node(name) !== undefined);
  return {
    addresses: Object.fromEntries(known.map(({ name }) => [name, { tcp: name }])),
    offNodes: others.filter(({ name }) => isOutOfService(cluster.api.node(name))).map(({ name }) => name),
  };
}

export function holderWorld(cluster: Cluster, machine: SimMachine, volume: MeshStorVolume): HolderWorld {
  const drives = machine.drives
    .filter(({ isOnline }) => isOnline)
    .map((drive) => ({
      diskPath: `/dev/nvme${drive.index}n1`,
      device: `nvme${drive.index}n1`,
      serial: drive.serial,
      sectorSize: 512,
      usable: true,
      unusableReason: '',
      gptState: 'valid' as const,
      freeExtents: [{ startBytes: MIB, sizeBytes: 8192 * MIB }],
    }));
  return {
    me: machine.identity,
    volume,
    drives,
    partitions: partitionsOf(machine),
    legs: legsOf(cluster, machine),
    exports: [...machine.exports.values()].map((seen) => ({
      nqn: seen.nqn,
      partitionUUID: seen.partitionUUID,
      epoch: seen.epoch,
      attachmentID: seen.attachmentID,
      allowedHosts: [seen.hostNqn],
      portIds: [4420],
      namespaces: [{ nsid: seen.nsid, devicePath: seen.devicePath, enabled: true, uuid: seen.namespaceUUID }],
    })),
    zeroedTo: {},
    portIds: { tcp: 4420 },
    ...arrayOf(cluster, machine),
  };
}

export interface Look {
  readonly filesystem: FilesystemSeen;
  readonly waitedMs: number;
}

export const GLANCE: Look = { filesystem: { kind: 'unprobed' }, waitedMs: 0 };

export function consumerWorld(
  cluster: Cluster,
  machine: SimMachine,
  volume: MeshStorVolume,
  look: Look = GLANCE,
): ConsumerWorld {
  return {
    me: machine.identity,
    volume,
    partitions: partitionsOf(machine),
    legs: legsOf(cluster, machine),
    imports: importsOf(machine),
    filesystem: look.filesystem,
    mounts: machine.mounts,
    existingPaths: machine.mounts.map(({ mountPoint }) => mountPoint),
    ...addressesOf(cluster, machine),
    waitedMs: look.waitedMs,
    startGraceMs: START_GRACE_MS,
    ...arrayOf(cluster, machine),
  };
}

/** Its object is gone: the guards say what is left here. Undefined when there is one, or nothing is left. */
export function orphanWorld(cluster: Cluster, machine: SimMachine, waitedMs = 0): ConsumerWorld | undefined {
  const guards = [...machine.legs.values()].filter(({ kind }) => kind === 'guard');
  const { truth, lastVolume } = cluster.api;
  if (guards.length === 0 || truth !== undefined) return undefined;
  const partitions = guards.map(({ partitionUUID, epoch }, slot) => ({
    nodeID: '',
    partitionUUID,
    nvmeofNamespaceID: slot + 1,
    state: 'Unknown' as const,
    sizeBytes: 0,
    updatedAt: '',
    device: '',
    serial: '',
    slot,
    generation: 0,
    transport: 'tcp' as const,
    epoch,
  }));
  const status: VolumeStatus = { ...EMPTY_STATUS, phase: 'Deleting', partitions };
  const metadata = { ...lastVolume.metadata, uid: '' };
  return consumerWorld(cluster, machine, { ...lastVolume, metadata, status }, { ...GLANCE, waitedMs });
}
