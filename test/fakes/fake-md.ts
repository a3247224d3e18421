import type { MdArray, MdSuperblock } from '../../src/api/kernel.ts';
import { kernelError, SECTOR } from './fake-bytes.ts';
import type { BlockDevice, DeviceTable, Opener } from './fake-devices.ts';
import { FakeMdArray } from './fake-md-array.ts';
import type { ArrayShape, FakeMember } from './fake-md-array.ts';
import { publicSuperblock, readSuperblock } from './fake-md-superblock.ts';
import type { FakeSuperblock } from './fake-md-superblock.ts';

export interface FakeMdCreate {
  readonly uuid: string;
  readonly name: string;
  readonly level: 1 | 10;
  /** Device paths by slot; the word `missing` leaves a slot empty. */
  readonly members: readonly string[];
  readonly writeMostly: ReadonlySet<string>;
  /** Bytes of each member to use, as `mdadm --size`. */
  readonly sizeBytes: number;
  readonly dataOffsetBytes: number;
  /** Copies of the RAID10 near layout. */
  readonly layoutCopies?: number;
  readonly chunkBytes?: number;
}

const READ_ONLY_ATTRIBUTES = new Set(['degraded', 'raid_disks', 'uuid', 'level', 'metadata_version']);

/** md and mdadm of one node. A sync runs to its end by itself as soon as it may, unless `autoSync` is off. */
export class FakeMd {
  autoSync = true;
  readonly #devices: DeviceTable;
  readonly #arrays = new Map<string, FakeMdArray>();
  readonly #notify: (device: string) => void;
  readonly #newUuid: () => string;
  #sync: Promise<void> = Promise.resolve();

  constructor(devices: DeviceTable, notify: (device: string) => void, newUuid: () => string) {
    this.#devices = devices;
    this.#notify = notify;
    this.#newUuid = newUuid;
  }

