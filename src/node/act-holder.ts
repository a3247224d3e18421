/** Carries out a holder's steps (SPEC §5, §7.5). Each is one effect that may be repeated. */
import { DomainError, errnoCode } from '../api/errors.ts';
import type { Kernel } from '../api/kernel.ts';
import { DATA_OFFSET_BYTES } from '../api/layout.ts';
import { LINUX_RAID_TYPE_GUID, legDmUuidFor, legNameFor, namespaceUuidFor } from '../api/names.ts';
import type { ObjectStore } from '../api/object.ts';
import type { MeshStorVolume, VolumeStatus } from '../api/volume.ts';
import { recordGrowable, recordGrown } from '../plan/expansion-records.ts';
import { recordCreated, recordGranted, recordImpossible, recordRemoved } from '../plan/records.ts';
import type { HolderStep } from '../plan/steps.ts';
import type { NodeIdentity } from '../plan/world.ts';
import type { Log } from '../support/log.ts';
import { Semaphore } from '../support/semaphore.ts';
import { MIB } from '../support/units.ts';
import { claimTable, windowTable } from './dm-tables.ts';
import { requirePartition, verifyLocalLeg } from './verify-device.ts';

export interface HolderActs {
  readonly kernel: Kernel;
  readonly volumes: ObjectStore<MeshStorVolume>;
  readonly me: NodeIdentity;
  readonly now: () => string;
  readonly log: Log;
  /** By PARTUUID: up to which byte what an expansion adds has been zeroed by this process. */
  readonly zeroedTo: Map<string, number>;
}

/** Progress of a long zeroing is logged at most this often. */
const PROGRESS_EVERY_BYTES = 64 * 1024 * MIB;

/** Zeroed in pieces: between two of them other work of the node gets its turn on the pool's threads. */
const ZERO_PIECE_BYTES = 256 * MIB;
/** Partitions zeroed at once on this node; more would keep grants and revocations from the pool. */
const ZEROINGS = new Semaphore(2);

/**
 * One turn of zeroing under a volume that is served: meanwhile nobody is fenced and no path is given back, as all work on a volume
 * is done one after the other.
 */
const ZERO_TURN_MS = 2000;
const TURN_PIECE_BYTES = 64 * MIB;
/** Turns at once; of their own, as a birth keeps its place for as long as it takes. */
const TURNS = new Semaphore(2);

interface ZeroWanted {
  readonly partitionUUID: string;
  /** The partition. */
  readonly path: string;
  readonly sizeBytes: number;
}

interface Pace {
  readonly pieceBytes: number;
  readonly among: Semaphore;
  readonly limitMs: number;
}

const AT_BIRTH: Pace = { pieceBytes: ZERO_PIECE_BYTES, among: ZEROINGS, limitMs: Number.POSITIVE_INFINITY };
const ONE_TURN: Pace = { pieceBytes: TURN_PIECE_BYTES, among: TURNS, limitMs: ZERO_TURN_MS };

/** Zeroes a device that lies on the partition from its first byte on, to its last one or to the piece in which time is up. Says how far. */
async function zeroDevice(acts: HolderActs, device: string, wanted: ZeroWanted, pace: Pace): Promise<number> {
  const { kernel, log } = acts;
  const { partitionUUID, path, sizeBytes } = wanted;
  const disk = (await kernel.nvmeNamespaces()).find((namespace) =>
    namespace.partitions.some((partition) => partition.path === path),
  );
  const promisesZeroes = disk !== undefined && (await kernel.identifyController(disk.path)).writeZeroes;
  return pace.among.run(async () => {
    const deadline = performance.now() + pace.limitMs;
    let reportedBytes = 0;
    for (let doneBytes = 0; ;) {
      const piece = { startBytes: doneBytes, sizeBytes: Math.min(pace.pieceBytes, sizeBytes - doneBytes) };
      await kernel.zeroRange(device, piece, promisesZeroes ? 'sample' : 'full');
      doneBytes += piece.sizeBytes;
      if (doneBytes >= sizeBytes || performance.now() > deadline) return doneBytes;
      if (doneBytes - reportedBytes < PROGRESS_EVERY_BYTES) continue;
      reportedBytes = doneBytes;
      log.info('zeroing a partition', { partitionUUID, doneBytes, sizeBytes });
    }
  });
}

