/**
 * What a kernel does by itself with the I/O of an array, a bit at a time: writes on their way through guards to the drives,
 * superblocks, copying to members, the resync after a dirty start, and what it does when a path or a drive fails.
 */
import type { Cluster } from './cluster.ts';
import { importOf, isOpen, reachOf } from './kernel-dm.ts';
import {
  beginUpdate,
  changed,
  columnOfMember,
  dropMember,
  isDegraded,
  legOfMember,
  mustPartition,
  sources,
  writeSuperblock,
} from './kernel-md.ts';
import type { Flight, Phase, SimArray, SimLeg, SimMachine, SimMember, SimPartition, SimWrite } from './parts.ts';

/** A guard's path that could not be asked is asked again after this. */
const AGAIN_MS = 150;
const IDLE_MS = 1000;
/** What waits for a paused machine looks this often whether it is awake. */
const WAKE_MS = 10;

/** Goes on as long as anything is under way. */
export function pump(cluster: Cluster, machine: SimMachine, delayMs = cluster.random.between(1, 30)): void {
  const due = cluster.time.now + delayMs;
  if (machine.pumpDue !== undefined && machine.pumpDue <= due) return;
  machine.pumpDue = due;
  cluster.time.after(
    delayMs,
    () => {
      if (machine.pumpDue !== due) return;
      machine.pumpDue = undefined;
      if (machine.array !== undefined && work(cluster, machine, machine.array)) pump(cluster, machine, AGAIN_MS);
    },
    machine,
  );
}

/** One turn; false when there is nothing to do any more. */
function work(cluster: Cluster, machine: SimMachine, array: SimArray): boolean {
  if (array.isReadOnly) return false;
  const isWritten = writeRecords(cluster, machine, array);
  for (const write of [...array.writes]) advance(cluster, machine, array, write, isWritten);
  const isCopying = isWritten && copySome(cluster, machine, array);
  const isSettled = settle(cluster, machine, array);
  return array.writes.size > 0 || !isWritten || isCopying || !isSettled;
}

/** The guard's answer to an I/O now: gone through, failed for MD to see, or held. */
function tryLeg(cluster: Cluster, machine: SimMachine, leg: SimLeg): 'ok' | 'error' | 'held' {
  if (leg.suspended) return 'held';
  if (leg.pathState === 'active') {
    const reach = reachOf(cluster, machine, leg);
    if (reach === 'ok') return 'ok';
    if (reach === 'silent') return 'held';
    leg.pathState = 'failed';
    machine.hasEvent = true;
  }
  return leg.queues ? 'held' : 'error';
}

/** Superblocks, one at a time; true when all members' say what the array says. */
function writeRecords(cluster: Cluster, machine: SimMachine, array: SimArray): boolean {
  beginUpdate(array);
  const member = array.members.find(({ isWritten, faulty }) => !isWritten && !faulty);
  if (member === undefined) return true;
  const leg = legOfMember(machine, member);
  const answer = leg === undefined ? 'error' : tryLeg(cluster, machine, leg);
  if (answer === 'ok') writeSuperblock(cluster, array, member);
  if (answer === 'error' && !dropMember(cluster, machine, array, member)) member.isWritten = true;
  return !array.isChanged && array.members.every(({ isWritten, faulty }) => isWritten || faulty);
}

// ---------------------------------------------------------------- writes

const NEXT: Readonly<Record<Phase, Phase | undefined>> = { bitmap: 'data', data: 'flush', flush: undefined };

/** A client's write begins. `end` is told whether it is acknowledged. */
export function submit(
  cluster: Cluster,
  machine: SimMachine,
  array: SimArray,
  wanted: { readonly block: number; readonly value: number; readonly end: SimWrite['end'] },
): void {
  const write: SimWrite = { ...wanted, phase: 'bitmap', legs: new Map(), flushedAt: new Map(), isTold: false };
  array.writtenAt = cluster.time.now;
  array.writes.add(write);
  begin(cluster, array, write);
  pump(cluster, machine);
}

function begin(cluster: Cluster, array: SimArray, write: SimWrite): void {
  write.legs.clear();
  for (const member of array.members) {
    if (member.faulty) continue;
    // The bitmap and a flush concern every member, the data those of its column.
    if (write.phase === 'data' && columnOfMember(cluster, member) !== cluster.columnOfBlock(write.block)) continue;
    write.legs.set(member.partitionUUID, 'queued');
  }
  if (write.phase === 'bitmap') {
    array.bits.add(write.block);
    array.dirty = true;
  }
}

