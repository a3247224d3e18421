/**
 * The node's background work on volumes: what it owes as a holder, what it reports and mends as a consumer, what it
 * takes down when it is none any more. Woken by kernel events and
 * by changes of the volumes; a full pass every 10 s is the safety net (SPEC §8).
 */
import type { ObjectStore } from '../api/object.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import { observeConsumer } from '../plan/health.ts';
import type { HolderStep } from '../plan/steps.ts';
import type { HolderActs } from './act-holder.ts';
import { actHolderStep } from './act-holder.ts';
import { errorFields } from '../support/log.ts';
import { leaveCondition } from './conditions.ts';
import type { Surroundings } from './converge.ts';
import { convergeOnce } from './converge.ts';
import { nameOfMember, partitionOfHolderStep } from './step-members.ts';
import type { VolumeFencer } from './fencer.ts';
import type { VolumeMender, Wait } from './mender.ts';
import { WAIT_MS } from './mender.ts';
import type { VolumeReporter } from './reporter.ts';
import type { VolumeWorlds } from './volume-worlds.ts';

export interface ReconcilerParts {
  readonly worlds: VolumeWorlds;
  readonly acts: HolderActs;
  readonly around: Surroundings;
  readonly volumes: ObjectStore<MeshStorVolume>;
  readonly reporter: Pick<VolumeReporter, 'report'>;
  readonly mender: Pick<VolumeMender, 'mend'>;
  readonly fencer: Pick<VolumeFencer, 'fence'>;
  /** Makes array and filesystem take what the capacity has gained; says what it waits for. */
  readonly grow: (volumeId: string) => Promise<string | undefined>;
}

export class NodeVolumeReconciler {
  readonly #parts: ReconcilerParts;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
  }

  /** Volumes that this node holds a partition of or consumes. */
  concerned(): readonly string[] {
    return this.#parts.volumes
      .list()
      .filter((volume) => this.#concerns(volume))
      .map((volume) => volume.metadata.name);
  }

  /** By the cache: no look at the kernel, no request. */
  isConcerned(volumeId: string): boolean {
    const volume = this.#parts.volumes.get(volumeId);
    return volume !== undefined && this.#concerns(volume);
  }

  #concerns({ status }: MeshStorVolume): boolean {
    const me = this.#parts.worlds.me.nodeName;
    return status?.nodeName === me || (status?.partitions ?? []).some((partition) => partition.nodeID === me);
  }

  /**
   * Each duty whatever becomes of the others: without the API nothing can be reported, and a path is given back all the same; a
   * connection that fails keeps nobody else from being served.
   */
  async reconcile(volumeId: string): Promise<{ readonly requeueAfterMs?: number }> {
    const { fencer, mender, around } = this.#parts;
    const duties = await Promise.allSettled([
      mender.mend(volumeId),
      fencer.fence(volumeId),
      this.#report(volumeId),
      this.#hold(volumeId),
      this.#grow(volumeId),
    ]);
    const failures = duties.flatMap((duty) => (duty.status === 'rejected' ? [duty.reason as unknown] : []));
    for (const error of failures.slice(1)) around.log.warn('duty failed', { volumeId, error: errorFields(error) });
    if (failures.length > 0) throw failures[0];
    const waits = duties.flatMap((duty) => (duty.status === 'fulfilled' ? (duty.value ?? []) : []));
    if (waits.length === 0) return {};
    around.log.debug('volume waits', { volumeId, reason: waits.map(({ reason }) => reason).join('; ') });
    return { requeueAfterMs: Math.min(...waits.map(({ afterMs }) => afterMs)) };
  }

  async #grow(volumeId: string): Promise<Wait | undefined> {
    const reason = await this.#parts.grow(volumeId);
    return reason === undefined ? undefined : { reason, afterMs: WAIT_MS };
  }

  async #hold(volumeId: string): Promise<Wait | undefined> {
    const { worlds, acts, around, volumes } = this.#parts;
    const onRefusal = leaveCondition(volumes, volumeId, acts.now);
    let isTurnOver = false;
    const plan = (): ReturnType<VolumeWorlds['planHolding']> =>
      isTurnOver ? Promise.resolve({ kind: 'wait', reason: 'zeroing goes on' }) : worlds.planHolding(volumeId);
    const act = async (step: HolderStep): Promise<void> => {
      await actHolderStep(acts, volumeId, step);
      const isZeroing = step.kind === 'zeroGrowth';
      isTurnOver = isZeroing && (acts.zeroedTo.get(step.partitionUUID) ?? 0) < step.startBytes + step.sizeBytes;
    };
    const memberOf = (step: HolderStep): string =>
      nameOfMember(partitionOfHolderStep(step), volumes.get(volumeId)?.status?.partitions ?? []);
    const reason = await convergeOnce({ name: 'hold', volumeId, plan, act, onRefusal, memberOf }, around);
    return reason === undefined ? undefined : { reason, afterMs: WAIT_MS };
  }

  async #report(volumeId: string): Promise<void> {
    const { around, reporter, worlds, volumes } = this.#parts;
    if (volumes.get(volumeId)?.status?.nodeName !== worlds.me.nodeName) return;
    await around.rounds.run(volumeId, undefined, async () => {
      const world = await worlds.reported(volumeId);
      const status = world?.volume.status;
      if (world === undefined || status === undefined || (world.array === undefined && status.mdState === '')) return;
      await reporter.report(world, observeConsumer(world));
    });
  }
}