/** Of the leg through which what was added is zeroed. No attachment has it: a leg that is left is stale, and goes as such. */
const GROWTH_EPOCH = 0;

/**
 * What an array uses is never zeroed. Its size in the superblock moves only after every member was recorded as grown; where it is ahead of
 * the object, that is older than the disks, as after a restored backup of the API, and what lies there is data (SPEC §7.11).
 */
async function requireUnused(kernel: Kernel, step: Extract<HolderStep, { kind: 'zeroGrowth' }>): Promise<void> {
  const { partitionUUID, path, startBytes } = step;
  const superblock = await kernel.readMdSuperblock(path);
  if (superblock === undefined) return;
  const usedToBytes = superblock.dataOffsetBytes + superblock.usedSizeBytes;
  if (usedToBytes <= startBytes) return;
  const why = `its array uses it up to byte ${usedToBytes}: the object is older than the disks (WitnessBehind)`;
  throw new DomainError('precondition', `zeroing partition ${partitionUUID} from byte ${startBytes} on: ${why}`);
}

/**
 * Through a device that maps nothing else: the partition itself is claimed while it is served, and its data cannot be hit. Device
 * mapper shares its own claims.
 */
async function zeroGrowth(acts: HolderActs, step: Extract<HolderStep, { kind: 'zeroGrowth' }>): Promise<void> {
  const { kernel, me } = acts;
  const { partitionUUID, path, startBytes, sizeBytes } = step;
  const name = legNameFor(partitionUUID, GROWTH_EPOCH);
  const uuid = legDmUuidFor(partitionUUID, GROWTH_EPOCH, namespaceUuidFor(partitionUUID, GROWTH_EPOCH, me.bootID));
  await requireUnused(kernel, step);
  await kernel.removeDm(name);
  await kernel.createDm(name, uuid, windowTable(path, startBytes, sizeBytes));
  try {
    await verifyLocalLeg(kernel, name, partitionUUID);
    const doneBytes = await zeroDevice(acts, `/dev/mapper/${name}`, step, ONE_TURN);
    acts.zeroedTo.set(partitionUUID, startBytes + doneBytes);
  } finally {
    await removeLeg(kernel, name);
  }
}

/**
 * The area before the data (superblock, bitmap, stamp), the first MiB of the data (signatures) and the last MiB are gone, read
 * back and checked.
 */
async function wipeEnds(kernel: Kernel, step: Extract<HolderStep, { kind: 'wipePartition' }>): Promise<void> {
  const { path, sizeBytes, partitionUUID } = step;
  await requirePartition(kernel, path, partitionUUID);
  await kernel.zeroRange(path, { startBytes: 0, sizeBytes: Math.min(sizeBytes, DATA_OFFSET_BYTES + MIB) }, 'full');
  await kernel.zeroRange(path, { startBytes: sizeBytes - MIB, sizeBytes: MIB }, 'full');
}

async function createPartition(
  acts: HolderActs,
  step: Extract<HolderStep, { kind: 'createPartition' }>,
): Promise<void> {
  await acts.kernel.addGptPartition(step.diskPath, {
    typeGuid: LINUX_RAID_TYPE_GUID,
    partitionGuid: step.partitionUUID,
    name: step.label,
    startBytes: step.startBytes,
    sizeBytes: step.sizeBytes,
  });
}

