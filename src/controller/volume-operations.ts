/** What the Controller service does. Every write is a compare and swap, so any call may run in any replica at any moment. */
import { setCondition } from '../api/conditions.ts';
import { DomainError } from '../api/errors.ts';
import { VOLUME_FINALIZER, volumeIdFor } from '../api/names.ts';
import { isOutOfService } from '../api/out-of-service.ts';
import type { MeshStorVolume, VolumeStatus } from '../api/volume.ts';
import { EMPTY_STATUS } from '../api/volume.ts';
import { deriveStatus } from '../plan/lifecycle.ts';
import { largestPlaceable } from '../plan/placement.ts';
import {
  attach,
  detach,
  isConsumerAlive,
  isReportedInUse,
  requireAttachable,
  unconfirmedHolders,
} from './attachment.ts';
import { untilCached } from './cache-wait.ts';
import type { Heartbeats } from './heartbeats.ts';
import { Expansion } from './expansion.ts';
import type {
  ClassParameters,
  ControllerOperations,
  CreateVolumeRequest,
  PublishedVolume,
  SizeRange,
} from './operations.ts';
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
import type { Placer, PlacementPlan } from './placer.ts';
import { annotationsFor, chooseCapacity, requireSame, specFor } from './volume-spec.ts';

export interface OperationLimits {
  /** How long a write waits until the own cache shows it: lists are read from there. */
  readonly cacheMs: number;
  /** How long a detach waits for its holders before it asks the caller to come again. */
  readonly confirmMs: number;
}

export const DEFAULT_LIMITS: OperationLimits = { cacheMs: 2000, confirmMs: 5000 };

export class VolumeOperations implements ControllerOperations {
  readonly #parts: ControllerParts;
  readonly #heartbeats: Heartbeats;
  readonly #placer: Placer;
  readonly #limits: OperationLimits;
  readonly #expansion: Expansion;

  constructor(parts: ControllerParts, heartbeats: Heartbeats, placer: Placer, limits = DEFAULT_LIMITS) {
    this.#parts = parts;
    this.#heartbeats = heartbeats;
    this.#placer = placer;
    this.#limits = limits;
    this.#expansion = new Expansion(parts);
  }

  async createVolume(request: CreateVolumeRequest): Promise<MeshStorVolume> {
    const volumeId = volumeIdFor(request.name);
    // Two or more preferred nodes are a wish of nobody in particular (immediate binding): placed at the first attach.
    const consumer = request.preferredNodes.length === 1 ? request.preferredNodes[0] : undefined;
    const found = await this.#parts.volumes.read(volumeId);
    if (found === undefined) return this.#createNew(volumeId, request, consumer);
    return this.#finishCreation(found, request, consumer);
  }

