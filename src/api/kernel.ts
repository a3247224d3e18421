/**
 * What a node's kernel can be seen to hold, as plain data, and the one interface through which it is seen and changed.
 * The addon implements `Kernel` on real machines (`src/native`), `test/fakes` keeps a stateful stand-in with the same
 * contract suite. Planners read these types; they never call the interface.
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

/**
 * The kernel of this node. Every method is asynchronous and runs off the event loop. Failures reject with an error that has
 * `errno` (negative), string `code` (`EBUSY`), `syscall`, `path`. Every changing method is idempotent as its line says.
 */
export interface Kernel {
  // -- block devices
  /** Every NVMe namespace with a block device, sorted by name; one call, sysfs and mountinfo only. */
  nvmeNamespaces(): Promise<readonly NvmeNamespace[]>;
  /** Admin ioctl on a controller or namespace node. Needs CAP_SYS_ADMIN. */
  identifyController(path: string): Promise<NvmeControllerIdentity>;
  identifyNamespace(path: string): Promise<NvmeNamespaceIdentity>;
  /** Names of signatures found on the first and last MiB (`xfs`, `ext4`, `LVM2_member`, `zfs_member`, `ceph_bluestore`, `linux_raid_member`, `gpt`, `dos`, …). Empty for an all-zero device. `unknown` when bytes are set that no parser knows. */
  signatures(path: string): Promise<readonly string[]>;
  /** O_DIRECT read of whole logical blocks. `offset` and `length` multiples of the logical block size. */
  readBytes(path: string, offset: number, length: number): Promise<Uint8Array>;
  /** O_DIRECT | O_SYNC write of whole logical blocks. */
  writeBytes(path: string, offset: number, data: Uint8Array): Promise<void>;
  /**
   * BLKZEROOUT over the range (Write Zeroes where the drive has it, zeros written by the kernel else), in pieces, then read
   * back: in full when `verify` is `full`, both ends and a 1 % sample when `sample`. Rejects `EIO` naming the offset that is not zero.
   */
  zeroRange(
    path: string,
    range: Extent,
    verify: 'full' | 'sample',
    onProgress?: (doneBytes: number) => void,
  ): Promise<void>;

  // -- GPT. All writers take the whole-disk flock, re-read, write backup then primary with a sync between, and tell the kernel by BLKPG.
  readGpt(path: string): Promise<GptTable>;
  /** Writes an empty table on a disk whose state is `blank`; anything else rejects `EEXIST`. */
  initializeGpt(path: string, diskGuid: string): Promise<void>;
  /** Adds the entry and the kernel's partition; the same partition already there (GUID, start, size) is success. `ENOSPC` when not free, `EEXIST` when the GUID is taken otherwise. First and last MiB of a new partition are zeroed before it appears. `EUCLEAN` (as in the other writers) when the table is not one that may be repaired. Returns the partition's device path. */
  addGptPartition(path: string, partition: NewGptPartition): Promise<string>;
  /** Removes entry and kernel partition. Gone already is success. `EBUSY` while the kernel's partition is in use (then nothing is written). */
  removeGptPartition(path: string, partitionGuid: string): Promise<void>;
  /** Grows or shrinks in place. `ENOSPC` when the space behind is not free. */
  resizeGptPartition(path: string, partitionGuid: string, sizeBytes: number): Promise<void>;
  /**
   * Rewrites the copy that is not good (with `differ` the backup, if every differing entry has our label in each copy that
   * has it), puts a missing protective MBR back, and adds partitions that the kernel lacks. No-op when all is well.
   * `EUCLEAN` for a table that is blank, foreign, damaged, or differs in what is not ours.
   */
  repairGpt(path: string): Promise<void>;

