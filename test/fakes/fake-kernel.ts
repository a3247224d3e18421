import type {
  DmDevice,
  DmTarget,
  Extent,
  FilesystemUsage,
  GptTable,
  Kernel,
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
} from '../../src/api/kernel.ts';
import { kernelError, MIB } from './fake-bytes.ts';
import type { BlockDevice } from './fake-devices.ts';
import type { FakeNode } from './fake-node.ts';
import { readSuperblock } from './fake-md-superblock.ts';
import { probeFilesystem } from './fake-mounts.ts';

/** Bytes zeroed between two reports of progress. */
const ZERO_STEP = 64 * MIB;

/**
 * `Kernel` of one fake node. State lives in the parts of `FakeNode`; what is here is only the contract: which call goes
 * where, and what a machine without power answers.
 */
export class FakeKernel implements Kernel {
  readonly #node: FakeNode;

  constructor(node: FakeNode) {
    this.#node = node;
  }

  async nvmeNamespaces(): Promise<readonly NvmeNamespace[]> {
    const node = this.#running('open');
    const imported = node.host.namespaces((device) => node.mounts.pointsOf(device));
    const all = [...node.localNamespaces(), ...imported];
    return Promise.resolve(all.sort((a, b) => (a.name < b.name ? -1 : 1)));
  }

