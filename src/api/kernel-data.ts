/**
 * What a node's kernel can be seen to hold, as plain data. Planners read these types.
 *
 * Units: bytes unless a name says otherwise. Every number is a safe integer. Paths are absolute.
 */

/** A partition as the kernel knows it (`/sys/block/<disk>/<disk>pN`), which is not necessarily what the GPT says. */
export interface KernelPartition {
  readonly name: string;
  readonly path: string;
  /** Kernel partition number: the index of the GPT entry, from 1. */
  readonly number: number;
  /** `major:minor`. */
  readonly devNumber: string;
  readonly startBytes: number;
  readonly sizeBytes: number;
  /** Kernel names of block devices stacked on it (`/sys/class/block/<name>/holders`). */
  readonly holders: readonly string[];
  readonly mountPoints: readonly string[];
}

/** How a namespace reached this machine. Only `pcie` ones are local drives. */
export type NvmeTransport = 'pcie' | 'tcp' | 'rdma' | 'fc' | 'loop' | 'unknown';

export interface NvmePath {
  /** Controller, e.g. `nvme1`. Never an identity: numbers change. */
  readonly controller: string;
  /** Controller state in sysfs: `live`, `connecting`, `resetting`, `deleting`, `dead`, `new`. */
  readonly state: string;
  readonly transport: NvmeTransport;
  /** sysfs `address`: PCI address, or `traddr=…,trsvcid=…`. */
  readonly address: string;
  readonly hostNqn?: string;
}

/** One NVMe namespace with a block device (`nvmeXnY`); hidden path devices (`nvmeXcYnZ`) appear only as `paths`. */
export interface NvmeNamespace {
  readonly name: string;
  readonly path: string;
  readonly devNumber: string;
  readonly model: string;
  readonly serial: string;
  readonly nsid: number;
  /** Lower-case UUID text; absent when the drive has none or an all-zero one. */
  readonly uuid?: string;
  /** 32 hex digits, lower case; absent when all zero. */
  readonly nguid?: string;
  readonly sizeBytes: number;
  readonly logicalBlockSize: number;
  readonly physicalBlockSize: number;
  readonly hardwareQueues: number;
  /** `queue/write_cache`. */
  readonly writeCache: 'write back' | 'write through';
  readonly transport: NvmeTransport;
  readonly subsystemNqn: string;
  /** `head`: native multipath, one head over hidden paths. `single`: the device is its own path. */
  readonly multipath: 'head' | 'single';
  readonly paths: readonly NvmePath[];
  readonly holders: readonly string[];
  readonly mountPoints: readonly string[];
  readonly partitions: readonly KernelPartition[];
}

/** NVMe Identify Controller (CNS 01h), the fields we act on. */
export interface NvmeControllerIdentity {
  readonly serial: string;
  readonly model: string;
  readonly firmware: string;
  /** VWC bit 0: the drive has a volatile write cache. */
  readonly volatileWriteCache: boolean;
  /** ONCS bit 3. */
  readonly writeZeroes: boolean;
  readonly deallocate: boolean;
}

export interface NvmeLbaFormat {
  readonly dataBytes: number;
  readonly metadataBytes: number;
  readonly relativePerformance: number;
  readonly inUse: boolean;
}

/** NVMe Identify Namespace (CNS 00h), the fields we act on. */
export interface NvmeNamespaceIdentity {
  readonly sizeBlocks: number;
  readonly capacityBlocks: number;
  /** DLFEAT bits 2:0: what deallocated blocks read as. */
  readonly deallocatedReads: 'not reported' | 'zeroes' | 'ones';
  /** DLFEAT bit 3: Write Zeroes honours the deallocate bit. */
  readonly writeZeroesDeallocates: boolean;
  readonly lbaFormats: readonly NvmeLbaFormat[];
}

// ---------------------------------------------------------------- GPT

export interface GptPartition {
  /** Index of the entry, from 1; the kernel's partition number. */
  readonly number: number;
  /** Upper-case GUID text. */
  readonly typeGuid: string;
  /** Lower-case GUID text (PARTUUID). */
  readonly partitionGuid: string;
  /** PARTLABEL, at most 36 UTF-16 units. */
  readonly name: string;
  readonly startBytes: number;
  readonly sizeBytes: number;
}

