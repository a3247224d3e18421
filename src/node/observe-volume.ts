/** From one look at the node to what the planners see of one volume. Pure but for the stamps, which are read from the drives. */
import type { Kernel, MdArray } from '../api/kernel.ts';
import type { Stamp } from '../api/layout.ts';
import { STAMP_OFFSET_BYTES, STAMP_SIZE_BYTES } from '../api/layout.ts';
import {
  NVMET_TCP_PORT_ID,
  NVMET_RDMA_PORT_ID,
  arrayUuidFor,
  parseLegDmUuid,
  parseLegName,
  parseSubsystemNqn,
  partitionUuidFor,
} from '../api/names.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import { nextGeneration } from '../plan/lifecycle.ts';
import type {
  ArraySeen,
  ConsumerWorld,
  DriveTableSeen,
  ExportSeen,
  FilesystemSeen,
  HolderWorld,
  ImportSeen,
  LegSeen,
  LocalPartitionSeen,
  MountSeen,
  NodeIdentity,
} from '../plan/world.ts';
import { parseLegTable } from './dm-tables.ts';
import type { DrivePolicy } from './drive-policy.ts';
import { isAnnotated, judgeDrive } from './drive-policy.ts';
import type { FoundPartition, NodeSnapshot } from './snapshot.ts';
import { devicePaths, partitionsOf } from './snapshot.ts';
import { parseStamp } from './stamp.ts';

/** PARTUUIDs that the volume lists, and those of generations that it listed before: their legs may be left here. */
function memberUuids(volume: MeshStorVolume): ReadonlySet<string> {
  const { volumeUUID, numberOfCopies, drivesPerCopy } = volume.spec;
  const listed = volume.status?.partitions ?? [];
  const generations = Math.max(1, volume.status === undefined ? 0 : nextGeneration(volume.status));
  const uuids = new Set(listed.map((partition) => partition.partitionUUID));
  for (let slot = 0; slot < numberOfCopies * drivesPerCopy; slot += 1) {
    for (let generation = 0; generation <= generations; generation += 1) {
      uuids.add(partitionUuidFor(volumeUUID, slot, generation));
    }
  }
  return uuids;
}

export function legsOf(snapshot: NodeSnapshot, members: ReadonlySet<string>): readonly LegSeen[] {
  const paths = devicePaths(snapshot);
  return snapshot.legs.flatMap((device) => {
    const name = parseLegName(device.name);
    if (name === undefined || !members.has(name.partitionUUID)) return [];
    const table = parseLegTable(device);
    const underPath = table.under === undefined ? undefined : paths.get(table.under);
    return [
      {
        name: device.name,
        path: `/dev/mapper/${device.name}`,
        kernelName: device.kernelName,
        ...name,
        kind: table.kind,
        namespaceUUID: parseLegDmUuid(device.uuid) ?? '',
        queues: table.queues,
        pathState: table.pathState,
        suspended: device.suspended,
        openCount: device.openCount,
        sizeBytes: table.sizeBytes,
        ...(underPath === undefined ? {} : { underPath }),
      },
    ];
  });
}

function exportsOf(snapshot: NodeSnapshot, members: ReadonlySet<string>): readonly ExportSeen[] {
  return snapshot.nvmet.subsystems.flatMap((subsystem) => {
    const name = parseSubsystemNqn(subsystem.nqn);
    if (name === undefined || !members.has(name.partitionUUID)) return [];
    const portIds = snapshot.nvmet.ports
      .filter((port) => port.subsystems.includes(subsystem.nqn))
      .map((port) => port.id);
    return [
      { nqn: subsystem.nqn, ...name, allowedHosts: subsystem.allowedHosts, portIds, namespaces: subsystem.namespaces },
    ];
  });
}

function importsOf(snapshot: NodeSnapshot, members: ReadonlySet<string>): readonly ImportSeen[] {
  const nqns = new Set(snapshot.controllers.map((controller) => controller.subsystemNqn));
  return [...nqns].flatMap((nqn) => {
    const name = parseSubsystemNqn(nqn);
    if (name === undefined || !members.has(name.partitionUUID)) return [];
    const controllers = snapshot.controllers.filter((controller) => controller.subsystemNqn === nqn);
    const namespace = snapshot.namespaces.find((candidate) => candidate.subsystemNqn === nqn);
    return [
      {
        nqn,
        ...name,
        controllers: controllers.map(({ name: controller, state, traddr }) => ({ name: controller, state, traddr })),
        ...(namespace === undefined ? {} : { namespacePath: namespace.path, namespaceSizeBytes: namespace.sizeBytes }),
        ...(namespace?.uuid === undefined ? {} : { namespaceUUID: namespace.uuid }),
      },
    ];
  });
}

