/**
 * ControllerExpandVolume, and the controller's part of every expansion (SPEC §9). What stands in the object says how far it is, so
 * that the call, its repetition and the reconciler of any replica go on where the last one was cut off.
 */
import { LARGEST_EXPANDED_BYTES } from '../api/layout.ts';
import { findCondition } from '../api/conditions.ts';
import { DomainError } from '../api/errors.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import { expanded, recordRefused, recordServed, recordWished, unwished, wished } from '../plan/expansion-records.ts';
import { EXPANDABLE_CONDITION, expansionProgress } from '../plan/expansion.ts';
import { deriveStatus } from '../plan/lifecycle.ts';
import { formatQuantity, MIB, roundUp } from '../support/units.ts';
import { untilChanged } from './cache-wait.ts';
import type { SizeRange } from './operations.ts';
import type { ControllerParts } from './parts.ts';
import {
  aboutVolume,
  isBeingDeleted,
  isObjectName,
  isStatusLost,
  noSuchVolume,
  STATUS_LOST_MESSAGE,
  timestamp,
} from './parts.ts';

/** A cache that is behind makes no event. */
const LOOK_AGAIN_MS = 1000;

/** What the volume shall have; `outOfRange` when that cannot be. */
function chooseExpanded({ metadata, spec }: MeshStorVolume, { requiredBytes, limitBytes }: SizeRange): number {
  const refuse = (why: string): DomainError =>
    new DomainError('outOfRange', `expand volume ${metadata.name}: capacity_range: ${why}`);
  const wanted = Math.max(spec.capacityBytes, roundUp(requiredBytes, MIB));
  if (wanted > LARGEST_EXPANDED_BYTES && wanted > spec.capacityBytes) {
    throw refuse(`${requiredBytes} is asked for, a volume grows to ${LARGEST_EXPANDED_BYTES} bytes at most`);
  }
  if (limitBytes !== 0 && limitBytes < wanted) {
    throw refuse(`the limit of ${limitBytes} is below ${wanted}, the size in whole MiB that the volume would have`);
  }
  return wanted;
}

function requireExpandable(volume: MeshStorVolume): void {
  const { metadata, spec } = volume;
  const refuse = (kind: 'precondition' | 'invalid', why: string): DomainError =>
    new DomainError(kind, `expand volume ${metadata.name}: ${why}`);
  if (isBeingDeleted(volume)) throw refuse('precondition', 'it is being deleted');
  if (spec.drivesPerCopy > 1) {
    throw refuse('invalid', `drivesPerCopy is ${spec.drivesPerCopy}: only volumes with one drive for each copy grow`);
  }
  if (isStatusLost(volume)) throw refuse('precondition', STATUS_LOST_MESSAGE);
}

export class Expansion {
  readonly #parts: ControllerParts;

  constructor(parts: ControllerParts) {
    this.#parts = parts;
  }

  /** Answers when every partition has the size; array and filesystem follow on the consumer. */
  async expand(volumeId: string, range: SizeRange, signal: AbortSignal): Promise<MeshStorVolume> {
    const { volumes } = this.#parts;
    const found = isObjectName(volumeId) ? await volumes.read(volumeId) : undefined;
    if (found === undefined) throw noSuchVolume('expand', volumeId);
    requireExpandable(found);
    const wanted = chooseExpanded(found, range);
    if (found.spec.capacityBytes >= wanted) return found;
    await this.#wish(volumeId, wanted);
    for (;;) {
      const volume = await this.advance(volumeId);
      if (volume === undefined) throw noSuchVolume('expand', volumeId);
      if (volume.spec.capacityBytes >= wanted) return volume;
      requireExpandable(volume);
      const waitsFor = this.#whyNotYet(volume);
      // Another call's wish took the place of this one, and was met or taken back.
      if (volume.spec.expandToBytes === undefined && !signal.aborted) await this.#wish(volumeId, wanted);
      await this.#nextChange(volume, waitsFor, signal);
    }
  }