  async #createNew(
    volumeId: string,
    request: CreateVolumeRequest,
    consumer: string | undefined,
  ): Promise<MeshStorVolume> {
    const { volumes, newUuid } = this.#parts;
    const { sectorSize } = request.parameters;
    const explicit = sectorSize === 'auto' ? undefined : sectorSize;
    const shape = specFor(request, chooseCapacity(request), newUuid(), explicit);
    // Placed before anything is written: where there is no room, nothing is left behind.
    const plan = consumer === undefined ? undefined : this.#placer.planAll(volumeId, { spec: shape }, consumer);
    const spec = plan === undefined ? shape : { ...shape, sectorSize: plan.sectorSize };
    const meta = { name: volumeId, annotations: annotationsFor(request, volumeId), finalizers: [VOLUME_FINALIZER] };
    let created: MeshStorVolume;
    try {
      created = await volumes.create(meta, spec);
    } catch (error: unknown) {
      this.#placer.forget(volumeId);
      if (!(error instanceof DomainError) || error.kind !== 'conflict') throw error;
      // Somebody was faster: another replica, or this call before its answer was lost.
      const other = await volumes.read(volumeId);
      if (other === undefined) throw unsettled(volumeId);
      return this.#finishCreation(other, request, consumer);
    }
    return this.#settle(created, plan);
  }

  async #finishCreation(
    found: MeshStorVolume,
    request: CreateVolumeRequest,
    consumer: string | undefined,
  ): Promise<MeshStorVolume> {
    const { name } = found.metadata;
    if (isBeingDeleted(found)) {
      throw new DomainError(
        'pending',
        `create volume ${request.name}: the old volume ${name} is still being deleted; try again`,
      );
    }
    requireSame(found, request);
    return this.#settle(found, this.#planIfNeeded(found, consumer));
  }

  #planIfNeeded(volume: MeshStorVolume, consumer: string | undefined): PlacementPlan | undefined {
    if (consumer === undefined || isStatusLost(volume)) return undefined;
    if ((volume.status?.partitions.length ?? 0) > 0) return undefined;
    return this.#placer.planAll(volume.metadata.name, volume, consumer);
  }

  async #settle(volume: MeshStorVolume, plan: PlacementPlan | undefined): Promise<MeshStorVolume> {
    const settled =
      plan === undefined ? await writeNew(this.#parts.volumes, volume) : await this.#placer.writePlan(volume, plan);
    const { uid, name } = volume.metadata;
    await untilCached(this.#parts, name, (cached) => cached?.metadata.uid === uid, this.#limits.cacheMs);
    return settled;
  }

  async deleteVolume(volumeId: string): Promise<void> {
    if (!isObjectName(volumeId)) return;
    const { volumes, clock } = this.#parts;
    if ((await volumes.read(volumeId)) === undefined) return;
    try {
      await volumes.mutateStatus(volumeId, (current) => markDeleting(current, timestamp(clock)));
    } catch (error: unknown) {
      if (error instanceof DomainError && error.kind === 'notFound') return;
      throw error;
    }
    const isGone = (cached: MeshStorVolume | undefined): boolean => cached === undefined || isBeingDeleted(cached);
    await untilCached(this.#parts, volumeId, isGone, this.#limits.cacheMs);
  }

  async publishVolume(volumeId: string, nodeName: string): Promise<PublishedVolume> {
    const { volumes, nodes, newUuid } = this.#parts;
    const volume = isObjectName(volumeId) ? await volumes.read(volumeId) : undefined;
    if (volume === undefined || isBeingDeleted(volume)) throw noSuchVolume('attach', volumeId);
    const node = isObjectName(nodeName) ? await nodes.read(nodeName) : undefined;
    if (node === undefined) {
      throw new DomainError('notFound', `attach volume ${volumeId} to node ${nodeName}: there is no such node`);
    }
    if (node.machineID === '') {
      const why = 'its Node object has no systemUUID, so that its machine cannot be told from another one';
      throw new DomainError('precondition', `attach volume ${volumeId} to node ${nodeName}: ${why}`);
    }
    if (isStatusLost(volume)) await this.#recordStatusLost(volumeId);
    requireAttachable(volume);
    const plan = this.#planIfNeeded(volume, nodeName);
    if (plan !== undefined) await this.#placer.writePlan(volume, plan);
    const attachmentID = newUuid();
    const { machineID } = node;
    const attached = await volumes.mutateStatus(volumeId, (current) =>
      attach(current, {
        nodeName,
        machineID,
        attachmentID,
        transportFrom: (holder) => this.#placer.transportBetween(holder, nodeName),
      }),
    );
    const status = attached.status ?? EMPTY_STATUS;
    if (status.attachmentID === attachmentID) {
      const message = `attached to node ${nodeName}, epoch ${status.attachmentEpoch}`;
      this.#parts.events.record(aboutVolume(attached), 'Normal', 'Attached', message);
    }
    return { epoch: status.attachmentEpoch, attachmentID: status.attachmentID };
  }

  async #recordStatusLost(volumeId: string): Promise<void> {
    const now = timestamp(this.#parts.clock);
    await this.#parts.volumes.mutateStatus(volumeId, (current) => withStatusLost(current, now));
  }

  async unpublishVolume(volumeId: string, nodeName: string): Promise<void> {
    const { volumes } = this.#parts;
    const volume = isObjectName(volumeId) ? await volumes.read(volumeId) : undefined;
    if (volume?.status === undefined) return;
    const consumer = volume.status.nodeName;
    if (consumer !== '' && nodeName !== '' && nodeName !== consumer) return;
    if (consumer !== '') {
      await this.#recordDetached(volumeId, consumer);
    }
    await this.#requireConfirmed(volumeId);
  }

  /** Writes that there is no consumer any more, unless the one there is lives and uses the volume. */
  async #recordDetached(volumeId: string, consumer: string): Promise<void> {
    const { volumes, nodes, events } = this.#parts;
    const node = await nodes.read(consumer);
    const seen = { node, heartbeatFresh: this.#heartbeats.isNodeFresh(consumer) };
    let before: VolumeStatus | undefined;
    const detached = await volumes.mutateStatus(volumeId, (current) => {
      const status = current.status ?? EMPTY_STATUS;
      before = undefined;
      if (status.nodeName !== consumer) return undefined;
      if (isReportedInUse(status) && isConsumerAlive(status, seen)) {
        const why = `it is in use there (mdState ${status.mdState}) and the node is alive; unstage it first`;
        throw new DomainError('precondition', `detach volume ${volumeId} from node ${consumer}: ${why}`);
      }
      before = status;
      return detach(current, status);
    });
    if (before === undefined) return;
    const isClean = !isReportedInUse(before);
    const message = `detached from node ${consumer}, epoch ${detached.status?.attachmentEpoch ?? 0}`;
    if (isClean) events.record(aboutVolume(detached), 'Normal', 'Detached', message);
    else
      events.record(
        aboutVolume(detached),
        'Warning',
        'Fenced',
        `${message}: it reported the volume in use and is cut off`,
      );
  }

  async #requireConfirmed(volumeId: string): Promise<void> {
    const { nodes, volumes } = this.#parts;
    const off = new Set<string>();
    const missing = (volume: MeshStorVolume | undefined): readonly string[] => {
      const status = volume?.status;
      // Attached again meanwhile: the new epoch's grants revoke first of all.
      if (status === undefined || status.nodeName !== '') return [];
      return unconfirmedHolders(status, (node) => this.#heartbeats.isNodeFresh(node) && !off.has(node));
    };
    for (const holder of missing(await volumes.read(volumeId))) {
      if (isOutOfService(await nodes.read(holder))) off.add(holder);
    }
    if (missing(await volumes.read(volumeId)).length === 0) return;
    await untilCached(this.#parts, volumeId, (cached) => missing(cached).length === 0, this.#limits.confirmMs);
    const waiting = missing(await volumes.read(volumeId));
    if (waiting.length === 0) return;
    const what = `waiting until ${waiting.join(', ')} confirmed that the old consumer is cut off`;
    throw new DomainError('unavailable', `detach volume ${volumeId}: ${what}; try again`);
  }

  expandVolume(volumeId: string, range: SizeRange, signal: AbortSignal): Promise<MeshStorVolume> {
    return this.#expansion.expand(volumeId, range, signal);
  }

  listVolumes(): readonly MeshStorVolume[] {
    const volumes = this.#parts.volumes.list().filter((volume) => !isBeingDeleted(volume));
    return volumes.sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }

  async getVolume(volumeId: string): Promise<MeshStorVolume | undefined> {
    const volume = isObjectName(volumeId) ? await this.#parts.volumes.read(volumeId) : undefined;
    return volume === undefined || isBeingDeleted(volume) ? undefined : volume;
  }

  capacity(parameters: ClassParameters, nodeName: string | undefined): number {
    const { numberOfCopies, drivesPerCopy, sectorSize } = parameters;
    const shape = {
      numberOfCopies,
      drivesPerCopy,
      sectorSize,
      ...(nodeName === undefined ? {} : { consumer: nodeName }),
    };
    return largestPlaceable(shape, this.#placer.drivesFor(''));
  }

  knowsNode(nodeName: string): boolean {
    return this.#parts.nodes.get(nodeName) !== undefined;
  }
}

function unsettled(volumeId: string): DomainError {
  return new DomainError('unavailable', `create volume ${volumeId}: it came and went meanwhile; try again`);
}

/** A volume that waits for its first attach says so: phase `New`, nothing placed. Changes nothing once there is a status. */
export async function writeNew(volumes: ControllerParts['volumes'], volume: MeshStorVolume): Promise<MeshStorVolume> {
  if (volume.status !== undefined || isStatusLost(volume)) return volume;
  return volumes.mutateStatus(volume.metadata.name, (current) => {
    if (current.status !== undefined || isStatusLost(current) || isBeingDeleted(current)) return undefined;
    return deriveStatus(current, EMPTY_STATUS);
  });
}

/** The status of a volume that goes; undefined when it says so already. `precondition` while it is attached. */
export function markDeleting(volume: MeshStorVolume, now: string): VolumeStatus | undefined {
  const status = volume.status ?? EMPTY_STATUS;
  if (status.nodeName !== '') {
    throw new DomainError(
      'precondition',
      `delete volume ${volume.metadata.name}: it is attached to node ${status.nodeName}`,
    );
  }
  if (status.phase === 'Deleting' && status.partitions.every((entry) => entry.state === 'Deleting')) return undefined;
  return deriveStatus(volume, {
    ...status,
    phase: 'Deleting',
    partitions: status.partitions.map((entry) =>
      entry.state === 'Deleting' ? entry : { ...entry, state: 'Deleting', updatedAt: now },
    ),
  });
}

/** The status with the condition `StatusLost`; undefined when it says so already, or is not lost any more. */
export function withStatusLost(volume: MeshStorVolume, now: string): VolumeStatus | undefined {
  if (!isStatusLost(volume)) return undefined;
  const status = volume.status ?? EMPTY_STATUS;
  const conditions = setCondition(
    status.conditions,
    { type: 'StatusLost', status: 'True', reason: 'StatusEmpty', message: STATUS_LOST_MESSAGE },
    now,
  );
  return conditions === status.conditions ? undefined : { ...status, conditions };
}
