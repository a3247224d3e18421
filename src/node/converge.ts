/** The loop of every operation on a node: observe, plan, act, until the plan is empty. */
import { DomainError } from '../api/errors.ts';
import type { Plan, NodeIdentity } from '../plan/world.ts';
import type { KeyedMutex } from '../support/keyed-mutex.ts';
import type { Log } from '../support/log.ts';
import { errorFields } from '../support/log.ts';
import type { Wakeups } from '../support/wakeups.ts';

/** A step that has just been carried out. Tests kill the process here; metrics count it. */
export interface StepDone {
  readonly operation: string;
  readonly volumeId: string;
  readonly step: string;
}

export type OnStep = (done: StepDone) => void;

export interface Operation<S extends { readonly kind: string }> {
  /** `stage`, `unstage`, `publish`, `unpublish`, `hold`. */
  readonly name: string;
  readonly volumeId: string;
  /** One look and one decision. */
  readonly plan: () => Promise<Plan<S>>;
  readonly act: (step: S) => Promise<void>;
  /**
   * Steps that concern one member alone: they run in their order beside those of other members, and one that fails keeps no other
   * member's from being carried out. Its name for people; undefined for every other step. A plan has either such steps only, or none.
   */
  readonly memberOf?: (step: S) => string | undefined;
  /** Of a member of which a step failed: whether a reconciler waits for it as for anything else, instead of failing. */
  readonly isWaitedFor?: (error: unknown) => boolean;
  /** Called before a refusal is thrown: the place to leave a condition. */
  readonly onRefusal?: (refusal: Extract<Plan<S>, { kind: 'refuse' }>) => Promise<void>;
}

export interface Surroundings {
  readonly me: NodeIdentity;
  /** Serialises rounds on one volume; not held while waiting for events. */
  readonly rounds: KeyedMutex;
  readonly wakeups: Wakeups;
  readonly log: Log;
  readonly onStep: OnStep;
}

/** More rounds than any operation needs: an operation that gets here goes in circles. */
const MOST_ROUNDS = 40;
/** A wait ends after this long even without an event: time itself may change the decision. */
const WAIT_LIMIT_MS = 1000;

interface Failure {
  readonly member: string;
  readonly error: unknown;
}

/** `failed`: members of which a step failed; what was to be done for the others is done. */
type Round =
  | { readonly kind: 'done' }
  | { readonly kind: 'wait'; readonly reason: string }
  | { readonly kind: 'acted' }
  | { readonly kind: 'failed'; readonly failures: readonly Failure[] };

function describeFailures(failures: readonly Failure[]): string {
  return failures
    .map(({ member, error }) => `${member}: ${error instanceof Error ? error.message : String(error)}`)
    .join('; ');
}

async function oneRound<S extends { readonly kind: string }>(
  operation: Operation<S>,
  around: Surroundings,
  signal?: AbortSignal,
): Promise<Round> {
  const plan = await operation.plan();
  if (plan.kind === 'refuse') {
    await operation.onRefusal?.(plan);
    throw new DomainError(plan.error, plan.message);
  }
  if (plan.kind !== 'steps') return plan;
  if (plan.steps.length === 0) return { kind: 'done' };
  const members = new Map<string, S[]>();
  for (const step of plan.steps) {
    const member = operation.memberOf?.(step) ?? '';
    members.set(member, [...(members.get(member) ?? []), step]);
  }
  if (members.has('')) {
    await carryOut(operation, around, plan.steps, signal);
    return { kind: 'acted' };
  }
  const failures = await carryOutByMember(operation, around, members, signal);
  return failures.length === 0 ? { kind: 'acted' } : { kind: 'failed', failures };
}

async function carryOut<S extends { readonly kind: string }>(
  operation: Operation<S>,
  around: Surroundings,
  steps: readonly S[],
  signal?: AbortSignal,
): Promise<void> {
  const { name, volumeId } = operation;
  for (const step of steps) {
    signal?.throwIfAborted();
    const startedAt = performance.now();
    await operation.act(step);
    const durationMs = Math.round(performance.now() - startedAt);
    around.log.info('step done', { operation: name, volumeId, step: step.kind, durationMs });
    around.onStep({ operation: name, volumeId, step: step.kind });
  }
}

