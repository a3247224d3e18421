/** NodeOperations on the real node: each call is the loop of `converge.ts` around one planner. */
import { DomainError } from '../api/errors.ts';
import type { Kernel } from '../api/kernel.ts';
import type { FsType, MeshStorVolume, PartitionStatus } from '../api/volume.ts';
import { observeConsumer } from '../plan/health.ts';
import { planGrow } from '../plan/grow.ts';
import { planPublish, planUnpublish } from '../plan/publishing.ts';
import type { Who } from '../plan/owner.ts';
import { whoOf } from '../plan/owner.ts';
import { planStage } from '../plan/staging.ts';
import type { PublishStep, StageStep, UnstageStep } from '../plan/steps.ts';
import { planUnstage } from '../plan/teardown.ts';
import type { ConsumerWorld, FilesystemSeen, Plan, StagingWanted } from '../plan/world.ts';
import type { ConsumerActs, StageMemory } from './act-consumer.ts';
import { actPublishStep, actStageStep, actUnstageStep } from './act-consumer.ts';
import { leaveCondition } from './conditions.ts';
import type { Operation, Surroundings } from './converge.ts';
import { converge, convergeOnce } from './converge.ts';
import type { ExpandRequest, NodeOperations, PublishRequest, StageRequest, VolumeStats } from './operations.ts';
import { errorFields } from '../support/log.ts';
import { nameOfMember, partitionOfStageStep } from './step-members.ts';
import type { VolumeWorlds } from './volume-worlds.ts';

export interface OperationParts {
  readonly kernel: Kernel;
  readonly worlds: VolumeWorlds;
  readonly acts: ConsumerActs;
  readonly around: Surroundings;
  /** Fatal preflight findings, in one line; empty when there are none. They refuse new stages, nothing else (SPEC §7.14). */
  readonly fatalFindings: () => Promise<string>;
}

/** A filesystem that hangs answers no statfs: its usage is given up after this. */
const USAGE_LIMIT_MS = 5000;

const UNPROBED: FilesystemSeen = { kind: 'unprobed' };

/** Mounted there; of a raw block volume, a bind of its device node: its staging path holds nothing that would tell it from any other path. */
function isAt(world: ConsumerWorld, volumePath: string): boolean {
  return world.mounts.some(({ mountPoint, isOurs }) => isOurs && mountPoint === volumePath);
}

function requireExpandable(world: ConsumerWorld, { volumeId, volumePath, ...wanted }: ExpandRequest): void {
  if (!isAt(world, volumePath)) {
    throw new DomainError('notFound', `expanding ${volumeId}: it is not at ${volumePath}`);
  }
  const { capacityBytes } = world.volume.spec;
  if (wanted.requiredBytes > capacityBytes) {
    const why = `the volume has ${capacityBytes} bytes, ${wanted.requiredBytes} were asked for: the controller expands it first`;
    throw new DomainError('outOfRange', `expanding ${volumeId}: ${why}`);
  }
  if (wanted.limitBytes !== 0 && wanted.limitBytes < capacityBytes) {
    const why = `the volume has ${capacityBytes} bytes, more than the limit of ${wanted.limitBytes}`;
    throw new DomainError('outOfRange', `expanding ${volumeId}: ${why}`);
  }
}

/**
 * Whether a pod may be waiting for this call to end before it starts: kubelet starts it only after an answer of OK or
 * FAILED_PRECONDITION (kubelet, operationexecutor/node_expander.go). Of raw block nothing shows whether the pod runs already.
 */
function mayHoldUpPod({ volume, mounts }: ConsumerWorld): boolean {
  return volume.spec.volumeMode === 'Block' || mounts.filter(({ isOurs }) => isOurs).length <= 1;
}

/** Beyond this a pod starts with the size that there is; the volume grows by itself when it can. */
const POD_WAITS_MS = 5000;

function growsLater(volumeId: string, reason: string): DomainError {
  return new DomainError('precondition', `expanding ${volumeId}: waiting for ${reason}; it then grows by itself`);
}

function stagingWanted(request: StageRequest, volume: MeshStorVolume): StagingWanted {
  const { stagingPath, readOnly } = request;
  if (request.access.kind === 'block') return { stagingPath, readOnly, access: { kind: 'block' } };
  const fsType: FsType = request.access.fsType === '' ? volume.spec.fsType : request.access.fsType;
  return { stagingPath, readOnly, access: { kind: 'mount', fsType, mountFlags: request.access.mountFlags } };
}

/** A call for an attachment that is over must not touch the one that is there now (SPEC §7.1). */
function checkContext(request: StageRequest, volume: MeshStorVolume): void {
  const epoch = request.publishContext['epoch'];
  const attachmentID = request.publishContext['attachmentID'];
  const status = volume.status;
  if (epoch === undefined && attachmentID === undefined) return;
  if (epoch === String(status?.attachmentEpoch ?? 0) && attachmentID === status?.attachmentID) return;
  throw new DomainError(
    'precondition',
    `staging ${request.volumeId}: the call is for attachment epoch ${epoch ?? '(none)'}, the volume is at ${status?.attachmentEpoch ?? 0}: it was attached anew since`,
  );
}

