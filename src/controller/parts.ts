/** What the controller role is made of: stores, time, chance. All of it handed in. */
import { DomainError } from '../api/errors.ts';
import type { MeshStorNodeDevice } from '../api/node-device.ts';
import type { ClaimedVolumes, EventRecorder, NodeStore, ObjectStore } from '../api/object.ts';
import type { MeshStorVolume } from '../api/volume.ts';

export interface ControllerClock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Runs `callback` once after `ms`; the result cancels it. */
  after(ms: number, callback: () => void): () => void;
}

export interface ControllerParts {
  readonly volumes: ObjectStore<MeshStorVolume>;
  readonly devices: ObjectStore<MeshStorNodeDevice>;
  readonly nodes: NodeStore;
  readonly claimed: ClaimedVolumes;
  readonly events: EventRecorder;
  readonly clock: ControllerClock;
  /** Random UUIDs: volumes and attachments. */
  readonly newUuid: () => string;
  /** How long no PersistentVolume may name a volume before it is reported. */
  readonly unclaimedAfterMs?: number;
  /** Time that nobody sets, from any beginning. */
  readonly monotonicMs?: () => number;
}

/** Now, as the API writes it. */
export function timestamp(clock: ControllerClock): string {
  return new Date(clock.now()).toISOString();
}

export function isBeingDeleted(volume: MeshStorVolume): boolean {
  return volume.metadata.deletionTimestamp !== undefined || volume.status?.phase === 'Deleting';
}

/**
 * Born, but no status says where its data is: the object was restored without it (SPEC §7.11). Never placed again. Removing the
 * partitions of a born volume ends in `Deleting` only, so no entry at all means the same as no status.
 */
export function isStatusLost(volume: MeshStorVolume): boolean {
  if (volume.spec.activatedAt === undefined || volume.status?.phase === 'Deleting') return false;
  return volume.status === undefined || volume.status.partitions.length === 0;
}

export const STATUS_LOST_MESSAGE =
  'the volume has data, but its object says nothing of where: it was restored without its status; restore the status or create the volume anew';

/** What an event needs to know of its object. */
export function aboutVolume(volume: MeshStorVolume): {
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
} {
  return { kind: 'MeshStorVolume', name: volume.metadata.name, uid: volume.metadata.uid };
}

export function noSuchVolume(doing: string, volumeId: string): DomainError {
  return new DomainError('notFound', `${doing} volume ${volumeId}: there is no such volume`);
}

/** Names of objects in Kubernetes; no other id can be a volume's. */
export function isObjectName(name: string): boolean {
  return name.length <= 253 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name);
}
