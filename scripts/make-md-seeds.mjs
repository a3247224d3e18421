// Writes native/test/seeds/md_superblock: superblocks as MD's format 1.2 has them, where the fuzzer starts from. They are put
// together here from the format's description (include/uapi/linux/raid/md_p.h) and not by the code under test, checksum too.
//
//   node scripts/make-md-seeds.mjs

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './steps.mjs';

const HEADER_BYTES = 256;
const MAX_DEV = 384; // what mdadm leaves room for in 1 KiB
const [SPARE, FAULTY] = [0xffff, 0xfffe];
const [BITMAP, RECOVERING, BAD_BLOCKS] = [1, 2, 8];
const MIB_SECTORS = 2048;

/** Field → place and width in struct mdp_superblock_1. */
const FIELDS = {
  magic: [0, 4],
  majorVersion: [4, 4],
  featureMap: [8, 4],
  ctime: [64, 8],
  level: [72, 4],
  layout: [76, 4],
  size: [80, 8],
  chunkSectors: [88, 4],
  raidDisks: [92, 4],
  bitmapOffset: [96, 4],
  dataOffset: [128, 8],
  dataSize: [136, 8],
  superOffset: [144, 8],
  recoveryOffset: [152, 8],
  devNumber: [160, 4],
  devFlags: [184, 1],
  bblogShift: [185, 1],
  bblogSize: [186, 2],
  bblogOffset: [188, 4],
  utime: [192, 8],
  events: [200, 8],
  resyncOffset: [208, 8],
  maxDev: [220, 4],
};

const HEALTHY = {
  magic: 0xa92b4efc,
  majorVersion: 1,
  featureMap: BITMAP,
  ctime: 1_700_000_000,
  level: 1,
  size: 64 * MIB_SECTORS,
  raidDisks: 2,
  bitmapOffset: 8,
  dataOffset: 8 * MIB_SECTORS,
  dataSize: 64 * MIB_SECTORS,
  superOffset: 8,
  utime: 1_700_000_600,
  events: 42,
  resyncOffset: 2n ** 64n - 1n,
  maxDev: MAX_DEV,
};

function put(block, [at, width], value) {
  for (let index = 0; index < width; index++) block[at + index] = Number((BigInt(value) >> BigInt(8 * index)) & 0xffn);
}

/** Sum of all 32-bit words but the sum itself, its upper half added to the lower. */
function checksum(block) {
  let sum = 0n;
  for (let at = 0; at < HEADER_BYTES + 2 * MAX_DEV; at += 4) if (at !== 216) sum += BigInt(block.readUInt32LE(at));
  return Number(((sum & 0xffffffffn) + (sum >> 32n)) & 0xffffffffn);
}

function superblock(fields, roles, { sum = checksum } = {}) {
  const block = Buffer.alloc(HEADER_BYTES + 2 * MAX_DEV);
  for (const [name, value] of Object.entries({ ...HEALTHY, ...fields })) put(block, FIELDS[name], value);
  for (let index = 0; index < 16; index++) {
    block[16 + index] = 0x10 + index;
    block[168 + index] = 0xf0 - index - (fields.devNumber ?? 0);
  }
  block.write('meshstor:pvc-1', 32, 'latin1');
  for (let device = 0; device < MAX_DEV; device++)
    block.writeUInt16LE(roles[device] ?? SPARE, HEADER_BYTES + 2 * device);
  block.writeUInt32LE(sum(block), 216);
  return block;
}

const raid10 = { level: 10, layout: 0x102, chunkSectors: MIB_SECTORS, raidDisks: 4 };
const SEEDS = {
  'raid1-first': superblock({ devNumber: 0 }, [0, 1]),
  'raid1-second-write-mostly': superblock({ devNumber: 1, devFlags: 1 }, [0, 1]),
  'raid1-degraded-dirty': superblock({ devNumber: 0, resyncOffset: 0, events: 77 }, [0, FAULTY]),
  'raid1-recovering': superblock({ devNumber: 2, featureMap: BITMAP | RECOVERING, recoveryOffset: 32 * MIB_SECTORS }, [
    0,
    FAULTY,
    1,
  ]),
  'raid1-bad-blocks': superblock(
    { devNumber: 1, featureMap: BITMAP | BAD_BLOCKS, bblogShift: 9, bblogSize: 8, bblogOffset: 16 },
    [0, 1],
  ),
  'raid10-spare': superblock({ ...raid10, devNumber: 4, featureMap: 0, bitmapOffset: 0 }, [0, 1, 2, 3]),
  'raid10-last': superblock({ ...raid10, devNumber: 3 }, [0, 1, 2, 3]),
  'wrong-checksum': superblock({ devNumber: 0 }, [0, 1], { sum: (block) => (checksum(block) ^ 1) >>> 0 }),
};

const folder = join(root, 'native', 'test', 'seeds', 'md_superblock');
mkdirSync(folder, { recursive: true });
for (const [name, block] of Object.entries(SEEDS)) writeFileSync(join(folder, name), block);
