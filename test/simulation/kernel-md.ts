/**
 * MD: superblocks with events and roles, the bitmap, assembly from the freshest, silent re-add, drops on errors. What it does by
 * itself with the members' data is in `md-work.ts`.
 */
import { DomainError } from '../../src/api/errors.ts';
import { mdSlotOf } from '../../src/plan/view.ts';
import type { Cluster } from './cluster.ts';
import { mdSlotFor } from './cluster.ts';
import { isOpen, isStuck, legOf } from './kernel-dm.ts';
import { pump } from './md-work.ts';
import type { SimArray, SimLeg, SimMachine, SimMember, SimPartition, Superblock } from './parts.ts';
import { BLOCKS } from './parts.ts';

const ALL_BLOCKS = Array.from({ length: BLOCKS }, (_, block) => block);

/** Blocks that the member in a slot of MD's has. */
export function blocksOf(cluster: Cluster, slot: number): readonly number[] {
  if (cluster.shape.drives === 1) return ALL_BLOCKS;
  return ALL_BLOCKS.filter((block) => cluster.columnOfBlock(block) === columnOf(cluster, slot));
}

export function mustPartition(cluster: Cluster, partitionUUID: string): SimPartition {
  const found = cluster.partition(partitionUUID);
  if (found === undefined) throw new DomainError('unavailable', `no partition ${partitionUUID}`);
  return found;
}

const columnOf = (cluster: Cluster, slot: number): number => Math.floor(slot / Math.max(2, cluster.shape.copies));

/** Members that hold all, in the order in which MD reads: those that are not write-mostly first, then by slot. */
export function sources(cluster: Cluster, array: SimArray, column: number): readonly SimMember[] {
  const rank = (member: SimMember): number =>
    (cluster.shape.drives === 1 && member.writeMostly ? 100 : 0) + member.slot;
  return array.members
    .filter(({ faulty, recovering, slot }) => !faulty && !recovering && columnOf(cluster, slot) === column)
    .sort((a, b) => rank(a) - rank(b));
}

export const columnOfMember = (cluster: Cluster, { slot }: SimMember): number => columnOf(cluster, slot);

export function legOfMember(machine: SimMachine, { partitionUUID, epoch }: SimMember): SimLeg | undefined {
  return legOf(machine, partitionUUID, epoch);
}

/** Every slot is filled by a member that holds all. */
export function isDegraded(cluster: Cluster, array: SimArray): boolean {
  const slots = Math.max(2, cluster.shape.copies) * cluster.shape.drives;
  return array.members.filter(({ faulty, recovering }) => !faulty && !recovering).length < slots;
}

function superblockOf(cluster: Cluster, array: SimArray, { slot, recovering }: SimMember): Superblock {
  const slots = Math.max(2, cluster.shape.copies) * cluster.shape.drives;
  const present = new Set(array.members.filter(({ faulty }) => !faulty).map((member) => member.slot));
  const out = new Set(Array.from({ length: slots }, (_, index) => index).filter((index) => !present.has(index)));
  const { birth, events, eventsCleared, dirty } = array;
  return { birth, slot, events, eventsCleared, out, dirty, recovering };
}

export function writeSuperblock(cluster: Cluster, array: SimArray, member: SimMember): void {
  const partition = mustPartition(cluster, member.partitionUUID);
  partition.superblock = superblockOf(cluster, array, member);
  partition.cached.clear();
  member.isWritten = true;
}

/** Something changed that all superblocks have to say before anything more is acknowledged. */
export function changed(cluster: Cluster, machine: SimMachine, array: SimArray): void {
  machine.hasEvent = true;
  // One update at a time: as long as a member has not taken the last one, no other one begins.
  array.isChanged = true;
  pump(cluster, machine);
}

/** The next update of all superblocks, if one is due and the last one is through. */
export function beginUpdate(array: SimArray): void {
  if (!array.isChanged || array.members.some(({ isWritten, faulty }) => !isWritten && !faulty)) return;
  array.isChanged = false;
  array.events += 1;
  for (const member of array.members) member.isWritten = member.faulty;
}

