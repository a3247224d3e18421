/**
 * The node's background work on volumes: what it owes as a holder, and what it reports as a consumer. Woken by kernel events and
 * by changes of the volumes; a full pass every 10 s is the safety net (SPEC §8).
 */
import type { EventRecorder, EventSubject, ObjectStore } from '../api/object.ts';
import { PVC_NAME_ANNOTATION, PVC_NAMESPACE_ANNOTATION, PV_NAME_ANNOTATION, VOLUME_KIND } from '../api/names.ts';
import type { MdState, MeshStorVolume } from '../api/volume.ts';
import { observeConsumer } from '../plan/health.ts';
import { recordObserved } from '../plan/records.ts';
import type { HolderStep } from '../plan/steps.ts';
import { isUuid } from '../support/uuid.ts';
import type { HolderActs } from './act-holder.ts';
import { actHolderStep } from './act-holder.ts';
import { leaveCondition } from './conditions.ts';
import type { Surroundings } from './converge.ts';
import { convergeOnce } from './converge.ts';
import type { VolumeWorlds } from './volume-worlds.ts';

export interface ReconcilerParts {
  readonly worlds: VolumeWorlds;
  readonly acts: HolderActs;
  readonly around: Surroundings;
  readonly volumes: ObjectStore<MeshStorVolume>;
  readonly events: EventRecorder;
}

const HEALTHY: ReadonlySet<MdState | ''> = new Set(['active', 'clean', '']);
/** A holder that waits for something else looks again after this. */
const WAIT_MS = 1000;

/** The claim that the volume was made for, where `kubectl describe pvc` looks. The provisioner names a PV after its claim's uid. */
function claimOf({ metadata }: MeshStorVolume): readonly EventSubject[] {
  const name = metadata.annotations[PVC_NAME_ANNOTATION] ?? '';
  const namespace = metadata.annotations[PVC_NAMESPACE_ANNOTATION] ?? '';
  if (name === '' || namespace === '') return [];
  const uid = (metadata.annotations[PV_NAME_ANNOTATION] ?? metadata.name).replace(/^pvc-/, '');
  return [{ kind: 'PersistentVolumeClaim', name, namespace, uid: isUuid(uid) ? uid : '' }];
}

export class NodeVolumeReconciler {
  readonly #parts: ReconcilerParts;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
  }

  /** Volumes that this node holds a partition of or consumes. */
  concerned(): readonly string[] {
    return this.#parts.volumes
      .list()
      .filter((volume) => this.#concerns(volume))
      .map((volume) => volume.metadata.name);
  }

  /** By the cache: no look at the kernel, no request. */
  isConcerned(volumeId: string): boolean {
    const volume = this.#parts.volumes.get(volumeId);
    return volume !== undefined && this.#concerns(volume);
  }

  #concerns({ status }: MeshStorVolume): boolean {
    const me = this.#parts.worlds.me.nodeName;
    return status?.nodeName === me || (status?.partitions ?? []).some((partition) => partition.nodeID === me);
  }

  async reconcile(volumeId: string): Promise<{ readonly requeueAfterMs?: number }> {
    // First: what MD has dropped must be known, whatever keeps this node from its duties as a holder.
    await this.#report(volumeId);
    const waitsFor = await this.#hold(volumeId);
    if (waitsFor === undefined) return {};
    this.#parts.around.log.debug('holder waits', { volumeId, reason: waitsFor });
    return { requeueAfterMs: WAIT_MS };
  }

  async #hold(volumeId: string): Promise<string | undefined> {
    const { worlds, acts, around, volumes } = this.#parts;
    const onRefusal = leaveCondition(volumes, volumeId, acts.now);
    const plan = (): ReturnType<VolumeWorlds['planHolding']> => worlds.planHolding(volumeId);
    const act = (step: HolderStep): Promise<void> => actHolderStep(acts, volumeId, step);
    return convergeOnce({ name: 'hold', volumeId, plan, act, onRefusal }, around);
  }

  /** Writes what the consumer sees of its array: member states, counters, progress. Nothing when nothing changed. */
  async #report(volumeId: string): Promise<void> {
    const { around, worlds, volumes } = this.#parts;
    if (volumes.get(volumeId)?.status?.nodeName !== worlds.me.nodeName) return;
    await around.rounds.run(volumeId, undefined, async () => {
      const world = await worlds.reported(volumeId);
      const status = world?.volume.status;
      if (world === undefined || status === undefined || (world.array === undefined && status.mdState === '')) return;
      const seen = observeConsumer(world);
      const who = {
        nodeName: world.me.nodeName,
        machineID: world.me.machineID,
        epoch: status.attachmentEpoch,
        attachmentID: status.attachmentID,
      };
      const after = await volumes.mutateStatus(volumeId, (current) =>
        recordObserved(current, who, seen, this.#parts.acts.now()),
      );
      this.#tell(world.volume, after, seen.message);
    });
  }

  #tell(before: MeshStorVolume, after: MeshStorVolume, message: string): void {
    const was = before.status?.mdState ?? '';
    const is = after.status?.mdState ?? '';
    if (was === is || HEALTHY.has(was) === HEALTHY.has(is)) return;
    const claim = claimOf(after);
    for (const about of [{ kind: VOLUME_KIND, name: after.metadata.name, uid: after.metadata.uid }, ...claim]) {
      if (HEALTHY.has(is)) this.#parts.events.record(about, 'Normal', 'VolumeHealthy', 'all members are in sync');
      else this.#parts.events.record(about, 'Warning', 'VolumeDegraded', message);
    }
  }
}