export function arrayOf(array: MdArray, snapshot: NodeSnapshot): ArraySeen {
  const legs = new Map(snapshot.legs.map((device) => [device.kernelName, parseLegName(device.name)]));
  const members = array.members.map((member) => ({
    ...legs.get(member.name),
    device: member.name,
    ...(member.slot === undefined ? {} : { slot: member.slot }),
    inSync: member.state.includes('in_sync'),
    faulty: member.state.includes('faulty'),
    writeMostly: member.state.includes('write_mostly'),
    stateWords: member.state,
  }));
  const { syncDoneSectors, syncTotalSectors } = array;
  const isSyncing = syncDoneSectors !== undefined && syncTotalSectors !== undefined && syncTotalSectors > 0;
  return {
    name: array.name,
    path: array.path,
    arrayState: array.arrayState,
    isReadOnly: array.arrayState === 'readonly' || array.arrayState === 'read-auto',
    raidDisks: array.raidDisks,
    degraded: array.degraded,
    syncAction: array.syncAction,
    resyncPending: array.resyncStart !== 'none',
    ...(isSyncing ? { syncFraction: syncDoneSectors / syncTotalSectors } : {}),
    sizeBytes: array.sizeBytes,
    members,
    mountPoints: array.mountPoints,
    holders: array.holders,
  };
}

/** The volume's array, in whatever state; `clear` ones are no arrays. */
export function findArray(snapshot: NodeSnapshot, volume: MeshStorVolume): MdArray | undefined {
  const uuid = arrayUuidFor(volume.spec.volumeUUID);
  const legNames = new Set(legsOf(snapshot, memberUuids(volume)).map((leg) => leg.kernelName));
  return snapshot.arrays.find(
    (array) =>
      array.arrayState !== 'clear' &&
      (array.uuid === uuid || array.members.some((member) => legNames.has(member.name))),
  );
}

async function readStamp(kernel: Kernel, path: string): Promise<Stamp | undefined> {
  return parseStamp(await kernel.readBytes(path, STAMP_OFFSET_BYTES, STAMP_SIZE_BYTES));
}

async function localPartition(
  kernel: Kernel,
  found: FoundPartition,
  ownLegs: ReadonlySet<string>,
  withStamps: boolean,
): Promise<LocalPartitionSeen> {
  const { drive, entry, kernelPartition } = found;
  const stamp = withStamps && kernelPartition !== undefined ? await readStamp(kernel, kernelPartition.path) : undefined;
  return {
    partitionUUID: entry.partitionGuid,
    diskPath: drive.namespace.path,
    startBytes: entry.startBytes,
    sizeBytes: entry.sizeBytes,
    label: entry.name,
    foreignHolders: (kernelPartition?.holders ?? []).filter((holder) => !ownLegs.has(holder)),
    ...(kernelPartition === undefined ? {} : { path: kernelPartition.path }),
    ...(stamp === undefined ? {} : { stamp }),
  };
}

async function localPartitions(
  kernel: Kernel,
  snapshot: NodeSnapshot,
  members: ReadonlySet<string>,
  withStamps: boolean,
): Promise<readonly LocalPartitionSeen[]> {
  const ownLegs = new Set(legsOf(snapshot, members).map((leg) => leg.kernelName));
  const found = partitionsOf(snapshot).filter(({ entry }) => members.has(entry.partitionGuid));
  return Promise.all(found.map((partition) => localPartition(kernel, partition, ownLegs, withStamps)));
}