/** An I/O error: MD drops the member, unless nobody else of its column holds all. Says whether it did. */
export function dropMember(cluster: Cluster, machine: SimMachine, array: SimArray, member: SimMember): boolean {
  if (member.faulty) return true;
  const others = sources(cluster, array, columnOfMember(cluster, member)).filter((other) => other !== member);
  if (others.length === 0) return false;
  member.faulty = true;
  cluster.log(() => `${machine.name} MD drops slot ${member.slot}`);
  member.recovering = false;
  member.toCopy.clear();
  if (!array.isReadOnly) changed(cluster, machine, array);
  cluster.tally.thing('member dropped');
  return true;
}

function newMember(leg: SimLeg, slot: number, writeMostly: boolean): SimMember {
  return {
    partitionUUID: leg.partitionUUID,
    epoch: leg.epoch,
    slot,
    kernelName: kernelNameOf(leg),
    writeMostly,
    faulty: false,
    recovering: false,
    toCopy: new Set(),
    isWritten: true,
  };
}

export const kernelNameOf = (leg: SimLeg): string => `dm-${leg.partitionUUID.slice(0, 8)}-${leg.epoch}`;

function legsByPath(machine: SimMachine, paths: readonly string[]): readonly SimLeg[] {
  return paths.map((path) => {
    const leg = machine.legs.get(path.replace('/dev/mapper/', ''));
    if (leg === undefined) throw new DomainError('internal', `${path} is not there`);
    return leg;
  });
}

/** The members' legs as they are now, all with a path. Rejects when one has none. */
export function openLegs(cluster: Cluster, machine: SimMachine, paths: readonly string[]): readonly SimLeg[] {
  const legs = legsByPath(machine, paths);
  const closed = legs.find((leg) => !isOpen(cluster, machine, leg));
  if (closed !== undefined) throw new DomainError('unavailable', `no answer from ${closed.name}`);
  return legs;
}

function newArray(birth: number, epoch: number, now: number): SimArray {
  return {
    name: 'md127',
    birth,
    epoch,
    members: [],
    isReadOnly: false,
    isFrozen: false,
    events: 1,
    eventsCleared: 0,
    dirty: false,
    resyncPending: false,
    bits: new Set(),
    writes: new Set(),
    writtenAt: now,
    wasWritable: true,
    isHeld: false,
    isChanged: false,
  };
}

/** `--assume-clean`: whatever the members have counts as equal. */
export function createArray(
  cluster: Cluster,
  machine: SimMachine,
  paths: readonly string[],
  writeMostly: readonly string[],
): void {
  const legs = openLegs(
    cluster,
    machine,
    paths.filter((path) => path !== 'missing'),
  );
  if (machine.array !== undefined) throw new DomainError('internal', 'the array is there already');
  cluster.births += 1;
  const array = newArray(cluster.births, legs[0]?.epoch ?? 0, cluster.time.now);
  array.members = legs.map((leg) => {
    const path = `/dev/mapper/${leg.name}`;
    return newMember(leg, paths.indexOf(path), writeMostly.includes(path));
  });
  machine.array = array;
  machine.isShutDown = false;
  for (const member of array.members) {
    mustPartition(cluster, member.partitionUUID).bits.clear();
    writeSuperblock(cluster, array, member);
  }
}

/** mdadm takes the freshest superblocks, leaves out what the freshest calls dropped, and says nothing of it. */
export function assembleArray(cluster: Cluster, machine: SimMachine, paths: readonly string[]): void {
  const legs = openLegs(cluster, machine, paths);
  if (machine.array !== undefined) throw new DomainError('internal', 'the array is there already');
  const found = legs.flatMap((leg) => {
    const partition = mustPartition(cluster, leg.partitionUUID);
    return partition.superblock === undefined ? [] : [{ leg, partition, superblock: partition.superblock }];
  });
  const freshest = [...found].sort((a, b) => b.superblock.events - a.superblock.events)[0];
  if (freshest === undefined) throw new DomainError('internal', 'no superblock');
  const { birth, events, eventsCleared, dirty, out } = freshest.superblock;
  const taken = found.filter(
    ({ superblock }) =>
      superblock.birth === birth &&
      superblock.events >= events - 1 &&
      !superblock.recovering &&
      !out.has(superblock.slot),
  );
  const array = newArray(birth, legs[0]?.epoch ?? 0, cluster.time.now);
  Object.assign(array, { isReadOnly: true, events, eventsCleared, dirty, resyncPending: dirty, wasWritable: false });
  for (const bit of freshest.partition.bits) array.bits.add(bit);
  // A flag of the superblock: the last consumer's.
  array.members = taken.map(({ leg, superblock }) => newMember(leg, superblock.slot, superblock.slot === 0));
  const columns = Array.from({ length: cluster.shape.drives }, (_, column) => column);
  if (columns.some((column) => sources(cluster, array, column).length === 0)) {
    throw new DomainError('internal', 'not enough members to start the array');
  }
  machine.array = array;
  machine.isShutDown = false;
}

