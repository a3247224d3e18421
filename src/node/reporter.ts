/** Writes what the consumer sees of its array: member states, counters, progress; and tells people when its health changes. */
import type { EventRecorder, EventSubject, ObjectStore } from '../api/object.ts';
import { PVC_NAME_ANNOTATION, PVC_NAMESPACE_ANNOTATION, PV_NAME_ANNOTATION, VOLUME_KIND } from '../api/names.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import type { ConsumerObservation } from '../plan/health.ts';
import { whoOf } from '../plan/owner.ts';
import { healthChange, recordReported } from '../plan/records.ts';
import type { ConsumerWorld } from '../plan/world.ts';
import { isUuid } from '../support/uuid.ts';

export interface ReporterParts {
  readonly volumes: ObjectStore<MeshStorVolume>;
  readonly events: EventRecorder;
  readonly now: () => string;
}

/** The claim that the volume was made for, where `kubectl describe pvc` looks. The provisioner names a PV after its claim's uid. */
function claimOf({ metadata }: MeshStorVolume): readonly EventSubject[] {
  const name = metadata.annotations[PVC_NAME_ANNOTATION] ?? '';
  const namespace = metadata.annotations[PVC_NAMESPACE_ANNOTATION] ?? '';
  if (name === '' || namespace === '') return [];
  const uid = (metadata.annotations[PV_NAME_ANNOTATION] ?? metadata.name).replace(/^pvc-/, '');
  return [{ kind: 'PersistentVolumeClaim', name, namespace, uid: isUuid(uid) ? uid : '' }];
}

export class VolumeReporter {
  readonly #parts: ReporterParts;

  constructor(parts: ReporterParts) {
    this.#parts = parts;
  }

  /**
   * `seen`: a look at the consumer's world, or an earlier one of the same attachment. By the world's own object first: with nothing to tell
   * it costs no request. Rejects as `mutateStatus`, and with `precondition` when this node is the consumer no more.
   */
  async report({ me, volume }: ConsumerWorld, seen: ConsumerObservation): Promise<void> {
    const { volumes, now } = this.#parts;
    const who = whoOf(me, volume);
    if (recordReported(volume, who, seen, now()) === undefined) return;
    let change: ReturnType<typeof healthChange>;
    const after = await volumes.mutateStatus(volume.metadata.name, (current) => {
      const next = recordReported(current, who, seen, now());
      change = healthChange(current.status, next);
      return next;
    });
    if (change !== undefined) this.#tell(after, change, seen.message);
  }

  /** By what the write changed in the object: once for each trouble and once for its end, whatever states lie between. */
  #tell(volume: MeshStorVolume, change: 'degraded' | 'healthy', message: string): void {
    const { name, uid } = volume.metadata;
    for (const about of [{ kind: VOLUME_KIND, name, uid }, ...claimOf(volume)]) {
      if (change === 'healthy') this.#parts.events.record(about, 'Normal', 'VolumeHealthy', 'all members are in sync');
      else this.#parts.events.record(about, 'Warning', 'VolumeDegraded', message);
    }
  }
}
