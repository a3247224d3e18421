import type { FilesystemUsage, MountEntry } from '../../src/api/kernel.ts';
import { kernelError, MIB } from './fake-bytes.ts';
import type { BlockDevice, DeviceTable, Opener } from './fake-devices.ts';

const XFS_MAGIC = 'XFSB';
const XFS_UUID_OFFSET = 32;
/** `sb_inprogress`, as the real superblock has it. */
const XFS_IN_PROGRESS_OFFSET = 126;
const EXT4_MAGIC_OFFSET = 0x438;
const EXT4_UUID_OFFSET = 0x468;
/** Bytes that the filesystem has, as 64 bits; of no filesystem in the real world. */
const SIZE_OFFSET = 4096;
/** The mount's own write (log, mount count), and the files. */
const LOG_OFFSET = 64 * 1024;
const FILES_OFFSET = MIB;
const FILES_BYTES = MIB;
const ROOT_DEVICE = '8:1';

export interface FakeFilesystemSeen {
  readonly fsType: 'xfs' | 'ext4';
  readonly uuid: string;
  readonly unfinished: boolean;
  readonly sizeBytes: number;
}

interface Superblock {
  readonly device: BlockDevice;
  readonly fsType: string;
  readonly opener: Opener;
  sizeBytes: number;
  shutDown: boolean;
  frozen: boolean;
}

interface Mounted {
  readonly entry: MountEntry;
  readonly superblock: Superblock | undefined;
}

function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Which filesystem is on a device, by the marks that the real ones leave. */
export async function probeFilesystem(device: BlockDevice): Promise<FakeFilesystemSeen | undefined> {
  if (device.sizeBytes < 8192) return undefined;
  const head = Buffer.from(await device.read(0, 8192));
  const sizeBytes = Number(head.readBigUInt64LE(SIZE_OFFSET));
  if (head.subarray(0, 4).toString('latin1') === XFS_MAGIC) {
    const uuid = uuidText(head.subarray(XFS_UUID_OFFSET, XFS_UUID_OFFSET + 16));
    return { fsType: 'xfs', uuid, unfinished: head[XFS_IN_PROGRESS_OFFSET] !== 0, sizeBytes };
  }
  if (head.readUInt16LE(EXT4_MAGIC_OFFSET) === 0xef53) {
    const uuid = uuidText(head.subarray(EXT4_UUID_OFFSET, EXT4_UUID_OFFSET + 16));
    return { fsType: 'ext4', uuid, unfinished: false, sizeBytes };
  }
  return undefined;
}

/** Filesystems and the mount table of one node. Files live on the devices, so they move with the volume. */
export class FakeMounts {
  readonly #devices: DeviceTable;
  readonly #mounts: Mounted[] = [];
  readonly #busy = new Set<string>();

  constructor(devices: DeviceTable) {
    this.#devices = devices;
  }

  /** mkfs. `unfinished` leaves what a killed mkfs.xfs leaves. */
  async make(path: string, fsType: 'xfs' | 'ext4', uuid: string, unfinished = false): Promise<void> {
    const device = this.#devices.get(path, 'open');
    const opener: Opener = { holder: '', claim: 'mkfs' };
    device.open(opener);
    try {
      await device.zero(0, Math.min(device.sizeBytes, FILES_OFFSET + FILES_BYTES));
      const head = Buffer.alloc(8192);
      const id = Buffer.from(uuid.replaceAll('-', ''), 'hex');
      if (fsType === 'xfs') {
        head.write(XFS_MAGIC, 0, 'latin1');
        head.set(id, XFS_UUID_OFFSET);
        head[XFS_IN_PROGRESS_OFFSET] = unfinished ? 1 : 0;
      } else {
        head.writeUInt16LE(0xef53, EXT4_MAGIC_OFFSET);
        head.set(id, EXT4_UUID_OFFSET);
      }
      head.writeBigUInt64LE(BigInt(device.sizeBytes), SIZE_OFFSET);
      await device.write(0, head);
    } finally {
      device.close(opener);
    }
  }

