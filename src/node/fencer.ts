/** Background work on what is left here of a volume that is another's now (SPEC §7.10). */
import type { EventRecorder, ObjectStore } from '../api/object.ts';
import { VOLUME_KIND, volumeMarkFor } from '../api/names.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import { planFencing } from '../plan/fencing.ts';
import type { FenceStep } from '../plan/steps.ts';
import type { ConsumerWorld, Plan } from '../plan/world.ts';
import type { ConsumerActs } from './act-consumer.ts';
import { actUnstageStep } from './act-consumer.ts';
import { leaveCondition } from './conditions.ts';
import type { Surroundings } from './converge.ts';
import { errorFields } from '../support/log.ts';
import { convergeOnce } from './converge.ts';
import type { Processes } from './openers.ts';
import type { VolumeWorlds } from './volume-worlds.ts';

export interface FencerParts {
  readonly worlds: VolumeWorlds;
  readonly acts: ConsumerActs;
  readonly around: Surroundings;
  readonly volumes: ObjectStore<MeshStorVolume>;
  readonly events: EventRecorder;
  readonly processes: Pick<Processes, 'killUsers'>;
  /** See `planFencing`; default: that of a node that runs. */
  readonly goneGraceMs?: number | undefined;
}

/** What one fencing remembers until it is over; lost with the process. */
interface Fencing {
  /** By `performance.now()`. */
  readonly since: number;
  /** What was said in the log last. */
  waitsFor?: string;
}

export class VolumeFencer {
  readonly #parts: FencerParts;
  readonly #fencings = new Map<string, Fencing>();
  #orphans: Promise<void> | undefined;

  constructor(parts: FencerParts) {
    this.#parts = parts;
  }

  /** Volumes of which guards are left here, though they are not this node's to use. */
  leftHere(): Promise<readonly string[]> {
    const { volumes, worlds } = this.#parts;
    return worlds.leftHere(volumes.list());
  }

  /** Takes down what is left of the volume, if anything is. What waits is looked at again with the next pass. Rejects as `convergeOnce`. */
  async fence(volumeId: string): Promise<void> {
    const { acts, around, volumes } = this.#parts;
    const plan = async (): Promise<Plan<FenceStep>> => {
      const world = await this.#look(volumeId);
      return world === undefined ? { kind: 'done' } : planFencing(world);
    };
    const act = (step: FenceStep): Promise<void> => this.#act(volumeId, step);
    const onRefusal = leaveCondition(volumes, volumeId, acts.now);
    this.#tell(volumeId, await convergeOnce({ name: 'fence', volumeId, plan, act, onRefusal }, around));
  }

  /** In the log, each reason once. */
  #tell(volumeId: string, waitsFor: string | undefined): void {
    const fencing = this.#fencings.get(volumeId);
    if (waitsFor === undefined) this.#fencings.delete(volumeId);
    else if (fencing !== undefined && fencing.waitsFor !== waitsFor) {
      fencing.waitsFor = waitsFor;
      this.#parts.around.log.warn('fenced volume waits', { volumeId, reason: waitsFor });
    }
  }

  #waitedMs(volumeId: string): number {
    return performance.now() - (this.#fencings.get(volumeId)?.since ?? performance.now());
  }

  /**
   * Volumes of which guards are left here and no object anywhere, as after a long pause. The list of all names is asked for only when a
   * look at the kernel says that there is something to do. Asked for while it runs, it is that run. Never rejects.
   */
  fenceOrphans(): Promise<void> {
    this.#orphans ??= this.#fenceOrphans()
      .catch((error: unknown) => this.#warnOf('orphans', error))
      .finally(() => {
        this.#orphans = undefined;
      });
    return this.#orphans;
  }

  async #fenceOrphans(): Promise<void> {
    const { volumes, worlds } = this.#parts;
    const here = await worlds.marksHere();
    if (here.size === 0) return;
    const known = new Set(volumes.list().map(({ metadata }) => volumeMarkFor(metadata.name)));
    for (const mark of here) {
      if (known.has(mark)) continue;
      const name = `gone (${mark})`;
      await this.#fenceOrphan(mark, name).catch((error: unknown) => this.#warnOf(name, error));
    }
  }

  #warnOf(volumeId: string, error: unknown): void {
    this.#parts.around.log.warn('fencing failed', { volumeId, error: errorFields(error) });
  }

  async #fenceOrphan(mark: string, name: string): Promise<void> {
    const { around, goneGraceMs, volumes, worlds } = this.#parts;
    const plan = async (): Promise<Plan<FenceStep>> => {
      const seen = await worlds.orphanOf(mark, this.#waitedMs(name));
      const wanted = seen === undefined ? { kind: 'done' as const } : planFencing(seen, goneGraceMs);
      if (wanted.kind !== 'done' && !this.#fencings.has(name)) this.#fencings.set(name, { since: performance.now() });
      if (wanted.kind !== 'steps') return wanted;
      const isThere = (await volumes.names()).some((volumeId) => volumeMarkFor(volumeId) === mark);
      return isThere ? { kind: 'wait', reason: 'its object is there, and cannot be understood' } : wanted;
    };
    const act = (step: FenceStep): Promise<void> => this.#act(name, step);
    this.#tell(name, await convergeOnce({ name: 'fence', volumeId: name, plan, act }, around));
  }

  /** A glance first, which costs no request: most volumes are where they belong. To act is decided on a linearizable read. */
  async #look(volumeId: string): Promise<ConsumerWorld | undefined> {
    const { worlds } = this.#parts;
    const glance = await worlds.reported(volumeId);
    if (glance === undefined || planFencing(glance).kind === 'done') return undefined;
    const waitedMs = this.#waitedMs(volumeId);
    const look = { filesystem: { kind: 'unprobed' as const }, waitedMs, paths: [], openers: true };
    const world = await worlds.consumer(volumeId, look);
    if (world?.array !== undefined && planFencing(world).kind !== 'done') this.#begin(volumeId, world);
    return world;
  }

  async #act(volumeId: string, step: FenceStep): Promise<void> {
    const { acts, around, processes } = this.#parts;
    if (step.kind !== 'killUsers') return actUnstageStep(acts, volumeId, step);
    const array = (await acts.kernel.mdArrays()).find(({ name }) => name === step.array);
    if (array === undefined) return;
    const killed = await processes.killUsers(array.devNumber);
    if (killed.length > 0) around.log.warn('programs killed that used a fenced volume', { volumeId, killed });
  }

  /** Once for each fencing. */
  #begin(volumeId: string, { me, volume }: ConsumerWorld): void {
    if (this.#fencings.has(volumeId)) return;
    this.#fencings.set(volumeId, { since: performance.now() });
    const { name, uid } = volume.metadata;
    const where = volume.status?.nodeName ?? '';
    const now = where === '' ? 'it is attached to no node' : `it is attached to ${where}`;
    const message = `node ${me.nodeName} was cut off as its consumer and has something left of it: ${now}`;
    this.#parts.events.record({ kind: VOLUME_KIND, name, uid }, 'Warning', 'ConsumerFenced', message);
  }
}
