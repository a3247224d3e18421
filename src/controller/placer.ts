/** Turns placement decisions into `Requested` entries, and remembers them until the cache shows them. */
import { removeCondition } from '../api/conditions.ts';
import { partitionSizeBytes } from '../api/layout.ts';
import { DomainError } from '../api/errors.ts';
import { partitionUuidFor } from '../api/names.ts';
import type { MeshStorVolume, PartitionStatus, SectorSize, VolumeSpec } from '../api/volume.ts';
import { EMPTY_STATUS } from '../api/volume.ts';
import { deriveStatus, nextGeneration } from '../plan/lifecycle.ts';
import type { Avoided, DriveSeen } from '../plan/placement.ts';
import { placeVolume } from '../plan/placement.ts';
import { PLACED_CONDITION } from '../plan/records.ts';
import type { Heartbeats } from './heartbeats.ts';
import { hasRdma, seeDrives } from './inventory.ts';
import type { ControllerParts } from './parts.ts';
import { aboutVolume, isBeingDeleted, isStatusLost, STATUS_LOST_MESSAGE, timestamp } from './parts.ts';

/** After this time a promise that no cache ever showed is forgotten: its write failed, or the volume is gone. */
const PROMISE_LIMIT_MS = 30_000;

export interface PlacementPlan {
  readonly sectorSize: SectorSize;
  readonly partitions: readonly PartitionStatus[];
  /** For people. */
  readonly notes: readonly string[];
}

/** What of a volume is to be placed: all that `keep` does not have. */
export interface Part {
  readonly keep: readonly PartitionStatus[];
  readonly generation: number;
  readonly consumer: string | undefined;
  readonly excludeNodes: readonly string[];
  /** Only these slots, of a volume that is in use. */
  readonly slots?: readonly number[];
  readonly avoid?: readonly Avoided[];
}

interface PromisedSpace {
  readonly partitions: readonly PartitionStatus[];
  readonly madeAtMs: number;
}

export class Placer {
  readonly #parts: ControllerParts;
  readonly #heartbeats: Heartbeats;
  readonly #promises = new Map<string, PromisedSpace>();
  readonly #unsubscribe: () => void;

  constructor(parts: ControllerParts, heartbeats: Heartbeats) {
    this.#parts = parts;
    this.#heartbeats = heartbeats;
    this.#unsubscribe = parts.volumes.onChange((name) => this.#keepPromise(name));
  }

  stop(): void {
    this.#unsubscribe();
  }