  list(mountsOf: (device: BlockDevice) => readonly string[]): readonly MdArray[] {
    return [...this.#arrays.values()].map((array) => array.describe(mountsOf(array)));
  }

  async superblock(path: string): Promise<MdSuperblock | undefined> {
    const found = await readSuperblock(this.#devices.get(path, 'open'));
    return found === undefined ? undefined : publicSuperblock(found);
  }

  /** `mdadm --create --assume-clean`: runs at once, every member in sync. */
  async create(wanted: FakeMdCreate): Promise<MdArray> {
    const name = this.#freeName();
    const shape: ArrayShape = {
      uuid: wanted.uuid,
      name: wanted.name,
      level: wanted.level,
      raidDisks: wanted.members.length,
      layoutCopies: wanted.layoutCopies ?? wanted.members.length,
      chunkBytes: wanted.chunkBytes ?? 512 * 1024,
      usedSizeBytes: wanted.sizeBytes,
    };
    const members: FakeMember[] = [];
    try {
      for (const [slot, path] of wanted.members.entries()) {
        if (path === 'missing') continue;
        const device = this.#devices.get(path, 'open');
        if (device.sizeBytes < wanted.dataOffsetBytes + wanted.sizeBytes) throw kernelError('ENOSPC', 'ioctl', path);
        const writeMostly = wanted.writeMostly.has(path);
        members.push({
          ...this.#opened(name, device),
          deviceUuid: this.#newUuid(),
          dataOffsetBytes: wanted.dataOffsetBytes,
          slot,
          inSync: true,
          faulty: false,
          writeMostly,
        });
      }
      if (members.length === 0) throw kernelError('EINVAL', 'ioctl RUN_ARRAY', `/dev/${name}`);
    } catch (error: unknown) {
      for (const member of members) member.device.close(member.opener);
      throw error;
    }
    const array = this.#run(name, shape, members, { events: 1, state: 'clean', dirty: false });
    await array.saveSuperblocks();
    return array.describe([]);
  }

  /**
   * `mdadm --assemble --readonly --run` from exactly these: takes those that the freshest superblock calls active,
   * silently leaves the others out, starts degraded if need be. `EIO` when a column has nobody to read from.
   */
  async assembleReadOnly(uuid: string, paths: readonly string[]): Promise<MdArray> {
    if ([...this.#arrays.values()].some((array) => array.shape.uuid === uuid)) {
      throw kernelError('EBUSY', 'ioctl', uuid);
    }
    const found: { device: BlockDevice; superblock: FakeSuperblock }[] = [];
    for (const path of paths) {
      const device = this.#devices.get(path, 'open');
      const superblock = await readSuperblock(device);
      if (superblock?.arrayUuid === uuid) found.push({ device, superblock });
    }
    const best = found.map(({ superblock }) => superblock).sort((a, b) => b.events - a.events)[0];
    if (best === undefined) throw kernelError('ENOENT', 'open', uuid);
    const taken = found.filter(({ superblock }) => isFresh(superblock, best));
    const name = this.#freeName();
    const members: FakeMember[] = [];
    try {
      for (const { device, superblock } of taken) members.push(this.#memberOf(name, device, superblock));
      checkColumns(best, members, `/dev/${name}`);
    } catch (error: unknown) {
      for (const member of members) member.device.close(member.opener);
      throw error;
    }
    const start = { events: best.events, state: 'readonly', dirty: best.dirty } as const;
    const array = this.#run(name, shapeOf(best), members, start);
    array.needsResync = best.dirty && members.length > 1;
    return array.describe([]);
  }

  /** `mdadm --add`: a former member comes back by bitmap, anything else as a spare that is filled when a slot is free. */
  async add(arrayName: string, path: string): Promise<void> {
    const array = this.#get(arrayName);
    const device = this.#devices.get(path, 'open');
    const superblock = await readSuperblock(device);
    const known = superblock?.arrayUuid === array.shape.uuid ? superblock : undefined;
    const [first] = array.members;
    const dataOffsetBytes = known?.dataOffsetBytes ?? first?.dataOffsetBytes ?? 0;
    if (device.sizeBytes < dataOffsetBytes + array.shape.usedSizeBytes) throw kernelError('ENOSPC', 'ioctl', path);
    const deviceUuid = known?.deviceUuid ?? this.#newUuid();
    array.members.push({
      ...this.#opened(array.name, device),
      deviceUuid,
      dataOffsetBytes,
      slot: undefined,
      inSync: false,
      faulty: false,
      writeMostly: known?.writeMostly ?? false,
    });
    await array.saveSuperblocks();
    this.#startSync(array);
    this.#notify(array.name);
  }

  async grow(path: string, usedSizeBytes: number): Promise<void> {
    await this.#get(path).grow(usedSizeBytes);
  }

  async setMemberState(arrayName: string, memberName: string, word: string): Promise<void> {
    const array = this.#get(arrayName);
    const member = array.members.find(({ device }) => device.name === memberName);
    if (member === undefined) throw kernelError('ENOENT', 'open', `/sys/block/${arrayName}/md/dev-${memberName}/state`);
    if (word === 'write_mostly' || word === '-write_mostly') {
      member.writeMostly = word === 'write_mostly';
      if (array.state !== 'readonly') await array.saveSuperblocks();
    } else if (word === 'faulty') {
      if (!(await array.fail(member))) throw kernelError('EBUSY', 'write', memberName);
    } else if (word === 'remove') {
      if (!member.faulty && member.slot !== undefined) throw kernelError('EBUSY', 'write', memberName);
      array.members = array.members.filter((other) => other !== member);
      member.device.close(member.opener);
    } else {
      throw kernelError('EINVAL', 'write', memberName);
    }
    this.#notify(array.name);
  }

  async setAttribute(arrayName: string, attribute: string, value: string): Promise<void> {
    const array = this.#get(arrayName);
    const path = `/sys/block/${arrayName}/md/${attribute}`;
    if (READ_ONLY_ATTRIBUTES.has(attribute)) throw kernelError('EACCES', 'open', path);
    if (attribute === 'array_state') await this.#setState(array, value, path);
    else array.attributes.set(attribute, value);
    this.#startSync(array);
    this.#notify(array.name);
  }

  /** Clean stop: superblocks say so, members are let go. */
  async stop(arrayName: string): Promise<void> {
    const name = arrayName.replace(/^\/dev\//, '');
    const array = this.#arrays.get(name);
    if (array === undefined) return;
    if (array.openCount > 0) throw kernelError('EBUSY', 'ioctl STOP_ARRAY', array.path);
    if (array.state !== 'readonly') {
      array.dirty = array.needsResync;
      array.events += 1;
      await array.saveSuperblocks();
    }
    this.#arrays.delete(name);
    this.#devices.remove(array);
    for (const member of array.members) member.device.close(member.opener);
    this.#notify(name);
  }

  /** Waits for the syncs that were started. */
  async settle(): Promise<void> {
    await this.#sync;
  }

  /** Ends the running sync by hand, with `autoSync` off. */
  async finishSync(arrayName: string): Promise<void> {
    await this.#runSync(this.#get(arrayName));
  }

  clear(): void {
    for (const array of this.#arrays.values()) array.gone = true;
    this.#arrays.clear();
  }

  async #setState(array: FakeMdArray, value: string, path: string): Promise<void> {
    if (value === 'readonly' || value === 'read-auto') {
      if (array.openCount > 0) throw kernelError('EBUSY', 'write', path);
      if (value === 'read-auto') throw kernelError('EINVAL', 'write', path);
      array.dirty = array.needsResync;
      array.events += 1;
      await array.saveSuperblocks();
      array.state = 'readonly';
    } else if (value === 'active' || value === 'clean') {
      const wasReadOnly = array.state === 'readonly';
      array.state = value;
      if (!wasReadOnly) return;
      array.events += 1;
      await array.saveSuperblocks();
    } else {
      throw kernelError('EINVAL', 'write', path);
    }
  }

  #startSync(array: FakeMdArray): void {
    if (array.state === 'readonly' || array.gone) return;
    const taken = new Set(array.members.map(({ slot }) => slot));
    for (const member of array.members) {
      if (member.slot !== undefined || member.faulty) continue;
      const free = [...Array(array.shape.raidDisks).keys()].find((slot) => !taken.has(slot));
      if (free === undefined) continue;
      member.slot = free;
      taken.add(free);
    }
    const isFilling = array.members.some((member) => member.slot !== undefined && !member.inSync);
    array.syncAction = isFilling ? 'recover' : array.needsResync ? 'resync' : 'idle';
    if (array.syncAction === 'idle' || !this.autoSync) return;
    this.#sync = this.#sync.then(() => this.#runSync(array)).catch(() => undefined);
  }

  async #runSync(array: FakeMdArray): Promise<void> {
    if (array.gone || array.state === 'readonly' || array.syncAction === 'idle') return;
    const total = array.shape.usedSizeBytes / SECTOR;
    const limit = array.attributes.get('sync_max') ?? 'max';
    array.syncDoneSectors = limit === 'max' ? total : Math.min(total, Number(limit));
    if (array.syncDoneSectors < total) return;
    for (const member of array.members) {
      if (member.slot === undefined || member.inSync || member.faulty) continue;
      await array.copyTo(member);
      member.inSync = true;
    }
    array.needsResync = false;
    array.syncAction = 'idle';
    array.syncDoneSectors = 0;
    array.events += 1;
    await array.saveSuperblocks();
    this.#notify(array.name);
  }

  #run(
    name: string,
    shape: ArrayShape,
    members: FakeMember[],
    start: { readonly events: number; readonly state: 'readonly' | 'clean'; readonly dirty: boolean },
  ): FakeMdArray {
    const array = new FakeMdArray(name, shape, members, start, () => this.#notify(name));
    this.#arrays.set(name, array);
    this.#devices.add(array, `/dev/md/${shape.name}`);
    this.#notify(name);
    return array;
  }

  #memberOf(arrayName: string, device: BlockDevice, superblock: FakeSuperblock): FakeMember {
    return {
      ...this.#opened(arrayName, device),
      deviceUuid: superblock.deviceUuid,
      dataOffsetBytes: superblock.dataOffsetBytes,
      slot: typeof superblock.role === 'number' ? superblock.role : undefined,
      inSync: typeof superblock.role === 'number' && !superblock.recovering,
      faulty: false,
      writeMostly: superblock.writeMostly,
    };
  }

  #opened(arrayName: string, device: BlockDevice): { device: BlockDevice; opener: Opener } {
    const opener: Opener = { holder: arrayName, claim: `md:${arrayName}` };
    device.open(opener);
    return { device, opener };
  }

  #get(arrayName: string): FakeMdArray {
    const array = this.#arrays.get(arrayName.replace(/^\/dev\//, ''));
    if (array === undefined) throw kernelError('ENOENT', 'open', `/sys/block/${arrayName}/md`);
    return array;
  }

