import type { Kernel } from '../../src/api/kernel.ts';
import { kernelError } from './fake-bytes.ts';

/** Thrown in place of an answer when the process is "killed": whoever catches it must not go on. */
export class Killed extends Error {
  constructor(call: string) {
    super(`killed at ${call}`);
    this.name = 'Killed';
  }
}

interface Fault {
  readonly method: keyof Kernel;
  readonly code: string;
  skip: number;
  times: number;
}

/** Methods that only look. Everything else counts as a change. */
const LOOKING: ReadonlySet<string> = new Set<keyof Kernel>([
  'nvmeNamespaces',
  'identifyController',
  'identifyNamespace',
  'signatures',
  'readBytes',
  'readGpt',
  'mdArrays',
  'readMdSuperblock',
  'dmDevices',
  'nvmetState',
  'nvmeControllers',
  'mounts',
  'filesystemUsage',
  'watch',
]);

/** What goes wrong with the calls into one fake kernel, and which were made. */
export class FakeFaults {
  /** Changing calls since the last `reset`, in order, as `method key`. */
  readonly changes: string[] = [];
  #faults: Fault[] = [];
  #killBefore: number | undefined;
  #killAfter: number | undefined;

  /** The `nth` call from now of the method (and the `times - 1` behind it) rejects with this errno, and does nothing. */
  fail(method: keyof Kernel, code: string, nth = 1, times = 1): void {
    this.#faults.push({ method, code, skip: nth - 1, times });
  }

  /** The `nth` changing call from now never happens: the process is killed before it. */
  killBefore(nth: number): void {
    this.#killBefore = nth - 1;
  }

  /** The `nth` changing call from now happens, but its answer reaches nobody. */
  killAfter(nth: number): void {
    this.#killAfter = nth - 1;
  }

  /** Forgets every fault and what was called. */
  reset(): void {
    this.#faults = [];
    this.#killBefore = undefined;
    this.#killAfter = undefined;
    this.changes.length = 0;
  }

  /** The same kernel with the faults in front. */
  wrap(kernel: Kernel): Kernel {
    const wrapped: Record<string, unknown> = {};
    const methods = kernel as unknown as Readonly<Record<string, unknown>>;
    for (const name of methodNames(kernel)) {
      const method = methods[name];
      if (typeof method !== 'function') continue;
      const call = (...values: unknown[]): unknown => Reflect.apply(method, kernel, values) as unknown;
      wrapped[name] = name === 'watch' ? call : (...values: unknown[]) => this.#run(name, values, call);
    }
    return wrapped as unknown as Kernel;
  }

  async #run(name: string, values: readonly unknown[], call: (...values: unknown[]) => unknown): Promise<unknown> {
    const key = keyOf(values[0]);
    // A turn of the event loop, as a call through the thread pool takes: races of callers become visible.
    await new Promise(setImmediate);
    if (this.#killBefore !== undefined && this.#killBefore < 0) throw new Killed(`${name} ${key}`);
    if (this.#killAfter !== undefined && this.#killAfter < 0) throw new Killed(`${name} ${key}`);
    const fault = this.#faults.find((candidate) => candidate.method === name && candidate.times > 0);
    if (fault !== undefined) {
      if (fault.skip > 0) fault.skip -= 1;
      else {
        fault.times -= 1;
        throw kernelError(fault.code, name, key);
      }
    }
    if (LOOKING.has(name)) return call(...values);
    if (this.#killBefore !== undefined && this.#killBefore-- === 0) throw new Killed(`${name} ${key}`);
    this.changes.push(`${name} ${key}`.trim());
    const isLast = this.#killAfter !== undefined && this.#killAfter-- === 0;
    const result = await call(...values);
    if (isLast) throw new Killed(`the answer of ${name} ${key}`);
    return result;
  }
}

function methodNames(kernel: Kernel): readonly string[] {
  const prototype = Object.getPrototypeOf(kernel) as object;
  return Object.getOwnPropertyNames(prototype).filter((name) => name !== 'constructor');
}

function keyOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value !== 'object' || value === null) return '';
  const fields = value as Readonly<Record<string, unknown>>;
  const key = fields['nqn'] ?? fields['id'];
  return typeof key === 'string' || typeof key === 'number' ? String(key) : '';
}
