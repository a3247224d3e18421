/** After the last fault: everything gets well within bounded time, but for what the driver cannot do yet; then all of it goes away. */
import type { PartitionStatus } from '../../src/api/volume.ts';
import { mdSlotOf } from '../../src/plan/view.ts';
import type { Cluster } from './cluster.ts';
import type { Invariants } from './invariants.ts';
import { boot, crash } from './faults.ts';
import { Violation } from './parts.ts';
import type { Simulation } from './simulation.ts';

const WELL_WITHIN_MS = 60_000;
const GONE_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 500;

export class Wellness {
  readonly #simulation: Simulation;
  readonly #invariants: Invariants;
  /** Writes acknowledged when the faults were over: another one has to come. */
  #countAtEnd = 0;

  constructor(simulation: Simulation, invariants: Invariants) {
    this.#simulation = simulation;
    this.#invariants = invariants;
  }

  get #cluster(): Cluster {
    return this.#simulation.cluster;
  }

  getWell(): void {
    const { api, tally } = this.#cluster;
    if (api.isBehind) {
      // Only a person goes on from here: nothing may have been started, and nothing be lost.
      this.#cluster.time.runUntil(this.#cluster.time.now + 20_000);
      this.#invariants.checkKept();
      tally.thing('ended: witness behind');
      return;
    }
    if (!this.#simulation.controller.isDeletionWished && !this.#recover()) return;
    this.#goAway();
  }

  /** False when only a person can go on. */
  #recover(): boolean {
    const { cluster } = this.#simulation;
    cluster.podOn ??= cluster.machines.find(({ isGone }) => !isGone);
    this.#countAtEnd = cluster.ledger.count;
    if (!this.#within(WELL_WITHIN_MS, () => this.#why() === undefined)) {
      if (this.#hasLostEverything()) {
        cluster.tally.thing('ended: a copy that holds everything is gone for ever');
        return false;
      }
      // docs/limits.md: a last copy whose holder restarted is taken back when its pod starts anew.
      cluster.tally.thing('pod started anew by a person');
      this.#restartPod();
      if (!this.#within(WELL_WITHIN_MS, () => this.#why() === undefined)) {
        if (this.#needsForce()) {
          cluster.tally.thing('ended: a column of RAID10 has fallen behind by its events');
          return false;
        }
        throw new Violation('everything gets well', this.#why() ?? '');
      }
    }
    cluster.tally.thing('ended: well');
    return true;
  }

  #restartPod(): void {
    const { cluster } = this.#simulation;
    const was = cluster.podOn;
    cluster.podOn = undefined;
    cluster.isForced = false;
    this.#within(20_000, () => cluster.api.truth?.status?.nodeName === '');
    const consumer = cluster.api.truth?.status?.nodeName ?? '';
    if (consumer !== '') {
      cluster.api.taint(consumer, true);
      cluster.isForced = true;
      this.#within(20_000, () => cluster.api.truth?.status?.nodeName === '');
      cluster.api.taint(consumer, false);
      cluster.isForced = false;
    }
    this.#restartNodes();
    cluster.podOn = was;
    this.#countAtEnd = cluster.ledger.count;
  }

  /** docs/limits.md: a fenced raw block volume stays closed until its node starts anew. */
  #restartNodes(): void {
    const { cluster } = this.#simulation;
    if (cluster.shape.mode !== 'Block') return;
    for (const machine of cluster.machines.filter(({ isUp, array }) => isUp && array !== undefined)) {
      crash(this.#simulation, machine);
      boot(this.#simulation, machine);
      cluster.tally.thing('node restarted by a person');
    }
  }

  /**
   * A consumer of RAID10 that was cut off while one column hung has written its last records to the other one alone: by their
   * events mdadm leaves the first one out and starts nothing. That needs `--force`, which is a person's.
   */
  #needsForce(): boolean {
    const { api, podOn, shape } = this.#cluster;
    const entries = api.truth?.status?.partitions ?? [];
    const columns = Array.from({ length: shape.drives }, (_, column) => column);
    const isComplete = columns.every((column) =>
      entries.some((entry) => entry.state === 'Synced' && this.#cluster.columnOf(entry.slot) === column),
    );
    return shape.drives > 1 && isComplete && podOn?.array === undefined;
  }

  #within(ms: number, isReached: () => boolean): boolean {
    const { time } = this.#cluster;
    const deadline = time.now + ms;
    while (time.now < deadline) {
      if (isReached()) return true;
      time.runUntil(time.now + LOOK_EVERY_MS);
    }
    return isReached();
  }

  /** What keeps it from being well; undefined when it is. */
  #why(): string | undefined {
    const { api, podOn, machines } = this.#cluster;
    const status = api.truth?.status;
    if (status === undefined || podOn === undefined) return 'there is no volume';
    if (status.nodeName !== podOn.name) return `it is attached to "${status.nodeName}", not to ${podOn.name}`;
    if (!podOn.hasClient || podOn.array === undefined || podOn.isShutDown)
      return `its pod does not run on ${podOn.name}`;
    if (podOn.array.epoch !== status.attachmentEpoch) return `its array is of epoch ${podOn.array.epoch}`;
    const stuck = [...podOn.array.writes].length > 0 && this.#cluster.time.now - podOn.array.writtenAt > 5000;
    if (stuck) return 'its writes hang';
    if (this.#cluster.ledger.count === this.#countAtEnd) return 'nothing was written yet';
    const bad = status.partitions.find((entry) => entry.state !== 'Synced' && !this.#mayStayOut(entry));
    if (bad !== undefined) return `member ${bad.slot} on ${bad.nodeID} is ${bad.state}`;
    const left = machines.find(
      (machine) => machine !== podOn && (machine.array !== undefined || machine.mounts.length > 0),
    );
    return left === undefined ? undefined : `${left.name} has an array still`;
  }

  /**
   * What is not mended here, where nobody replaces, and nothing else: a member whose drive failed (`Faulty`) stays, one whose
   * node is gone for ever too, and in RAID10 one that is back waits for the slots below it.
   */
  #mayStayOut(entry: PartitionStatus): boolean {
    if (entry.state === 'Faulty' || this.#isGone(entry)) return true;
    const volume = this.#cluster.api.truth;
    if (volume === undefined || this.#cluster.shape.drives === 1 || entry.state !== 'Missing') return false;
    return (volume.status?.partitions ?? []).some(
      (other) => (other.state === 'Faulty' || this.#isGone(other)) && mdSlotOf(volume, other) < mdSlotOf(volume, entry),
    );
  }

  #isGone({ nodeID }: PartitionStatus): boolean {
    return this.#cluster.machine(nodeID).isGone;
  }

  /** In some column every copy that holds every write is on a node that is gone for ever: SPEC §7.7 waits for a person. */
  #hasLostEverything(): boolean {
    const entries = this.#cluster.api.truth?.status?.partitions ?? [];
    const columns = Array.from({ length: this.#cluster.shape.drives }, (_, column) => column);
    return columns.some((column) =>
      entries
        .filter((entry) => this.#cluster.columnOf(entry.slot) === column && entry.state === 'Synced')
        .every((entry) => this.#isGone(entry)),
    );
  }

  /** The claim is deleted: nothing of the volume is left on any node that is there. */
  #goAway(): void {
    const { cluster, controller } = this.#simulation;
    this.#invariants.check();
    cluster.podOn = undefined;
    cluster.isForced = false;
    controller.isDeletionWished = true;
    const isGone = (): boolean => cluster.api.truth === undefined && this.#leftOvers() === undefined;
    const isOver = this.#within(GONE_WITHIN_MS, isGone);
    if (!isOver) this.#restartPod();
    if (!isOver && !this.#within(GONE_WITHIN_MS, isGone)) {
      const left = this.#leftOvers() ?? `its object is in phase ${cluster.api.truth?.status?.phase ?? 'none'}`;
      throw new Violation('nothing is left of a volume that was deleted', left);
    }
    cluster.tally.thing('deleted');
  }

  #leftOvers(): string | undefined {
    for (const machine of this.#cluster.machines.filter(({ isGone }) => !isGone)) {
      const { array, exports, imports, legs, mounts, name } = machine;
      const partitions = machine.drives.flatMap((drive) => [...drive.partitions.keys()]);
      if (array !== undefined) return `${name} has an array`;
      if (mounts.length > 0) return `${name} has a mount`;
      if (legs.size > 0) return `${name} has the leg ${[...legs.keys()].join(', ')}`;
      if (exports.size > 0) return `${name} has an export`;
      if (imports.size > 0) return `${name} has a connection`;
      if (partitions.length > 0) return `${name} has the partition ${partitions.join(', ')}`;
    }
    return undefined;
  }
}