  async identifyController(path: string): Promise<NvmeControllerIdentity> {
    const disk = this.#running('ioctl').disks.disks.find(
      ({ name }) => path === `/dev/${name}` || path === `/dev/${name.replace(/n\d+$/, '')}`,
    );
    if (disk === undefined) throw kernelError('ENOENT', 'open', path);
    return Promise.resolve({
      serial: disk.serial,
      model: disk.model,
      firmware: '1.0',
      volatileWriteCache: disk.writeCache === 'write back',
      writeZeroes: true,
      deallocate: true,
    });
  }

  async identifyNamespace(path: string): Promise<NvmeNamespaceIdentity> {
    const device = this.#device(path, 'ioctl');
    this.#node.host.identify(path);
    const sizeBlocks = device.sizeBytes / device.logicalBlockSize;
    return Promise.resolve({
      sizeBlocks,
      capacityBlocks: sizeBlocks,
      deallocatedReads: 'zeroes',
      writeZeroesDeallocates: true,
      lbaFormats: [{ dataBytes: device.logicalBlockSize, metadataBytes: 0, relativePerformance: 0, inUse: true }],
    });
  }

  async signatures(path: string): Promise<readonly string[]> {
    const device = this.#device(path, 'open');
    const disk = this.#node.disks.disks.find(({ name }) => `/dev/${name}` === path);
    if (disk !== undefined && disk.gptState !== undefined) return ['gpt'];
    const found: string[] = [];
    const filesystem = await probeFilesystem(device);
    if (filesystem !== undefined) found.push(filesystem.fsType);
    if ((await readSuperblock(device).catch(() => 'damaged')) !== undefined) found.push('linux_raid_member');
    const head = Buffer.from(await device.read(0, 4096)).toString('latin1');
    const planted = /^FAKESIG:([A-Za-z0-9_]+)\n/.exec(head)?.[1];
    if (planted !== undefined) found.push(planted);
    if (found.length > 0) return found.sort();
    const ends = Math.min(MIB, device.sizeBytes);
    const written = [...(await device.written(0, ends)), ...(await device.written(device.sizeBytes - ends, ends))];
    return written.length > 0 ? ['unknown'] : [];
  }

  async readBytes(path: string, offset: number, length: number): Promise<Uint8Array> {
    const device = this.#aligned(path, offset, length, 'pread');
    return device.read(offset, length);
  }

  async writeBytes(path: string, offset: number, data: Uint8Array): Promise<void> {
    const device = this.#aligned(path, offset, data.length, 'pwrite');
    await device.write(offset, data);
  }

  async zeroRange(
    path: string,
    range: Extent,
    _verify: 'full' | 'sample',
    onProgress?: (doneBytes: number) => void,
  ): Promise<void> {
    const device = this.#aligned(path, range.startBytes, range.sizeBytes, 'ioctl BLKZEROOUT');
    const opener = { holder: '', claim: 'zero' };
    device.open(opener);
    try {
      for (let done = 0; done < range.sizeBytes;) {
        const step = Math.min(ZERO_STEP, range.sizeBytes - done);
        await device.zero(range.startBytes + done, step);
        done += step;
        onProgress?.(done);
      }
    } finally {
      device.close(opener);
    }
    const left = await device.written(range.startBytes, range.sizeBytes);
    if (left.length > 0) throw kernelError('EIO', 'pread', path);
  }

  async readGpt(path: string): Promise<GptTable> {
    return Promise.resolve(this.#running('open').disks.diskAt(path).table());
  }

  async initializeGpt(path: string, diskGuid: string): Promise<void> {
    this.#running('open').disks.initialize(path, diskGuid);
    return Promise.resolve();
  }

  async addGptPartition(path: string, partition: NewGptPartition): Promise<string> {
    return Promise.resolve(this.#running('open').disks.addPartition(path, partition));
  }

  async removeGptPartition(path: string, partitionGuid: string): Promise<void> {
    this.#running('open').disks.removePartition(path, partitionGuid);
    return Promise.resolve();
  }

  async resizeGptPartition(path: string, partitionGuid: string, sizeBytes: number): Promise<void> {
    this.#running('open').disks.resizePartition(path, partitionGuid, sizeBytes);
    return Promise.resolve();
  }

  async repairGpt(path: string): Promise<void> {
    this.#running('open').disks.repair(path);
    return Promise.resolve();
  }

  async mdArrays(): Promise<readonly MdArray[]> {
    const node = this.#running('open');
    return Promise.resolve(node.md.list((device) => node.mounts.pointsOf(device)));
  }

  async readMdSuperblock(path: string): Promise<MdSuperblock | undefined> {
    return this.#running('open').md.superblock(path);
  }

  async setMdMemberState(array: string, member: string, word: string): Promise<void> {
    await this.#running('open').md.setMemberState(array, member, word);
  }

  async setMdAttribute(array: string, attribute: string, value: string): Promise<void> {
    await this.#running('open').md.setAttribute(array, attribute, value);
  }

  async stopMdArray(array: string): Promise<void> {
    await this.#running('ioctl STOP_ARRAY').md.stop(array);
  }

  async dmDevices(prefix: string): Promise<readonly DmDevice[]> {
    return Promise.resolve(this.#running('ioctl').dm.list(prefix));
  }

  async createDm(name: string, uuid: string, table: readonly DmTarget[]): Promise<DmDevice> {
    return Promise.resolve(this.#running('ioctl').dm.create(name, uuid, table));
  }

  async reloadDm(name: string, table: readonly DmTarget[]): Promise<void> {
    this.#running('ioctl').dm.reload(name, table);
    return Promise.resolve();
  }

  async suspendDm(name: string): Promise<void> {
    this.#running('ioctl').dm.suspend(name);
    return Promise.resolve();
  }

  async resumeDm(name: string): Promise<void> {
    this.#running('ioctl').dm.resume(name);
    return Promise.resolve();
  }

  async messageDm(name: string, message: string): Promise<void> {
    this.#running('ioctl').dm.message(name, message);
    return Promise.resolve();
  }

  async removeDm(name: string): Promise<void> {
    this.#running('ioctl').dm.remove(name);
    return Promise.resolve();
  }

  async nvmetState(): Promise<NvmetState> {
    return Promise.resolve(this.#running('open').nvmet.state());
  }

  async ensureNvmetPort(port: NvmetPortWanted): Promise<void> {
    this.#running('mkdir').nvmet.ensurePort(port);
    return Promise.resolve();
  }

  async ensureNvmetExport(wanted: NvmetExportWanted): Promise<void> {
    this.#running('mkdir').nvmet.ensureExport(wanted);
    return Promise.resolve();
  }

  async removeNvmetExport(nqn: string): Promise<void> {
    this.#running('rmdir').nvmet.removeExport(nqn);
    return Promise.resolve();
  }

  async nvmeControllers(): Promise<readonly NvmeController[]> {
    const node = this.#running('open');
    return Promise.resolve([...node.localControllers(), ...node.host.controllers()]);
  }

  async nvmeConnect(options: NvmeConnectOptions): Promise<{ readonly controller: string }> {
    return Promise.resolve({ controller: this.#running('open').host.connect(options) });
  }

  async nvmeDisconnect(nqn: string): Promise<void> {
    this.#running('write').host.disconnect(nqn);
    return Promise.resolve();
  }

  async mounts(): Promise<readonly MountEntry[]> {
    return Promise.resolve(this.#running('open').mounts.list());
  }

  async mount(source: string, target: string, fsType: string, options: readonly string[]): Promise<void> {
    await this.#running('mount').mounts.mount(source, target, fsType, options);
  }

  async bindMount(source: string, target: string, readOnly: boolean): Promise<void> {
    this.#running('mount').mounts.bind(source, target, readOnly);
    return Promise.resolve();
  }

  async unmount(target: string): Promise<void> {
    this.#running('umount2').mounts.unmount(target);
    return Promise.resolve();
  }

  async freezeFilesystem(mountPoint: string): Promise<void> {
    this.#running('ioctl').mounts.setFrozen(mountPoint, true);
    return Promise.resolve();
  }

  async thawFilesystem(mountPoint: string): Promise<void> {
    this.#running('ioctl').mounts.setFrozen(mountPoint, false);
    return Promise.resolve();
  }

  async shutdownFilesystem(mountPoint: string): Promise<void> {
    this.#running('ioctl').mounts.shutdown(mountPoint);
    return Promise.resolve();
  }

  async filesystemUsage(path: string): Promise<FilesystemUsage> {
    return Promise.resolve(this.#running('statfs').mounts.usage(path));
  }

  watch(onEvents: (events: readonly KernelEvent[]) => void): { stop(): void } {
    return this.#node.watch(onEvents);
  }

  async setIoFlusher(): Promise<void> {
    this.#running('prctl').ioFlusher = true;
    return Promise.resolve();
  }

  async acquireNodeLock(path: string): Promise<void> {
    const { locks } = this.#running('flock');
    if (locks.has(path)) throw kernelError('EAGAIN', 'flock', path);
    locks.add(path);
    return Promise.resolve();
  }

  #running(syscall: string): FakeNode {
    if (!this.#node.isUp) throw kernelError('ENOTCONN', syscall, this.#node.name);
    return this.#node;
  }

  #device(path: string, syscall: string): BlockDevice {
    return this.#running(syscall).devices.get(path, syscall);
  }

  #aligned(path: string, offset: number, length: number, syscall: string): BlockDevice {
    const device = this.#device(path, syscall);
    const block = device.logicalBlockSize;
    if (offset % block !== 0 || length % block !== 0) throw kernelError('EINVAL', syscall, path);
    return device;
  }
}