/** SINGLE_NODE_SINGLE_WRITER: one pod at a time has it (CSI spec, NodePublishVolume). */
function refuseSecondTarget(world: ConsumerWorld, stagingPath: string, targetPath: string): void {
  const other = world.mounts.find(
    ({ mountPoint, isOurs }) => isOurs && mountPoint !== stagingPath && mountPoint !== targetPath,
  );
  if (other === undefined) return;
  throw new DomainError(
    'precondition',
    `publishing ${world.volume.metadata.name} at ${targetPath}: its access mode allows one writer, and it is published at ${other.mountPoint}`,
  );
}

export class VolumeNodeOperations implements NodeOperations {
  readonly #parts: OperationParts;

  constructor(parts: OperationParts) {
    this.#parts = parts;
  }

  get nodeName(): string {
    return this.#parts.worlds.me.nodeName;
  }

  async stage(request: StageRequest, signal: AbortSignal): Promise<void> {
    const { acts, around } = this.#parts;
    const memory: StageMemory = { filesystem: UNPROBED };
    const startedAt = performance.now();
    let who: Who | undefined;
    let entries: readonly PartitionStatus[] = [];
    const plan = async (): Promise<Plan<StageStep>> => {
      const waitedMs = performance.now() - startedAt;
      const world = await this.#world(request.volumeId, {
        filesystem: memory.filesystem,
        waitedMs,
        paths: [request.stagingPath],
      });
      checkContext(request, world.volume);
      await this.#checkPreflight(request.volumeId, world);
      who = whoOf(world.me, world.volume);
      entries = world.volume.status?.partitions ?? [];
      return planStage(world, stagingWanted(request, world.volume));
    };
    const act = async (step: StageStep): Promise<void> => {
      if (who === undefined) throw new DomainError('internal', `staging ${request.volumeId}: a step without a plan`);
      await actStageStep(acts, request.volumeId, who, memory, step);
    };
    const onRefusal = leaveCondition(acts.volumes, request.volumeId, acts.now);
    const nameOf = (step: StageStep): string | undefined => {
      const member = partitionOfStageStep(step);
      return member === undefined ? undefined : nameOfMember(member, entries);
    };
    await converge(
      { name: 'stage', volumeId: request.volumeId, plan, act, onRefusal, memberOf: nameOf },
      around,
      signal,
    );
    await this.#growStaged(request.volumeId);
  }

  /** What was expanded while it was attached nowhere. A volume that cannot grow now serves with the size that it has. */
  async #growStaged(volumeId: string): Promise<void> {
    const { log } = this.#parts.around;
    try {
      const reason = await this.growOnce(volumeId);
      if (reason !== undefined) log.info('not expanded yet', { volumeId, reason });
    } catch (error) {
      log.warn('expanding failed', { volumeId, error: errorFields(error) });
    }
  }

  /**
   * Rounds without waiting: array and filesystem take what the volume's capacity has gained. Says what it waits for. A glance first, as
   * when a volume is mended: a member that is away holds an expansion up for days, and nothing is asked of the API for it.
   */
  async growOnce(volumeId: string): Promise<string | undefined> {
    if (!this.#mayHaveGrown(volumeId)) return undefined;
    const glance = await this.#parts.worlds.reported(volumeId);
    const seen = glance === undefined ? undefined : planGrow(glance);
    if (seen?.kind === 'wait') return seen.reason;
    const { operation } = this.#growing(volumeId, () => undefined);
    return convergeOnce(operation, this.#parts.around);
  }

  /** By the cache: no look at the kernel, no request. */
  #mayHaveGrown(volumeId: string): boolean {
    const { volumes, me } = this.#parts.acts;
    const status = volumes.get(volumeId)?.status;
    return status?.servedBytes !== undefined && status.nodeName === me.nodeName && status.phase !== 'Deleting';
  }

  async expand(request: ExpandRequest, signal: AbortSignal): Promise<number> {
    const { volumeId, volumePath } = request;
    const startedAt = performance.now();
    const check = (world: ConsumerWorld): void => {
      requireExpandable(world, request);
    };
    const { operation, seen } = this.#growing(volumeId, check, [volumePath]);
    const plan = async (): Promise<Plan<StageStep>> => {
      const planned = await operation.plan();
      const isPatient = performance.now() - startedAt < POD_WAITS_MS;
      if (planned.kind === 'wait' && !isPatient && mayHoldUpPod(seen())) throw growsLater(volumeId, planned.reason);
      return planned;
    };
    await converge({ ...operation, plan }, this.#parts.around, signal);
    return seen().array?.sizeBytes ?? 0;
  }

  #growing(
    volumeId: string,
    check: (world: ConsumerWorld) => void,
    paths: readonly string[] = [],
  ): { readonly operation: Operation<StageStep>; readonly seen: () => ConsumerWorld } {
    const { acts } = this.#parts;
    let last: ConsumerWorld | undefined;
    const seen = (): ConsumerWorld => {
      if (last === undefined) throw new DomainError('internal', `expanding ${volumeId}: a step without a plan`);
      return last;
    };
    const plan = async (): Promise<Plan<StageStep>> => {
      last = await this.#world(volumeId, { filesystem: UNPROBED, waitedMs: 0, paths });
      check(last);
      return planGrow(last);
    };
    const act = async (step: StageStep): Promise<void> => {
      const { me, volume } = seen();
      await actStageStep(acts, volumeId, whoOf(me, volume), { filesystem: UNPROBED }, step);
    };
    const onRefusal = leaveCondition(acts.volumes, volumeId, acts.now);
    const nameOf = (step: StageStep): string | undefined => {
      const member = partitionOfStageStep(step);
      return member === undefined ? undefined : nameOfMember(member, last?.volume.status?.partitions ?? []);
    };
    return {
      operation: { name: 'expand', volumeId, plan, act, onRefusal, memberOf: nameOf },
      seen,
    };
  }

  async unstage(volumeId: string, stagingPath: string, signal: AbortSignal): Promise<void> {
    const { worlds, acts, around } = this.#parts;
    const look = { filesystem: UNPROBED, waitedMs: 0, paths: [stagingPath], openers: true };
    const plan = async (): Promise<Plan<UnstageStep>> => {
      const world = (await worlds.consumer(volumeId, look)) ?? (await worlds.orphan(volumeId, stagingPath));
      return world === undefined ? { kind: 'done' } : planUnstage(world, stagingPath);
    };
    const act = (step: UnstageStep): Promise<void> => actUnstageStep(acts, volumeId, step);
    const onRefusal = leaveCondition(acts.volumes, volumeId, acts.now);
    await converge({ name: 'unstage', volumeId, plan, act, onRefusal }, around, signal);
  }

  async publish(request: PublishRequest, signal: AbortSignal): Promise<void> {
    const { acts, around } = this.#parts;
    const { volumeId, stagingPath, targetPath, readOnly } = request;
    const look = { filesystem: UNPROBED, waitedMs: 0, paths: [stagingPath, targetPath] };
    const plan = async (): Promise<Plan<PublishStep>> => {
      const world = await this.#world(volumeId, look);
      if (request.singleWriter) refuseSecondTarget(world, stagingPath, targetPath);
      return planPublish(world, {
        stagingPath,
        targetPath,
        readOnly,
        access: request.access.kind,
      });
    };
    await converge(
      { name: 'publish', volumeId, plan, act: (step: PublishStep) => actPublishStep(acts, step) },
      around,
      signal,
    );
  }

  async unpublish(volumeId: string, targetPath: string, signal: AbortSignal): Promise<void> {
    const { worlds, acts, around } = this.#parts;
    const plan = async (): Promise<Plan<PublishStep>> => planUnpublish(await worlds.pathWorld(targetPath), targetPath);
    await converge(
      { name: 'unpublish', volumeId, plan, act: (step: PublishStep) => actPublishStep(acts, step) },
      around,
      signal,
    );
  }

  async stats(volumeId: string, volumePath: string, signal: AbortSignal): Promise<VolumeStats> {
    const { worlds, kernel } = this.#parts;
    const world = await worlds.cachedConsumer(volumeId, [volumePath]);
    if (world === undefined) throw new DomainError('notFound', `reading usage of ${volumeId}: there is no such volume`);
    if (!isAt(world, volumePath)) {
      throw new DomainError('notFound', `reading usage of ${volumeId}: it is not mounted at ${volumePath}`);
    }
    signal.throwIfAborted();
    const { abnormal, message } = observeConsumer(world);
    const deviceBytes = world.array?.sizeBytes ?? world.volume.spec.capacityBytes;
    if (world.volume.spec.volumeMode === 'Block') return { deviceBytes, abnormal, message };
    return { deviceBytes, abnormal, message, usage: await kernel.filesystemUsage(volumePath, USAGE_LIMIT_MS) };
  }

  async #world(volumeId: string, look: Parameters<VolumeWorlds['consumer']>[1]): Promise<ConsumerWorld> {
    const world = await this.#parts.worlds.consumer(volumeId, look);
    if (world === undefined)
      throw new DomainError('notFound', `looking up volume ${volumeId}: there is no such volume`);
    return world;
  }

  /** An array that runs already is not a new stage. */
  async #checkPreflight(volumeId: string, world: ConsumerWorld): Promise<void> {
    if (world.array !== undefined) return;
    const findings = await this.#parts.fatalFindings();
    if (findings === '') return;
    throw new DomainError(
      'precondition',
      `staging ${volumeId}: this node fails its preflight: ${findings}; run meshstor doctor there`,
    );
  }
}