  async probe(path: string): Promise<FakeFilesystemSeen | undefined> {
    return probeFilesystem(this.#devices.get(path, 'open'));
  }

  list(): readonly MountEntry[] {
    return this.#mounts.map(({ entry }) => entry);
  }

  /** Mount points of a device, for `holders and mounts` of the other views. */
  pointsOf(device: BlockDevice): readonly string[] {
    return this.#mounts.filter(({ superblock }) => superblock?.device === device).map(({ entry }) => entry.mountPoint);
  }

  async mount(source: string, target: string, fsType: string, options: readonly string[]): Promise<void> {
    const device = this.#devices.get(source, 'mount');
    const found = await probeFilesystem(device);
    if (found?.fsType !== fsType || found.unfinished) throw kernelError('EINVAL', 'mount', target);
    if (this.#top(target)?.superblock?.device === device) throw kernelError('EBUSY', 'mount', target);
    const shared = this.#mounts.find(({ superblock }) => superblock?.device === device)?.superblock;
    const readOnly = options.includes('ro');
    const superblock = shared ?? {
      device,
      fsType,
      opener: { holder: '', claim: 'fs' },
      sizeBytes: found.sizeBytes,
      shutDown: false,
      frozen: false,
    };
    if (shared === undefined) {
      device.open(superblock.opener);
      try {
        if (!readOnly) await device.write(LOG_OFFSET, Buffer.from('mounted'));
      } catch (error: unknown) {
        device.close(superblock.opener);
        throw error;
      }
    }
    const words = options.filter((option) => option !== 'ro' && option !== 'rw');
    this.#mounts.push({
      entry: {
        mountPoint: target,
        root: '/',
        fsType,
        source,
        devNumber: device.devNumber,
        options: [readOnly ? 'ro' : 'rw', ...words],
      },
      superblock,
    });
  }

  bind(source: string, target: string, readOnly: boolean): void {
    const device = this.#devices.find(source);
    const covering = this.#covering(source);
    const options = [readOnly ? 'ro' : 'rw'];
    if (device !== undefined) {
      const entry = { fsType: 'devtmpfs', source: 'devtmpfs', devNumber: '0:5', root: `/${device.name}` };
      this.#mounts.push({ entry: { ...entry, mountPoint: target, options }, superblock: undefined });
    } else if (covering !== undefined) {
      const below = source.slice(covering.entry.mountPoint.length);
      const root = `${covering.entry.root === '/' ? '' : covering.entry.root}${below}`;
      const entry = { ...covering.entry, mountPoint: target, root: root === '' ? '/' : root, options };
      this.#mounts.push({ entry, superblock: covering.superblock });
    } else {
      const entry = { fsType: 'ext4', source: '/dev/root', devNumber: ROOT_DEVICE, root: source };
      this.#mounts.push({ entry: { ...entry, mountPoint: target, options }, superblock: undefined });
    }
  }

