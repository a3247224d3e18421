/** Keeps one volume's object in order: its end, its placement before birth, its phase and conditions. */
import { isDeepStrictEqual } from 'node:util';
import { removeCondition, setCondition } from '../api/conditions.ts';
import { DomainError } from '../api/errors.ts';
import { VOLUME_FINALIZER } from '../api/names.ts';
import type { MeshStorVolume, PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { expansionProgress } from '../plan/expansion.ts';
import { deriveStatus } from '../plan/lifecycle.ts';
import { PLACED_CONDITION } from '../plan/records.ts';
import { Expansion } from './expansion.ts';
import type { Heartbeats } from './heartbeats.ts';
import type { ControllerParts } from './parts.ts';
import { aboutVolume, isBeingDeleted, isStatusLost, STATUS_LOST_MESSAGE, timestamp } from './parts.ts';
import type { Part, Placer, PlacementPlan } from './placer.ts';
import { RefusedNodes } from './refused-nodes.ts';
import { Replacements } from './replacements.ts';
import { findGap, isUnborn, membersOfBrokenCopies, silentMembers } from './unborn.ts';
import { UnclaimedVolumes } from './unclaimed-volumes.ts';
import { markDeleting, withStatusLost, writeNew } from './volume-operations.ts';

export interface ReconcileOutcome {
  /** Look again after this time, whatever happens. */
  readonly requeueAfterMs?: number;
}

/** A volume that waits for somebody is looked at again: silence makes no event. */
const WAITING_MS = 10_000;
/** What was just written comes back by the watch; this is for a cache that is behind. */
const SOON_MS = 1000;

export class VolumeReconciler {
  readonly #parts: ControllerParts;
  readonly #heartbeats: Heartbeats;
  readonly #placer: Placer;
  readonly #refused: RefusedNodes;
  readonly #unclaimed: UnclaimedVolumes;
  readonly #expansion: Expansion;
  readonly #replacements: Replacements;

  constructor(parts: ControllerParts, heartbeats: Heartbeats, placer: Placer) {
    this.#parts = parts;
    this.#heartbeats = heartbeats;
    this.#placer = placer;
    this.#refused = new RefusedNodes(parts.clock);
    this.#unclaimed = new UnclaimedVolumes(parts);
    this.#expansion = new Expansion(parts);
    this.#replacements = new Replacements(parts, heartbeats, placer, this.#refused);
  }

  async reconcile(name: string): Promise<ReconcileOutcome> {
    const outcome = await this.#live(name);
    return earlierOf(outcome, await this.#unclaimed.look(name));
  }

  async #live(name: string): Promise<ReconcileOutcome> {
    const volume = this.#parts.volumes.get(name);
    this.#refused.look(name, volume);
    if (volume === undefined) {
      this.#replacements.forget(name);
      return {};
    }
    if (isBeingDeleted(volume)) return this.#finishDeletion(volume);
    await this.#ensureFinalizer(volume);
    if (isStatusLost(volume)) return this.#reportStatusLost(volume);
    // Made by hand, or its creator died before it wrote more.
    if (volume.status === undefined) await writeNew(this.#parts.volumes, volume);
    const progress = expansionProgress(volume).kind;
    if (progress === 'impossible' || progress === 'grown') await this.#expansion.advance(name);
    if (isUnborn(volume)) return this.#completePlacement(volume);
    await this.#derive(name);
    await this.#releaseGoneHolders(volume);
    return this.#replacements.look(volume);
  }

  // ---------------------------------------------------------------- the end

  async #finishDeletion(volume: MeshStorVolume): Promise<ReconcileOutcome> {
    const { volumes, events, clock } = this.#parts;
    const { name, uid } = volume.metadata;
    if (volume.status?.phase !== 'Deleting') {
      const nodeName = volume.status?.nodeName ?? '';
      if (nodeName !== '') {
        const message = `deleted while attached to node ${nodeName}: it goes when it is detached`;
        events.record(aboutVolume(volume), 'Warning', 'DeletionWaits', message);
        return { requeueAfterMs: WAITING_MS };
      }
      // Goes on with what is there now: the cache may not know yet.
      return this.#finishDeletion(
        await volumes.mutateStatus(name, (current) => markDeleting(current, timestamp(clock))),
      );
    }
    const left = await this.#releaseGoneHolders(volume);
    if (left > 0) return { requeueAfterMs: WAITING_MS };
    // First asked to go, then let go: an object without finalizer that nobody deletes would stay for ever.
    await volumes.delete(name, { uid });
    await ignoreNotFound(
      volumes.mutate(name, (current) => {
        if (current.metadata.uid !== uid || (current.status?.partitions.length ?? 0) > 0) return undefined;
        return withoutFinalizer(current);
      }),
    );
    return {};
  }

  /** Removes the entries of holders that will never confirm that they are gone. Returns how many entries of the volume are left. */
  async #releaseGoneHolders(volume: MeshStorVolume): Promise<number> {
    const { volumes, events } = this.#parts;
    const isGoing = (entry: PartitionStatus): boolean => entry.state === 'Deleting';
    const entries = (volume.status?.partitions ?? []).filter(isGoing);
    const gone = new Set<string>();
    for (const node of new Set(entries.map((entry) => entry.nodeID))) {
      if (await this.#isGone(node)) gone.add(node);
    }
    if (gone.size === 0) return volume.status?.partitions.length ?? 0;
    const outcome = { isMine: false };
    const after = await volumes.mutateStatus(volume.metadata.name, (current) => {
      const status = current.status;
      outcome.isMine = false;
      if (status === undefined) return undefined;
      const partitions = status.partitions.filter((entry) => !isGoing(entry) || !gone.has(entry.nodeID));
      if (partitions.length === status.partitions.length) return undefined;
      outcome.isMine = true;
      return deriveStatus(current, { ...status, partitions });
    });
    const nodes = [...gone].sort().join(', ');
    const message = `released from node ${nodes}, which is gone; partitions there are unknown if it returns`;
    if (outcome.isMine) events.record(aboutVolume(after), 'Warning', 'HolderGone', message);
    return after.status?.partitions.length ?? 0;
  }

  /** No Node object by a live read, and no heartbeat: one that only lost its object may still do its work. */
  async #isGone(node: string): Promise<boolean> {
    const { nodes } = this.#parts;
    if (nodes.get(node) !== undefined || this.#heartbeats.isNodeFresh(node)) return false;
    return (await nodes.read(node)) === undefined;
  }

  // ---------------------------------------------------------------- before birth

  async #completePlacement(volume: MeshStorVolume): Promise<ReconcileOutcome> {
    const { name } = volume.metadata;
    // A node without drives in sight is as silent as one that is gone.
    const silent = silentMembers(volume, (node) => this.#heartbeats.ageOfNodeMs(node));
    if (silent.length > 0) {
      await this.#giveUp(name, silent, 'its holder is silent');
      return { requeueAfterMs: SOON_MS };
    }
    const gap = findGap(volume);
    if (gap !== undefined) {
      await this.#placeAgain(volume, gap);
      return { requeueAfterMs: WAITING_MS };
    }
    await this.#derive(name);
    // Holders that fall silent now make no event.
    return (volume.status?.partitions.length ?? 0) > 0 ? { requeueAfterMs: WAITING_MS } : {};
  }

  /** Entries become `Deleting`: a holder that lives removes what it made, one that is gone is released at the volume's end. */
  async #giveUp(name: string, entries: readonly PartitionStatus[], why: string): Promise<void> {
    const { volumes, events, clock } = this.#parts;
    const uuids = new Set(entries.map((entry) => entry.partitionUUID));
    const updatedAt = timestamp(clock);
    const outcome = { isMine: false };
    const after = await volumes.mutateStatus(name, (current) => {
      const status = current.status;
      outcome.isMine = false;
      if (status === undefined || !isUnborn(current) || isBeingDeleted(current)) return undefined;
      const isGivenUp = (entry: PartitionStatus): boolean =>
        uuids.has(entry.partitionUUID) && entry.state !== 'Deleting';
      if (!status.partitions.some(isGivenUp)) return undefined;
      outcome.isMine = true;
      const partitions = status.partitions.map((entry): PartitionStatus =>
        isGivenUp(entry) ? { ...entry, state: 'Deleting', updatedAt } : entry,
      );
      return deriveStatus(current, { ...status, partitions });
    });
    if (!outcome.isMine) return;
    const where = entries.map(({ nodeID, device }) => `${nodeID}/${device}`).join(', ');
    events.record(aboutVolume(after), 'Warning', 'PlacementGivenUp', `gave up the place on ${where}: ${why}`);
  }

  async #placeAgain(volume: MeshStorVolume, gap: Part): Promise<void> {
    const { name } = volume.metadata;
    const plan = this.#planGap(volume, gap);
    if (typeof plan === 'string') {
      const broken = membersOfBrokenCopies(volume);
      if (broken.length > 0) await this.#giveUp(name, broken, 'another member of its copy could not be made');
      await this.#writeStatus(name, (status, current) => {
        if (findGap(current) === undefined) return undefined;
        return { ...status, conditions: this.#withNotPlaced(status, plan, current.metadata.generation) };
      });
      return;
    }
    const outcome = { isMine: false };
    const after = await this.#writeStatus(name, (status, current) => {
      outcome.isMine =
        isDeepStrictEqual(findGap(current), gap) &&
        current.spec.volumeUUID === volume.spec.volumeUUID &&
        current.spec.capacityBytes === volume.spec.capacityBytes;
      if (!outcome.isMine) return undefined;
      return {
        ...status,
        partitions: [...status.partitions, ...plan.partitions],
        conditions: removeCondition(status.conditions, PLACED_CONDITION),
      };
    });
    if (!outcome.isMine) {
      this.#placer.forget(name);
      return;
    }
    const where = plan.partitions.map(({ nodeID, device }) => `${nodeID}/${device}`).join(', ');
    this.#parts.events.record(aboutVolume(after), 'Normal', 'PlacedAgain', `placed again on ${where}`);
  }

  /** A plan, or why there is none. Nodes that have just refused this volume are left out for a while. */
  #planGap(volume: MeshStorVolume, gap: Part): PlacementPlan | string {
    const { name } = volume.metadata;
    const refusing = this.#refused.nodesFor(name);
    try {
      return this.#placer.planPart(name, volume.spec, { ...gap, excludeNodes: refusing });
    } catch (error: unknown) {
      if (!(error instanceof DomainError) || error.kind !== 'exhausted') throw error;
      return refusing.length === 0 ? error.message : `${error.message}; refused by ${refusing.join(', ')}`;
    }
  }

  #withNotPlaced(status: VolumeStatus, message: string, observedGeneration: number): VolumeStatus['conditions'] {
    return setCondition(
      status.conditions,
      { type: PLACED_CONDITION, status: 'False', reason: 'NoRoom', message, observedGeneration },
      timestamp(this.#parts.clock),
    );
  }

  // ---------------------------------------------------------------- upkeep

  async #ensureFinalizer(volume: MeshStorVolume): Promise<void> {
    if (volume.metadata.finalizers.includes(VOLUME_FINALIZER)) return;
    await this.#parts.volumes.mutate(volume.metadata.name, (current) => {
      const { metadata } = current;
      if (metadata.deletionTimestamp !== undefined || metadata.finalizers.includes(VOLUME_FINALIZER)) return undefined;
      return { ...current, metadata: { ...metadata, finalizers: [...metadata.finalizers, VOLUME_FINALIZER] } };
    });
  }

  async #reportStatusLost(volume: MeshStorVolume): Promise<ReconcileOutcome> {
    const { volumes, events, clock } = this.#parts;
    const now = timestamp(clock);
    const outcome = { isNew: false };
    await volumes.mutateStatus(volume.metadata.name, (current) => {
      const status = withStatusLost(current, now);
      outcome.isNew = status !== undefined;
      return status;
    });
    if (outcome.isNew) events.record(aboutVolume(volume), 'Warning', 'StatusLost', STATUS_LOST_MESSAGE);
    return {};
  }

  /** Phase and counters, from what is listed. */
  async #derive(name: string): Promise<void> {
    const cached = this.#parts.volumes.get(name);
    if (cached?.status === undefined) return;
    // The cache is old at worst: then its successor brings us back here.
    if (isDeepStrictEqual(deriveStatus(cached, cached.status), cached.status)) return;
    await this.#writeStatus(name, (status) => status);
  }

  #writeStatus(
    name: string,
    change: (status: VolumeStatus, current: MeshStorVolume) => VolumeStatus | undefined,
  ): Promise<MeshStorVolume> {
    return this.#parts.volumes.mutateStatus(name, (current) => {
      if (current.status === undefined || isBeingDeleted(current)) return undefined;
      const changed = change(current.status, current);
      if (changed === undefined) return undefined;
      const derived = deriveStatus(current, changed);
      return isDeepStrictEqual(derived, current.status) ? undefined : derived;
    });
  }
}

function earlierOf(a: ReconcileOutcome, b: ReconcileOutcome): ReconcileOutcome {
  if (a.requeueAfterMs === undefined || b.requeueAfterMs === undefined) return { ...a, ...b };
  return a.requeueAfterMs <= b.requeueAfterMs ? a : b;
}

function withoutFinalizer(volume: MeshStorVolume): MeshStorVolume | undefined {
  const { metadata } = volume;
  if (!metadata.finalizers.includes(VOLUME_FINALIZER)) return undefined;
  const finalizers = metadata.finalizers.filter((finalizer) => finalizer !== VOLUME_FINALIZER);
  return { ...volume, metadata: { ...metadata, finalizers } };
}

async function ignoreNotFound(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error: unknown) {
    if (!(error instanceof DomainError) || error.kind !== 'notFound') throw error;
  }
}
