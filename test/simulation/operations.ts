/** NodeStage, NodePublish and their opposites, as `src/node` carries them out: rounds until nothing is left, or time is up. */
import { DomainError } from '../../src/api/errors.ts';
import type { MeshStorVolume } from '../../src/api/volume.ts';
import type { Who } from '../../src/plan/owner.ts';
import { whoOf } from '../../src/plan/owner.ts';
import { planPublish, planUnpublish } from '../../src/plan/publishing.ts';
import { partitionOfStageStep } from '../../src/node/step-members.ts';
import type { StageStep } from '../../src/plan/steps.ts';
import { planStage } from '../../src/plan/staging.ts';
import { planUnstage } from '../../src/plan/teardown.ts';
import type { Plan } from '../../src/plan/world.ts';
import { STAGING, TARGET } from '../support/model-cluster.ts';
import type { ConsumerStep, Memory } from './act-consumer.ts';
import { actConsumerStep } from './act-consumer.ts';
import type { Cluster } from './cluster.ts';
import type { NodeProcess, Work } from './node-process.ts';
import { consumerWorld, GLANCE, orphanWorld } from './observe.ts';
import type { SimMachine } from './parts.ts';
import type { Actor } from './scheduler.ts';

const WAIT_MS = 300;

/** What ControllerPublish told: a call for an attachment that is over touches nothing. */
export interface Attachment {
  readonly epoch: number;
  readonly attachmentID: string;
}

export class Operations {
  readonly #cluster: Cluster;
  readonly #process: NodeProcess;

  constructor(cluster: Cluster, process: NodeProcess) {
    this.#cluster = cluster;
    this.#process = process;
  }

  get #machine(): SimMachine {
    return this.#process.machine;
  }

  *#volume(): Actor<MeshStorVolume> {
    const volume = yield* this.#cluster.api.read(this.#machine.name);
    if (volume === undefined) throw new DomainError('notFound', 'there is no such volume');
    return volume;
  }

  *#converge<S extends ConsumerStep>(work: Work<S>, limitMs: number): Actor {
    const deadline = this.#cluster.time.now + limitMs;
    for (;;) {
      const result = yield* this.#process.round(work);
      if (result === 'done') return;
      if (this.#cluster.time.now > deadline) throw new DomainError('unavailable', 'time is up');
      if (result !== 'acted') yield WAIT_MS;
    }
  }

  *stage(attachment: Attachment, limitMs: number): Actor {
    const memory: Memory = { filesystem: GLANCE.filesystem };
    const { rules, shape, time } = this.#cluster;
    const startedAt = time.now;
    let who: Who | undefined;
    const access =
      shape.mode === 'Block'
        ? ({ kind: 'block' } as const)
        : ({ kind: 'mount', fsType: 'xfs', mountFlags: [] } as const);
    const look = function* (this: Operations): Actor<Plan<StageStep>> {
      const volume = yield* this.#volume();
      const { status } = volume;
      if (status?.attachmentEpoch !== attachment.epoch || status.attachmentID !== attachment.attachmentID) {
        throw new DomainError('precondition', 'the call is for another attachment');
      }
      const seen = { filesystem: memory.filesystem, waitedMs: time.now - startedAt };
      const world = rules.staging(consumerWorld(this.#cluster, this.#machine, volume, seen));
      who = whoOf(world.me, world.volume);
      return planStage(world, { stagingPath: STAGING, access, readOnly: false });
    };
    const act = function* (this: Operations, step: StageStep): Actor {
      if (who !== undefined) yield* actConsumerStep(this.#cluster, this.#machine, who, memory, step);
    };
    yield* this.#converge({ look: look.bind(this), act: act.bind(this), memberOf: partitionOfStageStep }, limitMs);
  }

  *publish(): Actor {
    const access = this.#cluster.shape.mode === 'Block' ? 'block' : 'mount';
    const wanted = { stagingPath: STAGING, targetPath: TARGET, access, readOnly: false } as const;
    const look = function* (this: Operations): Actor<Plan<ConsumerStep>> {
      const volume = yield* this.#volume();
      return planPublish(this.#cluster.rules.consumer(consumerWorld(this.#cluster, this.#machine, volume)), wanted);
    };
    yield* this.#converge({ look: look.bind(this), act: (step) => this.#act(step) }, 5000);
  }

  *unpublish(): Actor {
    const { mounts } = this.#machine;
    const existingPaths = mounts.map(({ mountPoint }) => mountPoint);
    const look = function* (): Actor<Plan<ConsumerStep>> {
      return planUnpublish({ mounts, existingPaths: existingPaths.filter((path) => path !== TARGET) }, TARGET);
    };
    if (mounts.some(({ mountPoint }) => mountPoint === TARGET)) {
      yield* this.#process.round({ look, act: (step) => this.#act(step) });
    }
  }

  *unstage(): Actor {
    const look = function* (this: Operations): Actor<Plan<ConsumerStep>> {
      const volume = yield* this.#cluster.api.read(this.#machine.name);
      const seen =
        volume === undefined
          ? orphanWorld(this.#cluster, this.#machine)
          : consumerWorld(this.#cluster, this.#machine, volume);
      if (seen === undefined) return { kind: 'done' };
      return planUnstage(volume === undefined ? seen : this.#cluster.rules.consumer(seen), STAGING);
    };
    yield* this.#converge({ look: look.bind(this), act: (step) => this.#act(step) }, 8000);
  }

  #act(step: ConsumerStep): Actor {
    const { machineID, nodeName } = this.#machine.identity;
    const who: Who = { machineID, nodeName, epoch: 0, attachmentID: '' };
    return actConsumerStep(this.#cluster, this.#machine, who, { filesystem: GLANCE.filesystem }, step);
  }
}
