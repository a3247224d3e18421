import type { MdSuperblock } from '../../src/api/kernel.ts';
import { kernelError } from './fake-bytes.ts';
import type { BlockDevice } from './fake-devices.ts';

/** Where v1.2 has it. */
const SUPERBLOCK_OFFSET = 4096;
const SUPERBLOCK_BYTES = 4096;
const MAGIC = Uint8Array.of(0xfc, 0x4e, 0x2b, 0xa9);
const TEXT_OFFSET = 64;

/** What the fake keeps per member beyond what `Kernel` shows: which device it believes to be active in each slot. */
export interface FakeSuperblock extends MdSuperblock {
  readonly layoutCopies: number;
  readonly chunkBytes: number;
  /** Device UUID by slot; null where the array was without a good member when this was written. */
  readonly active: readonly (string | null)[];
  /** The member is being filled: it has its slot, but is not to be read. */
  readonly recovering: boolean;
}

export async function readSuperblock(device: BlockDevice): Promise<FakeSuperblock | undefined> {
  if (device.sizeBytes < SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES) return undefined;
  const block = Buffer.from(await device.read(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES));
  if (!block.subarray(0, 4).equals(MAGIC)) return undefined;
  const text = block.subarray(TEXT_OFFSET, block.indexOf(0, TEXT_OFFSET)).toString('utf8');
  try {
    return JSON.parse(text) as FakeSuperblock;
  } catch {
    throw kernelError('EBADMSG', 'read sb_csum', device.path);
  }
}

export async function writeSuperblock(device: BlockDevice, superblock: FakeSuperblock): Promise<void> {
  const block = Buffer.alloc(SUPERBLOCK_BYTES);
  block.set(MAGIC, 0);
  block.write(JSON.stringify(superblock), TEXT_OFFSET, 'utf8');
  await device.write(SUPERBLOCK_OFFSET, block);
}

/** Only what the real one would show. */
export function publicSuperblock(superblock: FakeSuperblock): MdSuperblock {
  const hidden = new Set(['layoutCopies', 'chunkBytes', 'active', 'recovering']);
  return Object.fromEntries(
    Object.entries(superblock).filter(([name]) => !hidden.has(name)),
  ) as unknown as MdSuperblock;
}