export function makeWritable(cluster: Cluster, machine: SimMachine, array: SimArray): void {
  if (!array.isReadOnly) return;
  array.isReadOnly = false;
  array.wasWritable = true;
  changed(cluster, machine, array);
}

/** Another guard of the array holds I/O back: whatever writes to MD would hang. */
export function wouldHang(cluster: Cluster, machine: SimMachine, array: SimArray, except?: SimMember): boolean {
  return array.members.some((member) => {
    if (member === except || member.faulty) return false;
    const leg = legOfMember(machine, member);
    return leg !== undefined && isStuck(cluster, machine, leg);
  });
}

/** By the bitmap if the superblock is of this array and not too old, else all of it. */
export function addMember(cluster: Cluster, machine: SimMachine, array: SimArray, path: string): void {
  const leg = openLegs(cluster, machine, [path])[0];
  if (leg === undefined || array.members.some(({ partitionUUID }) => partitionUUID === leg.partitionUUID)) return;
  const partition = mustPartition(cluster, leg.partitionUUID);
  const { superblock } = partition;
  const isKnown =
    superblock?.birth === array.birth && superblock.events >= array.eventsCleared && !superblock.recovering;
  const slot = isKnown ? superblock.slot : slotFor(cluster, array, leg.partitionUUID);
  const member = newMember(leg, slot, true);
  member.recovering = true;
  for (const block of blocksOf(cluster, slot)) if (!isKnown || array.bits.has(block)) member.toCopy.add(block);
  cluster.tally.thing(isKnown ? 're-added by bitmap' : 'added in full');
  partition.bits.clear();
  for (const bit of array.bits) partition.bits.add(bit);
  array.members.push(member);
  changed(cluster, machine, array);
}

/** The first empty one of RAID10 is that of the member, as the planner waits for it; in RAID1 any will do. */
function slotFor(cluster: Cluster, array: SimArray, partitionUUID: string): number {
  const { truth } = cluster.api;
  const entry = truth?.status?.partitions.find((each) => each.partitionUUID === partitionUUID);
  const wanted = entry === undefined || truth === undefined ? 0 : mdSlotOf(truth, entry);
  const taken = new Set(array.members.map(({ slot }) => slot));
  if (!taken.has(wanted)) return wanted;
  const slots = Array.from({ length: mdSlotFor(cluster.shape, cluster.shape.copies) + 8 }, (_, index) => index);
  return slots.find((slot) => !taken.has(slot)) ?? 0;
}

/** MD's last records go to whoever can be reached; what is refused by a guard that lets I/O fail is a drop. */
export function stopArray(cluster: Cluster, machine: SimMachine, array: SimArray): void {
  if (array.writes.size > 0 || machine.mounts.length > 0 || machine.hasClient) {
    throw new DomainError('unavailable', 'stopping: a program still has it open');
  }
  if (!array.isReadOnly && array.wasWritable) {
    for (const member of array.members.filter(({ faulty }) => !faulty)) {
      const leg = legOfMember(machine, member);
      if (leg === undefined || !isOpen(cluster, machine, leg)) dropMember(cluster, machine, array, member);
    }
    if (!array.resyncPending) array.dirty = false;
    array.events += 1;
    for (const member of array.members.filter(({ faulty }) => !faulty)) {
      const leg = legOfMember(machine, member);
      if (leg !== undefined && isOpen(cluster, machine, leg)) writeSuperblock(cluster, array, member);
    }
  }
  machine.array = undefined;
  machine.isShutDown = false;
}