  async #wish(volumeId: string, wanted: number): Promise<void> {
    const { volumes } = this.#parts;
    const outcome = { isNew: false };
    const after = await volumes.mutate(volumeId, (current) => {
      requireExpandable(current);
      const next = wished(current, wanted);
      outcome.isNew = next !== undefined;
      return next;
    });
    await volumes.mutateStatus(volumeId, recordWished);
    if (!outcome.isNew) return;
    const message = `to grow from ${formatQuantity(after.spec.capacityBytes)} to ${formatQuantity(wanted)}`;
    this.#parts.events.record(aboutVolume(after), 'Normal', 'Expanding', message);
  }

  /** What it waits for; throws when a holder has refused. */
  #whyNotYet(volume: MeshStorVolume): string {
    const { metadata, spec, status } = volume;
    const refused = findCondition(status?.conditions ?? [], EXPANDABLE_CONDITION);
    if (spec.expandToBytes === undefined && refused?.status === 'False') {
      throw new DomainError('exhausted', `expand volume ${metadata.name}: ${refused.message}; its size is unchanged`);
    }
    const progress = expansionProgress(volume);
    return progress.kind === 'waiting' ? progress.reason : 'its object to be written';
  }

  async #nextChange({ metadata }: MeshStorVolume, waitsFor: string, signal: AbortSignal): Promise<void> {
    const { name } = metadata;
    if (!signal.aborted) await untilChanged(this.#parts, name, LOOK_AGAIN_MS, signal);
    if (!signal.aborted) return;
    throw new DomainError('unavailable', `expand volume ${name}: waiting for ${waitsFor}; try again`, {
      cause: signal.reason,
    });
  }

  /** Writes what follows from the object as it is; returns it as it is then. Undefined when it is gone. */
  async advance(volumeId: string): Promise<MeshStorVolume | undefined> {
    const volume = await this.#parts.volumes.read(volumeId);
    if (volume === undefined) return undefined;
    switch (expansionProgress(volume).kind) {
      case 'impossible':
        return this.#takeBack(volumeId, volume.spec.expandToBytes ?? 0);
      case 'grown':
        return this.#moveOn(volumeId);
      default:
        return volume;
    }
  }

  /** The condition first: a wish that is gone without a word would leave its caller waiting. */
  async #takeBack(volumeId: string, wish: number): Promise<MeshStorVolume> {
    const { volumes, events, clock } = this.#parts;
    let message: string | undefined;
    await volumes.mutateStatus(volumeId, (current) => {
      const next = current.spec.expandToBytes === wish ? recordRefused(current, timestamp(clock)) : undefined;
      message = findCondition(next?.conditions ?? [], EXPANDABLE_CONDITION)?.message;
      return next;
    });
    if (message === undefined) return this.#derive(volumeId);
    const after = await volumes.mutate(volumeId, (current) => unwished(current, wish));
    events.record(aboutVolume(after), 'Warning', 'ExpansionImpossible', message);
    return this.#derive(volumeId);
  }

  async #moveOn(volumeId: string): Promise<MeshStorVolume> {
    const { volumes, events } = this.#parts;
    await volumes.mutateStatus(volumeId, recordServed);
    const outcome = { isMine: false };
    const after = await volumes.mutate(volumeId, (current) => {
      const next = expanded(current);
      outcome.isMine = next !== undefined;
      return next;
    });
    if (outcome.isMine) {
      const message = `every partition has grown: the volume has ${formatQuantity(after.spec.capacityBytes)}`;
      events.record(aboutVolume(after), 'Normal', 'Expanded', message);
    }
    return this.#derive(volumeId);
  }

  #derive(volumeId: string): Promise<MeshStorVolume> {
    return this.#parts.volumes.mutateStatus(volumeId, (current) => {
      const { status } = current;
      if (status === undefined || isBeingDeleted(current)) return undefined;
      const derived = deriveStatus(current, status);
      return derived.phase === status.phase ? undefined : derived;
    });
  }
}
