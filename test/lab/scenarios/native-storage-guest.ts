/**
 * The part of the scenario native-storage that runs inside a node: the addon against the node's own kernel. Prints one
 * line per measured fact; the first rule that does not hold ends it with exit code 1.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import type { DmTarget, MdArray } from '../../../src/api/kernel.ts';
import { createKernel } from '../../../src/native/index.ts';

const SECTORS = 400 * 2048;
const MOUNT_POINT = '/tmp/native-storage';
const PF_MEMALLOC_NOIO = 0x80000;

const kernel = createKernel();
const events = new Set<string>();
const watch = kernel.watch((batch) => {
  for (const { source, action, device } of batch) events.add(`${source} ${action} ${device}`.trim());
});

const note = (text: string): void => void process.stdout.write(`${text}\n`);
const sh = (command: string): string => execFileSync('sh', ['-c', command], { encoding: 'utf8' }).trim();

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'ok';
  } catch (error: unknown) {
    return (error as { code: string }).code;
  }
}

async function until<T>(what: string, look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  const start = Date.now();
  while (Date.now() - start < 20_000) {
    const seen = await look();
    if (seen !== undefined) return seen;
    await sleep(50);
  }
  throw new Error(`${what}: not in 20 s`);
}

async function expectEvents(...wanted: string[]): Promise<void> {
  await until(wanted.join(', '), () => (wanted.every((event) => events.has(event)) ? true : undefined));
  events.clear();
}

const linear = (below: string): DmTarget[] => [
  { startSectors: 0, lengthSectors: SECTORS, type: 'linear', params: `${below} 2048` },
];
const guard = (below: string): DmTarget[] => [
  {
    startSectors: 0,
    lengthSectors: SECTORS,
    type: 'multipath',
    params: `3 queue_if_no_path queue_mode bio 0 1 1 service-time 0 1 1 ${below} 1`,
  },
];

async function theArray(): Promise<MdArray> {
  const [array, ...others] = await kernel.mdArrays();
  assert.ok(array !== undefined && others.length === 0, 'there is one array');
  return array;
}

async function statesOf(): Promise<string[]> {
  return (await theArray()).members.map(({ state }) => state.join(','));
}

async function flagThreads(): Promise<void> {
  await kernel.setIoFlusher();
  const threads = readdirSync('/proc/self/task').map((thread) => {
    const stat = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8');
    const flags = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[6]);
    const status = readFileSync(`/proc/self/task/${thread}/status`, 'utf8');
    return { flagged: (flags & PF_MEMALLOC_NOIO) !== 0, takesSignals: !/^SigBlk:\s+f/m.test(status) };
  });
  assert.deepEqual(
    threads.filter(({ flagged, takesSignals }) => takesSignals && !flagged),
    [],
    'a thread that can be told is an I/O flusher',
  );
  note(`I/O flusher: ${threads.filter(({ flagged }) => flagged).length} of ${threads.length} threads`);
}

async function makeDevices(): Promise<void> {
  const refused = [{ startSectors: 0, lengthSectors: 8, type: 'linear', params: '/dev/none 0' }];
  assert.notEqual(await codeOf(kernel.createDm('meshstor-bad', 'MESHSTOR-bad', refused)), 'ok');
  assert.deepEqual(await kernel.dmDevices('meshstor-'), [], 'a refused table leaves no device');

  await kernel.createDm('meshstor-below', 'MESHSTOR-below', linear('/dev/nvme0n1'));
  sh('dmsetup create meshstor-g0 -u MESHSTOR-g0 --notable');
  assert.deepEqual((await kernel.dmDevices('meshstor-g0'))[0]?.table, [], 'an unfinished device has no table');
  await kernel.createDm('meshstor-g0', 'MESHSTOR-g0', guard('/dev/mapper/meshstor-below'));
  const made = await kernel.createDm('meshstor-g1', 'MESHSTOR-g1', guard('/dev/nvme1n1'));
  assert.match(made.table[0]?.params ?? '', /queue_if_no_path/);
  assert.equal(readlinkSync('/dev/mapper/meshstor-g1'), `../${made.kernelName}`);
  assert.equal(await codeOf(kernel.createDm('meshstor-g1', 'MESHSTOR-g1', guard('/dev/nvme1n1'))), 'EEXIST');
  assert.equal(await codeOf(kernel.createDm('meshstor-g9', 'MESHSTOR-g1', guard('/dev/nvme1n1'))), 'EEXIST');
  await expectEvents(`uevent add ${made.kernelName}`, `uevent change ${made.kernelName}`);
  note(`guard: ${made.table[0]?.params ?? ''}`);
}

async function makeArray(): Promise<void> {
  writeFileSync('/tmp/native-storage.conf', 'CREATE bbl=no\n');
  sh(`mdadm --create /dev/md0 --config=/tmp/native-storage.conf --run --metadata=1.2 --homehost=meshstor --level=1 \
      --raid-devices=2 --bitmap=internal --assume-clean /dev/mapper/meshstor-g0 --write-mostly /dev/mapper/meshstor-g1 2>&1`);
  const array = await theArray();
  const uuid = /MD_UUID=(\S+)/.exec(sh('mdadm --detail --export /dev/md0'))?.[1]?.replaceAll(':', '');
  assert.equal(array.uuid?.replaceAll('-', ''), uuid);
  assert.equal(array.degraded, 0);
  assert.deepEqual(await statesOf(), ['in_sync', 'in_sync,write_mostly']);
  const superblock = await kernel.readMdSuperblock('/dev/mapper/meshstor-g1');
  assert.equal(superblock?.arrayUuid, array.uuid);
  assert.equal(superblock?.role, 1);
  assert.deepEqual([superblock?.writeMostly, superblock?.hasBitmap, superblock?.hasBadBlockLog], [true, true, false]);
  assert.equal(superblock?.usedSizeBytes, array.sizeBytes);
  assert.equal(await kernel.readMdSuperblock('/dev/nvme0n1'), undefined);
  assert.equal(await codeOf(kernel.removeDm('meshstor-g0')), 'EBUSY');
  await expectEvents('uevent add md0', 'md md');
}

async function changeMember(): Promise<void> {
  const member = (await theArray()).members[1]?.name ?? '';
  await kernel.setMdMemberState('md0', member, '-write_mostly');
  assert.deepEqual(await statesOf(), ['in_sync', 'in_sync']);
  await kernel.setMdMemberState('md0', member, 'write_mostly');
  assert.equal(await codeOf(kernel.setMdMemberState('md0', member, 'nonsense')), 'EINVAL');
  await kernel.setMdMemberState('md0', member, 'faulty');
  await expectEvents('md md md0', 'md md');
  assert.equal((await theArray()).degraded, 1);
  await kernel.setMdMemberState('md0', member, 'remove');
}

async function holdRecovery(): Promise<void> {
  await kernel.setMdAttribute('md0', 'sync_max', '81920');
  sh('mdadm --zero-superblock /dev/mapper/meshstor-g1 2>&1; mdadm /dev/md0 --add /dev/mapper/meshstor-g1 2>&1');
  const held = await until('the recovery stands at sync_max', async () => {
    const array = await theArray();
    return array.syncDoneSectors === 81920 ? array : undefined;
  });
  assert.deepEqual([held.syncAction, held.syncMax, held.degraded], ['recover', '81920', 1]);
  assert.equal(held.syncTotalSectors, held.sizeBytes / 512);
  events.clear();
  await kernel.setMdAttribute('md0', 'sync_max', 'max');
  await until('the end of the recovery', async () => ((await theArray()).syncAction === 'idle' ? true : undefined));
  assert.deepEqual(await statesOf(), ['in_sync', 'in_sync']);
  await expectEvents('md md md0');
  note(`recovery held at ${held.syncDoneSectors ?? 0} of ${held.syncTotalSectors ?? 0} sectors`);
}

/** Starts a writer of a file on the array's filesystem; the function tells its exit code, undefined while it runs. */
function startWriter(...options: string[]): () => number | undefined {
  let code: number | undefined;
  const writer = spawn('dd', ['if=/dev/zero', `of=${MOUNT_POINT}/file`, ...options], { stdio: 'ignore' });
  writer.on('exit', (status) => (code = status ?? -1));
  return () => code;
}

