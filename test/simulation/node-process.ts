/** The process of the node role on one machine: what `src/node` does around the planners, one step at a time. */
import { DomainError } from '../../src/api/errors.ts';
import type { MeshStorVolume } from '../../src/api/volume.ts';
import { PathMemory } from '../../src/node/path-memory.ts';
import { partitionOfHolderStep, partitionOfStageStep } from '../../src/node/step-members.ts';
import { planFencing } from '../../src/plan/fencing.ts';
import { observeConsumer } from '../../src/plan/health.ts';
import { planHolder } from '../../src/plan/holding.ts';
import { membersWithoutPath, planMending } from '../../src/plan/mending.ts';
import type { Who } from '../../src/plan/owner.ts';
import { whoOf } from '../../src/plan/owner.ts';
import type { FenceStep, HolderStep, MendStep } from '../../src/plan/steps.ts';
import { recordRefusal } from '../../src/plan/recording.ts';
import { recordReported } from '../../src/plan/records.ts';
import { isDropUnrecorded, planHoldBack } from '../../src/plan/unrecorded-drop.ts';
import type { ConsumerWorld, MendingWorld, Plan } from '../../src/plan/world.ts';
import type { ConsumerStep } from './act-consumer.ts';
import { actConsumerStep } from './act-consumer.ts';
import { actHolderStep, writeStatus } from './act-holder.ts';
import type { Cluster } from './cluster.ts';
import { pump } from './md-work.ts';
import { consumerWorld, GLANCE, holderWorld, orphanWorld } from './observe.ts';
import type { SimMachine } from './parts.ts';
import { Random } from './random.ts';
import type { Actor, Host } from './scheduler.ts';

/** As the driver's default. */
const DROP_GRACE_MS = 1000;
const PASS_EVERY_MS = 10_000;
const WAIT_MS = 1000;
const MOST_ROUNDS = 40;
/** Steps that need no record, and no API (as the mender's). */
const WITHOUT_RECORD: ReadonlySet<string> = new Set(['connect', 'reloadGuard']);
const REACHING: ReadonlySet<string> = new Set(['connect', 'createGuard', 'addMember']);

type Round = 'done' | 'wait' | 'acted' | 'failed';

interface StepLike {
  readonly kind: string;
}

/** An operation, as `src/node/converge.ts` knows it. */
export interface Work<S> {
  readonly look: () => Actor<Plan<S>>;
  readonly act: (step: S) => Actor;
  /** The member that a step is for alone. */
  readonly memberOf?: (step: S) => string | undefined;
}

export class NodeProcess implements Host {
  readonly machine: SimMachine;
  readonly #cluster: Cluster;
  readonly #random: Random;
  readonly #paths: PathMemory;
  #life: number;
  #isBusy = false;
  #fencingSince: number | undefined;
  #seenVersion: unknown;
  #nextPass = 0;