function advance(cluster: Cluster, machine: SimMachine, array: SimArray, write: SimWrite, isWritten: boolean): void {
  if (machine.isShutDown) tell(write, false);
  for (const [partitionUUID, state] of write.legs) {
    const member = array.members.find((each) => each.partitionUUID === partitionUUID);
    if (member === undefined || member.faulty) write.legs.delete(partitionUUID);
    else if (state === 'queued') send(cluster, machine, array, write, member);
  }
  const isThrough = [...write.legs.values()].every((state) => state === 'done');
  // After a drop nothing ends before the others' superblocks say so.
  if (!isThrough || !isWritten || array.isHeld || !array.writes.has(write)) return;
  const next = NEXT[write.phase];
  // Of a filesystem that was shut down nothing new comes, not even a flush.
  if (next === undefined || (next === 'flush' && write.isTold)) {
    finish(array, write, true);
    return;
  }
  write.phase = next;
  begin(cluster, array, write);
}

function finish(array: SimArray, write: SimWrite, isAcknowledged: boolean): void {
  array.writes.delete(write);
  tell(write, isAcknowledged);
}

/** Once. A shutdown of the filesystem tells its programs at once; what MD has of their writes goes on all the same. */
function tell(write: SimWrite, isAcknowledged: boolean): void {
  if (write.isTold) return;
  write.isTold = true;
  write.end(isAcknowledged, write.flushedAt);
}

function failed(cluster: Cluster, machine: SimMachine, array: SimArray, write: SimWrite, member: SimMember): void {
  if (!dropMember(cluster, machine, array, member)) finish(array, write, false);
  else write.legs.delete(member.partitionUUID);
}

function send(cluster: Cluster, machine: SimMachine, array: SimArray, write: SimWrite, member: SimMember): void {
  const leg = legOfMember(machine, member);
  const answer = leg === undefined ? 'error' : tryLeg(cluster, machine, leg);
  if (answer === 'error') failed(cluster, machine, array, write, member);
  if (leg === undefined || answer === 'error') return;
  if (answer === 'held') {
    half(cluster, machine, leg, write);
    return;
  }
  const { partitionUUID } = member;
  write.legs.set(partitionUUID, 'sent');
  const { phase } = write;
  const partition = mustPartition(cluster, partitionUUID);
  fly(cluster, machine, leg, partition, (hasLanded) => {
    const isCurrent = (): boolean => array.writes.has(write) && write.phase === phase;
    const isMedium = phase === 'data' && hasLanded && partition.drive.mediumErrors > 0;
    if (isMedium) {
      partition.drive.mediumErrors -= 1;
      if (isCurrent() && machine.array === array) mediumError(cluster, machine, array, write, member);
      return;
    }
    if (hasLanded) store(cluster, partition, write, phase);
    if (hasLanded && isCurrent() && phase === 'flush') write.flushedAt.set(partitionUUID, cluster.time.now);
    // The answer has its own way back; that there is none is noticed after a while.
    const answerMs = hasLanded ? cluster.random.between(1, 25) : cluster.random.between(300, 900);
    cluster.time.after(
      answerMs,
      () => {
        if (!isCurrent()) return;
        write.legs.set(partitionUUID, hasLanded && isOpen(cluster, machine, leg) ? 'done' : 'queued');
        pump(cluster, machine);
      },
      machine,
    );
  });
}

/** Passes the guard: MD drops the member at once. What is to be held until that is on record is held from here on. */
function mediumError(cluster: Cluster, machine: SimMachine, array: SimArray, write: SimWrite, member: SimMember): void {
  failed(cluster, machine, array, write, member);
  cluster.tally.thing('medium error met');
  if (!member.faulty) cluster.ledger.refuse(write.block, write.value);
  if (member.faulty && !cluster.rules.isOff(3)) array.isHeld = true;
}

/** A link that is cut in one direction only: what was sent arrives, its answer does not. */
function half(cluster: Cluster, machine: SimMachine, leg: SimLeg, write: SimWrite): void {
  const seen = importOf(machine, leg);
  if (seen?.state !== 'live' || leg.pathState !== 'active') return;
  const isOneWay = cluster.hears(machine.name, seen.holder.name) && !cluster.hears(seen.holder.name, machine.name);
  if (!isOneWay || !cluster.isRunning(seen.holder) || seen.holder.exports.get(seen.nqn) !== seen.target) return;
  const partition = cluster.partition(leg.partitionUUID);
  if (partition === undefined || !cluster.random.chance(0.3)) return;
  const { phase } = write;
  fly(cluster, machine, leg, partition, (hasLanded) => {
    if (hasLanded) store(cluster, partition, write, phase);
  });
}

function store(cluster: Cluster, partition: SimPartition, { block, value }: SimWrite, phase: Phase): void {
  if (phase === 'flush') partition.cached.clear();
  else if (phase === 'bitmap') partition.bits.add(block);
  else put(cluster, partition, block, value);
  if (phase === 'bitmap' && partition.superblock !== undefined) {
    partition.superblock = { ...partition.superblock, dirty: true };
  }
}

function put(cluster: Cluster, partition: SimPartition, block: number, value: number): void {
  if (partition.drive.isVolatile && !partition.cached.has(block))
    partition.cached.set(block, partition.data[block] ?? 0);
  partition.data[block] = value;
  cluster.revision += 1;
}