  // -- MD
  mdArrays(): Promise<readonly MdArray[]>;
  /** v1.2 superblock of a device; undefined when there is none; rejects `EBADMSG` naming the field when there is one and it is damaged. */
  readMdSuperblock(path: string): Promise<MdSuperblock | undefined>;
  /** Writes one word to `md/dev-<member>/state`: `write_mostly`, `-write_mostly`, `faulty`, `remove`, `want_replacement`, … */
  setMdMemberState(array: string, member: string, word: string): Promise<void>;
  /** Writes `md/<attribute>` (`array_state`, `sync_max`, `sync_action`, `safe_mode_delay`, …). */
  setMdAttribute(array: string, attribute: string, value: string): Promise<void>;
  /** STOP_ARRAY. Gone already is success. `EBUSY` while something holds it open. */
  stopMdArray(array: string): Promise<void>;

  // -- device mapper
  /** Devices whose name starts with `prefix`, with live table and status. */
  dmDevices(prefix: string): Promise<readonly DmDevice[]>;
  /** Creates, loads and resumes, udev rules off, and makes `/dev/mapper/<name>`. An existing device with this name rejects `EEXIST`. */
  createDm(name: string, uuid: string, table: readonly DmTarget[]): Promise<DmDevice>;
  /** Loads a new table, suspends with noflush, resumes. */
  reloadDm(name: string, table: readonly DmTarget[]): Promise<void>;
  suspendDm(name: string): Promise<void>;
  resumeDm(name: string): Promise<void>;
  messageDm(name: string, message: string): Promise<void>;
  /** Gone already is success. `EBUSY` while open. */
  removeDm(name: string): Promise<void>;

  // -- NVMe-oF target
  nvmetState(): Promise<NvmetState>;
  /** Creates the port if its id is free; rejects `EEXIST` when it exists with another address and has subsystems. */
  ensureNvmetPort(port: NvmetPortWanted): Promise<void>;
  /** Subsystem, one host, one namespace, links to the ports, in an order in which no other host can ever connect. */
  ensureNvmetExport(wanted: NvmetExportWanted): Promise<void>;
  /** Unlinks from every port, removes hosts, disables and removes namespaces (returns when what was in flight has landed), removes the subsystem. Gone already is success. */
  removeNvmetExport(nqn: string): Promise<void>;

  // -- NVMe-oF host
  nvmeControllers(): Promise<readonly NvmeController[]>;
  /** Writes to `/dev/nvme-fabrics` and parses the reply. Connected already to this NQN at this address is success. Blocks for seconds when the target is silent. */
  nvmeConnect(options: NvmeConnectOptions): Promise<{ readonly controller: string }>;
  /** Deletes every controller of the NQN and waits until sysfs shows none. None is success. */
  nvmeDisconnect(nqn: string): Promise<void>;

  // -- mounts
  mounts(): Promise<readonly MountEntry[]>;
  mount(source: string, target: string, fsType: string, options: readonly string[]): Promise<void>;
  /** Bind mount of a directory or a device node; `readOnly` remounts the bind read-only. */
  bindMount(source: string, target: string, readOnly: boolean): Promise<void>;
  /** Not mounted is success. Removes one mount; call again for a stack. Runs with a time limit in a child when the device may be dead. */
  unmount(target: string): Promise<void>;
  freezeFilesystem(mountPoint: string): Promise<void>;
  thawFilesystem(mountPoint: string): Promise<void>;
  /** XFS_IOC_GOINGDOWN / EXT4_IOC_SHUTDOWN without flushing the log. */
  shutdownFilesystem(mountPoint: string): Promise<void>;
  /** `ETIMEDOUT` after the limit; at most one call in flight for a path. */
  filesystemUsage(path: string, limitMs: number): Promise<FilesystemUsage>;

  // -- watching
  /** Calls back (coalesced, on the event loop) when block devices or arrays change, until `stop` is called. */
  watch(onEvents: (events: readonly KernelEvent[]) => void): { stop(): void };

  // -- this process
  /** PR_SET_IO_FLUSHER for every thread, so that none waits for write-back to a volume that waits for us. `EPERM` without CAP_SYS_RESOURCE, `EINVAL` from a kernel older than 5.6. */
  setIoFlusher(): Promise<void>;
  /** Exclusive flock on the file (made if missing), held for the life of the process. `EAGAIN` while any process, this one included, holds it. */
  acquireNodeLock(path: string): Promise<void>;
}
