/**
 * Tells of volumes that no PersistentVolume names, as a provisioner that was cut off in the middle leaves them. It never deletes.
 *
 * The time is the own, monotonic one since this process first looked and found none, without a gap in what it saw. What it has
 * found for a while it writes down as a condition that is `Unknown`; after a restart the time since then counts too, so that a
 * controller that restarts again and again reports all the same, but each process looks for itself for a while first.
 */
import { findCondition, removeCondition, setCondition } from '../api/conditions.ts';
import {
  PVC_NAME_ANNOTATION,
  PVC_NAMESPACE_ANNOTATION,
  PV_NAME_ANNOTATION,
  UNCLAIMED_CONDITION,
  UNCLAIMED_LABEL,
} from '../api/names.ts';
import type { Condition } from '../api/object.ts';
import type { MeshStorVolume, VolumeStatus } from '../api/volume.ts';
import type { ControllerParts } from './parts.ts';
import { aboutVolume, isBeingDeleted } from './parts.ts';

const DEFAULT_AFTER_MS = 600_000;
/** Most volumes get their PersistentVolume within a second: nothing is written about those. */
const NOTICE_MS = 60_000;
/** Often enough that no gap in what is seen escapes. */
const LOOK_EVERY_MS = 60_000;
/** Servers send a sign of life each minute. */
const SIGHT_LIMIT_MS = 120_000;

interface FirstLook {
  readonly uid: string;
  readonly atMs: number;
}

export class UnclaimedVolumes {
  readonly #parts: ControllerParts;
  readonly #afterMs: number;
  readonly #monotonicMs: () => number;
  /** By name: those that were found without PersistentVolume. */
  readonly #firstLooks = new Map<string, FirstLook>();

  constructor(parts: ControllerParts) {
    this.#parts = parts;
    this.#afterMs = parts.unclaimedAfterMs ?? DEFAULT_AFTER_MS;
    this.#monotonicMs = parts.monotonicMs ?? (() => performance.now());
  }

  /** Empty: whatever changes the answer wakes the reconciler. */
  async look(name: string): Promise<{ readonly requeueAfterMs?: number }> {
    const { volumes, claimed } = this.#parts;
    const volume = volumes.get(name);
    if (volume?.status === undefined || isBeingDeleted(volume)) {
      this.#firstLooks.delete(name);
      return {};
    }
    if (claimed.has(name)) {
      this.#firstLooks.delete(name);
      await this.#end(volume);
      return {};
    }
    if (!claimed.isSynced || claimed.watchAgeMs > SIGHT_LIMIT_MS) {
      this.#firstLooks.delete(name);
      return { requeueAfterMs: LOOK_EVERY_MS };
    }
    return this.#withoutClaim(volume, volume.status);
  }

  async #withoutClaim(volume: MeshStorVolume, status: VolumeStatus): Promise<{ readonly requeueAfterMs?: number }> {
    const { name } = volume.metadata;
    const condition = findCondition(status.conditions, UNCLAIMED_CONDITION);
    if (condition?.status === 'True') {
      await this.#label(volume, true);
      return {};
    }
    const ownMs = this.#ownMs(volume);
    const noticeMs = Math.min(NOTICE_MS, this.#afterMs);
    if (ownMs < noticeMs) return { requeueAfterMs: noticeMs - ownMs };
    const missingMs = Math.max(ownMs, this.#recordedMs(condition));
    const leftMs = this.#afterMs - missingMs;
    if (leftMs > 0) {
      if (condition === undefined) await this.#write(volume, 'Unknown', missingMs);
      return { requeueAfterMs: Math.min(leftMs, LOOK_EVERY_MS) };
    }
    const reported = await this.#write(volume, 'True', missingMs);
    // What was written comes back by the watch; then the label follows.
    if (reported === undefined) return {};
    this.#firstLooks.delete(name);
    this.#parts.events.record(aboutVolume(reported.volume), 'Warning', 'VolumeUnclaimed', reported.message);
    return {};
  }

  #ownMs({ metadata: { name, uid } }: MeshStorVolume): number {
    const now = this.#monotonicMs();
    const known = this.#firstLooks.get(name);
    if (known?.uid === uid) return now - known.atMs;
    this.#firstLooks.set(name, { uid, atMs: now });
    return 0;
  }

