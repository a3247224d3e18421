import type {
  Extent,
  GptPartition,
  GptState,
  GptTable,
  KernelPartition,
  NewGptPartition,
} from '../../src/api/kernel.ts';
import { kernelError, MIB, SparseBytes } from './fake-bytes.ts';
import { BlockDevice } from './fake-devices.ts';
import type { DeviceTable } from './fake-devices.ts';

export interface FakeDiskOptions {
  /** `nvme0n1` */
  readonly name: string;
  readonly sizeBytes: number;
  readonly serial?: string;
  readonly model?: string;
  readonly logicalBlockSize?: 512 | 4096;
  readonly writeCache?: 'write back' | 'write through';
  readonly uuid?: string;
}

/** A drive: what is on it survives crashes of its node, down to the table and every byte. */
export class FakeDisk {
  readonly name: string;
  readonly sizeBytes: number;
  readonly serial: string;
  readonly model: string;
  readonly logicalBlockSize: number;
  readonly writeCache: 'write back' | 'write through';
  readonly uuid: string | undefined;
  readonly bytes: SparseBytes;
  /** errno code of every I/O: `EIO` for a dying drive, `ENODATA` for a medium error (the one that passes a guard). */
  failing: string | undefined;
  /** Pulled out. */
  pulled = false;
  diskGuid = '';
  gptState: GptState | undefined;
  partitions: GptPartition[] = [];

  constructor(options: FakeDiskOptions) {
    this.name = options.name;
    this.sizeBytes = options.sizeBytes;
    this.serial = options.serial ?? `SN-${options.name}`;
    this.model = options.model ?? 'Fake NVMe';
    this.logicalBlockSize = options.logicalBlockSize ?? 512;
    this.writeCache = options.writeCache ?? 'write through';
    this.uuid = options.uuid;
    this.bytes = new SparseBytes(options.sizeBytes);
  }

  /** Leaves the mark of a foreign owner, e.g. `LVM2_member`, which `signatures` then reports. */
  plant(signature: string): void {
    this.bytes.write(0, Buffer.from(`FAKESIG:${signature}\n`));
  }

  get state(): GptState {
    if (this.gptState !== undefined) return this.gptState;
    const isBlank = this.bytes.isZero(0, MIB) && this.bytes.isZero(this.sizeBytes - MIB, MIB);
    return isBlank ? 'blank' : 'foreign';
  }

  /** True when the table can be used, perhaps after a repair. */
  get hasTable(): boolean {
    return ['valid', 'primary-only', 'backup-only', 'differ'].includes(this.state);
  }

  table(): GptTable {
    const known = this.hasTable;
    return {
      state: this.state,
      sectorSize: this.logicalBlockSize,
      deviceSizeBytes: this.sizeBytes,
      diskGuid: known ? this.diskGuid : '',
      partitions: known ? [...this.partitions].sort((a, b) => a.number - b.number) : [],
      freeExtents: known ? this.freeExtents() : [],
      problems: [],
      differingPartitionGuids: [],
    };
  }

  freeExtents(without?: string): readonly Extent[] {
    const end = Math.floor((this.sizeBytes - MIB) / MIB) * MIB;
    const used = this.partitions
      .filter((partition) => partition.partitionGuid !== without)
      .sort((a, b) => a.startBytes - b.startBytes);
    const free: Extent[] = [];
    let at = MIB;
    for (const partition of [...used, { startBytes: end, sizeBytes: 0 }]) {
      const sizeBytes = Math.floor(partition.startBytes / MIB) * MIB - at;
      if (sizeBytes >= MIB) free.push({ startBytes: at, sizeBytes });
      at = Math.ceil((partition.startBytes + partition.sizeBytes) / MIB) * MIB;
    }
    return free;
  }
}

function fits(extent: Extent, free: readonly Extent[]): boolean {
  const end = extent.startBytes + extent.sizeBytes;
  return free.some((hole) => extent.startBytes >= hole.startBytes && end <= hole.startBytes + hole.sizeBytes);
}

/** The whole drive, or a partition of it, as a block device of the running kernel. */
class DiskRange extends BlockDevice {
  readonly disk: FakeDisk;
  readonly startBytes: number;
  #sizeBytes: number;