  /** Drives as they are for this volume: less what others were promised. */
  drivesFor(volumeId: string): readonly DriveSeen[] {
    this.#forgetOldPromises();
    const recent = new Map([...this.#promises].map(([name, promise]) => [name, promise.partitions]));
    return seeDrives(this.#parts, this.#heartbeats, recent, volumeId);
  }

  /** Where all of a volume goes; `exhausted` saying which nodes failed and why. Nothing is written. */
  planAll(
    volumeId: string,
    { spec, status = EMPTY_STATUS }: Pick<MeshStorVolume, 'spec' | 'status'>,
    consumer: string | undefined,
  ): PlacementPlan {
    return this.planPart(volumeId, spec, {
      keep: [],
      generation: nextGeneration(status),
      consumer,
      excludeNodes: [],
    });
  }

  /** Where a part of it goes. */
  planPart(volumeId: string, spec: VolumeSpec, part: Part): PlacementPlan {
    const sizeBytes = partitionSizeBytes(spec.capacityBytes, spec.drivesPerCopy);
    const placement = placeVolume(
      {
        volumeUUID: spec.volumeUUID,
        capacityBytes: spec.capacityBytes,
        partitionBytes: sizeBytes,
        numberOfCopies: spec.numberOfCopies,
        drivesPerCopy: spec.drivesPerCopy,
        sectorSize: spec.sectorSize ?? 'auto',
        ...(part.consumer === undefined ? {} : { consumer: part.consumer }),
        excludeNodes: part.excludeNodes,
        ...(part.slots === undefined ? {} : { slots: part.slots }),
        ...(part.avoid === undefined ? {} : { avoid: part.avoid }),
        keep: part.keep.map(({ slot, nodeID, device, serial }) => ({ slot, node: nodeID, device, serial })),
      },
      this.drivesFor(volumeId),
    );
    if (!placement.ok) throw new DomainError('exhausted', `place volume ${volumeId}: ${placement.message}`);
    const updatedAt = timestamp(this.#parts.clock);
    const partitions = placement.members.map((member): PartitionStatus => ({
      nodeID: member.node,
      partitionUUID: partitionUuidFor(spec.volumeUUID, member.slot, part.generation),
      nvmeofNamespaceID: spec.nvmeofNamespaceIDs[member.slot] ?? member.slot + 1,
      state: 'Requested',
      sizeBytes,
      updatedAt,
      device: member.device,
      serial: member.serial,
      ...(member.nsid === undefined ? {} : { nsid: member.nsid }),
      slot: member.slot,
      generation: part.generation,
      transport: this.transportBetween(member.node, part.consumer ?? ''),
      epoch: 0,
    }));
    // Of a volume in use one copy at a time is placed: what was promised for another a moment ago stands.
    const before = part.slots === undefined ? [] : (this.#promises.get(volumeId)?.partitions ?? []);
    this.#promises.set(volumeId, { partitions: [...before, ...partitions], madeAtMs: this.#parts.clock.now() });
    return { sectorSize: placement.sectorSize, partitions, notes: placement.notes };
  }

  /** RDMA where both have an address for it. */
  transportBetween(holder: string, consumer: string): 'tcp' | 'rdma' {
    const { nodes } = this.#parts;
    return hasRdma(nodes.get(holder)) && hasRdma(nodes.get(consumer)) ? 'rdma' : 'tcp';
  }

  /** The promise is not needed any more: what it was for was not written. */
  forget(volumeId: string): void {
    this.#promises.delete(volumeId);
  }

  /**
   * Writes the plan into a volume that has no partition yet, the sector size first: a crash between leaves a `New` volume whose
   * sector size is settled. Somebody else's placement that is there already stays.
   */
  async writePlan(volume: MeshStorVolume, plan: PlacementPlan): Promise<MeshStorVolume> {
    const { volumes, events } = this.#parts;
    const { name } = volume.metadata;
    try {
      if (volume.spec.sectorSize === undefined) {
        await volumes.mutate(name, (current) => {
          requirePlaceable(current);
          if (current.spec.sectorSize !== undefined) return undefined;
          return { ...current, spec: { ...current.spec, sectorSize: plan.sectorSize } };
        });
      }
      const outcome = { isMine: false };
      const placed = await volumes.mutateStatus(name, (current) => {
        requirePlaceable(current);
        const status = current.status ?? EMPTY_STATUS;
        outcome.isMine = status.partitions.length === 0;
        if (!outcome.isMine) return undefined;
        const isOld = plan.partitions.some(({ generation }) => generation < nextGeneration(status));
        const isOther =
          current.spec.volumeUUID !== volume.spec.volumeUUID ||
          current.spec.sectorSize !== plan.sectorSize ||
          current.spec.capacityBytes !== volume.spec.capacityBytes;
        if (isOld || isOther) {
          throw new DomainError('unavailable', `place volume ${name}: it was changed meanwhile; try again`);
        }
        const conditions = removeCondition(status.conditions, PLACED_CONDITION);
        return deriveStatus(current, { ...status, phase: 'Requested', partitions: plan.partitions, conditions });
      });
      const where = plan.partitions.map(({ nodeID, device }) => `${nodeID}/${device}`).join(', ');
      if (outcome.isMine)
        events.record(aboutVolume(placed), 'Normal', 'Placed', [`placed on ${where}`, ...plan.notes].join('; '));
      else this.forget(name);
      return placed;
    } catch (error: unknown) {
      this.forget(name);
      throw error;
    }
  }

  /** What the cache shows it knows from now on, its end too: space of a volume that is gone is free again. */
  #keepPromise(name: string): void {
    const listed = this.#parts.volumes.get(name)?.status?.partitions ?? [];
    const isListed = ({ partitionUUID }: PartitionStatus): boolean =>
      listed.some((entry) => entry.partitionUUID === partitionUUID);
    if (this.#promises.get(name)?.partitions.some(isListed) === true) this.forget(name);
  }

  #forgetOldPromises(): void {
    const oldest = this.#parts.clock.now() - PROMISE_LIMIT_MS;
    for (const [name, promise] of this.#promises) {
      if (promise.madeAtMs < oldest) this.#promises.delete(name);
    }
  }
}

function requirePlaceable(volume: MeshStorVolume): void {
  const { name } = volume.metadata;
  if (isBeingDeleted(volume)) throw new DomainError('pending', `place volume ${name}: it is being deleted`);
  if (isStatusLost(volume)) throw new DomainError('precondition', `place volume ${name}: ${STATUS_LOST_MESSAGE}`);
}