  /** Another process may have written it: its clock is believed, since a report does no harm. */
  #recordedMs(condition: Condition | undefined): number {
    const since = Date.parse(condition?.lastTransitionTime ?? '');
    return Number.isNaN(since) ? 0 : this.#parts.clock.now() - since;
  }

  /** Undefined when somebody else did, or it is not so any more. */
  async #write(
    volume: MeshStorVolume,
    status: 'Unknown' | 'True',
    missingMs: number,
  ): Promise<{ readonly volume: MeshStorVolume; readonly message: string } | undefined> {
    const { volumes, claimed, clock } = this.#parts;
    const { name, uid } = volume.metadata;
    const now = clock.now();
    const since = new Date(now - missingMs).toISOString();
    const message = `no PersistentVolume has named this volume since ${since}${claimOf(volume)}; it stays until somebody deletes it`;
    const reason = status === 'True' ? 'NoPersistentVolume' : 'NoPersistentVolumeYet';
    // The time of `Unknown` is when it began to be missing: what a process that starts later goes on from.
    const at = status === 'True' ? new Date(now).toISOString() : since;
    const outcome = { isMine: false };
    const after = await volumes.mutateStatus(name, (current) => {
      outcome.isMine = false;
      if (current.metadata.uid !== uid || current.status === undefined || isBeingDeleted(current)) return undefined;
      if (claimed.has(name)) return undefined;
      const { conditions } = current.status;
      const known = findCondition(conditions, UNCLAIMED_CONDITION)?.status;
      if (known === 'True' || known === status) return undefined;
      outcome.isMine = true;
      const next = { type: UNCLAIMED_CONDITION, status, reason, message };
      return { ...current.status, conditions: setCondition(conditions, next, at) };
    });
    return outcome.isMine ? { volume: after, message } : undefined;
  }

  /** A PersistentVolume names it (again). */
  async #end(volume: MeshStorVolume): Promise<void> {
    const { volumes, events } = this.#parts;
    await this.#label(volume, false);
    if (findCondition(volume.status?.conditions ?? [], UNCLAIMED_CONDITION) === undefined) return;
    const outcome = { wasReported: false };
    await volumes.mutateStatus(volume.metadata.name, ({ status }) => {
      const condition = findCondition(status?.conditions ?? [], UNCLAIMED_CONDITION);
      outcome.wasReported = condition?.status === 'True';
      if (status === undefined || condition === undefined) return undefined;
      return { ...status, conditions: removeCondition(status.conditions, UNCLAIMED_CONDITION) };
    });
    if (!outcome.wasReported) return;
    events.record(aboutVolume(volume), 'Normal', 'VolumeClaimed', 'a PersistentVolume names this volume again');
  }

  /** For people, who cannot select by conditions. */
  async #label(volume: MeshStorVolume, isUnclaimed: boolean): Promise<void> {
    const isRight = ({ metadata }: MeshStorVolume): boolean =>
      isUnclaimed ? metadata.labels[UNCLAIMED_LABEL] === 'true' : !(UNCLAIMED_LABEL in metadata.labels);
    if (isRight(volume)) return;
    await this.#parts.volumes.mutate(volume.metadata.name, (current) => {
      if (isRight(current) || isBeingDeleted(current)) return undefined;
      const { [UNCLAIMED_LABEL]: _old, ...others } = current.metadata.labels;
      const labels = isUnclaimed ? { ...others, [UNCLAIMED_LABEL]: 'true' } : others;
      return { ...current, metadata: { ...current.metadata, labels } };
    });
  }
}

/** What the provisioner said it was made for; whether that claim still exists is for the reader to see. */
function claimOf({ metadata: { annotations } }: MeshStorVolume): string {
  const { [PVC_NAMESPACE_ANNOTATION]: namespace, [PVC_NAME_ANNOTATION]: claim, [PV_NAME_ANNOTATION]: pv } = annotations;
  if (namespace === undefined || claim === undefined) return '';
  return `, it was made for claim ${namespace}/${claim}${pv === undefined ? '' : ` and PersistentVolume ${pv}`}`;
}