  constructor(cluster: Cluster, machine: SimMachine, start: number) {
    this.machine = machine;
    this.#cluster = cluster;
    this.#life = start;
    this.#random = new Random(cluster.seed, `process/${machine.name}/${start}`);
    this.#paths = new PathMemory(
      () => cluster.time.now,
      () => this.#random.next(),
    );
  }

  get life(): number {
    return this.#life;
  }

  get pausedUntil(): number {
    return this.machine.pausedUntil;
  }

  get isAlive(): boolean {
    return this.#life > 0;
  }

  /** SIGKILL: nothing that it had begun goes on, but for what is in the kernel. */
  kill(): void {
    this.#life = -1;
  }

  start(): void {
    this.#cluster.time.spawn(this.#main(), this);
    this.#cluster.time.spawn(this.#heartbeat(), this);
    this.#cluster.time.spawn(this.#holdBack(), this);
  }

  *#heartbeat(): Actor {
    for (;;) {
      this.#cluster.api.beat(this.machine.name);
      this.#cluster.api.relist(this.machine.name);
      yield this.#random.between(1500, 2500);
    }
  }

  *#main(): Actor {
    const { time } = this.#cluster;
    for (;;) {
      yield this.#random.between(20, 150);
      const version = this.#cluster.api.cached(this.machine.name);
      if (version === this.#seenVersion && !this.machine.hasEvent && time.now < this.#nextPass) continue;
      this.#seenVersion = version;
      this.machine.hasEvent = false;
      this.#nextPass = time.now + PASS_EVERY_MS;
      for (const duty of [this.#mend, this.#fence, this.#report, this.#hold]) {
        const isQuiet = yield* this.#guarded(duty.call(this));
        if (!isQuiet) this.#nextPass = Math.min(this.#nextPass, time.now + WAIT_MS);
      }
    }
  }

  /** A duty that fails keeps no other from being done. False: it is to be looked at again soon. */
  *#guarded(duty: Actor<boolean>): Actor<boolean> {
    try {
      return yield* duty;
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      return false;
    }
  }

  /** Rounds on the volume are one after the other in a process, whoever they are for. */
  *#locked<T>(round: () => Actor<T>): Actor<T> {
    while (this.#isBusy) yield 25;
    this.#isBusy = true;
    try {
      return yield* round();
    } finally {
      this.#isBusy = false;
    }
  }

  *#one<S extends StepLike>(step: S, act: (step: S) => Actor): Actor {
    yield this.#random.between(1, 25);
    try {
      yield* act(step);
    } catch (error) {
      if (error instanceof DomainError) {
        this.#cluster.log(() => `${this.machine.name} ${step.kind} failed: ${error.message}`);
      }
      throw error;
    }
    this.machine.hasEvent = true;
    this.#cluster.log(() => `${this.machine.name} ${step.kind} ${aboutOf(step)}`);
  }

  /** As `src/node/converge.ts`: where every step is for one member, one that fails keeps no other member's from being done. */
  *#carryOut<S extends StepLike>(steps: readonly S[], { act, memberOf }: Work<S>): Actor<Round> {
    const isByMember = steps.every((step) => memberOf?.(step) !== undefined);
    const failed = new Set<string | undefined>();
    for (const step of steps) {
      const member = memberOf?.(step);
      if (failed.has(member)) continue;
      try {
        yield* this.#one(step, act);
      } catch (error) {
        if (!(error instanceof DomainError) || !isByMember) throw error;
        failed.add(member);
      }
    }
    return failed.size === 0 ? 'acted' : 'failed';
  }

  /** One look, one decision, its steps. */
  *round<S extends StepLike>(work: Work<S>): Actor<Round> {
    return yield* this.#locked(() => this.#round(work));
  }

  *#round<S extends StepLike>(work: Work<S>): Actor<Round> {
    const plan = yield* work.look();
    if (plan.kind === 'refuse') {
      yield* this.#leaveCondition(plan);
      throw new DomainError('precondition', plan.message);
    }
    if (plan.kind !== 'steps') return plan.kind;
    return yield* this.#carryOut(plan.steps, work);
  }

  *#converge<S extends StepLike>(work: Work<S>): Actor<boolean> {
    for (let count = 0; count < MOST_ROUNDS; count += 1) {
      const result = yield* this.round(work);
      if (result !== 'acted') return result === 'done';
    }
    throw new DomainError('internal', `the plan is not empty after ${MOST_ROUNDS} rounds`);
  }

  *#leaveCondition(refusal: Extract<Plan<never>, { kind: 'refuse' }>): Actor {
    if (refusal.condition === undefined) return;
    this.#cluster.tally.thing(refusal.condition);
    yield* writeStatus(this.#cluster, this.machine, (current, now) => recordRefusal(current, refusal, now));
  }

  // ---------------------------------------------------------------- duties

  #glance(): ConsumerWorld | undefined {
    const volume = this.#cluster.api.cached(this.machine.name);
    return volume === undefined ? undefined : this.#look(volume);
  }

  #look(volume: MeshStorVolume, look = GLANCE): ConsumerWorld {
    return consumerWorld(this.#cluster, this.machine, volume, look);
  }

  *#read(): Actor<MeshStorVolume | undefined> {
    return yield* this.#cluster.api.read(this.machine.name);
  }

  *#mend(): Actor<boolean> {
    if (this.#cluster.api.cached(this.machine.name)?.status?.nodeName !== this.machine.name) return true;
    if (this.machine.array === undefined) return true;
    let world: MendingWorld | undefined;
    const look = function* (this: NodeProcess): Actor<Plan<MendStep>> {
      world = yield* this.#lookToMend();
      return world === undefined ? { kind: 'done' } : planMending(world);
    };
    const act = function* (this: NodeProcess, step: MendStep): Actor {
      if (world !== undefined) yield* this.#mendStep(whoOf(world.me, world.volume), step);
    };
    return yield* this.#converge({ look: look.bind(this), act: act.bind(this), memberOf: partitionOfStageStep });
  }

  *#mendStep(who: Who, step: ConsumerStep): Actor {
    const partitionUUID = 'partitionUUID' in step ? step.partitionUUID : undefined;
    try {
      yield* actConsumerStep(this.#cluster, this.machine, who, { filesystem: { kind: 'unprobed' } }, step);
    } catch (error) {
      if (partitionUUID !== undefined && REACHING.has(step.kind)) this.#paths.failed(partitionUUID);
      throw error;
    }
    if (partitionUUID === undefined) return;
    if (step.kind === 'reloadGuard') this.#paths.reloaded(partitionUUID);
    else if (REACHING.has(step.kind)) this.#paths.reached(partitionUUID);
  }

  #recalled(seen: ConsumerWorld): MendingWorld {
    const world = this.#cluster.rules.mending(seen);
    this.#paths.see(membersWithoutPath(world));
    return { ...world, ...this.#paths.recall(), dropGraceMs: DROP_GRACE_MS };
  }

  *#lookToMend(): Actor<MendingWorld | undefined> {
    const glance = this.#glance();
    if (glance === undefined) return undefined;
    const seen = this.#recalled(glance);
    const plan = planMending(seen);
    if (plan.kind === 'done') return undefined;
    if (plan.kind !== 'steps') return seen;
    try {
      const volume = yield* this.#read();
      return volume === undefined ? undefined : this.#recalled(this.#look(volume));
    } catch (error) {
      if (!(error instanceof DomainError) || !plan.steps.every(({ kind }) => WITHOUT_RECORD.has(kind))) throw error;
      return seen;
    }
  }

  *#fence(): Actor<boolean> {
    const look = function* (this: NodeProcess): Actor<Plan<FenceStep>> {
      const glance = this.#glance();
      if (glance === undefined) return yield* this.#lookForOrphan();
      if (planFencing(this.#cluster.rules.consumer(glance)).kind === 'done') {
        this.#fencingSince = undefined;
        return { kind: 'done' };
      }
      const volume = yield* this.#read();
      if (volume === undefined) return { kind: 'done' };
      this.#fencingSince ??= this.#cluster.time.now;
      const waitedMs = this.#cluster.time.now - this.#fencingSince;
      return planFencing(this.#cluster.rules.consumer(this.#look(volume, { ...GLANCE, waitedMs })));
    };
    const { legs, imports, array } = this.machine;
    if (array === undefined && legs.size === 0 && imports.size === 0) return true;
    return yield* this.#converge({ look: look.bind(this), act: (step: FenceStep) => this.#actFor(step) });
  }

  /** As `VolumeFencer.fenceOrphans`. */
  *#lookForOrphan(): Actor<Plan<FenceStep>> {
    if ((yield* this.#read()) !== undefined) return { kind: 'done' };
    this.#fencingSince ??= this.#cluster.time.now;
    const seen = orphanWorld(this.#cluster, this.machine, this.#cluster.time.now - this.#fencingSince);
    return seen === undefined ? { kind: 'done' } : planFencing(seen);
  }

  /** Of steps that carry who they are for, or concern the kernel alone. */
  #actFor(step: ConsumerStep): Actor {
    const { machineID, nodeName } = this.machine.identity;
    const who: Who = { machineID, nodeName, epoch: 0, attachmentID: '' };
    return actConsumerStep(this.#cluster, this.machine, who, { filesystem: { kind: 'unprobed' } }, step);
  }

  *#report(): Actor<boolean> {
    const { api } = this.#cluster;
    if (api.cached(this.machine.name)?.status?.nodeName !== this.machine.name) return true;
    return yield* this.#locked(() => this.#reportOnce());
  }

  *#reportOnce(): Actor<boolean> {
    const glance = this.#glance();
    const world = glance === undefined ? undefined : this.#cluster.rules.consumer(glance);
    const status = world?.volume.status;
    if (world === undefined || status === undefined) return true;
    if (world.array === undefined && status.mdState === '') return true;
    const seen = this.#cluster.rules.observation(world, observeConsumer(world));
    const who = whoOf(world.me, world.volume);
    const isNews = recordReported(world.volume, who, seen, this.#cluster.nowFor(this.machine)) !== undefined;
    if (isNews) {
      yield this.#random.between(1, 30);
      yield* writeStatus(this.#cluster, this.machine, (current, now) => recordReported(current, who, seen, now));
    }
    return !isNews;
  }

  /** As `HoldBack`: beside the rounds, so that nothing that waits keeps it from being done. */
  *#holdBack(): Actor {
    const random = new Random(this.#cluster.seed, `hold back/${this.machine.name}/${this.#life}`);
    for (;;) {
      yield random.between(30, 120);
      const { array, legs } = this.machine;
      const isHeld = [...legs.values()].some(({ suspended }) => suspended);
      if (array?.isHeld === true || isHeld) yield* this.#guarded(this.#considerDrop());
    }
  }

  *#considerDrop(): Actor<boolean> {
    const { api, rules } = this.#cluster;
    if (api.cached(this.machine.name)?.status?.nodeName !== this.machine.name) return true;
    const glance = this.#glance();
    const world = glance === undefined ? undefined : rules.consumer(glance);
    if (world === undefined) return true;
    const seen = observeConsumer(world);
    const isUnrecorded = isDropUnrecorded(world);
    for (const { kind, name } of planHoldBack(world)) {
      const leg = this.machine.legs.get(name);
      if (leg !== undefined) leg.suspended = kind === 'suspendGuard';
      this.#cluster.tally.thing(kind);
    }
    // The moments between MD's drop and its being heard of, in which the model's MD ends no write, are over.
    const { array } = this.machine;
    if (array !== undefined) array.isHeld = false;
    pump(this.#cluster, this.machine, 1);
    const who = whoOf(world.me, world.volume);
    while (isUnrecorded) {
      try {
        yield* writeStatus(this.#cluster, this.machine, (current, now) => recordReported(current, who, seen, now));
        return true;
      } catch (error) {
        if (!(error instanceof DomainError) || error.kind === 'precondition' || error.kind === 'notFound') throw error;
        yield 500;
      }
    }
    return true;
  }

  *#hold(): Actor<boolean> {
    const { rules } = this.#cluster;
    const look = function* (this: NodeProcess): Actor<Plan<HolderStep>> {
      const cached = this.#cluster.api.cached(this.machine.name);
      if (cached === undefined) return { kind: 'done' };
      const glance = planHolder(rules.holder(withoutStamps(holderWorld(this.#cluster, this.machine, cached))));
      if (glance.kind === 'done') return glance;
      const volume = yield* this.#read();
      if (volume === undefined) return { kind: 'done' };
      return planHolder(rules.holder(holderWorld(this.#cluster, this.machine, volume)));
    };
    const act = (step: HolderStep): Actor => actHolderStep(this.#cluster, this.machine, step);
    return yield* this.#converge({ look: look.bind(this), act, memberOf: partitionOfHolderStep });
  }
}

/** A look for work leaves them unread. */
function withoutStamps(world: ReturnType<typeof holderWorld>): ReturnType<typeof holderWorld> {
  return { ...world, partitions: world.partitions.map(({ stamp: _stamp, ...partition }) => partition) };
}

function aboutOf(step: StepLike): string {
  const { partitionUUID, name, nqn, target } = step as unknown as Record<string, string | undefined>;
  return name ?? nqn ?? partitionUUID ?? target ?? '';
}
