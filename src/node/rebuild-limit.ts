/** Keeps what MD copies for this node's arrays below a limit, so that pods' I/O keeps its latency (SPEC §8). */
import { errnoCode } from '../api/errors.ts';
import type { Kernel, MdArray } from '../api/kernel.ts';
import { parseLegName } from '../api/names.ts';
import type { NodeSnapshot } from './snapshot.ts';

const KIB_PER_MIB = 1024;
/** The kernel lets no array starve below its own `speed_limit_min`, 1000 KiB/s by default (`drivers/md/md.c`). */
const LEAST_KIB = 1000;
/** `md/sync_action` of what rewrites members. A check is somebody's own wish, at the kernel's own speed. */
const COPYING: ReadonlySet<string> = new Set(['recover', 'resync', 'reshape']);

export class RebuildLimit {
  readonly #kernel: Pick<Kernel, 'setMdAttribute'>;
  readonly #limitMiBs: number;
  /** What was written last, by array; lost with the process, and written again. */
  readonly #written = new Map<string, string>();

  /** `limitMiBs`: for all arrays of this node together, MiB/s; 0 leaves each to the kernel (`/proc/sys/dev/raid/speed_limit_max`). */
  constructor(kernel: Pick<Kernel, 'setMdAttribute'>, limitMiBs: number) {
    this.#kernel = kernel;
    this.#limitMiBs = limitMiBs;
  }

  /**
   * Shares the limit among the arrays that copy now; an array that begins is slowed down by the next look. Writing `md/sync_speed_max`
   * takes no lock of MD, so it does not hang behind a guard that holds back. Rejects as the kernel does; an array that went is no error.
   */
  async apply({ arrays, legs }: Pick<NodeSnapshot, 'arrays' | 'legs'>): Promise<void> {
    const ours = new Set(
      legs.filter(({ name }) => parseLegName(name) !== undefined).map(({ kernelName }) => kernelName),
    );
    const copying = arrays.filter(
      (array) => COPYING.has(array.syncAction) && array.members.some(({ name }) => ours.has(name)),
    );
    for (const key of this.#written.keys())
      if (!copying.some((array) => keyOf(array) === key)) this.#written.delete(key);
    const value = this.#limitMiBs === 0 ? 'system' : String(this.#shareOf(copying.length));
    const news = copying.filter((array) => this.#written.get(keyOf(array)) !== value);
    await Promise.all(news.map((array) => this.#write(array, value)));
  }

  #shareOf(count: number): number {
    return Math.max(LEAST_KIB, Math.floor((this.#limitMiBs * KIB_PER_MIB) / count));
  }

  async #write(array: MdArray, value: string): Promise<void> {
    try {
      await this.#kernel.setMdAttribute(array.name, 'sync_speed_max', value);
      this.#written.set(keyOf(array), value);
    } catch (error) {
      if (errnoCode(error) !== 'ENOENT') throw error;
    }
  }
}

/** The kernel gives a name to another array once it is free. */
function keyOf({ name, uuid = '' }: MdArray): string {
  return `${name} ${uuid}`;
}
