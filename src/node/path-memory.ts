/** What the mender of one volume remembers of its members' paths between two looks; PARTUUIDs are the keys. Lost with the process. */
import type { MendingWorld } from '../plan/world.ts';

/** A guard that was reloaded and failed again within this time, so often in a row, has a bad drive behind it (SPEC §7.3). */
const AGAIN_WITHIN_MS = 2000;
const FAILING_AFTER = 3;
/** How long a holder that could not be reached is left alone: doubled each time, up to this. */
const FIRST_REST_MS = 1000;
const LONGEST_REST_MS = 10_000;

interface Rest {
  readonly until: number;
  readonly ms: number;
}

export class PathMemory {
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #lostSince = new Map<string, number>();
  readonly #reloads = new Map<string, { readonly at: number; readonly inARow: number }>();
  readonly #rests = new Map<string, Rest>();

  /** `now`: monotonic milliseconds. `random`: 0…1. */
  constructor(now: () => number = () => performance.now(), random: () => number = Math.random) {
    this.#now = now;
    this.#random = random;
  }

  /** These have no path now; every other one has. */
  see(withoutPath: readonly string[]): void {
    for (const partitionUUID of this.#lostSince.keys()) {
      if (!withoutPath.includes(partitionUUID)) this.#lostSince.delete(partitionUUID);
    }
    for (const partitionUUID of withoutPath) {
      if (!this.#lostSince.has(partitionUUID)) this.#lostSince.set(partitionUUID, this.#now());
    }
  }

  reloaded(partitionUUID: string): void {
    const last = this.#reloads.get(partitionUUID);
    const isAgain = last !== undefined && this.#now() - last.at < AGAIN_WITHIN_MS;
    this.#reloads.set(partitionUUID, { at: this.#now(), inARow: isAgain ? last.inARow + 1 : 1 });
  }

  unreachable(partitionUUID: string): void {
    const last = this.#rests.get(partitionUUID);
    const ms = Math.min(LONGEST_REST_MS, last === undefined ? FIRST_REST_MS : last.ms * 2);
    this.#rests.set(partitionUUID, { until: this.#now() + ms * (0.75 + this.#random() / 2), ms });
  }

  reached(partitionUUID: string): void {
    this.#rests.delete(partitionUUID);
  }

  recall(): Pick<MendingWorld, 'lostMs' | 'failing' | 'resting'> {
    const now = this.#now();
    const failing = [...this.#reloads].filter(
      ([, { at, inARow }]) => inARow >= FAILING_AFTER && now - at < AGAIN_WITHIN_MS,
    );
    return {
      lostMs: Object.fromEntries([...this.#lostSince].map(([partitionUUID, since]) => [partitionUUID, now - since])),
      failing: failing.map(([partitionUUID]) => partitionUUID),
      resting: [...this.#rests].filter(([, { until }]) => now < until).map(([partitionUUID]) => partitionUUID),
    };
  }
}
