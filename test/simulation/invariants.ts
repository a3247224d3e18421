/** What holds after every step of anybody (SPEC §7). */
import type { PartitionStatus } from '../../src/api/volume.ts';
import type { Cluster } from './cluster.ts';
import { isOpen } from './kernel-dm.ts';
import { blocksOf, columnOfMember, legOfMember, mustPartition } from './kernel-md.ts';
import type { SimArray, SimMachine } from './parts.ts';
import { Violation } from './parts.ts';
import { mdSlotFor } from './cluster.ts';

const MIRRORS_EVERY_MS = 100;

export class Invariants {
  readonly #cluster: Cluster;
  #mirrorsAt = 0;
  #seen = -1;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  check(): void {
    const { api, time, revision } = this.#cluster;
    if (revision === this.#seen) return;
    this.#seen = revision;
    const volume = api.truth;
    if (volume?.status === undefined || api.isBehind) return;
    if (volume.spec.activatedAt === undefined || volume.status.phase === 'Deleting') return;
    for (const entry of volume.status.partitions) if (entry.state === 'Synced') this.#checkSynced(entry);
    if (time.now - this.#mirrorsAt < MIRRORS_EVERY_MS) return;
    this.#mirrorsAt = time.now;
    const consumer = this.#cluster.machines.find(({ name }) => name === volume.status?.nodeName);
    if (consumer?.array?.epoch === volume.status.attachmentEpoch) this.#checkMirrors(consumer, consumer.array);
  }

  /** A partition that is recorded `Synced` holds every acknowledged write. */
  #checkSynced({ partitionUUID, slot, nodeID }: PartitionStatus): void {
    const { ledger, shape } = this.#cluster;
    const partition = this.#cluster.partition(partitionUUID);
    if (partition === undefined) throw new Violation('nothing is removed unasked', `member ${slot} is Synced and gone`);
    for (const block of blocksOf(this.#cluster, mdSlotFor(shape, slot))) {
      const has = partition.data[block] ?? 0;
      const wanted = ledger.acknowledged[block] ?? 0;
      if (has >= wanted) continue;
      const what = `block ${block} has write ${has}, ${wanted} was acknowledged`;
      throw new Violation('Synced holds every acknowledged write', `member ${slot} on ${nodeID}: ${what}`);
    }
  }

  /**
   * Mirrors of which both the record and MD say that they are equal are equal, where nothing is under way; but for a write that was
   * told to have failed, which MD leaves where it landed.
   */
  #checkMirrors(machine: SimMachine, array: SimArray): void {
    if (array.isReadOnly || array.resyncPending || array.writes.size > 0) return;
    const entries = this.#cluster.api.truth?.status?.partitions ?? [];
    const equal = array.members.filter((member) => {
      const { faulty, recovering, partitionUUID } = member;
      const leg = legOfMember(machine, member);
      const isRecorded = entries.some((entry) => entry.partitionUUID === partitionUUID && entry.state === 'Synced');
      return !faulty && !recovering && isRecorded && leg !== undefined && isOpen(this.#cluster, machine, leg);
    });
    for (const member of equal) {
      const other = equal.find((each) => columnOfMember(this.#cluster, each) === columnOfMember(this.#cluster, member));
      if (other === undefined || other === member) continue;
      const [a, b] = [member, other].map(({ partitionUUID }) => mustPartition(this.#cluster, partitionUUID));
      for (const block of blocksOf(this.#cluster, member.slot)) {
        if (a?.data[block] === b?.data[block]) continue;
        if ([a, b].some((each) => this.#cluster.ledger.isRefused(block, each?.data[block]))) continue;
        const what = `block ${block} is ${a?.data[block]} in slot ${member.slot}, ${b?.data[block]} in slot ${other.slot}`;
        throw new Violation('mirrors that are called equal are equal', what);
      }
    }
  }

  /** However it ended: every acknowledged write is on some drive. */
  checkKept(): void {
    const { ledger, machines } = this.#cluster;
    const copies = machines.flatMap(({ drives }) => drives.flatMap(({ partitions }) => [...partitions.values()]));
    for (const [block, wanted] of ledger.acknowledged.entries()) {
      if (wanted === 0 || copies.some(({ data }) => (data[block] ?? 0) >= wanted)) continue;
      throw new Violation('no acknowledged write is lost', `write ${wanted} of block ${block} is on no drive`);
    }
  }
}
