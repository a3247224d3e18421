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
import { errorFields } from '../support/log.ts';
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

/** They change nothing that another node or a later start goes by. */
const WITHOUT_RECORD: ReadonlySet<MendStep['kind']> = new Set<MendStep['kind']>(['connect', 'reloadGuard']);
/** What may fail for as long as a holder or a drive is away. */
const TRIED: ReadonlySet<MendStep['kind']> = new Set<MendStep['kind']>(['connect', 'createGuard', 'addMember']);

export class VolumeMender {
  readonly #parts: MenderParts;
  /** By volume; of those that are staged here. */
  readonly #memories = new Map<string, PathMemory>();

  constructor(parts: MenderParts) {
    this.#parts = parts;
  }

  /** Says what the I/O of the volume waits for; undefined when it waits for nothing that this node could mend. Rejects as `convergeOnce`. */
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
    const waitsFor = await convergeOnce({ name: 'mend', volumeId, plan, act, memberOf }, around);
    // A member that is out may be for days: the next pass is soon enough. I/O that is held back is looked after at once.
    return memory.isWell ? undefined : waitsFor;
  }

  /**
   * A glance first, as a holder does: a pass over volumes that are well, or wait, costs neither a request nor a read of a drive. Without
   * the API the glance is enough to give a guard its path again, which needs no record: the path lives only as long as this node's
   * grant does.
   */
  async #look(volumeId: string, memory: PathMemory): Promise<MendingWorld | undefined> {
    const { worlds } = this.#parts;
    const glance = await worlds.reported(volumeId);
    if (glance === undefined) return undefined;
    const seen = this.#recalled(glance, memory);
    const plan = planMending(seen);
    if (plan.kind === 'done') return undefined;
    if (plan.kind !== 'steps') return seen;
    try {
      const world = await worlds.consumer(volumeId, { filesystem: { kind: 'unprobed' }, waitedMs: 0, paths: [] });
      return world === undefined ? undefined : this.#recalled(world, memory);
    } catch (error) {
      if (!plan.steps.every(({ kind }) => WITHOUT_RECORD.has(kind))) throw error;
      this.#parts.around.log.warn('mending from the cache', { volumeId, error: errorFields(error) });
      return seen;
    }
  }

  #recalled(world: ConsumerWorld, memory: PathMemory): MendingWorld {
    memory.see(membersWithoutPath(world));
    return { ...world, ...memory.recall(), dropGraceMs: this.#parts.dropGraceMs };
  }
}

/** Afterwards: only what was done counts, and what was not rests. */
async function remembering(memory: PathMemory, step: MendStep, act: () => Promise<void>): Promise<void> {
  const partitionUUID = 'partitionUUID' in step ? step.partitionUUID : undefined;
  try {
    await act();
  } catch (error) {
    if (partitionUUID !== undefined && TRIED.has(step.kind)) memory.failed(partitionUUID);
    throw error;
  }
  if (partitionUUID === undefined) return;
  if (step.kind === 'reloadGuard') memory.reloaded(partitionUUID);
  else if (TRIED.has(step.kind)) memory.reached(partitionUUID);
}