/** What went wrong, for each member that failed. */
async function carryOutByMember<S extends { readonly kind: string }>(
  operation: Operation<S>,
  around: Surroundings,
  members: ReadonlyMap<string, readonly S[]>,
  signal?: AbortSignal,
): Promise<readonly Failure[]> {
  const runs = [...members].map(async ([member, steps]) => {
    try {
      await carryOut(operation, around, steps, signal);
      return [];
    } catch (error) {
      signal?.throwIfAborted();
      return [{ member, error }];
    }
  });
  return (await Promise.all(runs)).flat();
}

/**
 * Converges, waiting inside for what is not there yet, a member of which a step failed included. Rejects `unavailable` with the reason of the wait when `signal` aborts,
 * with the planner's refusal, with the error of a step, or `internal` when it does not converge.
 */
export async function converge<S extends { readonly kind: string }>(
  operation: Operation<S>,
  around: Surroundings,
  signal: AbortSignal,
): Promise<void> {
  let waitingFor = 'other work on this volume';
  for (let round = 0; round < MOST_ROUNDS;) {
    const mark = around.wakeups.mark;
    const result = await runRound(operation, around, signal, waitingFor);
    if (result.kind === 'done') return;
    if (result.kind === 'acted') {
      round += 1;
      continue;
    }
    waitingFor = result.kind === 'wait' ? result.reason : describeFailures(result.failures);
    if (result.kind === 'failed') warnOfFailures(operation, around.log, result.failures);
    await around.wakeups.next(mark, WAIT_LIMIT_MS, signal);
  }
  throw new DomainError(
    'internal',
    `${operation.name} of ${operation.volumeId}: the plan is not empty after ${MOST_ROUNDS} rounds`,
  );
}

function warnOfFailures(
  { name, volumeId }: Pick<Operation<never>, 'name' | 'volumeId'>,
  log: Log,
  failures: readonly Failure[],
): void {
  for (const { member, error } of failures) {
    log.warn('member not ready', { operation: name, volumeId, member, error: errorFields(error) });
  }
}

async function runRound<S extends { readonly kind: string }>(
  operation: Operation<S>,
  around: Surroundings,
  signal: AbortSignal,
  waitingFor: string,
): Promise<Round> {
  try {
    return await around.rounds.run(operation.volumeId, signal, () => oneRound(operation, around, signal));
  } catch (error) {
    // The signal's own reason says that time is up, not what for.
    if (!signal.aborted || (error instanceof DomainError && error !== signal.reason)) throw error;
    throw new DomainError(
      'unavailable',
      `${operation.name} of ${operation.volumeId}: time is up, still waiting for ${waitingFor}`,
      { cause: error },
    );
  }
}

/** Of one member its own error: the kernel's code is in it. */
function failureOf(
  { name, volumeId }: Pick<Operation<never>, 'name' | 'volumeId'>,
  failures: readonly Failure[],
): unknown {
  const [first, ...others] = failures;
  if (others.length === 0) return first?.error;
  const cause = new AggregateError(failures.map(({ error }) => error));
  return new DomainError('unavailable', `${name} of ${volumeId}: ${describeFailures(failures)}`, { cause });
}

/**
 * Rounds without waiting, for reconcilers: says what it waits for, or undefined when there is nothing left to do. Rejects with the
 * planner's refusal, or with what failed and is not waited for, once that of other members has been done.
 */
export async function convergeOnce<S extends { readonly kind: string }>(
  operation: Operation<S>,
  around: Surroundings,
): Promise<string | undefined> {
  for (let round = 0; round < MOST_ROUNDS; round += 1) {
    const result = await around.rounds.run(operation.volumeId, undefined, () => oneRound(operation, around));
    if (result.kind === 'done') return undefined;
    if (result.kind === 'wait') return result.reason;
    if (result.kind === 'failed') {
      const unexpected = result.failures.filter(({ error }) => operation.isWaitedFor?.(error) !== true);
      if (unexpected.length > 0) throw failureOf(operation, unexpected);
      return describeFailures(result.failures);
    }
  }
  throw new DomainError(
    'internal',
    `${operation.name} of ${operation.volumeId}: the plan is not empty after ${MOST_ROUNDS} rounds`,
  );
}
