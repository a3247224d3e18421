/** Background work on the array of a staged volume: nobody calls when a path goes or comes back (SPEC §7.2, §8). */
import { DomainError, errnoCode } from '../api/errors.ts';
import type { ObjectStore } from '../api/object.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import { membersWithoutPath, planMending } from '../plan/mending.ts';
import { whoOf } from '../plan/owner.ts';
import type { MendStep } from '../plan/steps.ts';
import type { ConsumerWorld, MendingWorld, Plan } from '../plan/world.ts';
import type { ConsumerActs } from './act-consumer.ts';
import type { MendActs } from './act-mender.ts';
import { GuardedWork, actMendStep } from './act-mender.ts';
import type { Surroundings } from './converge.ts';
import { convergeOnce } from './converge.ts';
import { errorFields } from '../support/log.ts';
import type { Rests } from './path-memory.ts';
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
  /** Default: those of a node that runs. */
  readonly rests?: Rests | undefined;
}

/** What a volume waits for, and how long until the next look. */
export interface Wait {
  readonly reason: string;
  readonly afterMs: number;
}

/** Whoever waits for something else looks again after this. */
export const WAIT_MS = 1000;

/** They change nothing that another node or a later start goes by. */
const WITHOUT_RECORD: ReadonlySet<MendStep['kind']> = new Set<MendStep['kind']>(['connect', 'reloadGuard']);
/** Reaching a member: fails for as long as its holder or drive is away, maybe for days, and is nothing to raise an alarm for each time. */
const REACHING: ReadonlySet<MendStep['kind']> = new Set<MendStep['kind']>([
  'connect',
  'refreshNamespace',
  'createGuard',
]);
/** What rests a while when it failed. */
const TRIED: ReadonlySet<MendStep['kind']> = new Set<MendStep['kind']>([...REACHING, 'addMember']);

export class VolumeMender {
  readonly #parts: MenderParts;
  readonly #acts: MendActs;
  /** By volume; of those that are staged here. */
  readonly #memories = new Map<string, PathMemory>();

  constructor(parts: MenderParts) {
    this.#parts = parts;
    this.#acts = { ...parts.acts, guarded: new GuardedWork(parts.acts.kernel) };
  }

  /** Says when to look again before the next pass; undefined when that is soon enough. Rejects as `convergeOnce`. */
  async mend(volumeId: string): Promise<Wait | undefined> {
    const { around, volumes, worlds } = this.#parts;
    if (volumes.get(volumeId)?.status?.nodeName !== worlds.me.nodeName) {
      this.#memories.delete(volumeId);
      return undefined;
    }
    const memory = this.#memories.get(volumeId) ?? new PathMemory(undefined, undefined, this.#parts.rests);
    this.#memories.set(volumeId, memory);
    let world: MendingWorld | undefined;
    const plan = async (): Promise<Plan<MendStep>> => {
      world = await this.#look(volumeId, memory);
      return world === undefined ? { kind: 'done' } : planMending(world);
    };
    const act = async (step: MendStep): Promise<void> => {
      if (world === undefined) throw new DomainError('internal', `mending ${volumeId}: a step without a plan`);
      const who = whoOf(world.me, world.volume);
      try {
        await remembering(memory, step, () => actMendStep(this.#acts, volumeId, who, step));
      } catch (error) {
        if (!(error instanceof OutOfReach)) throw error;
        const told = { volumeId, member: memberOf(step), step: step.kind, error: errorFields(error.cause) };
        if (error.isNew) around.log.warn('member out of reach', told);
        else around.log.debug('member still out of reach', told);
        throw error;
      }
    };
    const memberOf = (step: MendStep): string | undefined => {
      const partitionUUID = partitionOfStageStep(step);
      const entries = world?.volume.status?.partitions ?? [];
      return partitionUUID === undefined ? undefined : nameOfMember(partitionUUID, entries);
    };
    const isWaitedFor = (error: unknown): boolean => error instanceof OutOfReach;
    const waitsFor = await convergeOnce({ name: 'mend', volumeId, plan, act, memberOf, isWaitedFor }, around);
    if (waitsFor === undefined) return undefined;
    // A member that is out may be for days: it is tried again when it has rested. I/O that is held back is looked after at once.
    const afterMs = memory.isWell ? memory.nextTryMs : WAIT_MS;
    return afterMs === undefined ? undefined : { reason: waitsFor, afterMs };
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

/** What no return of a holder or drive would mend: this node lacks something, or the device is another one. */
function isLasting(error: unknown): boolean {
  if (error instanceof DomainError) return error.kind !== 'unavailable';
  return ['EINVAL', 'ENOENT', 'ENODEV', 'EACCES', 'EPERM', 'EOPNOTSUPP'].includes(errnoCode(error) ?? '');
}

/** A member cannot be reached now; `cause` says why. */
class OutOfReach extends Error {
  /** It was of use the time before. */
  readonly isNew: boolean;

  constructor(cause: unknown, isNew: boolean) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = 'OutOfReach';
    this.isNew = isNew;
  }
}

/** Afterwards: only what was done counts, and what was not rests. Rejects `OutOfReach` for a member that could not be reached. */
async function remembering(memory: PathMemory, step: MendStep, act: () => Promise<void>): Promise<void> {
  const partitionUUID = 'partitionUUID' in step ? step.partitionUUID : undefined;
  try {
    await act();
  } catch (error) {
    if (partitionUUID === undefined || !TRIED.has(step.kind)) throw error;
    const isNew = memory.failed(partitionUUID);
    throw REACHING.has(step.kind) && !isLasting(error) ? new OutOfReach(error, isNew) : error;
  }
  if (partitionUUID === undefined) return;
  if (step.kind === 'reloadGuard') memory.reloaded(partitionUUID);
  else if (TRIED.has(step.kind)) memory.reached(partitionUUID);
}