async function loseAndRegainPath(): Promise<void> {
  sh('mkfs.xfs -q -f /dev/md0');
  mkdirSync(MOUNT_POINT, { recursive: true });
  await kernel.mount('/dev/md0', MOUNT_POINT, 'xfs', ['noatime', 'nodiratime', 'logbufs=8', 'inode64', 'noquota']);
  assert.deepEqual((await theArray()).mountPoints, [MOUNT_POINT]);
  assert.equal(await codeOf(kernel.stopMdArray('md0')), 'EBUSY');
  await kernel.messageDm('meshstor-g1', 'fail_path /dev/nvme1n1');
  assert.match((await kernel.dmDevices('meshstor-g1'))[0]?.status[0]?.params ?? '', / F /);
  const exitCode = startWriter('bs=1M', 'count=4', 'conv=fsync');
  await sleep(1500);
  assert.equal(exitCode(), undefined, 'the writer waits while the guard queues');
  assert.deepEqual(await statesOf(), ['in_sync', 'in_sync']);
  assert.equal(await codeOf(kernel.filesystemUsage(MOUNT_POINT, 1000)), 'ok');
  assert.notEqual(await codeOf(kernel.reloadDm('meshstor-g1', guard('/dev/nvme9n9'))), 'ok');
  assert.equal(
    (await kernel.dmDevices('meshstor-g1'))[0]?.suspended,
    false,
    'a refused reload leaves the guard running',
  );
  await kernel.reloadDm('meshstor-g1', guard('/dev/nvme1n1'));
  assert.equal(await until('the end of the writer', exitCode), 0);
  assert.deepEqual(await statesOf(), ['in_sync', 'in_sync'], 'md never noticed');
}

