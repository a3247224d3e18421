import type { DmDevice, DmTarget, Extent } from '../../src/api/kernel.ts';
import { kernelError, SECTOR } from './fake-bytes.ts';
import { BlockDevice } from './fake-devices.ts';
import type { DeviceTable, Opener } from './fake-devices.ts';

/** dm's claim is one for all of dm: two dm devices may share a partition, md or a mount may not join them. */
const DM_CLAIM = 'dm';
/** The error that dm-multipath passes up instead of blaming the path (`blk_path_error`). */
const MEDIUM_ERROR = 'ENODATA';

interface LoadedTarget {
  readonly target: DmTarget;
  readonly under: BlockDevice;
  readonly opener: Opener;
  readonly underOffset: number;
}

function isMultipath(target: DmTarget): boolean {
  return target.type === 'multipath';
}

/** A dm device with linear targets, or one multipath target with one path. */
class FakeDmDevice extends BlockDevice {
  readonly dmName: string;
  readonly dmUuid: string;
  targets: readonly LoadedTarget[] = [];
  suspended = true;
  queueIfNoPath = false;
  pathFailed = false;
  failCount = 0;
  readonly #onPathLost: () => void;
  #waiters: (() => void)[] = [];

  constructor(name: string, uuid: string, minor: number, onPathLost: () => void) {
    super(`dm-${String(minor)}`, `/dev/mapper/${name}`, `253:${String(minor)}`);
    this.dmName = name;
    this.dmUuid = uuid;
    this.#onPathLost = onPathLost;
  }

  get sizeBytes(): number {
    return this.targets.reduce((sum, { target }) => sum + target.lengthSectors * SECTOR, 0);
  }

  get logicalBlockSize(): number {
    return Math.max(512, ...this.targets.map(({ under }) => under.logicalBlockSize));
  }

  /** Lets every waiting I/O look again. */
  wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resume of waiters) resume();
  }

  get waitingIo(): number {
    return this.#waiters.length;
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    return this.#io(offset, length, 'read', (under, at) => under.read(at, length));
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.#io(offset, data.length, 'write', (under, at) => under.write(at, data));
  }

  zero(offset: number, length: number): Promise<void> {
    return this.#io(offset, length, 'ioctl BLKZEROOUT', (under, at) => under.zero(at, length));
  }

  written(offset: number, length: number): Promise<readonly Extent[]> {
    return this.#io(offset, length, 'read', async (under, at) => {
      const extents = await under.written(at, length);
      return extents.map(({ startBytes, sizeBytes }) => ({ startBytes: startBytes - at + offset, sizeBytes }));
    });
  }

  /** One request must lie within one target, which holds for the single-target tables that legs have. */
  async #io<T>(
    offset: number,
    length: number,
    syscall: string,
    work: (under: BlockDevice, at: number) => Promise<T>,
  ): Promise<T> {
    for (;;) {
      if (this.suspended && !this.gone) {
        await new Promise<void>((resume) => this.#waiters.push(resume));
        continue;
      }
      this.checkRange(offset, length, syscall);
      const { loaded, at } = this.#targetAt(offset, length, syscall);
      if (!isMultipath(loaded.target)) return work(loaded.under, at);
      if (!this.pathFailed) {
        try {
          return await work(loaded.under, at);
        } catch (error: unknown) {
          if ((error as { code?: string }).code === MEDIUM_ERROR) throw error;
          if (this.targets.includes(loaded)) this.#losePath();
          continue;
        }
      }
      if (!this.queueIfNoPath) throw kernelError('EIO', syscall, this.path);
      await new Promise<void>((resume) => this.#waiters.push(resume));
    }
  }

  #targetAt(offset: number, length: number, syscall: string): { loaded: LoadedTarget; at: number } {
    for (const loaded of this.targets) {
      const start = loaded.target.startSectors * SECTOR;
      const end = start + loaded.target.lengthSectors * SECTOR;
      if (offset >= start && offset + length <= end) return { loaded, at: offset - start + loaded.underOffset };
    }
    throw kernelError('EIO', syscall, this.path);
  }

  #losePath(): void {
    if (this.pathFailed) return;
    this.pathFailed = true;
    this.failCount += 1;
    this.#onPathLost();
  }
}

/** `dmsetup` of one node. */
export class FakeDm {
  readonly #devices: DeviceTable;
  readonly #byName = new Map<string, FakeDmDevice>();
  readonly #notify: (action: string, device: string) => void;

  constructor(devices: DeviceTable, notify: (action: string, device: string) => void) {
    this.#devices = devices;
    this.#notify = notify;
  }

