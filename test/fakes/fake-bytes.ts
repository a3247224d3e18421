import { constants } from 'node:os';

import type { Extent } from '../../src/api/kernel.ts';
import { NativeError } from '../../src/native/native-error.ts';

export const MIB = 1024 * 1024;
export const SECTOR = 512;
const PAGE = 4096;

/** An error as the addon's facade throws it. */
export function kernelError(code: string, syscall: string, path: string): NativeError {
  const numbers: Readonly<Record<string, number | undefined>> = constants.errno;
  const number = numbers[code];
  if (number === undefined) throw new RangeError(`no such errno: ${code}`);
  return new NativeError(`${code}: ${syscall} '${path}'`, { errno: -number, code, syscall, path });
}

/** What a drive holds: pages that were written, everything else reads as zero. */
export class SparseBytes {
  readonly sizeBytes: number;
  readonly #pages = new Map<number, Uint8Array>();

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  read(offset: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    this.#eachPage(offset, length, (page, at, from, count) => {
      const bytes = this.#pages.get(page);
      if (bytes !== undefined) out.set(bytes.subarray(at, at + count), from);
    });
    return out;
  }

  write(offset: number, data: Uint8Array): void {
    this.#eachPage(offset, data.length, (page, at, from, count) => {
      let bytes = this.#pages.get(page);
      if (bytes === undefined) {
        bytes = new Uint8Array(PAGE);
        this.#pages.set(page, bytes);
      }
      bytes.set(data.subarray(from, from + count), at);
    });
  }

  zero(offset: number, length: number): void {
    const end = offset + length;
    for (const page of [...this.#pages.keys()]) {
      const start = page * PAGE;
      if (start >= end || start + PAGE <= offset) continue;
      if (start >= offset && start + PAGE <= end) this.#pages.delete(page);
      else this.#pages.get(page)?.fill(0, Math.max(0, offset - start), Math.min(PAGE, end - start));
    }
  }

  /** Ranges that may hold something else than zero, whole pages, in order, cut to the range. */
  written(offset: number, length: number): readonly Extent[] {
    const end = offset + length;
    const pages = [...this.#pages.keys()].filter((page) => page * PAGE < end && (page + 1) * PAGE > offset);
    return pages
      .sort((a, b) => a - b)
      .filter((page) => this.#pages.get(page)?.some((byte) => byte !== 0))
      .map((page) => {
        const startBytes = Math.max(offset, page * PAGE);
        return { startBytes, sizeBytes: Math.min(end, (page + 1) * PAGE) - startBytes };
      });
  }

  isZero(offset: number, length: number): boolean {
    return this.written(offset, length).every((extent) =>
      this.read(extent.startBytes, extent.sizeBytes).every((byte) => byte === 0),
    );
  }

  #eachPage(
    offset: number,
    length: number,
    visit: (page: number, at: number, from: number, count: number) => void,
  ): void {
    for (let from = 0; from < length;) {
      const position = offset + from;
      const at = position % PAGE;
      const count = Math.min(PAGE - at, length - from);
      visit(Math.floor(position / PAGE), at, from, count);
      from += count;
    }
  }
}