  #freeName(): string {
    let number = 127;
    while (this.#arrays.has(`md${String(number)}`)) number -= 1;
    return `md${String(number)}`;
  }
}

/** Fresh, and not what the freshest one calls failed; spares have no slot to be called anything. */
function isFresh(superblock: FakeSuperblock, best: FakeSuperblock): boolean {
  if (superblock.events < best.events) return false;
  return typeof superblock.role !== 'number' || best.active[superblock.role] === superblock.deviceUuid;
}

function checkColumns(best: FakeSuperblock, members: readonly FakeMember[], path: string): void {
  const copies = best.level === 1 ? best.raidDisks : best.layoutCopies;
  for (let column = 0; column < best.raidDisks / copies; column += 1) {
    const isServed = members.some(({ inSync, slot }) => inSync && Math.floor((slot ?? -1) / copies) === column);
    if (!isServed) throw kernelError('EIO', 'ioctl RUN_ARRAY', path);
  }
}

function shapeOf(superblock: FakeSuperblock): ArrayShape {
  return {
    uuid: superblock.arrayUuid,
    name: superblock.setName.slice(superblock.setName.indexOf(':') + 1),
    level: superblock.level === 10 ? 10 : 1,
    raidDisks: superblock.raidDisks,
    layoutCopies: superblock.layoutCopies,
    chunkBytes: superblock.chunkBytes,
    usedSizeBytes: superblock.usedSizeBytes,
  };
}
