import type { Extent, MdArray } from '../../src/api/kernel.ts';
import { kernelError, SECTOR } from './fake-bytes.ts';
import { BlockDevice } from './fake-devices.ts';
import type { Opener } from './fake-devices.ts';
import { writeSuperblock } from './fake-md-superblock.ts';
import type { FakeSuperblock } from './fake-md-superblock.ts';

export interface FakeMember {
  readonly device: BlockDevice;
  readonly opener: Opener;
  readonly deviceUuid: string;
  readonly dataOffsetBytes: number;
  slot: number | undefined;
  inSync: boolean;
  faulty: boolean;
  writeMostly: boolean;
}

export interface ArrayShape {
  readonly uuid: string;
  readonly name: string;
  readonly level: 1 | 10;
  readonly raidDisks: number;
  readonly layoutCopies: number;
  readonly chunkBytes: number;
  /** Bytes of each member that the array uses. */
  usedSizeBytes: number;
}

interface Segment {
  readonly slots: readonly number[];
  /** Offset in the members' data areas. */
  readonly at: number;
  /** Offset in the request. */
  readonly from: number;
  readonly length: number;
}

type SyncAction = 'idle' | 'resync' | 'recover';

/** A running array. Members that fail are dropped as md drops them: recorded in the others' superblocks, then forgotten. */
export class FakeMdArray extends BlockDevice {
  readonly shape: ArrayShape;
  members: FakeMember[];
  events: number;
  state: 'readonly' | 'clean' | 'active';
  /** The superblocks say that writes may be under way. */
  dirty: boolean;
  needsResync = false;
  syncAction: SyncAction = 'idle';
  syncDoneSectors = 0;
  readonly attributes = new Map<string, string>([['sync_max', 'max']]);
  readonly #onChange: () => void;

  constructor(
    name: string,
    shape: ArrayShape,
    members: FakeMember[],
    start: { readonly events: number; readonly state: 'readonly' | 'clean'; readonly dirty: boolean },
    onChange: () => void,
  ) {
    super(name, `/dev/${name}`, `9:${name.slice(2)}`);
    this.shape = shape;
    this.members = members;
    this.events = start.events;
    this.state = start.state;
    this.dirty = start.dirty;
    this.#onChange = onChange;
  }

