/** What the mender of one volume remembers of its members' paths between two looks; PARTUUIDs are the keys. Lost with the process. */
import type { WithoutPath } from '../plan/mending.ts';
import type { MendingWorld } from '../plan/world.ts';

/** So often may a path fail right after it was mended, with a connection that lives, before its drive counts as bad (SPEC §7.3). */
const FAILING_AFTER = 3;
/** A path that held for so long is well again. */
const WELL_AFTER_MS = 60_000;

/** How long what was tried in vain is left alone, milliseconds: doubled each time, up to the longest. */
export interface Rests {
  readonly firstMs: number;
  readonly longestMs: number;
}

const RESTS: Rests = { firstMs: 1000, longestMs: 10_000 };

interface Rest {
  readonly until: number;
  readonly ms: number;
}

export class PathMemory {
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #lengths: Rests;
  readonly #lostSince = new Map<string, number>();
  /** Times that a guard was given its path again, without a break of the connection between them. */
  readonly #reloads = new Map<string, { readonly at: number; readonly count: number }>();
  readonly #rests = new Map<string, Rest>();

  /** `now`: monotonic milliseconds. `random`: 0…1. */
  constructor(now: () => number = () => performance.now(), random: () => number = Math.random, rests: Rests = RESTS) {
    this.#now = now;
    this.#random = random;
    this.#lengths = rests;
  }

  /** These have no path now; every other one has. */
  see(withoutPath: readonly WithoutPath[]): void {
    const lost = new Set(withoutPath.map(({ partitionUUID }) => partitionUUID));
    for (const partitionUUID of this.#lostSince.keys()) {
      if (!lost.has(partitionUUID)) this.#lostSince.delete(partitionUUID);
    }
    for (const { partitionUUID, isConnected } of withoutPath) {
      if (!this.#lostSince.has(partitionUUID)) this.#lostSince.set(partitionUUID, this.#now());
      if (!isConnected) this.#reloads.delete(partitionUUID);
    }
    for (const [partitionUUID, { at }] of this.#reloads) {
      if (!lost.has(partitionUUID) && this.#now() - at > WELL_AFTER_MS) this.#reloads.delete(partitionUUID);
    }
  }

  /** No member was seen without a path. */
  get isWell(): boolean {
    return this.#lostSince.size === 0;
  }

  reloaded(partitionUUID: string): void {
    const count = (this.#reloads.get(partitionUUID)?.count ?? 0) + 1;
    this.#reloads.set(partitionUUID, { at: this.#now(), count });
    if (count > 1) this.failed(partitionUUID);
  }

  /** What was tried for this member did not help. Says whether that is new: it was of use the time before, or never tried. */
  failed(partitionUUID: string): boolean {
    const last = this.#rests.get(partitionUUID);
    const { firstMs, longestMs } = this.#lengths;
    const ms = Math.min(longestMs, last === undefined ? firstMs : last.ms * 2);
    this.#rests.set(partitionUUID, { until: this.#now() + ms * (0.75 + this.#random() / 2), ms });
    return last === undefined;
  }

  /** Milliseconds until the first of those that rest is to be tried again; undefined when none rests. */
  get nextTryMs(): number | undefined {
    const left = [...this.#rests.values()].map(({ until }) => until - this.#now()).filter((ms) => ms > 0);
    return left.length === 0 ? undefined : Math.min(...left);
  }

  reached(partitionUUID: string): void {
    this.#rests.delete(partitionUUID);
  }

  recall(): Pick<MendingWorld, 'lostMs' | 'failing' | 'resting'> {
    const now = this.#now();
    const failing = [...this.#reloads].filter(([, { count }]) => count >= FAILING_AFTER);
    return {
      lostMs: Object.fromEntries([...this.#lostSince].map(([partitionUUID, since]) => [partitionUUID, now - since])),
      failing: failing.map(([partitionUUID]) => partitionUUID),
      resting: [...this.#rests].filter(([, { until }]) => now < until).map(([partitionUUID]) => partitionUUID),
    };
  }
}
