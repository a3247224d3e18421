import type {
  DmDevice,
  DmTarget,
  Extent,
  FilesystemUsage,
  GptPartition,
  GptProblem,
  GptTable,
  KernelEvent,
  KernelPartition,
  MdArray,
  MdMember,
  MdSuperblock,
  MountEntry,
  NvmeController,
  NvmeControllerIdentity,
  NvmeLbaFormat,
  NvmeNamespace,
  NvmeNamespaceIdentity,
  NvmePath,
  NvmetNamespace,
  NvmetPort,
  NvmetState,
  NvmetSubsystem,
} from '../api/kernel.ts';
import { anyOf, isBoolean, isCount, isOneOf, isText, listOf, matches, optional, record } from './check.ts';

const isDevNumber = matches(/^\d+:\d+$/, 'major:minor');
const isAbsolute = matches(/^\//, 'an absolute path');
const isUuid = matches(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a lower-case UUID');
const isUpperGuid = matches(/^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$/, 'an upper-case GUID');
const isTransport = isOneOf('pcie', 'tcp', 'rdma', 'fc', 'loop', 'unknown');
const isTexts = listOf(isText);

const isPartition = record<KernelPartition>({
  name: isText,
  path: isAbsolute,
  number: isCount,
  devNumber: isDevNumber,
  startBytes: isCount,
  sizeBytes: isCount,
  holders: isTexts,
  mountPoints: isTexts,
});

const isPath = record<NvmePath>({
  controller: isText,
  state: isText,
  transport: isTransport,
  address: isText,
  hostNqn: optional(isText),
});

export const isNamespaces = listOf(
  record<NvmeNamespace>({
    name: isText,
    path: isAbsolute,
    devNumber: isDevNumber,
    model: isText,
    serial: isText,
    nsid: isCount,
    uuid: optional(isUuid),
    nguid: optional(matches(/^[0-9a-f]{32}$/, '32 lower-case hex digits')),
    sizeBytes: isCount,
    logicalBlockSize: isCount,
    physicalBlockSize: isCount,
    hardwareQueues: isCount,
    writeCache: isOneOf('write back', 'write through'),
    transport: isTransport,
    subsystemNqn: isText,
    multipath: isOneOf('head', 'single'),
    paths: listOf(isPath),
    holders: isTexts,
    mountPoints: isTexts,
    partitions: listOf(isPartition),
  }),
);

export const isControllerIdentity = record<NvmeControllerIdentity>({
  serial: isText,
  model: isText,
  firmware: isText,
  volatileWriteCache: isBoolean,
  writeZeroes: isBoolean,
  deallocate: isBoolean,
});

export const isNamespaceIdentity = record<NvmeNamespaceIdentity>({
  sizeBlocks: isCount,
  capacityBlocks: isCount,
  deallocatedReads: isOneOf('not reported', 'zeroes', 'ones'),
  writeZeroesDeallocates: isBoolean,
  lbaFormats: listOf(
    record<NvmeLbaFormat>({
      dataBytes: isCount,
      metadataBytes: isCount,
      relativePerformance: isCount,
      inUse: isBoolean,
    }),
  ),
});

export const isSignatures = isTexts;
export const isDevicePath = isAbsolute;

export const isGptTable = record<GptTable>({
  state: isOneOf('valid', 'primary-only', 'backup-only', 'differ', 'blank', 'foreign', 'damaged'),
  sectorSize: isCount,
  deviceSizeBytes: isCount,
  diskGuid: isText,
  partitions: listOf(
    record<GptPartition>({
      number: isCount,
      typeGuid: isUpperGuid,
      partitionGuid: isUuid,
      name: isText,
      startBytes: isCount,
      sizeBytes: isCount,
    }),
  ),
  freeExtents: listOf(record<Extent>({ startBytes: isCount, sizeBytes: isCount })),
  problems: listOf(
    record<GptProblem>({ copy: isOneOf('primary', 'backup', 'protective-mbr'), field: isText, message: isText }),
  ),
  differingPartitionGuids: isTexts,
});

const isMember = record<MdMember>({
  name: isText,
  path: isAbsolute,
  devNumber: isDevNumber,
  slot: optional(isCount),
  state: isTexts,
  errors: isCount,
});

export const isMdArrays = listOf(
  record<MdArray>({
    name: isText,
    path: isAbsolute,
    devNumber: isDevNumber,
    uuid: optional(isUuid),
    arrayState: isText,
    level: isText,
    raidDisks: isCount,
    degraded: isCount,
    metadataVersion: isText,
    sizeBytes: isCount,
    syncAction: isText,
    syncDoneSectors: optional(isCount),
    syncTotalSectors: optional(isCount),
    syncSpeed: optional(isCount),
    syncMax: isText,
    resyncStart: isText,
    members: listOf(isMember),
    holders: isTexts,
    mountPoints: isTexts,
  }),
);

// md levels are signed (-1 linear, -4 multipath), unlike every other number here.
const isLevel = anyOf(isCount, (value, at) => {
  if (!Number.isSafeInteger(value)) throw new TypeError(`expected ${at} to be a safe integer`);
});

export const isSuperblock = optional(
  record<MdSuperblock>({
    arrayUuid: isUuid,
    deviceUuid: isUuid,
    setName: isText,
    events: isCount,
    level: isLevel,
    raidDisks: isCount,
    dataOffsetBytes: isCount,
    dataSizeBytes: isCount,
    usedSizeBytes: isCount,
    role: anyOf(isCount, isOneOf('spare', 'faulty', 'journal')),
    writeMostly: isBoolean,
    hasBitmap: isBoolean,
    bitmapOffsetBytes: isCount,
    hasBadBlockLog: isBoolean,
    dirty: isBoolean,
    updatedAtSec: isCount,
  }),
);

const isTargets = listOf(
  record<DmTarget>({ startSectors: isCount, lengthSectors: isCount, type: isText, params: isText }),
);

export const isDmDevice = record<DmDevice>({
  name: isText,
  uuid: isText,
  kernelName: isText,
  path: isAbsolute,
  devNumber: isDevNumber,
  openCount: isCount,
  suspended: isBoolean,
  table: isTargets,
  status: isTargets,
});
export const isDmDevices = listOf(isDmDevice);

export const isNvmetState = record<NvmetState>({
  ports: listOf(
    record<NvmetPort>({
      id: isCount,
      trtype: isText,
      adrfam: isText,
      traddr: isText,
      trsvcid: isText,
      subsystems: isTexts,
    }),
  ),
  subsystems: listOf(
    record<NvmetSubsystem>({
      nqn: isText,
      allowAnyHost: isBoolean,
      allowedHosts: isTexts,
      namespaces: listOf(
        record<NvmetNamespace>({ nsid: isCount, devicePath: isText, enabled: isBoolean, uuid: isText }),
      ),
    }),
  ),
  hosts: isTexts,
});

export const isNvmeControllers = listOf(
  record<NvmeController>({
    name: isText,
    state: isText,
    transport: isTransport,
    subsystemNqn: isText,
    hostNqn: isText,
    traddr: isText,
    trsvcid: isText,
  }),
);

export const isConnected = record<{ readonly controller: string }>({
  controller: matches(/^nvme\d+$/, 'a controller name'),
});

export const isMounts = listOf(
  record<MountEntry>({
    mountPoint: isText,
    root: isText,
    fsType: isText,
    source: isText,
    devNumber: isDevNumber,
    options: isTexts,
  }),
);

export const isUsage = record<FilesystemUsage>({
  totalBytes: isCount,
  availableBytes: isCount,
  usedBytes: isCount,
  totalInodes: isCount,
  freeInodes: isCount,
});

export const isEvents = listOf(
  record<KernelEvent>({ source: isOneOf('uevent', 'md'), action: isText, device: isText }),
);
