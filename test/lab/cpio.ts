/** One entry of an initramfs archive. A directory or link has no data; `target` is where a symbolic link points. */
export interface CpioEntry {
  /** Path inside the archive, without a leading slash. */
  readonly path: string;
  readonly kind: 'dir' | 'file' | 'symlink';
  /** Permission bits, such as 0o755. */
  readonly mode: number;
  readonly data?: Buffer;
  readonly target?: string;
}

const TYPE_BITS = { dir: 0o040000, file: 0o100000, symlink: 0o120000 } as const;

function hex8(value: number): string {
  return value.toString(16).padStart(8, '0');
}

function pad4(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}

function record(ino: number, path: string, mode: number, data: Buffer): Buffer {
  const name = Buffer.from(`${path}\0`);
  // Fields of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst, in its order.
  const fields = [ino, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length, 0];
  const header = Buffer.from(`070701${fields.map(hex8).join('')}`);
  return Buffer.concat([header, name, pad4(header.length + name.length), data, pad4(data.length)]);
}

/**
 * Writes the "newc" archive the kernel unpacks as its initramfs. Times and inode numbers are fixed, so equal input gives
 * equal bytes. Parents must come before their children.
 */
export function buildCpio(entries: readonly CpioEntry[]): Buffer {
  const seen = new Set<string>(['']);
  const parts: Buffer[] = [];
  entries.forEach((entry, index) => {
    const parent = entry.path.includes('/') ? entry.path.slice(0, entry.path.lastIndexOf('/')) : '';
    if (!seen.has(parent)) throw new Error(`build initramfs: ${entry.path} comes before its folder ${parent}`);
    if (entry.kind === 'dir') seen.add(entry.path);
    const data = entry.kind === 'symlink' ? Buffer.from(entry.target ?? '') : (entry.data ?? Buffer.alloc(0));
    parts.push(record(index + 1, entry.path, TYPE_BITS[entry.kind] | entry.mode, data));
  });
  parts.push(record(0, 'TRAILER!!!', 0, Buffer.alloc(0)));
  return Buffer.concat(parts);
}