/**
 * `valid`: both copies good and equal. `primary-only`, `backup-only`: one copy good, `repairGpt` rewrites the other.
 * `differ`: both good, not equal; `partitions` are the primary's. `blank`: no table, first and last MiB zero.
 * `foreign`: no GPT but something is there (MBR, whole-disk filesystem, rubbish). `damaged`: a GPT whose copies are both bad.
 */
export type GptState = 'valid' | 'primary-only' | 'backup-only' | 'differ' | 'blank' | 'foreign' | 'damaged';

export interface GptProblem {
  readonly copy: 'primary' | 'backup' | 'protective-mbr';
  /** Field at fault, by its UEFI name: `Signature`, `HeaderCRC32`, `MyLBA`, `PartitionEntryArrayCRC32`, … */
  readonly field: string;
  readonly message: string;
}

export interface Extent {
  readonly startBytes: number;
  readonly sizeBytes: number;
}

export interface GptTable {
  readonly state: GptState;
  readonly sectorSize: number;
  readonly deviceSizeBytes: number;
  /** Lower-case disk GUID; empty unless a copy is good. */
  readonly diskGuid: string;
  readonly partitions: readonly GptPartition[];
  /** Free extents of at least 1 MiB, aligned to 1 MiB at both ends, in disk order. */
  readonly freeExtents: readonly Extent[];
  readonly problems: readonly GptProblem[];
  /**
   * With `differ`: the GUIDs of entries that are in one copy only or not the same in both. The all-zero GUID among them
   * stands for a field of the header: that difference is nobody's entry, so the table must not be used.
   */
  readonly differingPartitionGuids: readonly string[];
}

export interface NewGptPartition {
  readonly typeGuid: string;
  readonly partitionGuid: string;
  readonly name: string;
  /** Where to put it; a multiple of 1 MiB inside a free extent. */
  readonly startBytes: number;
  readonly sizeBytes: number;
}

// ---------------------------------------------------------------- MD

export interface MdMember {
  /** Kernel name of the member device, e.g. `dm-3`. */
  readonly name: string;
  readonly path: string;
  readonly devNumber: string;
  /** RAID slot, absent for a spare or a faulty member (`slot` reads `none`). */
  readonly slot?: number;
  /** Words of `md/dev-NAME/state`: `in_sync`, `faulty`, `write_mostly`, `spare`, `want_replacement`, `replacement`, `blocked`, … */
  readonly state: readonly string[];
  readonly errors: number;
}

export interface MdArray {
  /** `md127`. Never an identity. */
  readonly name: string;
  readonly path: string;
  readonly devNumber: string;
  /** Lower-case, dashed UUID text (any of md's notations folded to it); absent when there is no superblock. */
  readonly uuid?: string;
  /** `md/array_state`: `clear`, `inactive`, `suspended`, `readonly`, `read-auto`, `clean`, `active`, `write-pending`, `active-idle`. */
  readonly arrayState: string;
  /** `raid1`, `raid10`, … */
  readonly level: string;
  readonly raidDisks: number;
  readonly degraded: number;
  readonly metadataVersion: string;
  readonly sizeBytes: number;
  /** `idle`, `resync`, `recover`, `reshape`, `check`, `repair`, `frozen`. */
  readonly syncAction: string;
  /** Sectors (512) done and in all, while something runs. */
  readonly syncDoneSectors?: number;
  readonly syncTotalSectors?: number;
  /** KiB/s. */
  readonly syncSpeed?: number;
  /** `max`, or sectors as text. */
  readonly syncMax: string;
  /** `none`, or the sector (512) at which a resync that is due, or runs, has to begin. */
  readonly resyncStart: string;
  readonly members: readonly MdMember[];
  readonly holders: readonly string[];
  readonly mountPoints: readonly string[];
}