/** From a guard to a drive: lands after a while, if whoever serves it still does. It outlives its sender. */
function fly(
  cluster: Cluster,
  machine: SimMachine,
  leg: SimLeg,
  partition: SimPartition,
  then: (hasLanded: boolean) => void,
): void {
  const target = importOf(machine, leg)?.target;
  const { node, drive, partitionUUID } = partition;
  const { life } = node;
  const flight: Flight = {
    target,
    end: (mayLand) => {
      if (!cluster.flights.delete(flight)) return;
      const isServed = target === undefined || target.isServed || cluster.rules.isOff(5);
      const isThere = node.life === life && drive.isOnline && cluster.partition(partitionUUID) === partition;
      then(mayLand && isServed && isThere);
    },
  };
  cluster.flights.add(flight);
  const arrive = (): void => {
    // A paused holder takes it when it wakes up, if its export is still there by then. A pause may end before its time.
    const leftMs = Math.min(node.pausedUntil - cluster.time.now, WAKE_MS);
    if (leftMs > 0 && node.life === life) cluster.time.after(leftMs, arrive);
    else flight.end(true);
  };
  const isSlow = cluster.random.chance(0.05);
  cluster.time.after(cluster.random.between(1, isSlow ? 900 : 40), arrive);
}

// ---------------------------------------------------------------- what MD copies

function isBusy(array: SimArray, block: number): boolean {
  return [...array.writes].some((write) => write.block === block && write.phase === 'data');
}

/** One block from whoever holds it to whoever does not. Says whether there is more to do. */
function copySome(cluster: Cluster, machine: SimMachine, array: SimArray): boolean {
  if (array.isFrozen) return false;
  const resync = array.resyncPending && resyncSome(cluster, machine, array);
  const recovering = array.members.find((member) => member.recovering && !member.faulty);
  if (recovering === undefined || array.resyncPending) return resync || recovering !== undefined;
  const block = [...recovering.toCopy].find((each) => !isBusy(array, each));
  if (block !== undefined) copyBlock(cluster, machine, array, recovering, block);
  if (recovering.toCopy.size === 0) {
    mustPartition(cluster, recovering.partitionUUID).cached.clear();
    recovering.recovering = false;
    changed(cluster, machine, array);
  }
  return true;
}

/** After a dirty start: what the bitmap says goes from the member that MD reads from to the others. */
function resyncSome(cluster: Cluster, machine: SimMachine, array: SimArray): boolean {
  const block = [...array.bits].find((each) => !isBusy(array, each) && differs(cluster, array, each));
  if (block === undefined) {
    for (const { partitionUUID, faulty } of array.members) {
      if (!faulty) mustPartition(cluster, partitionUUID).cached.clear();
    }
    array.resyncPending = false;
    machine.hasEvent = true;
    return true;
  }
  for (const member of sources(cluster, array, cluster.columnOfBlock(block)).slice(1)) {
    copyBlock(cluster, machine, array, member, block);
  }
  return true;
}

function differs(cluster: Cluster, array: SimArray, block: number): boolean {
  const members = sources(cluster, array, cluster.columnOfBlock(block));
  return new Set(members.map(({ partitionUUID }) => mustPartition(cluster, partitionUUID).data[block])).size > 1;
}

function copyBlock(cluster: Cluster, machine: SimMachine, array: SimArray, to: SimMember, block: number): void {
  const from = sources(cluster, array, columnOfMember(cluster, to)).find((member) => member !== to);
  if (from === undefined) return;
  const legs = [legOfMember(machine, from), legOfMember(machine, to)];
  const answers = legs.map((leg) => (leg === undefined ? 'error' : tryLeg(cluster, machine, leg)));
  if (answers[1] === 'error') dropMember(cluster, machine, array, to);
  if (answers.some((answer) => answer !== 'ok')) return;
  const value = mustPartition(cluster, from.partitionUUID).data[block] ?? 0;
  put(cluster, mustPartition(cluster, to.partitionUUID), block, value);
  to.toCopy.delete(block);
}

/** Nothing was written for a while: the array is called clean; bits go where all members have all. Says whether that is done. */
function settle(cluster: Cluster, machine: SimMachine, array: SimArray): boolean {
  if (!array.dirty || array.writes.size > 0 || array.resyncPending) return !array.dirty;
  if (cluster.time.now - array.writtenAt < IDLE_MS) return false;
  const members = array.members.filter(({ faulty }) => !faulty);
  const isAllOpen = members.every((member) => {
    const leg = legOfMember(machine, member);
    return leg !== undefined && isOpen(cluster, machine, leg);
  });
  if (!isAllOpen) return true;
  array.dirty = false;
  if (!isDegraded(cluster, array)) {
    array.bits.clear();
    array.eventsCleared = array.events;
    for (const { partitionUUID } of members) mustPartition(cluster, partitionUUID).bits.clear();
  }
  changed(cluster, machine, array);
  return true;
}