  list(prefix: string): readonly DmDevice[] {
    const names = [...this.#byName.keys()].filter((name) => name.startsWith(prefix)).sort();
    return names.map((name) => describe(this.#get(name, 'ioctl DM_TABLE_STATUS')));
  }

  create(name: string, uuid: string, table: readonly DmTarget[]): DmDevice {
    if (this.#byName.has(name)) throw kernelError('EEXIST', 'ioctl DM_DEV_CREATE', name);
    if ([...this.#byName.values()].some((device) => uuid !== '' && device.dmUuid === uuid)) {
      throw kernelError('EBUSY', 'ioctl DM_DEV_CREATE', name);
    }
    const minors = new Set([...this.#byName.values()].map((device) => device.name));
    let minor = 0;
    while (minors.has(`dm-${String(minor)}`)) minor += 1;
    const device = new FakeDmDevice(name, uuid, minor, () => this.#notify('change', device.name));
    this.#load(device, table);
    this.#byName.set(name, device);
    this.#devices.add(device);
    this.#notify('add', device.name);
    return describe(device);
  }

  reload(name: string, table: readonly DmTarget[]): void {
    const device = this.#get(name, 'ioctl DM_TABLE_LOAD');
    this.#load(device, table);
    device.wake();
    this.#notify('change', device.name);
  }

  suspend(name: string): void {
    this.#get(name, 'ioctl DM_DEV_SUSPEND').suspended = true;
  }

  resume(name: string): void {
    const device = this.#get(name, 'ioctl DM_DEV_SUSPEND');
    device.suspended = false;
    device.wake();
  }

  message(name: string, message: string): void {
    const device = this.#get(name, 'ioctl DM_TARGET_MSG');
    const [word = ''] = message.trim().split(/\s+/);
    const isGuard = device.targets.some(({ target }) => isMultipath(target));
    if (!isGuard) throw kernelError('EINVAL', 'ioctl DM_TARGET_MSG', name);
    if (device.suspended) throw kernelError('EBUSY', 'ioctl DM_TARGET_MSG', name);
    if (word === 'fail_if_no_path') device.queueIfNoPath = false;
    else if (word === 'queue_if_no_path') device.queueIfNoPath = true;
    else if (word === 'fail_path') device.pathFailed = true;
    else if (word === 'reinstate_path') device.pathFailed = false;
    else throw kernelError('EINVAL', 'ioctl DM_TARGET_MSG', name);
    device.wake();
    this.#notify('change', device.name);
  }

  remove(name: string): void {
    const device = this.#byName.get(name);
    if (device === undefined) return;
    if (device.openCount > 0) throw kernelError('EBUSY', 'ioctl DM_DEV_REMOVE', name);
    this.#close(device.targets);
    this.#byName.delete(name);
    this.#devices.remove(device);
    device.wake();
    this.#notify('remove', device.name);
  }

  /** I/O that waits in the device: what a stuck writer looks like from outside. */
  waitingIo(name: string): number {
    return this.#get(name, 'read').waitingIo;
  }

  clear(): void {
    for (const device of this.#byName.values()) {
      device.gone = true;
      device.suspended = false;
      device.queueIfNoPath = false;
      device.wake();
    }
    this.#byName.clear();
  }

  #get(name: string, syscall: string): FakeDmDevice {
    const device = this.#byName.get(name);
    if (device === undefined) throw kernelError('ENXIO', syscall, name);
    return device;
  }

  #load(device: FakeDmDevice, table: readonly DmTarget[]): void {
    const loaded: LoadedTarget[] = [];
    try {
      for (const target of table) loaded.push(this.#loadTarget(device, target));
    } catch (error: unknown) {
      this.#close(loaded);
      throw error;
    }
    const old = device.targets;
    device.targets = loaded;
    device.queueIfNoPath = table.some(({ params }) => params.split(/\s+/).includes('queue_if_no_path'));
    device.pathFailed = false;
    device.suspended = false;
    this.#close(old);
  }

  #loadTarget(device: FakeDmDevice, target: DmTarget): LoadedTarget {
    if (target.type !== 'linear' && !isMultipath(target)) {
      throw kernelError('EINVAL', 'ioctl DM_TABLE_LOAD', device.dmName);
    }
    const words = target.params.split(/\s+/);
    const path = words.find((word) => word.startsWith('/') || /^\d+:\d+$/.test(word)) ?? '';
    const under = this.#devices.find(path);
    if (under === undefined) throw kernelError('ENODEV', 'ioctl DM_TABLE_LOAD', device.dmName);
    const underOffset = target.type === 'linear' ? Number(words[1]) * SECTOR : 0;
    if (underOffset + target.lengthSectors * SECTOR > under.sizeBytes) {
      throw kernelError('EINVAL', 'ioctl DM_TABLE_LOAD', device.dmName);
    }
    const opener: Opener = { holder: device.name, claim: DM_CLAIM };
    under.open(opener);
    const params = words.map((word) => (word === path ? under.devNumber : word)).join(' ');
    return { target: { ...target, params }, under, opener, underOffset };
  }

  #close(targets: readonly LoadedTarget[]): void {
    for (const { under, opener } of targets) under.close(opener);
  }
}

/**
 * As the kernel prints it: the table with the features that hold now, the status with path states. While it is suspended a guard does
 * not queue by itself (`multipath_presuspend`).
 */
function describe(device: FakeDmDevice): DmDevice {
  const features = device.queueIfNoPath && !device.suspended ? '3 queue_if_no_path queue_mode bio' : '2 queue_mode bio';
  const path = device.pathFailed ? 'F' : 'A';
  const tableOf = ({ target, under }: LoadedTarget): DmTarget =>
    isMultipath(target) ? { ...target, params: `${features} 0 1 1 service-time 0 1 1 ${under.devNumber} 1` } : target;
  const statusOf = ({ target, under }: LoadedTarget): DmTarget =>
    isMultipath(target)
      ? {
          ...target,
          params: `2 0 0 0 1 1 A 0 1 2 ${under.devNumber} ${path} ${String(device.failCount)} 0 1`,
        }
      : { ...target, params: '' };
  return {
    name: device.dmName,
    uuid: device.dmUuid,
    kernelName: device.name,
    path: device.path,
    devNumber: device.devNumber,
    openCount: device.openCount,
    suspended: device.suspended,
    table: device.targets.map(tableOf),
    status: device.targets.map(statusOf),
  };
}