  constructor(disk: FakeDisk, name: string, devNumber: string, range: Extent) {
    super(name, `/dev/${name}`, devNumber);
    this.disk = disk;
    this.startBytes = range.startBytes;
    this.#sizeBytes = range.sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get logicalBlockSize(): number {
    return this.disk.logicalBlockSize;
  }

  resize(sizeBytes: number): void {
    this.#sizeBytes = sizeBytes;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.#check(offset, length, 'read');
    return Promise.resolve(this.disk.bytes.read(this.startBytes + offset, length));
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    this.#check(offset, data.length, 'write');
    this.disk.bytes.write(this.startBytes + offset, data);
    return Promise.resolve();
  }

  async zero(offset: number, length: number): Promise<void> {
    this.#check(offset, length, 'ioctl BLKZEROOUT');
    this.disk.bytes.zero(this.startBytes + offset, length);
    return Promise.resolve();
  }

  async written(offset: number, length: number): Promise<readonly Extent[]> {
    this.#check(offset, length, 'read');
    const extents = this.disk.bytes.written(this.startBytes + offset, length);
    return Promise.resolve(
      extents.map(({ startBytes, sizeBytes }) => ({ startBytes: startBytes - this.startBytes, sizeBytes })),
    );
  }

  #check(offset: number, length: number, syscall: string): void {
    if (this.disk.pulled) throw kernelError('ENODEV', syscall, this.path);
    this.checkRange(offset, length, syscall);
    if (this.disk.failing !== undefined) throw kernelError(this.disk.failing, syscall, this.path);
  }
}

/** The drives of one node as its kernel knows them: partitions come from the table at boot, later only as they are told. */
export class FakeDisks {
  readonly disks: FakeDisk[] = [];
  readonly #devices: DeviceTable;
  readonly #whole = new Map<FakeDisk, DiskRange>();
  readonly #partitions = new Map<FakeDisk, Map<number, DiskRange>>();
  readonly #notify: (action: string, device: string) => void;

  constructor(devices: DeviceTable, notify: (action: string, device: string) => void) {
    this.#devices = devices;
    this.#notify = notify;
  }

  /** Plugs a drive in. */
  add(disk: FakeDisk): void {
    this.disks.push(disk);
    this.#attach(disk);
    this.#notify('add', disk.name);
  }

  /** Pulls a drive out: its nodes vanish, who has them open gets errors. */
  pull(disk: FakeDisk): void {
    disk.pulled = true;
    this.#detach(disk);
    this.disks.splice(this.disks.indexOf(disk), 1);
    this.#notify('remove', disk.name);
  }

  /** What a boot does: every device anew, partitions as the tables say. */
  rescan(): void {
    this.#whole.clear();
    this.#partitions.clear();
    for (const disk of this.disks) this.#attach(disk);
  }

  device(disk: FakeDisk): BlockDevice {
    const device = this.#whole.get(disk);
    if (device === undefined) throw kernelError('ENOENT', 'open', `/dev/${disk.name}`);
    return device;
  }