  get sizeBytes(): number {
    return this.shape.usedSizeBytes * (this.shape.raidDisks / this.#copies());
  }

  get logicalBlockSize(): number {
    return Math.max(512, ...this.members.map(({ device }) => device.logicalBlockSize));
  }

  get degraded(): number {
    return this.shape.raidDisks - this.members.filter((member) => member.inSync).length;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.checkRange(offset, length, 'read');
    const out = new Uint8Array(length);
    for (const segment of this.#segments(offset, length)) {
      out.set(await this.#readSegment(segment), segment.from);
    }
    return out;
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    this.checkRange(offset, data.length, 'write');
    await this.#beforeWrite();
    for (const segment of this.#segments(offset, data.length)) {
      const piece = data.subarray(segment.from, segment.from + segment.length);
      await this.#onEveryMember(segment, (member) => member.device.write(member.dataOffsetBytes + segment.at, piece));
    }
  }

  async zero(offset: number, length: number): Promise<void> {
    this.checkRange(offset, length, 'ioctl BLKZEROOUT');
    await this.#beforeWrite();
    for (const segment of this.#segments(offset, length)) {
      await this.#onEveryMember(segment, (member) =>
        member.device.zero(member.dataOffsetBytes + segment.at, segment.length),
      );
    }
  }

  async written(offset: number, length: number): Promise<readonly Extent[]> {
    this.checkRange(offset, length, 'read');
    const all: Extent[] = [];
    for (const segment of this.#segments(offset, length)) {
      const [member] = this.#readable(segment);
      if (member === undefined) throw kernelError('EIO', 'read', this.path);
      const start = member.dataOffsetBytes + segment.at;
      for (const extent of await member.device.written(start, segment.length)) {
        const startBytes = extent.startBytes - start + offset + segment.from;
        all.push({ startBytes, sizeBytes: extent.sizeBytes });
      }
    }
    return all;
  }

  /** Marks a member failed, as an I/O error or `faulty` does. False for the last good one of a column: md keeps it. */
  async fail(member: FakeMember): Promise<boolean> {
    if (member.faulty) return true;
    const partners = this.members.filter(
      (other) => other !== member && other.inSync && this.#sameColumn(other, member),
    );
    if (member.inSync && partners.length === 0) return false;
    member.faulty = true;
    member.inSync = false;
    member.slot = undefined;
    this.events += 1;
    await this.saveSuperblocks();
    this.#onChange();
    return true;
  }

  /** `mdadm --grow --size --assume-clean`. `ENOSPC` when a member is too small: nothing has changed then. */
  async grow(usedSizeBytes: number): Promise<void> {
    const live = this.members.filter((member) => !member.faulty);
    if (live.some(({ device, dataOffsetBytes }) => device.sizeBytes < dataOffsetBytes + usedSizeBytes)) {
      throw kernelError('ENOSPC', 'write component_size', this.path);
    }
    if (this.syncAction !== 'idle' || this.state === 'readonly') throw kernelError('EBUSY', 'write', this.path);
    this.shape.usedSizeBytes = usedSizeBytes;
    this.events += 1;
    await this.saveSuperblocks();
    this.#onChange();
  }

  /** Writes what is known to every member that still counts; one that cannot take it is failed. */
  async saveSuperblocks(): Promise<void> {
    const live = this.members.filter((member) => !member.faulty);
    const outcomes = await Promise.allSettled(
      live.map((member) => writeSuperblock(member.device, this.#superblockOf(member))),
    );
    for (const [index, outcome] of outcomes.entries()) {
      const member = live[index];
      if (outcome.status === 'rejected' && member !== undefined) await this.fail(member);
    }
  }

  /** Copies a good partner's data over a member that is being filled. */
  async copyTo(member: FakeMember): Promise<void> {
    const partner = this.members.find((other) => other.inSync && this.#sameColumn(other, member));
    if (partner === undefined) throw kernelError('EIO', 'read', this.path);
    await member.device.zero(member.dataOffsetBytes, this.shape.usedSizeBytes);
    for (const extent of await partner.device.written(partner.dataOffsetBytes, this.shape.usedSizeBytes)) {
      const data = await partner.device.read(extent.startBytes, extent.sizeBytes);
      await member.device.write(extent.startBytes - partner.dataOffsetBytes + member.dataOffsetBytes, data);
    }
  }

  describe(mountPoints: readonly string[]): MdArray {
    const isSyncing = this.syncAction !== 'idle';
    return {
      name: this.name,
      path: this.path,
      devNumber: this.devNumber,
      uuid: this.shape.uuid,
      arrayState: this.state,
      level: `raid${String(this.shape.level)}`,
      raidDisks: this.shape.raidDisks,
      degraded: this.degraded,
      metadataVersion: '1.2',
      sizeBytes: this.sizeBytes,
      syncAction: this.syncAction,
      ...(isSyncing
        ? { syncDoneSectors: this.syncDoneSectors, syncTotalSectors: this.shape.usedSizeBytes / SECTOR, syncSpeed: 0 }
        : {}),
      syncMax: this.attributes.get('sync_max') ?? 'max',
      resyncStart: this.syncAction === 'resync' ? '0' : 'none',
      members: this.members.map((member) => ({
        name: member.device.name,
        path: `/dev/${member.device.name}`,
        devNumber: member.device.devNumber,
        ...(member.slot === undefined ? {} : { slot: member.slot }),
        state: stateWords(member),
        errors: 0,
      })),
      holders: this.holders,
      mountPoints,
    };
  }

  #copies(): number {
    return this.shape.level === 1 ? this.shape.raidDisks : this.shape.layoutCopies;
  }

  #sameColumn(one: FakeMember, other: FakeMember): boolean {
    if (one.slot === undefined || other.slot === undefined) return false;
    return Math.floor(one.slot / this.#copies()) === Math.floor(other.slot / this.#copies());
  }

  /** RAID1: one piece on all. RAID10 near: chunk after chunk goes to the next column. */
  #segments(offset: number, length: number): readonly Segment[] {
    const { level, raidDisks, chunkBytes } = this.shape;
    if (level === 1) {
      return [{ slots: [...Array(raidDisks).keys()], at: offset, from: 0, length }];
    }
    const copies = this.#copies();
    const columns = raidDisks / copies;
    const segments: Segment[] = [];
    for (let from = 0; from < length;) {
      const chunk = Math.floor((offset + from) / chunkBytes);
      const within = (offset + from) % chunkBytes;
      const count = Math.min(chunkBytes - within, length - from);
      const first = (chunk % columns) * copies;
      const slots = [...Array(copies).keys()].map((copy) => first + copy);
      segments.push({ slots, at: Math.floor(chunk / columns) * chunkBytes + within, from, length: count });
      from += count;
    }
    return segments;
  }

  #readable(segment: Segment): readonly FakeMember[] {
    const good = this.members.filter(
      (member) => member.inSync && member.slot !== undefined && segment.slots.includes(member.slot),
    );
    return good.sort((a, b) => Number(a.writeMostly) - Number(b.writeMostly));
  }

  async #readSegment(segment: Segment): Promise<Uint8Array> {
    for (const member of this.#readable(segment)) {
      try {
        return await member.device.read(member.dataOffsetBytes + segment.at, segment.length);
      } catch {
        await this.fail(member);
      }
    }
    throw kernelError('EIO', 'read', this.path);
  }