function driveTables(
  snapshot: NodeSnapshot,
  policy: DrivePolicy,
  annotatedDrives: ReadonlySet<string>,
): readonly DriveTableSeen[] {
  return snapshot.drives.map(({ namespace, table, signatures, tableError }) => {
    const verdict = judgeDrive(
      namespace,
      table,
      signatures,
      policy,
      isAnnotated(namespace, annotatedDrives),
      tableError,
    );
    return {
      diskPath: namespace.path,
      device: namespace.name,
      serial: namespace.serial,
      nsid: namespace.nsid,
      sectorSize: namespace.logicalBlockSize,
      usable: verdict.kind === 'usable' || verdict.kind === 'repair',
      unusableReason:
        verdict.kind === 'unusable'
          ? verdict.message
          : verdict.kind === 'initialize'
            ? 'its partition table is not written yet'
            : '',
      gptState: table?.state ?? 'damaged',
      isUnreadable: table === undefined,
      freeExtents: table?.freeExtents ?? [],
    };
  });
}

export interface HolderView {
  readonly me: NodeIdentity;
  readonly policy: DrivePolicy;
  /** Keys (`driveKey`) of drives whose object carries the allowing annotation. */
  readonly annotatedDrives: ReadonlySet<string>;
  readonly listensOnRdma: boolean;
  readonly zeroedTo: ReadonlyMap<string, number>;
}

/** `withStamps`: read the members' stamps too, which a decision needs and a look for work does not. */
export async function observeHolder(
  kernel: Kernel,
  snapshot: NodeSnapshot,
  volume: MeshStorVolume,
  view: HolderView,
  withStamps: boolean,
): Promise<HolderWorld> {
  const members = memberUuids(volume);
  const array = findArray(snapshot, volume);
  return {
    me: view.me,
    volume,
    drives: driveTables(snapshot, view.policy, view.annotatedDrives),
    partitions: await localPartitions(kernel, snapshot, members, withStamps),
    legs: legsOf(snapshot, members),
    exports: exportsOf(snapshot, members),
    portIds: view.listensOnRdma ? { tcp: NVMET_TCP_PORT_ID, rdma: NVMET_RDMA_PORT_ID } : { tcp: NVMET_TCP_PORT_ID },
    zeroedTo: Object.fromEntries([...view.zeroedTo].filter(([partitionUUID]) => members.has(partitionUUID))),
    ...(array === undefined ? {} : { array: arrayOf(array, snapshot) }),
  };
}

function mountsOf(
  snapshot: NodeSnapshot,
  array: MdArray | undefined,
  paths: ReadonlySet<string>,
): readonly MountSeen[] {
  return snapshot.mounts.flatMap((mount) => {
    const isFilesystem = array !== undefined && mount.devNumber === array.devNumber;
    const isDeviceNode = array !== undefined && mount.fsType === 'devtmpfs' && mount.root === `/${array.name}`;
    const isOurs = isFilesystem || isDeviceNode;
    if (!isOurs && !paths.has(mount.mountPoint)) return [];
    return [
      {
        mountPoint: mount.mountPoint,
        devNumber: mount.devNumber,
        isOurs,
        fsType: mount.fsType,
        readOnly: mount.options.includes('ro'),
      },
    ];
  });
}

export interface ConsumerView {
  readonly me: NodeIdentity;
  readonly addresses: ConsumerWorld['addresses'];
  readonly offNodes: ConsumerWorld['offNodes'];
  readonly filesystem: FilesystemSeen;
  readonly waitedMs: number;
  readonly startGraceMs: number;
  /** Read the members' stamps, which decisions need and reports do not. */
  readonly withStamps: boolean;
  /** Paths of this call: staging path, target path. */
  readonly paths: readonly string[];
}

export async function observeConsumer(
  kernel: Kernel,
  snapshot: NodeSnapshot,
  volume: MeshStorVolume,
  view: ConsumerView,
): Promise<ConsumerWorld> {
  const members = memberUuids(volume);
  const array = findArray(snapshot, volume);
  return {
    me: view.me,
    volume,
    partitions: await localPartitions(kernel, snapshot, members, view.withStamps),
    legs: legsOf(snapshot, members),
    imports: importsOf(snapshot, members),
    filesystem: view.filesystem,
    mounts: mountsOf(snapshot, array, new Set(view.paths)),
    addresses: view.addresses,
    offNodes: view.offNodes,
    waitedMs: view.waitedMs,
    startGraceMs: view.startGraceMs,
    ...(array === undefined ? {} : { array: arrayOf(array, snapshot) }),
  };
}
