import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { GptTable } from '../../src/api/kernel.ts';
import { loadAddon } from '../../src/native/load.ts';
import type { RawAddon } from '../../src/native/raw.ts';
import { IMAGE_BYTES, LINUX_RAID, blank, checkTable, patch, read } from './gpt-tables.ts';
import type { Bench } from './gpt-tables.ts';

const MIB = 1024 * 1024;
const TABLES_PER_SECTOR_SIZE = 500;
const DISK_GUID = '5f0c2f5e-6b50-4f3a-9d07-2f6f4d1f9b01';
const OURS = '0c3f3a52-90cd-4d6e-8f4e-8b4a1f1a2b01';

const isRoot = process.getuid?.() === 0;

function attachLoop(image: string, sectorSize: number, ...options: string[]): string {
  const args = ['--find', '--show', '--sector-size', String(sectorSize), ...options, image];
  return execFileSync('losetup', args, { encoding: 'utf8' }).trim();
}

async function codeOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error: unknown) {
    return (error as { code?: unknown }).code;
  }
  return undefined;
}

function ours(startMib: number, sizeMib: number, partitionGuid = OURS) {
  const name = `meshstor-${partitionGuid.slice(0, 8)}`;
  return { typeGuid: LINUX_RAID, partitionGuid, name, startBytes: startMib * MIB, sizeBytes: sizeMib * MIB };
}