export interface MdSuperblock {
  readonly arrayUuid: string;
  readonly deviceUuid: string;
  /** `homehost:name`. */
  readonly setName: string;
  readonly events: number;
  readonly level: number;
  readonly raidDisks: number;
  /** Data area: offset from the start of the device and size. */
  readonly dataOffsetBytes: number;
  readonly dataSizeBytes: number;
  /** Bytes of each member used by the array. */
  readonly usedSizeBytes: number;
  /** Slot, or what the device is instead of a member. */
  readonly role: number | 'spare' | 'faulty' | 'journal';
  readonly writeMostly: boolean;
  readonly hasBitmap: boolean;
  /** Offset of the internal bitmap from the start of the device; 0 without one. */
  readonly bitmapOffsetBytes: number;
  readonly hasBadBlockLog: boolean;
  /** `resync_offset` says a resync is under way (dirty). */
  readonly dirty: boolean;
  readonly updatedAtSec: number;
}

// ---------------------------------------------------------------- device mapper

export interface DmTarget {
  readonly startSectors: number;
  readonly lengthSectors: number;
  readonly type: string;
  readonly params: string;
}

export interface DmDevice {
  readonly name: string;
  readonly uuid: string;
  /** Kernel name, `dm-N`. */
  readonly kernelName: string;
  readonly path: string;
  readonly devNumber: string;
  readonly openCount: number;
  readonly suspended: boolean;
  /** Live table (`DM_STATUS_TABLE_FLAG`): shows `queue_if_no_path`, which the status does not. */
  readonly table: readonly DmTarget[];
  readonly status: readonly DmTarget[];
}

// ---------------------------------------------------------------- NVMe-oF

export interface NvmetPort {
  readonly id: number;
  readonly trtype: string;
  readonly adrfam: string;
  readonly traddr: string;
  readonly trsvcid: string;
  /** NQNs linked to the port. */
  readonly subsystems: readonly string[];
}

export interface NvmetNamespace {
  readonly nsid: number;
  readonly devicePath: string;
  readonly enabled: boolean;
  readonly uuid: string;
}

export interface NvmetSubsystem {
  readonly nqn: string;
  readonly allowAnyHost: boolean;
  readonly allowedHosts: readonly string[];
  readonly namespaces: readonly NvmetNamespace[];
}

export interface NvmetState {
  readonly ports: readonly NvmetPort[];
  readonly subsystems: readonly NvmetSubsystem[];
  readonly hosts: readonly string[];
}

export interface NvmetPortWanted {
  readonly id: number;
  readonly trtype: 'tcp' | 'rdma';
  readonly traddr: string;
  readonly trsvcid: string;
}

export interface NvmetExportWanted {
  readonly nqn: string;
  readonly nsid: number;
  readonly devicePath: string;
  /** Namespace UUID, lower case. */
  readonly uuid: string;
  readonly hostNqn: string;
  readonly portIds: readonly number[];
}

export interface NvmeController {
  readonly name: string;
  readonly state: string;
  readonly transport: NvmeTransport;
  readonly subsystemNqn: string;
  readonly hostNqn: string;
  readonly traddr: string;
  readonly trsvcid: string;
}

export interface NvmeConnectOptions {
  readonly transport: 'tcp' | 'rdma';
  readonly traddr: string;
  readonly trsvcid: string;
  readonly nqn: string;
  readonly hostNqn: string;
  readonly hostId: string;
  readonly keepAliveTmoSec: number;
  readonly fastIoFailTmoSec: number;
  readonly ctrlLossTmoSec: number;
  readonly reconnectDelaySec: number;
  readonly nrIoQueues: number;
}

// ---------------------------------------------------------------- mounts

/** A line of `/proc/self/mountinfo`, octal escapes undone. */
export interface MountEntry {
  readonly mountPoint: string;
  /** Path inside the filesystem that is mounted; `/` for a whole one. */
  readonly root: string;
  readonly fsType: string;
  readonly source: string;
  /** `major:minor` of the filesystem's device. For a bind-mounted device node this is the filesystem that holds the node. */
  readonly devNumber: string;
  readonly options: readonly string[];
}

export interface FilesystemUsage {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly usedBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
}

/** Why the kernel woke us. Only a hint to look again: nothing is decided from it. */
export interface KernelEvent {
  readonly source: 'uevent' | 'md';
  /** uevent ACTION (`add`, `remove`, `change`) or `md`. */
  readonly action: string;
  /** Kernel name of the device, e.g. `nvme1n1`, `md127`, `dm-4`; empty for `/proc/mdstat`. */
  readonly device: string;
}