  kernelPartitions(disk: FakeDisk, mountsOf: (device: BlockDevice) => readonly string[]): readonly KernelPartition[] {
    const partitions = [...(this.#partitions.get(disk) ?? [])].sort(([a], [b]) => a - b);
    return partitions.map(([number, device]) => ({
      name: device.name,
      path: device.path,
      number,
      devNumber: device.devNumber,
      startBytes: device.startBytes,
      sizeBytes: device.sizeBytes,
      holders: device.holders,
      mountPoints: mountsOf(device),
    }));
  }

  diskAt(path: string): FakeDisk {
    const disk = this.disks.find((candidate) => `/dev/${candidate.name}` === path);
    if (disk === undefined) throw kernelError('ENOENT', 'open', path);
    if (disk.failing !== undefined) throw kernelError(disk.failing, 'read', path);
    return disk;
  }

  initialize(path: string, diskGuid: string): void {
    const disk = this.diskAt(path);
    if (disk.state !== 'blank') throw kernelError('EEXIST', 'write', path);
    disk.diskGuid = diskGuid.toLowerCase();
    disk.gptState = 'valid';
    disk.partitions = [];
  }

  addPartition(path: string, wanted: NewGptPartition): string {
    const disk = this.#writable(path);
    const guid = wanted.partitionGuid.toLowerCase();
    const known = disk.partitions.find((partition) => partition.partitionGuid === guid);
    if (known !== undefined) {
      const same = known.startBytes === wanted.startBytes && known.sizeBytes === wanted.sizeBytes;
      if (!same) throw kernelError('EEXIST', 'write', path);
      return this.#tellKernel(disk, known).path;
    }
    if (wanted.startBytes % MIB !== 0) throw kernelError('EINVAL', 'write', path);
    if (!fits(wanted, disk.freeExtents())) throw kernelError('ENOSPC', 'write', path);
    const taken = new Set(disk.partitions.map((partition) => partition.number));
    let number = 1;
    while (taken.has(number)) number += 1;
    const typeGuid = wanted.typeGuid.toUpperCase();
    const entry: GptPartition = { ...wanted, number, typeGuid, partitionGuid: guid };
    disk.partitions.push(entry);
    return this.#tellKernel(disk, entry).path;
  }

  removePartition(path: string, partitionGuid: string): void {
    const disk = this.#writable(path);
    const entry = disk.partitions.find((partition) => partition.partitionGuid === partitionGuid.toLowerCase());
    if (entry === undefined) return;
    const device = this.#partitions.get(disk)?.get(entry.number);
    if (device !== undefined && device.openCount > 0) throw kernelError('EBUSY', 'ioctl BLKPG', device.path);
    disk.partitions = disk.partitions.filter((partition) => partition !== entry);
    if (device === undefined) return;
    this.#partitions.get(disk)?.delete(entry.number);
    this.#devices.remove(device);
    this.#notify('remove', device.name);
  }

  resizePartition(path: string, partitionGuid: string, sizeBytes: number): void {
    const disk = this.#writable(path);
    const guid = partitionGuid.toLowerCase();
    const entry = disk.partitions.find((partition) => partition.partitionGuid === guid);
    if (entry === undefined) throw kernelError('ENOENT', 'write', path);
    const resized: GptPartition = { ...entry, sizeBytes };
    if (!fits(resized, disk.freeExtents(guid))) throw kernelError('ENOSPC', 'write', path);
    disk.partitions = disk.partitions.map((partition) => (partition === entry ? resized : partition));
    this.#partitions.get(disk)?.get(entry.number)?.resize(sizeBytes);
    this.#notify('change', disk.name);
  }

  repair(path: string): void {
    const disk = this.#writable(path);
    for (const entry of disk.partitions) this.#tellKernel(disk, entry);
  }

  /** Writers repair what can be repaired, and refuse the rest. */
  #writable(path: string): FakeDisk {
    const disk = this.diskAt(path);
    if (!disk.hasTable) throw kernelError('EBADMSG', 'read', path);
    disk.gptState = 'valid';
    return disk;
  }

  #tellKernel(disk: FakeDisk, entry: GptPartition): DiskRange {
    const known = this.#partitions.get(disk)?.get(entry.number);
    if (known !== undefined) return known;
    const number = this.#devices.nextBlockExtNumber();
    const device = new DiskRange(disk, `${disk.name}p${String(entry.number)}`, number, entry);
    this.#partitions.get(disk)?.set(entry.number, device);
    this.#devices.add(device);
    this.#notify('add', device.name);
    return device;
  }

  #attach(disk: FakeDisk): void {
    const range = { startBytes: 0, sizeBytes: disk.sizeBytes };
    const device = new DiskRange(disk, disk.name, this.#devices.nextBlockExtNumber(), range);
    this.#whole.set(disk, device);
    this.#partitions.set(disk, new Map());
    this.#devices.add(device);
    if (disk.hasTable) for (const entry of disk.partitions) this.#tellKernel(disk, entry);
  }

  #detach(disk: FakeDisk): void {
    for (const device of this.#partitions.get(disk)?.values() ?? []) this.#devices.remove(device);
    const whole = this.#whole.get(disk);
    if (whole !== undefined) this.#devices.remove(whole);
    this.#whole.delete(disk);
    this.#partitions.delete(disk);
  }
}