describe('GPT on images', () => {
  let addon: RawAddon;
  let folder: string;
  const loops: string[] = [];

  before(() => {
    addon = loadAddon();
    folder = mkdtempSync(join(tmpdir(), 'meshstor-gpt-'));
  });

  afterEach(() => {
    for (const loop of loops.splice(0)) execFileSync('losetup', ['--detach', loop]);
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  function bench(sectorSize: 512 | 4096, name: string): Bench {
    const image = join(folder, name);
    writeFileSync(image, '');
    truncateSync(image, IMAGE_BYTES);
    if (sectorSize === 512) return { addon, image, sectorSize, device: image };
    const loop = attachLoop(image, sectorSize);
    loops.push(loop);
    return { addon, image, sectorSize, device: loop };
  }

  for (const sectorSize of [512, 4096] as const) {
    it(`writes ${TABLES_PER_SECTOR_SIZE} tables of ${sectorSize} byte sectors that sgdisk and sfdisk read as we do`, async function () {
      this.timeout(600_000);
      if (sectorSize === 4096 && !isRoot) {
        this.skip(); // sgdisk and sfdisk need a loop device for any sector size but 512
      }
      const lanes = [bench(sectorSize, `a${sectorSize}.img`), bench(sectorSize, `b${sectorSize}.img`)];
      const failures: string[] = [];
      let checked = 0;
      let seed = sectorSize * 1000;
      const last = seed + TABLES_PER_SECTOR_SIZE;
      const work = lanes.map(async (lane) => {
        while (seed < last && failures.length === 0) {
          const mine = seed;
          seed += 1;
          const wrong = await checkTable(lane, mine);
          if (wrong !== undefined) failures.push(`seed ${mine}: ${wrong}`);
          checked += 1;
        }
      });
      await Promise.all(work);
      expect(failures).to.deep.equal([]);
      expect(checked).to.equal(TABLES_PER_SECTOR_SIZE);
    });
  }

  describe('that are damaged', () => {
    let disk: Bench;

    beforeEach(async () => {
      disk = bench(512, 'damaged.img');
      await addon.initializeGpt(disk.image, DISK_GUID, 512);
      await addon.addGptPartition(disk.image, ours(1, 8), 512);
    });

    async function problems(): Promise<readonly string[]> {
      return (await read(disk)).problems.map((problem) => `${problem.copy} ${problem.field}`);
    }

    it('are used by their good copy, say which field is bad, and are repaired', async () => {
      patch(disk.image, 512 + 60, Uint8Array.of(0xff));
      expect(await problems()).to.deep.equal(['primary HeaderCRC32']);
      expect((await read(disk)).state).to.equal('backup-only');
      expect((await read(disk)).partitions).to.have.length(1);
      await addon.repairGpt(disk.image, 512);
      expect((await read(disk)).state).to.equal('valid');
      patch(disk.image, IMAGE_BYTES - 33 * 512 + 56, Uint8Array.of(0xff));
      expect(await problems()).to.deep.equal(['backup PartitionEntryArrayCRC32']);
      expect((await read(disk)).state).to.equal('primary-only');
      await addon.repairGpt(disk.image, 512);
      expect(execFileSync('sgdisk', ['-v', disk.image], { encoding: 'utf8' })).to.contain('No problems found');
    });

    it('are refused when both copies are bad', async () => {
      patch(disk.image, 512 + 60, Uint8Array.of(0xff));
      patch(disk.image, IMAGE_BYTES - 512 + 60, Uint8Array.of(0xff));
      expect((await read(disk)).state).to.equal('damaged');
      expect(await codeOf(addon.addGptPartition(disk.image, ours(20, 1), 512))).to.equal('EUCLEAN');
      expect(await codeOf(addon.repairGpt(disk.image, 512))).to.equal('EUCLEAN');
      expect(await codeOf(addon.initializeGpt(disk.image, DISK_GUID, 512))).to.equal('EEXIST');
    });

    it('are told when truncated', async () => {
      truncateSync(disk.image, IMAGE_BYTES / 2);
      const table = await read(disk);
      expect(table.state).to.equal('damaged');
      expect(await problems()).to.include.members(['primary AlternateLBA', 'backup Signature']);
      expect(table.partitions).to.deep.equal([]);
    });

    it('are told when made for another sector size', async () => {
      const table = (await addon.readGpt(disk.image, 4096)) as GptTable;
      expect(table.state).to.equal('damaged');
      expect(table.problems.map((problem) => problem.message).join()).to.contain('sectors of 512 bytes');
    });

    it('are foreign when MBR-only, and nothing is written', async () => {
      blank(disk.image);
      execFileSync('sfdisk', ['--quiet', disk.image], { input: 'label: dos\nstart=2048, size=4096, type=83\n' });
      const before = readFileSync(disk.image);
      expect((await read(disk)).state).to.equal('foreign');
      expect(await problems()).to.include('protective-mbr OSType');
      expect(await codeOf(addon.initializeGpt(disk.image, DISK_GUID, 512))).to.equal('EEXIST');
      expect(await codeOf(addon.addGptPartition(disk.image, ours(20, 1), 512))).to.equal('EUCLEAN');
      expect(await codeOf(addon.repairGpt(disk.image, 512))).to.equal('EUCLEAN');
      expect(readFileSync(disk.image).equals(before)).to.equal(true);
    });
  });

  for (const sectorSize of [512, 4096] as const) {
    it(`tells the kernel about one partition at a time (loop device, ${sectorSize} byte sectors)`, async function () {
      if (!isRoot) this.skip(); // losetup needs root
      const image = join(folder, 'kernel.img');
      writeFileSync(image, '');
      truncateSync(image, IMAGE_BYTES);
      const loop = attachLoop(image, sectorSize, '--partscan');
      loops.push(loop);
      const part = (number: number) => `/sys/class/block/${loop.slice(5)}p${number}`;
      const sizeOf = (number: number) => Number(readFileSync(`${part(number)}/size`, 'utf8')) * 512;
      const second = 'aa3f3a52-90cd-4d6e-8f4e-8b4a1f1a2b02';
      await addon.initializeGpt(loop, DISK_GUID);
      expect(await addon.addGptPartition(loop, ours(1, 4))).to.equal(`${loop}p1`);
      expect(await addon.addGptPartition(loop, ours(10, 4, second))).to.equal(`${loop}p2`);
      expect(Number(readFileSync(`${part(2)}/start`, 'utf8')) * 512).to.equal(10 * MIB);
      await addon.resizeGptPartition(loop, OURS, 9 * MIB);
      expect(sizeOf(1)).to.equal(9 * MIB);
      expect(await codeOf(addon.resizeGptPartition(loop, OURS, 10 * MIB))).to.equal('ENOSPC');
      if (existsSync(`${loop}p1`)) {
        const held = openSync(`${loop}p1`, 'r');
        expect(await codeOf(addon.removeGptPartition(loop, OURS))).to.equal('EBUSY');
        closeSync(held);
        expect(((await addon.readGpt(loop)) as GptTable).partitions).to.have.length(2);
      }
      await addon.removeGptPartition(loop, OURS);
      expect(existsSync(part(1))).to.equal(false);
      expect(existsSync(part(2))).to.equal(true);
      const table = (await addon.readGpt(loop)) as GptTable;
      expect(table).to.include({ state: 'valid', sectorSize });
      expect(table.partitions.map((one) => one.partitionGuid)).to.deep.equal([second]);
    });
  }
});
