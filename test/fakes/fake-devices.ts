import type { Extent } from '../../src/api/kernel.ts';
import { kernelError } from './fake-bytes.ts';

/** Somebody who has a block device open. Two exclusive openers share a device only under the same `claim`. */
export interface Opener {
  /** Kernel name of the device stacked on it; empty for mounts, exports and programs. */
  readonly holder: string;
  /** Absent: opened without exclusivity, as nvmet and most programs do. */
  readonly claim?: string;
}

/** A block device of one node. I/O may wait (a guard that queues), so all of it is asynchronous. */
export abstract class BlockDevice {
  readonly name: string;
  readonly path: string;
  readonly devNumber: string;
  /** The device was taken away; who has it open keeps it and gets errors. */
  gone = false;
  readonly #openers = new Set<Opener>();

  constructor(name: string, path: string, devNumber: string) {
    this.name = name;
    this.path = path;
    this.devNumber = devNumber;
  }

  abstract get sizeBytes(): number;
  abstract get logicalBlockSize(): number;
  abstract read(offset: number, length: number): Promise<Uint8Array>;
  abstract write(offset: number, data: Uint8Array): Promise<void>;
  abstract zero(offset: number, length: number): Promise<void>;
  /** Ranges that may hold something; everything else reads as zero. */
  abstract written(offset: number, length: number): Promise<readonly Extent[]>;

  get openCount(): number {
    return this.#openers.size;
  }

  /** Kernel names of the devices stacked on this one. */
  get holders(): readonly string[] {
    const names = [...this.#openers].map((opener) => opener.holder).filter((name) => name !== '');
    return [...new Set(names)].sort();
  }

  open(opener: Opener): void {
    const claims = [...this.#openers].map((other) => other.claim).filter((claim) => claim !== undefined);
    if (opener.claim !== undefined && claims.some((claim) => claim !== opener.claim)) {
      throw kernelError('EBUSY', 'open', this.path);
    }
    this.#openers.add(opener);
  }

  close(opener: Opener): void {
    this.#openers.delete(opener);
  }

  checkRange(offset: number, length: number, syscall: string): void {
    if (this.gone) throw kernelError('ENODEV', syscall, this.path);
    if (offset < 0 || length < 0 || offset + length > this.sizeBytes) throw kernelError('ENOSPC', syscall, this.path);
  }
}

/** The block devices of one node, found by any of their paths or by `major:minor`. */
export class DeviceTable {
  readonly #byPath = new Map<string, BlockDevice>();
  #next259 = 0;

  add(device: BlockDevice, ...aliases: readonly string[]): void {
    for (const path of [device.path, `/dev/${device.name}`, ...aliases]) this.#byPath.set(path, device);
  }

  remove(device: BlockDevice): void {
    device.gone = true;
    for (const [path, found] of [...this.#byPath]) if (found === device) this.#byPath.delete(path);
  }

  clear(): void {
    for (const device of new Set(this.#byPath.values())) device.gone = true;
    this.#byPath.clear();
    this.#next259 = 0;
  }

  find(path: string): BlockDevice | undefined {
    const direct = this.#byPath.get(path);
    if (direct !== undefined || !/^\d+:\d+$/.test(path)) return direct;
    return [...this.#byPath.values()].find((device) => device.devNumber === path);
  }

  get(path: string, syscall: string): BlockDevice {
    const device = this.find(path);
    if (device === undefined) throw kernelError('ENOENT', syscall, path);
    return device;
  }

  /** Device numbers of NVMe namespaces and partitions are handed out as they appear. */
  nextBlockExtNumber(): string {
    return `259:${String(this.#next259++)}`;
  }
}
