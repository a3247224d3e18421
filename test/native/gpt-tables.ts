import { execFile } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';

import type { GptPartition, GptTable } from '../../src/api/kernel.ts';
import type { RawAddon } from '../../src/native/raw.ts';

/** Random tables, made by sfdisk or by us, changed by us, and read by three programs. */

const run = promisify(execFile);
const MIB = 1024 * 1024;
const DISK_GUID = '6f1b4f0e-3d0d-4c55-8a4e-0d2f0a9b7c11';

export const IMAGE_BYTES = 64 * MIB;
export const LINUX_RAID = 'A19D880F-05FC-4D3B-A006-743F0F84911E';
const FOREIGN_TYPES = [
  '0FC63DAF-8483-4772-8E79-3D69D8477DE4',
  'C12A7328-F81F-11D2-BA4B-00A0C93EC93B',
  'E6D6D379-F507-44C2-A23C-238F2A3DF928',
];

/** Small deterministic generator (mulberry32): a failing table is found again by its seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Integer in [0, limit). */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  guid(): string {
    const hex = Array.from({ length: 32 }, () => this.below(16).toString(16)).join('');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
  }
}

/** One disk under test: the image file, its sector size, and the path under which other programs see it. */
export interface Bench {
  readonly addon: RawAddon;
  readonly image: string;
  readonly sectorSize: 512 | 4096;
  /** A loop device of that sector size over the image for 4096: sgdisk and sfdisk take every file for one of 512. */
  readonly device: string;
}

interface ForeignPartition {
  readonly start: number;
  readonly size: number;
  readonly type: string;
  readonly uuid: string;
  readonly name: string;
  readonly attrs: string | undefined;
}

interface SfdiskPartition {
  readonly node: string;
  readonly start: number;
  readonly size: number;
  readonly type: string;
  readonly uuid: string;
  readonly name?: string;
  readonly attrs?: string;
}

/** Makes the image blank again by emptying it: the file is sparse, so this costs nothing. */
export function blank(image: string): void {
  const fd = openSync(image, 'r+');
  ftruncateSync(fd, 0);
  ftruncateSync(fd, IMAGE_BYTES);
  closeSync(fd);
}