  unmount(target: string): void {
    const top = this.#top(target);
    if (top === undefined) return;
    const isCovered = this.#mounts.some(({ entry }) => entry.mountPoint.startsWith(`${target}/`));
    if (isCovered || this.#busy.has(target)) throw kernelError('EBUSY', 'umount2', target);
    this.#mounts.splice(this.#mounts.lastIndexOf(top), 1);
    const { superblock } = top;
    if (superblock === undefined || this.#mounts.some((other) => other.superblock === superblock)) return;
    superblock.device.close(superblock.opener);
  }

  /** xfs_growfs: of what is mounted there and may be written. */
  async grow(mountPoint: string): Promise<void> {
    const top = this.#top(mountPoint);
    if (top?.superblock === undefined) throw kernelError('ENOTTY', 'ioctl FSGROWFSDATA', mountPoint);
    if (top.entry.options.includes('ro')) throw kernelError('EROFS', 'ioctl FSGROWFSDATA', mountPoint);
    await this.growDevice(top.superblock.device.path);
  }

  /** resize2fs of a mounted device. */
  async growDevice(path: string): Promise<void> {
    const device = this.#devices.get(path, 'open');
    const superblock = this.#mounts.find((mounted) => mounted.superblock?.device === device)?.superblock;
    if (superblock === undefined) throw kernelError('EINVAL', 'ioctl RESIZE_FS', path);
    const head = Buffer.from(await device.read(0, 8192));
    head.writeBigUInt64LE(BigInt(device.sizeBytes), SIZE_OFFSET);
    await device.write(0, head);
    superblock.sizeBytes = device.sizeBytes;
  }

  /** A program with an open file under the mount point: unmounting is EBUSY until `release`. */
  hold(target: string): void {
    this.#busy.add(target);
  }

  release(target: string): void {
    this.#busy.delete(target);
  }

  setFrozen(mountPoint: string, frozen: boolean): void {
    const superblock = this.#superblock(mountPoint, frozen ? 'ioctl FIFREEZE' : 'ioctl FITHAW');
    if (superblock.frozen === frozen) throw kernelError(frozen ? 'EBUSY' : 'EINVAL', 'ioctl', mountPoint);
    superblock.frozen = frozen;
  }

  shutdown(mountPoint: string): void {
    this.#superblock(mountPoint, 'ioctl GOINGDOWN').shutDown = true;
  }

  usage(path: string): FilesystemUsage {
    const covering = this.#covering(path);
    if (covering === undefined) throw kernelError('ENOENT', 'statfs', path);
    if (covering.superblock?.shutDown === true) throw kernelError('EIO', 'statfs', path);
    const totalBytes = covering.superblock?.sizeBytes ?? 0;
    const usedBytes = Math.min(totalBytes, FILES_OFFSET + FILES_BYTES);
    return { totalBytes, usedBytes, availableBytes: totalBytes - usedBytes, totalInodes: 1000, freeInodes: 990 };
  }

  /** Writes a small file and waits until it is on the device. */
  async writeFile(mountPoint: string, name: string, text: string): Promise<void> {
    const top = this.#top(mountPoint);
    if (top?.entry.options.includes('ro') === true) throw kernelError('EROFS', 'open', `${mountPoint}/${name}`);
    const superblock = this.#superblock(mountPoint, 'open');
    if (superblock.shutDown) throw kernelError('EIO', 'write', `${mountPoint}/${name}`);
    const files = { ...(await this.#files(superblock)), [name]: text };
    const block = Buffer.alloc(FILES_BYTES);
    const length = block.write(JSON.stringify(files), 4, 'utf8');
    block.writeUInt32LE(length, 0);
    await superblock.device.write(FILES_OFFSET, block.subarray(0, Math.ceil((length + 4) / 4096) * 4096));
  }

  /** Undefined when there is no such file. */
  async readFile(mountPoint: string, name: string): Promise<string | undefined> {
    const superblock = this.#superblock(mountPoint, 'open');
    if (superblock.shutDown) throw kernelError('EIO', 'read', `${mountPoint}/${name}`);
    return (await this.#files(superblock))[name];
  }

  clear(): void {
    this.#mounts.length = 0;
    this.#busy.clear();
  }

  async #files(superblock: Superblock): Promise<Readonly<Record<string, string>>> {
    const block = Buffer.from(await superblock.device.read(FILES_OFFSET, FILES_BYTES));
    const length = block.readUInt32LE(0);
    if (length === 0) return {};
    return JSON.parse(block.subarray(4, 4 + length).toString('utf8')) as Record<string, string>;
  }

  #top(target: string): Mounted | undefined {
    return this.#mounts.findLast(({ entry }) => entry.mountPoint === target);
  }

  #covering(path: string): Mounted | undefined {
    const above = this.#mounts.filter(
      ({ entry }) => path === entry.mountPoint || path.startsWith(`${entry.mountPoint}/`),
    );
    return above.sort((a, b) => a.entry.mountPoint.length - b.entry.mountPoint.length).at(-1);
  }

  #superblock(mountPoint: string, syscall: string): Superblock {
    const superblock = this.#top(mountPoint)?.superblock;
    if (superblock === undefined) throw kernelError('EINVAL', syscall, mountPoint);
    return superblock;
  }
}
