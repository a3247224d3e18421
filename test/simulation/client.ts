/** The pod: writes numbered blocks, waits until each is on disk, reads what it finds. The ledger is its memory. */
import type { Cluster } from './cluster.ts';
import { isOpen } from './kernel-dm.ts';
import { legOfMember, mustPartition, sources } from './kernel-md.ts';
import { submit } from './md-work.ts';
import type { SimArray, SimMachine } from './parts.ts';
import { BLOCKS, Violation } from './parts.ts';
import { Random } from './random.ts';
import type { Actor } from './scheduler.ts';

interface Acknowledged {
  readonly block: number;
  readonly value: number;
  /** By PARTUUID: when its drive had flushed it, in ms of virtual time. */
  readonly flushedAt: ReadonlyMap<string, number>;
}

function canWork(machine: SimMachine): SimArray | undefined {
  const { array, isShutDown, mounts } = machine;
  return array === undefined || array.isReadOnly || isShutDown || mounts.length === 0 ? undefined : array;
}

/** Only what a consumer in office reads counts: one that was cut off may read what is old (docs/limits.md). */
function isInOffice(cluster: Cluster, machine: SimMachine, array: SimArray): boolean {
  const status = cluster.api.truth?.status;
  return status?.nodeName === machine.name && status.attachmentEpoch === array.epoch && !cluster.api.isBehind;
}

/**
 * A pod that slept hears on waking of a write that was on disk before its successor started, which is as if it had heard at once: the
 * successor goes by copies that have it. What such a copy took after the start must never count, nor what none of them has.
 */
function isFromBefore(cluster: Cluster, epoch: number, { block, flushedAt }: Acknowledged): boolean {
  const column = cluster.columnOfBlock(block);
  const synced = (cluster.api.truth?.status?.partitions ?? []).filter(
    ({ slot, state }) => state === 'Synced' && cluster.columnOf(slot) === column,
  );
  const times = synced.flatMap(({ partitionUUID }) => flushedAt.get(partitionUUID) ?? []);
  return times.length > 0 && times.every((time) => time <= cluster.ledger.successorOf(epoch));
}

function acknowledge(cluster: Cluster, machine: SimMachine, array: SimArray, wanted: Acknowledged): void {
  const { ledger } = cluster;
  const { block, value } = wanted;
  if (array.epoch < ledger.startedEpoch && !isFromBefore(cluster, array.epoch, wanted)) {
    const who = `${machine.name} of epoch ${array.epoch}`;
    throw new Violation('one writer', `${who} acknowledged a write after epoch ${ledger.startedEpoch} had started`);
  }
  ledger.acknowledged[block] = Math.max(ledger.acknowledged[block] ?? 0, value);
  ledger.count += 1;
  cluster.revision += 1;
  cluster.log(() => `${machine.name} block ${block} = ${value} acknowledged at epoch ${array.epoch}`);
}

function readSome(cluster: Cluster, machine: SimMachine, array: SimArray, block: number): void {
  if ([...array.writes].some((write) => write.block === block)) return;
  const member = sources(cluster, array, cluster.columnOfBlock(block))[0];
  const leg = member === undefined ? undefined : legOfMember(machine, member);
  if (member === undefined || leg === undefined || !isOpen(cluster, machine, leg)) return;
  const value = mustPartition(cluster, member.partitionUUID).data[block] ?? 0;
  if (!isInOffice(cluster, machine, array)) return;
  const { ledger } = cluster;
  if (value < ledger.atLeast(block)) {
    const where = `${machine.name} read write ${value} of block ${block}`;
    const lost = `write ${ledger.atLeast(block)} was acknowledged or read before`;
    throw new Violation('what was written or read stays', `${where}, ${lost}`);
  }
  // A write that failed may be there or not.
  if (ledger.isRefused(block, value)) return;
  ledger.read[block] = Math.max(ledger.read[block] ?? 0, value);
}

/** What is in the drives' caches is on disk before the pod builds on it: so do a filesystem's log replay and a database's start. */
function flush(cluster: Cluster, machine: SimMachine, array: SimArray): boolean {
  const members = array.members.filter(({ faulty }) => !faulty);
  const isAllOpen = members.every((member) => {
    const leg = legOfMember(machine, member);
    return leg !== undefined && isOpen(cluster, machine, leg);
  });
  if (isAllOpen) for (const { partitionUUID } of members) mustPartition(cluster, partitionUUID).cached.clear();
  return isAllOpen;
}

export function* runClient(cluster: Cluster, machine: SimMachine): Actor {
  const random = new Random(cluster.seed, `client/${machine.name}/${cluster.time.now}`);
  let flushed: SimArray | undefined;
  while (machine.hasClient) {
    yield random.between(40, 500);
    const array = canWork(machine);
    if (array === undefined) continue;
    if (flushed !== array) {
      if (flush(cluster, machine, array)) flushed = array;
      continue;
    }
    const block = random.between(0, BLOCKS - 1);
    if (machine.isEnding) continue;
    if (random.chance(0.3)) readSome(cluster, machine, array, block);
    else if (array.writes.size < 2 && ![...array.writes].some((write) => write.block === block)) {
      write(cluster, machine, array, block);
    }
  }
}

function write(cluster: Cluster, machine: SimMachine, array: SimArray, block: number): void {
  const value = cluster.ledger.nextValue();
  submit(cluster, machine, array, {
    block,
    value,
    end: (isAcknowledged, flushedAt) => {
      if (isAcknowledged) acknowledge(cluster, machine, array, { block, value, flushedAt });
      else cluster.tally.thing('write failed');
    },
  });
}