/** Somebody still has it: nothing is granted, and the message says who. */
async function removeLeg(kernel: Kernel, name: string): Promise<void> {
  try {
    await kernel.removeDm(name);
  } catch (error) {
    if (errnoCode(error) !== 'EBUSY') throw error;
    throw new DomainError(
      'unavailable',
      `removing the leg ${name}: it is still open (an array, an export or a program has it)`,
      { cause: error },
    );
  }
}

type Record = (current: MeshStorVolume, now: string) => VolumeStatus | undefined;

async function write(acts: HolderActs, volumeId: string, record: Record): Promise<void> {
  await acts.volumes.mutateStatus(volumeId, (current) => record(current, acts.now()));
}

type GrowthStep = Extract<
  HolderStep,
  { kind: 'recordGrowable' | 'growPartition' | 'zeroGrowth' | 'growClaim' | 'recordGrown' }
>;

async function actGrowth(acts: HolderActs, volumeId: string, step: GrowthStep): Promise<void> {
  const { kernel, me } = acts;
  const { partitionUUID } = step;
  switch (step.kind) {
    case 'recordGrowable':
      return write(acts, volumeId, (current, now) => recordGrowable(current, me.nodeName, partitionUUID, step, now));
    case 'growPartition':
      return kernel.resizeGptPartition(step.diskPath, partitionUUID, step.sizeBytes);
    case 'zeroGrowth':
      return zeroGrowth(acts, step);
    case 'growClaim':
      await requirePartition(kernel, step.path, partitionUUID);
      return kernel.reloadDm(step.name, claimTable(step.path, step.sizeBytes));
    case 'recordGrown':
      await write(acts, volumeId, (current, now) =>
        recordGrown(current, me.nodeName, partitionUUID, step.sizeBytes, now),
      );
      acts.zeroedTo.delete(partitionUUID);
  }
}

export async function actHolderStep(acts: HolderActs, volumeId: string, step: HolderStep): Promise<void> {
  const { kernel, me } = acts;
  switch (step.kind) {
    case 'repairTable':
      return kernel.repairGpt(step.diskPath);
    case 'createPartition':
      return createPartition(acts, step);
    case 'zeroPartition':
      await requirePartition(kernel, step.path, step.partitionUUID);
      await zeroDevice(acts, step.path, step, AT_BIRTH);
      return;
    case 'recordCreated':
      return write(acts, volumeId, (current, now) => recordCreated(current, me.nodeName, step.partitionUUID, now));
    case 'recordImpossible':
      return write(acts, volumeId, (current, now) =>
        recordImpossible(current, me.nodeName, step.partitionUUID, step.reason, now),
      );
    case 'revokeExport':
    case 'fenceExport':
      return kernel.removeNvmetExport(step.nqn);
    case 'removeLeg':
      return removeLeg(kernel, step.name);
    case 'createClaim':
      await kernel.createDm(step.name, step.dmUuid, claimTable(step.path, step.sizeBytes));
      return verifyLocalLeg(kernel, step.name, step.partitionUUID);
    case 'export':
      return kernel.ensureNvmetExport({
        nqn: step.nqn,
        nsid: step.nsid,
        devicePath: step.devicePath,
        uuid: step.namespaceUUID,
        hostNqn: step.hostNqn,
        portIds: step.portIds,
      });
    case 'recordGranted':
      return write(acts, volumeId, (current, now) =>
        recordGranted(current, me.nodeName, step.partitionUUID, step.epoch, step.attachmentID, now),
      );
    case 'wipePartition':
      return wipeEnds(kernel, step);
    case 'removePartition':
      return kernel.removeGptPartition(step.diskPath, step.partitionUUID);
    case 'recordRemoved':
      return write(acts, volumeId, (current, now) => recordRemoved(current, me.nodeName, step.partitionUUID, now));
    case 'recordGrowable':
    case 'growPartition':
    case 'zeroGrowth':
    case 'growClaim':
    case 'recordGrown':
      return actGrowth(acts, volumeId, step);
  }
}
