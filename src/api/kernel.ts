/**
 * The one interface through which a node's kernel is seen and changed. The addon implements it on real machines (`src/native`),
 * `test/fakes` keeps a stateful stand-in. Planners never call it: they read the data (`kernel-data.ts`).
 */
import type {
  DmDevice,
  DmTarget,
  Extent,
  FilesystemUsage,
  GptTable,
  KernelEvent,
  MdArray,
  MdSuperblock,
  MountEntry,
  NewGptPartition,
  NvmeConnectOptions,
  NvmeController,
  NvmeControllerIdentity,
  NvmeNamespace,
  NvmeNamespaceIdentity,
  NvmetExportWanted,
  NvmetPortWanted,
  NvmetState,
} from './kernel-data.ts';

export type * from './kernel-data.ts';

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
  /** Names of signatures found on the first and last MiB (`xfs`, `ext4`, `LVM2_member`, `zfs_member`, `ceph_bluestore`, `linux_raid_member`, `gpt`, `dos`, …). Empty for an all-zero device. `unknown` when bytes are set that no parser knows. `ETIMEDOUT` and `EBUSY` as `readGpt`. */
  signatures(path: string): Promise<readonly string[]>;
  /** O_DIRECT read of whole logical blocks. `offset` and `length` multiples of the logical block size. */
  readBytes(path: string, offset: number, length: number): Promise<Uint8Array>;
  /** O_DIRECT | O_SYNC write of whole logical blocks. */
  writeBytes(path: string, offset: number, data: Uint8Array): Promise<void>;
  /**
   * BLKZEROOUT over the range (Write Zeroes where the drive has it, zeros written by the kernel else), in pieces, then read
   * back: in full when `verify` is `full`, both ends and a 1 % sample when `sample`. Rejects `EIO` naming the offset that is not zero,
   * `EBUSY` while something has the device, or a partition of it, claimed.
   */
  zeroRange(
    path: string,
    range: Extent,
    verify: 'full' | 'sample',
    onProgress?: (doneBytes: number) => void,
  ): Promise<void>;

  // -- GPT. All writers take the whole-disk flock, re-read, write backup then primary with a sync between, and tell the kernel by BLKPG.
  /** `ETIMEDOUT` when the drive does not answer, `EBUSY` when it could not be asked in time: nothing is known about its table then. */
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
  /** STOP_ARRAY. Gone already is success. `EBUSY` while something holds it open. `ETIMEDOUT` when a guard holds MD's last write back: it goes on. */
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
  /**
   * Unlinks from every port, removes hosts, disables and removes namespaces (returns when what was in flight has landed), removes
   * the subsystem. Gone already is success. `ETIMEDOUT` when the drive keeps it waiting: it goes on, and until it has ended every
   * change of this export is refused with `EBUSY`.
   */
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
