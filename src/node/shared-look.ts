/**
 * One look at the kernel for all volumes that ask at about the same time. A look costs the more the more volumes there are; a pass
 * over all of them must not cost the square of that. For glances and reports only: whoever is about to change something looks for
 * itself.
 */
import type { Kernel } from '../api/kernel.ts';
import type { NodeSnapshot } from './snapshot.ts';
import { takeSnapshot } from './snapshot.ts';

interface Look {
  readonly snapshot: Promise<NodeSnapshot>;
  readonly changesBefore: number;
  readonly startedAt: number;
}

/** Without an event a look is taken again after this. */
const LONGEST_AGE_MS = 2000;

export class SharedLook {
  readonly #kernel: Kernel;
  readonly #now: () => number;
  #changes = 0;
  #look: Look | undefined;

  /** `now`: monotonic milliseconds. */
  constructor(kernel: Kernel, now: () => number = () => performance.now()) {
    this.#kernel = kernel;
    this.#now = now;
  }

  /** The kernel is another one now: an event came, or this node did something. Looks that began before are not handed out any more. */
  invalidate(): void {
    this.#changes += 1;
  }

  /** A look that began after the last change, and not long ago. */
  take(): Promise<NodeSnapshot> {
    const known = this.#look;
    const isFresh = known?.changesBefore === this.#changes && this.#now() - known.startedAt < LONGEST_AGE_MS;
    if (known !== undefined && isFresh) return known.snapshot;
    const snapshot = takeSnapshot(this.#kernel);
    const look: Look = { snapshot, changesBefore: this.#changes, startedAt: this.#now() };
    this.#look = look;
    // A look that failed is nobody else's.
    snapshot.catch(() => {
      if (this.#look === look) this.#look = undefined;
    });
    return snapshot;
  }
}
