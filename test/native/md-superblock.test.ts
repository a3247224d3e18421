import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, truncateSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { MdSuperblock } from '../../src/api/kernel.ts';
import { loadAddon } from '../../src/native/load.ts';

const MIB = 1024 * 1024;
const SUPERBLOCK_AT = 4096;
const BITMAP_AT = 8192;
const SEEDS = join(import.meta.dirname, '..', '..', 'native', 'test', 'seeds', 'md_superblock');

type Said = Pick<
  MdSuperblock,
  'level' | 'raidDisks' | 'role' | 'dirty' | 'writeMostly' | 'hasBitmap' | 'hasBadBlockLog'
>;

const HEALTHY: Said = {
  level: 1,
  raidDisks: 2,
  role: 0,
  dirty: false,
  writeMostly: false,
  hasBitmap: true,
  hasBadBlockLog: false,
};

/** The header of an internal bitmap (drivers/md/md-bitmap.h). Without it mdadm takes the superblock for one without bitmap. */
function bitmapHeader(arrayUuid: Uint8Array): Buffer {
  const header = Buffer.alloc(256);
  header.write('bitm', 'latin1');
  header.writeUInt32LE(4, 4); // version
  header.set(arrayUuid, 8);
  header.writeBigUInt64LE(BigInt((64 * MIB) / 512), 40); // sectors that it covers
  header.writeUInt32LE(MIB, 52); // bytes of a chunk
  header.writeUInt32LE(5, 56); // seconds between clean-ups
  return header;
}

/** What each seed was made to say; `damaged` has to be refused. */
const EXPECTED: Readonly<Record<string, Partial<Said> | 'damaged'>> = {
  'raid1-first': {},
  'raid1-second-write-mostly': { role: 1, writeMostly: true },
  'raid1-degraded-dirty': { dirty: true },
  'raid1-recovering': { role: 1 },
  'raid1-bad-blocks': { role: 1, hasBadBlockLog: true },
  'raid10-spare': { level: 10, raidDisks: 4, role: 'spare', hasBitmap: false },
  'raid10-last': { level: 10, raidDisks: 4, role: 3 },
  'wrong-checksum': 'damaged',
};

describe('MD superblocks that seed the fuzzer', () => {
  const addon = loadAddon();
  let folder = '';

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'meshstor-md-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** A file as big as the member, with the seed where the superblock stands. */
  function member(name: string): string {
    const path = join(folder, name);
    const file = openSync(path, 'w');
    const seed = readFileSync(join(SEEDS, name));
    writeSync(file, seed, 0, undefined, SUPERBLOCK_AT);
    writeSync(file, bitmapHeader(seed.subarray(16, 32)), 0, undefined, BITMAP_AT);
    closeSync(file);
    truncateSync(path, 72 * MIB);
    return path;
  }

  it('are the ones that are described here', () => {
    expect(readdirSync(SEEDS).sort()).to.deep.equal(Object.keys(EXPECTED).sort());
  });

  for (const [name, expected] of Object.entries(EXPECTED)) {
    it(`${name} is read for what it says`, async () => {
      if (expected === 'damaged') {
        const error: unknown = await addon.readMdSuperblock(member(name)).catch((reason: unknown) => reason);
        expect(error).to.include({ code: 'EBADMSG' });
        return;
      }
      const found = await addon.readMdSuperblock(member(name));
      expect(found).to.deep.include({ ...HEALTHY, ...expected, setName: 'meshstor:pvc-1', dataOffsetBytes: 8 * MIB });
    });

    it(`${name} is the same for mdadm, its checksum too`, () => {
      const text = execFileSync('mdadm', ['--examine', member(name)], { encoding: 'utf8', stdio: 'pipe' });
      const said: Record<string, string | undefined> = {};
      for (const [, key = '', value = ''] of text.matchAll(/^ *(\S[^:]*?) : (.*)$/gm)) said[key] = value.trim();
      const { level, raidDisks } = { ...HEALTHY, ...(expected === 'damaged' ? {} : expected) };
      expect(said).to.include({ Version: '1.2', 'Raid Level': `raid${level}`, 'Raid Devices': String(raidDisks) });
      expect(said.Checksum).to.match(expected === 'damaged' ? / - expected / : / - correct$/);
    });
  }
});