export function patch(image: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(image, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

export async function read(bench: Bench): Promise<GptTable> {
  return (await bench.addon.readGpt(bench.image, bench.sectorSize)) as GptTable;
}

async function sfdiskScript(bench: Bench, script: string): Promise<void> {
  const options = ['--quiet', '--no-reread', '--no-tell-kernel', '--wipe', 'never', '--wipe-partitions', 'never'];
  const child = execFile('sfdisk', [...options, bench.device]);
  const done = new Promise<number | null>((resolve) => child.on('close', resolve));
  let complaint = '';
  child.stderr?.on('data', (text: string) => (complaint += text));
  child.stdin?.end(script);
  const code = await done;
  if (code !== 0) throw new Error(`sfdisk refused the script (${code}): ${complaint}\n${script}`);
}

async function sfdiskPartitions(bench: Bench): Promise<readonly SfdiskPartition[]> {
  const { stdout } = await run('sfdisk', ['--json', bench.device]);
  const parsed = JSON.parse(stdout) as { partitiontable: { sectorsize: number; partitions?: SfdiskPartition[] } };
  if (parsed.partitiontable.sectorsize !== bench.sectorSize) throw new Error('sfdisk used another sector size');
  return parsed.partitiontable.partitions ?? [];
}

/** Partitions of others: not aligned to 1 MiB, with gaps, and in an order that is not that of the disk. */
async function makeForeign(bench: Bench, random: Random): Promise<readonly ForeignPartition[]> {
  const lengths = [64, 128, 256];
  const tableLength = lengths[random.below(lengths.length)] ?? 128;
  const partitions: ForeignPartition[] = [];
  let at = 128 + random.below(512);
  for (let left = random.below(6); left > 0; left -= 1) {
    const size = 1 + random.below((6 * MIB) / bench.sectorSize);
    partitions.push({
      start: at,
      size,
      type: FOREIGN_TYPES[random.below(FOREIGN_TYPES.length)] ?? LINUX_RAID,
      uuid: random.guid().toUpperCase(),
      name: `foreign ${left}`,
      attrs: random.below(3) === 0 ? 'GUID:60' : undefined,
    });
    at += size + random.below((4 * MIB) / bench.sectorSize);
  }
  if (random.below(2) === 0) partitions.reverse();
  const lines = partitions.map((part) => {
    const attrs = part.attrs === undefined ? '' : `, attrs="${part.attrs}"`;
    return `start=${part.start}, size=${part.size}, type=${part.type}, uuid=${part.uuid}, name="${part.name}"${attrs}`;
  });
  await sfdiskScript(
    bench,
    ['label: gpt', `table-length: ${tableLength}`, 'unit: sectors', 'first-lba: 128', '', ...lines, ''].join('\n'),
  );
  return partitions;
}

async function addSomewhere(bench: Bench, random: Random): Promise<string | undefined> {
  const { freeExtents } = await read(bench);
  const extent = freeExtents[random.below(freeExtents.length)];
  if (extent === undefined) return undefined;
  const room = extent.sizeBytes / MIB;
  const skip = random.below(Math.min(room, 3));
  const size = 1 + random.below(Math.min(room - skip, 12));
  const partitionGuid = random.guid();
  const partition = {
    typeGuid: LINUX_RAID,
    partitionGuid,
    name: `meshstor-${partitionGuid.slice(0, 8)}`,
    startBytes: extent.startBytes + skip * MIB,
    sizeBytes: size * MIB,
  };
  await bench.addon.addGptPartition(bench.image, partition, bench.sectorSize);
  return partitionGuid;
}

/** Gives the partition a random size between 1 MiB and all the free space behind it. */
async function resizeSomehow(bench: Bench, guid: string, random: Random): Promise<void> {
  const { partitions, freeExtents } = await read(bench);
  const part = partitions.find((one) => one.partitionGuid === guid);
  if (part === undefined) throw new Error(`partition ${guid} is gone`);
  const end = part.startBytes + part.sizeBytes;
  const behind = freeExtents.find((extent) => extent.startBytes === end)?.sizeBytes ?? 0;
  const size = (1 + random.below((part.sizeBytes + behind) / MIB)) * MIB;
  await bench.addon.resizeGptPartition(bench.image, guid, size, bench.sectorSize);
}

function sameAsSfdisk(mine: GptPartition, theirs: SfdiskPartition, sectorSize: number): boolean {
  return (
    /\d+$/.exec(theirs.node)?.[0] === String(mine.number) &&
    theirs.start * sectorSize === mine.startBytes &&
    theirs.size * sectorSize === mine.sizeBytes &&
    theirs.type === mine.typeGuid &&
    theirs.uuid.toLowerCase() === mine.partitionGuid &&
    (theirs.name ?? '') === mine.name
  );
}

function sameForeign(was: ForeignPartition, is: SfdiskPartition | undefined): boolean {
  if (is === undefined) return false;
  const same = was.start === is.start && was.size === is.size && was.type === is.type && was.name === is.name;
  return same && was.attrs === is.attrs;
}

/** Makes and changes one table; returns what is wrong with it, or undefined. */
export async function checkTable(bench: Bench, seed: number): Promise<string | undefined> {
  const random = new Random(seed);
  blank(bench.image);
  let foreign: readonly ForeignPartition[] = [];
  if (random.below(4) === 0) {
    await bench.addon.initializeGpt(bench.image, DISK_GUID, bench.sectorSize);
  } else {
    foreign = await makeForeign(bench, random);
  }
  const ours: string[] = [];
  for (let left = 1 + random.below(4); left > 0; left -= 1) {
    const added = await addSomewhere(bench, random);
    if (added !== undefined) ours.push(added);
  }
  const resized = ours[random.below(ours.length)];
  if (resized !== undefined) await resizeSomehow(bench, resized, random);
  const removed = random.below(2) === 0 ? ours.pop() : undefined;
  if (removed !== undefined) await bench.addon.removeGptPartition(bench.image, removed, bench.sectorSize);

  const table = await read(bench);
  if (table.state !== 'valid' || table.problems.length > 0) return `we read ${JSON.stringify(table)}`;
  if (table.partitions.length !== foreign.length + ours.length) return `${table.partitions.length} partitions`;
  const [verdict, theirs] = await Promise.all([run('sgdisk', ['-v', bench.device]), sfdiskPartitions(bench)]);
  if (!verdict.stdout.includes('No problems found')) return `sgdisk: ${verdict.stdout}${verdict.stderr}`;
  if (theirs.length !== table.partitions.length) return `sfdisk sees ${theirs.length} partitions`;
  const different = table.partitions.find((mine) => !theirs.some((one) => sameAsSfdisk(mine, one, bench.sectorSize)));
  if (different !== undefined) return `sfdisk differs: ${JSON.stringify(different)} ${JSON.stringify(theirs)}`;
  const touched = foreign.find(
    (was) =>
      !sameForeign(
        was,
        theirs.find((one) => one.uuid === was.uuid),
      ),
  );
  if (touched !== undefined) return `foreign partition changed: ${JSON.stringify(touched)} ${JSON.stringify(theirs)}`;
  return undefined;
}