async function shutDownWithStuckWrite(): Promise<void> {
  await kernel.messageDm('meshstor-g1', 'fail_path /dev/nvme1n1');
  const exitCode = startWriter('bs=4k', 'count=1', 'oflag=direct', 'conv=notrunc');
  await sleep(500);
  assert.equal(await codeOf(kernel.unmount(MOUNT_POINT)), 'EBUSY');
  const start = Date.now();
  await kernel.shutdownFilesystem(MOUNT_POINT);
  await kernel.shutdownFilesystem(MOUNT_POINT);
  note(`XFS with a stuck write shut down, twice, in ${Date.now() - start} ms`);
  await kernel.messageDm('meshstor-g1', 'fail_if_no_path');
  assert.notEqual(await until('the end of the stuck write', exitCode), 0, 'the stuck write is not acknowledged');
  await kernel.unmount(MOUNT_POINT);
  await kernel.unmount(MOUNT_POINT);
}

async function takeDown(): Promise<void> {
  events.clear();
  await kernel.stopMdArray('md0');
  await kernel.stopMdArray('md0');
  assert.deepEqual(await kernel.mdArrays(), []);
  await expectEvents('uevent remove md0');
  const names = ['meshstor-g0', 'meshstor-g1', 'meshstor-below'];
  for (const name of [...names, ...names]) await kernel.removeDm(name);
  assert.deepEqual(await kernel.dmDevices('meshstor-'), []);
  assert.deepEqual(readdirSync('/dev/mapper'), ['control']);
  sh('for drive in /dev/nvme0n1 /dev/nvme1n1; do dd if=/dev/zero of=$drive bs=1M count=8 2>/dev/null; done');
}

for (const part of [
  flagThreads,
  makeDevices,
  makeArray,
  changeMember,
  holdRecovery,
  loseAndRegainPath,
  shutDownWithStuckWrite,
  takeDown,
]) {
  const start = Date.now();
  await part();
  note(`${part.name}: ${Date.now() - start} ms`);
}
watch.stop();
