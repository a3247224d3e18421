/** Background work on the array of a staged volume: nobody calls when a path goes or comes back (SPEC §7.2, §8). */
import { DomainError } from '../api/errors.ts';
import type { ObjectStore } from '../api/object.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import { membersWithoutPath, planMending } from '../plan/mending.ts';
import { whoOf } from '../plan/owner.ts';
import type { MendStep } from '../plan/steps.ts';
import type { ConsumerWorld, MendingWorld, Plan } from '../plan/world.ts';
import type { ConsumerActs } from './act-consumer.ts';
import { actMendStep } from './act-mender.ts';
import type { Surroundings } from './converge.ts';
import { convergeOnce } from './converge.ts';
import { PathMemory } from './path-memory.ts';
import { nameOfMember, partitionOfStageStep } from './step-members.ts';
import type { VolumeWorlds } from './volume-worlds.ts';

export interface MenderParts {
  readonly worlds: VolumeWorlds;
  readonly acts: ConsumerActs;
  readonly around: Surroundings;
  readonly volumes: ObjectStore<MeshStorVolume>;
  /** How long a member that lost its path is waited for, milliseconds. */
  readonly dropGraceMs: number;
}

export class VolumeMender {
  readonly #parts: MenderParts;
  /** By volume; of those that are staged here. */
  readonly #memories = new Map<string, PathMemory>();

  constructor(parts: MenderParts) {
    this.#parts = parts;
  }

  /** Says what it waits for; undefined when there is nothing to mend, or nothing that is this node's to mend. Rejects as `convergeOnce`. */
  async mend(volumeId: string): Promise<string | undefined> {
    const { acts, around, volumes, worlds } = this.#parts;
    if (volumes.get(volumeId)?.status?.nodeName !== worlds.me.nodeName) {
      this.#memories.delete(volumeId);
      return undefined;
    }
    const memory = this.#memories.get(volumeId) ?? new PathMemory();
    this.#memories.set(volumeId, memory);
    let world: MendingWorld | undefined;
    const plan = async (): Promise<Plan<MendStep>> => {
      world = await this.#look(volumeId, memory);
      return world === undefined ? { kind: 'done' } : planMending(world);
    };
    const act = async (step: MendStep): Promise<void> => {
      if (world === undefined) throw new DomainError('internal', `mending ${volumeId}: a step without a plan`);
      const who = whoOf(world.me, world.volume);
      await remembering(memory, step, () => actMendStep(acts, volumeId, who, step));
    };
    const memberOf = (step: MendStep): string | undefined => {
      const partitionUUID = partitionOfStageStep(step);
      const entries = world?.volume.status?.partitions ?? [];
      return partitionUUID === undefined ? undefined : nameOfMember(partitionUUID, entries);
    };
    return convergeOnce({ name: 'mend', volumeId, plan, act, memberOf }, around);
  }

  /** A glance first, as a holder does: a pass over volumes that are well costs neither a request nor a read of a drive. */
  async #look(volumeId: string, memory: PathMemory): Promise<MendingWorld | undefined> {
    const { worlds } = this.#parts;
    const glance = await worlds.reported(volumeId);
    if (glance === undefined) return undefined;
    const seen = this.#recalled(glance, memory);
    if (planMending(seen).kind === 'done') return undefined;
    const world = await worlds.consumer(volumeId, { filesystem: { kind: 'unprobed' }, waitedMs: 0, paths: [] });
    return world === undefined ? undefined : this.#recalled(world, memory);
  }

  #recalled(world: ConsumerWorld, memory: PathMemory): MendingWorld {
    memory.see(membersWithoutPath(world));
    return { ...world, ...memory.recall(), dropGraceMs: this.#parts.dropGraceMs };
  }
}

async function remembering(memory: PathMemory, step: MendStep, act: () => Promise<void>): Promise<void> {
  if (step.kind === 'reloadGuard') memory.reloaded(step.partitionUUID);
  if (step.kind !== 'connect') return act();
  try {
    await act();
    memory.reached(step.partitionUUID);
  } catch (error) {
    memory.unreachable(step.partitionUUID);
    throw error;
  }
}
