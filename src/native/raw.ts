import type {
  DmTarget,
  Extent,
  Kernel,
  NewGptPartition,
  NvmeConnectOptions,
  NvmetExportWanted,
  NvmetPortWanted,
} from '../api/kernel.ts';

/**
 * The addon as it comes out of the `.node` file: same operations as `Kernel`, nothing checked. Results are `unknown` on
 * purpose: what C++ hands over is believed only after `shapes.ts` has looked at it.
 *
 * A trailing `root` (default `/`) moves everything that is read or written below another directory; tests use it.
 * A trailing `imageSectorSize` (default 512) is the sector size to assume for a regular file; devices have their own.
 */
export interface RawAddon {
  readonly abiVersion: number;

  nvmeNamespaces(root?: string): Promise<unknown>;
  identifyController(path: string): Promise<unknown>;
  identifyNamespace(path: string): Promise<unknown>;
  signatures(path: string): Promise<unknown>;
  readBytes(path: string, offset: number, length: number): Promise<unknown>;
  writeBytes(path: string, offset: number, data: Uint8Array): Promise<unknown>;
  zeroRange(
    path: string,
    range: Extent,
    verify: 'full' | 'sample',
    onProgress?: (doneBytes: number) => void,
  ): Promise<unknown>;

  readGpt(path: string, imageSectorSize?: number): Promise<unknown>;
  initializeGpt(path: string, diskGuid: string, imageSectorSize?: number): Promise<unknown>;
  addGptPartition(path: string, partition: NewGptPartition, imageSectorSize?: number): Promise<unknown>;
  removeGptPartition(path: string, partitionGuid: string, imageSectorSize?: number): Promise<unknown>;
  resizeGptPartition(
    path: string,
    partitionGuid: string,
    sizeBytes: number,
    imageSectorSize?: number,
  ): Promise<unknown>;
  repairGpt(path: string, imageSectorSize?: number): Promise<unknown>;

  mdArrays(root?: string): Promise<unknown>;
  readMdSuperblock(path: string): Promise<unknown>;
  setMdMemberState(array: string, member: string, word: string): Promise<unknown>;
  setMdAttribute(array: string, attribute: string, value: string): Promise<unknown>;
  stopMdArray(array: string): Promise<unknown>;

  dmDevices(prefix: string): Promise<unknown>;
  createDm(name: string, uuid: string, table: readonly DmTarget[]): Promise<unknown>;
  reloadDm(name: string, table: readonly DmTarget[]): Promise<unknown>;
  suspendDm(name: string): Promise<unknown>;
  resumeDm(name: string): Promise<unknown>;
  messageDm(name: string, message: string): Promise<unknown>;
  removeDm(name: string): Promise<unknown>;

  nvmetState(root?: string): Promise<unknown>;
  ensureNvmetPort(port: NvmetPortWanted, root?: string): Promise<unknown>;
  ensureNvmetExport(wanted: NvmetExportWanted, root?: string): Promise<unknown>;
  removeNvmetExport(nqn: string, root?: string): Promise<unknown>;

  nvmeControllers(root?: string): Promise<unknown>;
  nvmeConnect(options: NvmeConnectOptions, root?: string): Promise<unknown>;
  nvmeDisconnect(nqn: string, root?: string): Promise<unknown>;

  mounts(): Promise<unknown>;
  mount(source: string, target: string, fsType: string, options: readonly string[]): Promise<unknown>;
  bindMount(source: string, target: string, readOnly: boolean): Promise<unknown>;
  unmount(target: string): Promise<unknown>;
  freezeFilesystem(mountPoint: string): Promise<unknown>;
  thawFilesystem(mountPoint: string): Promise<unknown>;
  shutdownFilesystem(mountPoint: string): Promise<unknown>;
  filesystemUsage(path: string, limitMs: number): Promise<unknown>;

  watch(onEvents: (events: unknown) => void): { stop(): void };

  setIoFlusher(): Promise<unknown>;
  acquireNodeLock(path: string): Promise<unknown>;
}

/** Raised with every change of a signature or a result; the same number is compiled into the addon. */
export const ABI_VERSION = 1;

// A record, so that leaving an operation of `Kernel` out of the list does not compile.
const OPERATIONS: Readonly<Record<keyof Kernel, true>> = {
  nvmeNamespaces: true,
  identifyController: true,
  identifyNamespace: true,
  signatures: true,
  readBytes: true,
  writeBytes: true,
  zeroRange: true,
  readGpt: true,
  initializeGpt: true,
  addGptPartition: true,
  removeGptPartition: true,
  resizeGptPartition: true,
  repairGpt: true,
  mdArrays: true,
  readMdSuperblock: true,
  setMdMemberState: true,
  setMdAttribute: true,
  stopMdArray: true,
  dmDevices: true,
  createDm: true,
  reloadDm: true,
  suspendDm: true,
  resumeDm: true,
  messageDm: true,
  removeDm: true,
  nvmetState: true,
  ensureNvmetPort: true,
  ensureNvmetExport: true,
  removeNvmetExport: true,
  nvmeControllers: true,
  nvmeConnect: true,
  nvmeDisconnect: true,
  mounts: true,
  mount: true,
  bindMount: true,
  unmount: true,
  freezeFilesystem: true,
  thawFilesystem: true,
  shutdownFilesystem: true,
  filesystemUsage: true,
  watch: true,
  setIoFlusher: true,
  acquireNodeLock: true,
};

/** Everything the addon exports, sorted. `load` refuses a file that lacks one; a test refuses one too many. */
export const RAW_EXPORTS: readonly string[] = ['abiVersion', ...Object.keys(OPERATIONS)].sort();
