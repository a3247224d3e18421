/** Background work on the array of a staged volume: nobody calls when a path comes back (SPEC §7.2, §8). */
import type { ObjectStore } from '../api/object.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import { planMending } from '../plan/mending.ts';
import { whoOf } from '../plan/owner.ts';
import type { StageStep } from '../plan/steps.ts';
import type { Plan } from '../plan/world.ts';
import type { ConsumerActs, StageMemory } from './act-consumer.ts';
import { actStageStep } from './act-consumer.ts';
import type { Surroundings } from './converge.ts';
import { convergeOnce } from './converge.ts';
import { nameOfMember, partitionOfStageStep } from './step-members.ts';
import type { VolumeWorlds } from './volume-worlds.ts';

export interface MenderParts {
  readonly worlds: VolumeWorlds;
  readonly acts: ConsumerActs;
  readonly around: Surroundings;
  readonly volumes: ObjectStore<MeshStorVolume>;
}

export class VolumeMender {
  readonly #parts: MenderParts;

  constructor(parts: MenderParts) {
    this.#parts = parts;
  }

  /** Says what it waits for; undefined when there is nothing to mend, or nothing that is this node's to mend. Rejects as `convergeOnce`. */
  async mend(volumeId: string): Promise<string | undefined> {
    const { acts, around, volumes, worlds } = this.#parts;
    if (volumes.get(volumeId)?.status?.nodeName !== worlds.me.nodeName) return undefined;
    const memory: StageMemory = { filesystem: { kind: 'unprobed' } };
    const act = async (step: StageStep): Promise<void> => {
      const volume = volumes.get(volumeId);
      if (volume !== undefined) await actStageStep(acts, volumeId, whoOf(worlds.me, volume), memory, step);
    };
    const memberOf = (step: StageStep): string | undefined => {
      const partitionUUID = partitionOfStageStep(step);
      const entries = volumes.get(volumeId)?.status?.partitions ?? [];
      return partitionUUID === undefined ? undefined : nameOfMember(partitionUUID, entries);
    };
    return convergeOnce({ name: 'mend', volumeId, plan: () => this.#plan(volumeId), act, memberOf }, around);
  }

  /** A glance first, as a holder does: a pass over volumes that are well costs neither a request nor a read of a drive. */
  async #plan(volumeId: string): Promise<Plan<StageStep>> {
    const { worlds } = this.#parts;
    const glance = await worlds.reported(volumeId);
    if (glance === undefined || planMending(glance).kind === 'done') return { kind: 'done' };
    const world = await worlds.consumer(volumeId, { filesystem: { kind: 'unprobed' }, waitedMs: 0, paths: [] });
    return world === undefined ? { kind: 'done' } : planMending(world);
  }
}
