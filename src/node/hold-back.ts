/**
 * Holds the other guards of an array back from MD's dropping a member by itself until that is on record (SPEC §7.3). It waits for nobody:
 * other work on the volume may itself wait for the API, or, in the kernel, for the very guards that are held.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError } from '../api/errors.ts';
import type { Kernel } from '../api/kernel.ts';
import type { ConsumerObservation } from '../plan/health.ts';
import { observeConsumer } from '../plan/health.ts';
import type { HoldBackStep } from '../plan/steps.ts';
import { isDropUnrecorded, planHoldBack } from '../plan/unrecorded-drop.ts';
import type { ConsumerWorld } from '../plan/world.ts';
import { errorFields } from '../support/log.ts';
import type { Surroundings } from './converge.ts';
import type { VolumeReporter } from './reporter.ts';
import type { VolumeWorlds } from './volume-worlds.ts';

export interface HoldBackParts {
  readonly kernel: Pick<Kernel, 'suspendDm' | 'resumeDm'>;
  readonly worlds: Pick<VolumeWorlds, 'consumedHere'>;
  readonly reporter: Pick<VolumeReporter, 'report'>;
  readonly around: Surroundings;
}

/** After a record that could not be written. */
const AGAIN_MS = 500;
/** So often that is doubled: 4 s at most. */
const MOST_DOUBLINGS = 3;
/** Held, recorded, let go; what goes on longer is not hurried. */
const QUICK_ROUNDS = 4;
/**
 * A suspended guard takes nothing new from the first moment; the call returns when what was under way has ended, which a drive may take
 * its time for. Nobody waits for that.
 */
const SUSPENDED_WITHIN_MS = 1000;

export class HoldBack {
  readonly #parts: HoldBackParts;
  readonly #serving = new Map<string, Promise<void>>();
  readonly #stopping = new AbortController();
  #looking: Promise<void> | undefined;
  #mustLookAgain = false;

  constructor(parts: HoldBackParts) {
    this.#parts = parts;
  }

  /** At all volumes that this node consumes, by one look at guards and arrays. Asked for while it looks, it looks once more. Never rejects. */
  look(): Promise<void> {
    this.#mustLookAgain = true;
    this.#looking ??= this.#lookWhileAsked().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** What is held stays so: the next process records it and lets go. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all([this.#looking, ...this.#serving.values()]);
  }

  async #lookWhileAsked(): Promise<void> {
    while (this.#mustLookAgain && !this.#stopping.signal.aborted) {
      this.#mustLookAgain = false;
      try {
        for (const world of await this.#parts.worlds.consumedHere()) this.#consider(world);
      } catch (error) {
        this.#parts.around.log.warn('looking for drops failed', { error: errorFields(error) });
      }
    }
  }

  /** One at a time for each volume; whoever serves it looks again until nothing is left to do. */
  #consider(world: ConsumerWorld): void {
    const { name } = world.volume.metadata;
    if (this.#serving.has(name) || !this.#isOfConcern(world)) return;
    const serving = this.#serve(name, world)
      .catch((error: unknown) => {
        this.#parts.around.log.warn('holding back failed', { volumeId: name, error: errorFields(error) });
      })
      .finally(() => this.#serving.delete(name));
    this.#serving.set(name, serving);
  }

  #isOfConcern(world: ConsumerWorld): boolean {
    return isDropUnrecorded(world) || planHoldBack(world).length > 0;
  }

  async #serve(volumeId: string, first: ConsumerWorld): Promise<void> {
    let world: ConsumerWorld | undefined = first;
    for (let round = 0; world !== undefined && this.#isOfConcern(world); round += 1) {
      if (round >= QUICK_ROUNDS) await this.#pause(AGAIN_MS);
      if (this.#stopping.signal.aborted) return;
      // Judged before anything is suspended: a suspended guard no longer shows that it queues (SPEC §7.4).
      const seen = observeConsumer(world);
      const isUnrecorded = isDropUnrecorded(world);
      await this.#actAll(volumeId, planHoldBack(world));
      if (isUnrecorded && !(await this.#record(world, seen))) return;
      world = (await this.#parts.worlds.consumedHere()).find(({ volume }) => volume.metadata.name === volumeId);
    }
  }

  /** False when there is nobody to tell: this node is the consumer no more, and its fencing lets go; or the process ends. */
  async #record(world: ConsumerWorld, seen: ConsumerObservation): Promise<boolean> {
    const { reporter, around } = this.#parts;
    const { signal } = this.#stopping;
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        await reporter.report(world, seen);
        return true;
      } catch (error) {
        const told = { volumeId: world.volume.metadata.name, error: errorFields(error) };
        // Once for each drop: an API may be away for long.
        if (attempt === 0) around.log.warn('held back: a drop is not on record', told);
        else around.log.debug('held back: a drop is still not on record', told);
        if (error instanceof DomainError && (error.kind === 'precondition' || error.kind === 'notFound')) return false;
        await this.#pause(AGAIN_MS * 2 ** Math.min(attempt, MOST_DOUBLINGS));
      }
    }
    return false;
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }

  /** One that fails keeps neither another from being done nor the drop from being recorded. */
  async #actAll(volumeId: string, steps: readonly HoldBackStep[]): Promise<void> {
    const outcomes = await Promise.allSettled(steps.map((step) => this.#act(volumeId, step)));
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status !== 'rejected') continue;
      const { kind, name } = steps[index] ?? {};
      this.#parts.around.log.warn('step failed', {
        volumeId,
        step: kind,
        leg: name,
        error: errorFields(outcome.reason),
      });
    }
  }

  async #act(volumeId: string, { kind, name }: HoldBackStep): Promise<void> {
    const { kernel, around } = this.#parts;
    const startedAt = performance.now();
    const done = kind === 'suspendGuard' ? kernel.suspendDm(name) : kernel.resumeDm(name);
    if (kind === 'suspendGuard') {
      await Promise.race([done, sleep(SUSPENDED_WITHIN_MS, undefined, { ref: false })]);
      done.catch(() => undefined); // who fails late has nothing to hold back
    } else {
      await done;
    }
    const durationMs = Math.round(performance.now() - startedAt);
    around.log.info('step done', { operation: 'hold back', volumeId, step: kind, leg: name, durationMs });
    around.onStep({ operation: 'hold back', volumeId, step: kind });
  }
}