  async #onEveryMember(segment: Segment, work: (member: FakeMember) => Promise<void>): Promise<void> {
    const targets = this.members.filter(
      (member) => !member.faulty && member.slot !== undefined && segment.slots.includes(member.slot),
    );
    const outcomes = await Promise.allSettled(targets.map(work));
    let landed = 0;
    for (const [index, outcome] of outcomes.entries()) {
      const member = targets[index];
      if (member === undefined) continue;
      if (outcome.status === 'fulfilled') landed += Number(member.inSync);
      else if (!(await this.fail(member))) throw kernelError('EIO', 'write', this.path);
    }
    // Nobody is left to tell when the machine lost power meanwhile.
    if (landed === 0 || this.gone) throw kernelError('EIO', 'write', this.path);
  }

  /** The first write after quiet: superblocks say dirty before any data moves. */
  async #beforeWrite(): Promise<void> {
    if (this.state === 'readonly') throw kernelError('EROFS', 'write', this.path);
    if (this.state === 'active' && this.dirty) return;
    this.state = 'active';
    this.dirty = true;
    this.events += 1;
    await this.saveSuperblocks();
    this.#onChange();
  }

  #superblockOf(member: FakeMember): FakeSuperblock {
    const { uuid, name, level, raidDisks, layoutCopies, chunkBytes, usedSizeBytes } = this.shape;
    const slots = [...Array(raidDisks).keys()];
    return {
      arrayUuid: uuid,
      deviceUuid: member.deviceUuid,
      setName: `meshstor:${name}`,
      events: this.events,
      level,
      raidDisks,
      layoutCopies,
      chunkBytes,
      dataOffsetBytes: member.dataOffsetBytes,
      dataSizeBytes: member.device.sizeBytes - member.dataOffsetBytes,
      usedSizeBytes,
      role: member.faulty ? 'faulty' : (member.slot ?? 'spare'),
      writeMostly: member.writeMostly,
      hasBitmap: true,
      bitmapOffsetBytes: 8192,
      hasBadBlockLog: false,
      dirty: this.dirty,
      updatedAtSec: this.events,
      active: slots.map((slot) => this.members.find((other) => other.slot === slot)?.deviceUuid ?? null),
      recovering: member.slot !== undefined && !member.inSync,
    };
  }
}

/** As `md/dev-NAME/state` has it. */
function stateWords(member: FakeMember): readonly string[] {
  const words: string[] = [];
  if (member.faulty) words.push('faulty');
  if (member.inSync) words.push('in_sync');
  if (member.writeMostly) words.push('write_mostly');
  if (!member.faulty && !member.inSync) words.push('spare');
  return words;
}
