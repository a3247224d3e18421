import { expect } from 'chai';

import type { KernelEvent, MdArray } from '../../src/api/kernel.ts';
import { claimTable, guardTable } from '../../src/node/dm-tables.ts';
import { MIB } from '../fakes/fake-bytes.ts';
import { Killed } from '../fakes/fake-faults.ts';
import type { FakeNode } from '../fakes/fake-node.ts';
import {
  ARRAY_UUID,
  codeOf,
  DATA_OFFSET,
  DISK,
  FS_UUID,
  newPartition,
  NQN,
  OTHER,
  PART,
  SIZE,
  TwoNodes,
  waits,
} from '../fakes/two-nodes.ts';

async function arrayOf(node: FakeNode): Promise<MdArray> {
  const [array] = await node.kernel.mdArrays();
  if (array === undefined) throw new Error(`${node.name} has no array`);
  return array;
}

/** State words by member device. */
async function membersOf(node: FakeNode): Promise<Record<string, string>> {
  return Object.fromEntries((await arrayOf(node)).members.map(({ name, state }) => [name, state.join(',')]));
}

/** Takes the stack of `TwoNodes.mirror` down, cleanly. */
async function takeDown(node: FakeNode): Promise<void> {
  await node.kernel.unmount('/mnt');
  await node.kernel.stopMdArray('md127');
  await node.kernel.removeDm('g0');
  await node.kernel.removeDm('g1');
  await node.kernel.nvmeDisconnect(NQN);
}

describe('fake kernel: arrays', () => {
  it('writes to every member, and shows who is write-mostly', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    await nodes.one.mounts.writeFile('/mnt', 'a', 'hello');
    expect(await arrayOf(nodes.one)).to.deep.include({
      uuid: ARRAY_UUID,
      arrayState: 'active',
      level: 'raid1',
      degraded: 0,
      sizeBytes: SIZE - DATA_OFFSET,
      mountPoints: ['/mnt'],
    });
    expect(await membersOf(nodes.one)).to.deep.equal({ 'dm-0': 'in_sync', 'dm-1': 'in_sync,write_mostly' });
    const one = await nodes.one.kernel.readBytes('/dev/nvme0n1p1', DATA_OFFSET, SIZE - DATA_OFFSET);
    const two = await nodes.two.kernel.readBytes('/dev/nvme0n1p1', DATA_OFFSET, SIZE - DATA_OFFSET);
    expect(Buffer.compare(one, two)).to.equal(0);
    expect(Buffer.from(one).includes('hello')).to.equal(true);
  });

  it('cannot be stopped while mounted, nor its legs removed while it runs; comes down in order', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    expect(await codeOf(nodes.one.kernel.stopMdArray('md127'))).to.equal('EBUSY');
    expect(await codeOf(nodes.one.kernel.removeDm('g0'))).to.equal('EBUSY');
    await nodes.one.kernel.unmount('/mnt');
    expect(await codeOf(nodes.one.kernel.removeDm('g0'))).to.equal('EBUSY');
    await takeDown(nodes.one);
    await takeDown(nodes.one);
    expect(await nodes.one.kernel.mdArrays()).to.deep.equal([]);
    expect(await nodes.one.kernel.dmDevices('')).to.deep.equal([]);
  });

  it('waits for a member whose guard queues, and has noticed nothing when the path is back', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    nodes.fabric.cut('node1', 'node2');
    const write = nodes.one.mounts.writeFile('/mnt', 'a', 'waiting');
    expect(await waits(write)).to.equal(true);
    expect((await arrayOf(nodes.one)).degraded).to.equal(0);
    expect(nodes.one.dm.waitingIo('g1')).to.equal(1);
    nodes.fabric.heal('node1', 'node2');
    expect(await waits(write), 'a healed link does not reload the guard').to.equal(true);
    await nodes.one.kernel.reloadDm('g1', guardTable('/dev/nvme1n1', SIZE));
    await write;
    expect(await membersOf(nodes.one)).to.deep.equal({ 'dm-0': 'in_sync', 'dm-1': 'in_sync,write_mostly' });
  });

  it('drops a member whose guard fails, records it in the others, and goes on', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    nodes.fabric.cut('node1', 'node2');
    const write = nodes.one.mounts.writeFile('/mnt', 'a', 'degraded');
    expect(await waits(write)).to.equal(true);
    await nodes.one.kernel.messageDm('g1', 'fail_if_no_path');
    await write;
    expect((await arrayOf(nodes.one)).degraded).to.equal(1);
    expect((await membersOf(nodes.one))['dm-1']).to.equal('faulty,write_mostly');
    const good = await nodes.one.kernel.readMdSuperblock('/dev/nvme0n1p1');
    const stale = await nodes.two.kernel.readMdSuperblock('/dev/nvme0n1p1');
    expect(good?.events).to.be.greaterThan(stale?.events ?? Infinity);
    expect(stale?.role).to.equal(1);
  });

  it('never drops the last good member: the error goes up', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    await nodes.one.kernel.setMdMemberState('md127', 'dm-1', 'faulty');
    expect(await codeOf(nodes.one.kernel.setMdMemberState('md127', 'dm-0', 'faulty'))).to.equal('EBUSY');
    nodes.one.disk('nvme0n1').failing = 'EIO';
    await nodes.one.kernel.messageDm('g0', 'fail_if_no_path');
    expect(await codeOf(nodes.one.mounts.writeFile('/mnt', 'a', 'x'))).to.equal('EIO');
    expect((await membersOf(nodes.one))['dm-0']).to.equal('in_sync');
  });

  it('assembles read-only, with nothing written, until it is made writable', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    await nodes.one.mounts.writeFile('/mnt', 'a', 'kept');
    await takeDown(nodes.one);
    const before = await nodes.two.kernel.readMdSuperblock('/dev/nvme0n1p1');
    expect(before?.dirty).to.equal(false);
    await nodes.two.md.assembleReadOnly(ARRAY_UUID, ['/dev/mapper/claim']);
    expect(await codeOf(nodes.two.md.assembleReadOnly(ARRAY_UUID, ['/dev/mapper/claim']))).to.equal('EBUSY');
    expect(await arrayOf(nodes.two)).to.include({ arrayState: 'readonly', degraded: 1 });
    expect(await codeOf(nodes.two.kernel.mount('/dev/md127', '/mnt', 'xfs', []))).to.equal('EROFS');
    expect(await nodes.two.kernel.readMdSuperblock('/dev/nvme0n1p1')).to.deep.equal(before);
    await nodes.two.kernel.setMdAttribute('md127', 'array_state', 'active');
    await nodes.two.kernel.mount('/dev/md127', '/mnt', 'xfs', []);
    expect(await nodes.two.mounts.readFile('/mnt', 'a')).to.equal('kept');
  });

  it('silently leaves out a member that the freshest superblock calls failed', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    await nodes.one.kernel.setMdMemberState('md127', 'dm-1', 'faulty');
    await nodes.one.mounts.writeFile('/mnt', 'a', 'newer');
    nodes.one.crash();
    await nodes.one.kernel.createDm('g0', '', guardTable('/dev/nvme0n1p1', SIZE));
    await nodes.one.kernel.createDm('g1', '', guardTable(await nodes.importedPath(), SIZE));
    await nodes.one.md.assembleReadOnly(ARRAY_UUID, ['/dev/mapper/g1', '/dev/mapper/g0']);
    expect(await membersOf(nodes.one)).to.deep.equal({ 'dm-0': 'in_sync' });
    expect((await nodes.one.kernel.dmDevices('g1'))[0]?.openCount).to.equal(0);
  });

  it('starts from a stale member alone, as mdadm would: keeping it out is the caller’s business', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    await nodes.one.kernel.setMdMemberState('md127', 'dm-1', 'faulty');
    await nodes.two.md.assembleReadOnly(ARRAY_UUID, ['/dev/mapper/claim']);
    expect((await arrayOf(nodes.two)).degraded).to.equal(1);
  });

  it('resyncs after a crash under writes, and not after a clean stop', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    await nodes.one.mounts.writeFile('/mnt', 'a', 'dirty');
    nodes.one.md.autoSync = false;
    nodes.one.crash();
    expect((await nodes.one.kernel.readMdSuperblock('/dev/nvme0n1p1'))?.dirty).to.equal(true);
    await nodes.one.kernel.createDm('g0', '', guardTable('/dev/nvme0n1p1', SIZE));
    await nodes.one.kernel.createDm('g1', '', guardTable(await nodes.importedPath(), SIZE));
    await nodes.one.md.assembleReadOnly(ARRAY_UUID, ['/dev/mapper/g0', '/dev/mapper/g1']);
    expect((await arrayOf(nodes.one)).syncAction).to.equal('idle');
    await nodes.one.kernel.setMdAttribute('md127', 'array_state', 'active');
    expect((await arrayOf(nodes.one)).syncAction).to.equal('resync');
    await nodes.one.md.finishSync('md127');
    expect(await arrayOf(nodes.one)).to.include({ syncAction: 'idle', degraded: 0 });
    await nodes.one.kernel.stopMdArray('md127');
    await nodes.one.md.assembleReadOnly(ARRAY_UUID, ['/dev/mapper/g0', '/dev/mapper/g1']);
    await nodes.one.kernel.setMdAttribute('md127', 'array_state', 'active');
    expect((await arrayOf(nodes.one)).syncAction).to.equal('idle');
  });

  it('fills an added member, stops where sync_max says, and reads from it only after the end', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    await nodes.one.mounts.writeFile('/mnt', 'a', 'copied');
    await nodes.one.kernel.setMdMemberState('md127', 'dm-1', 'faulty');
    await nodes.one.kernel.setMdMemberState('md127', 'dm-1', 'remove');
    expect((await nodes.one.kernel.dmDevices('g1'))[0]?.openCount).to.equal(0);
    await nodes.one.kernel.addGptPartition(DISK, newPartition(OTHER, 64 * MIB));
    await nodes.one.kernel.createDm('g2', '', guardTable('/dev/nvme0n1p2', SIZE));
    await nodes.one.kernel.setMdAttribute('md127', 'sync_max', '2048');
    await nodes.one.md.add('md127', '/dev/mapper/g2');
    await nodes.one.md.settle();
    expect(await arrayOf(nodes.one)).to.include({ syncAction: 'recover', syncDoneSectors: 2048, degraded: 1 });
    expect((await membersOf(nodes.one))['dm-2']).to.equal('spare');
    await nodes.one.kernel.setMdAttribute('md127', 'sync_max', 'max');
    await nodes.one.md.settle();
    expect(await arrayOf(nodes.one)).to.include({ syncAction: 'idle', degraded: 0 });
    const copy = await nodes.one.kernel.readBytes('/dev/nvme0n1p2', DATA_OFFSET, SIZE - DATA_OFFSET);
    expect(Buffer.from(copy).includes('copied')).to.equal(true);
  });

  it('keeps each copy of a RAID10 on its slots, and needs one of every column to start', async () => {
    const { one } = new TwoNodes();
    await one.kernel.initializeGpt(DISK, FS_UUID);
    const legs: string[] = [];
    for (let slot = 0; slot < 4; slot += 1) {
      const guid = PART.replace(/.$/, String(slot));
      const path = await one.kernel.addGptPartition(DISK, newPartition(guid, (1 + 40 * slot) * MIB));
      await one.kernel.createDm(`l${String(slot)}`, '', claimTable(path, SIZE));
      legs.push(`/dev/mapper/l${String(slot)}`);
    }
    await one.md.create({
      uuid: ARRAY_UUID,
      name: 'vol',
      level: 10,
      layoutCopies: 2,
      members: legs,
      writeMostly: new Set(),
      sizeBytes: SIZE - DATA_OFFSET,
      dataOffsetBytes: DATA_OFFSET,
    });
    expect((await arrayOf(one)).sizeBytes).to.equal(2 * (SIZE - DATA_OFFSET));
    const data = Buffer.alloc(3 * MIB, 'stripe!');
    await one.kernel.writeBytes('/dev/md127', 256 * 1024, data);
    await one.kernel.setMdMemberState('md127', 'dm-0', 'faulty');
    await one.kernel.setMdMemberState('md127', 'dm-3', 'faulty');
    expect(await codeOf(one.kernel.setMdMemberState('md127', 'dm-1', 'faulty'))).to.equal('EBUSY');
    expect(Buffer.compare(await one.kernel.readBytes('/dev/md127', 256 * 1024, data.length), data)).to.equal(0);
    await one.kernel.stopMdArray('md127');
    expect(await codeOf(one.md.assembleReadOnly(ARRAY_UUID, [legs[1] ?? '']))).to.equal('EIO');
    await one.md.assembleReadOnly(ARRAY_UUID, legs);
    expect((await arrayOf(one)).degraded).to.equal(2);
  });

  it('loses superblock and identity when the start of a member is wiped', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    await takeDown(nodes.one);
    expect(await nodes.one.kernel.signatures('/dev/nvme0n1p1')).to.deep.equal(['linux_raid_member']);
    await nodes.one.kernel.zeroRange('/dev/nvme0n1p1', { startBytes: 0, sizeBytes: MIB }, 'full');
    expect(await nodes.one.kernel.readMdSuperblock('/dev/nvme0n1p1')).to.equal(undefined);
    expect(await codeOf(nodes.one.md.assembleReadOnly(ARRAY_UUID, ['/dev/nvme0n1p1']))).to.equal('ENOENT');
  });
});

describe('fake kernel: filesystems and mounts', () => {
  it('mounts only a finished filesystem of the named type, and only once on a point', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    const { kernel, mounts } = nodes.one;
    expect(await codeOf(kernel.mount('/dev/md127', '/mnt', 'xfs', []))).to.equal('EBUSY');
    expect(await codeOf(kernel.mount('/dev/md127', '/x', 'ext4', []))).to.equal('EINVAL');
    expect(await codeOf(mounts.make('/dev/md127', 'xfs', FS_UUID))).to.equal('EBUSY');
    await kernel.unmount('/mnt');
    await mounts.make('/dev/md127', 'xfs', FS_UUID, true);
    expect((await kernel.readBytes('/dev/md127', 0, 4096))[126]).to.equal(1);
    expect(await codeOf(kernel.mount('/dev/md127', '/mnt', 'xfs', []))).to.equal('EINVAL');
  });

  it('binds directories and device nodes, and unmounts from the top', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    const { kernel } = nodes.one;
    await kernel.bindMount('/mnt', '/pod/a', true);
    await kernel.bindMount('/dev/md127', '/pod/b', false);
    const entries = (await kernel.mounts()).map(({ mountPoint, root, fsType, options }) =>
      [mountPoint, root, fsType, options[0]].join(' '),
    );
    expect(entries).to.deep.equal(['/mnt / xfs rw', '/pod/a / xfs ro', '/pod/b /md127 devtmpfs rw']);
    await kernel.unmount('/mnt');
    expect(await codeOf(kernel.stopMdArray('md127')), 'the bind still holds it').to.equal('EBUSY');
    nodes.one.mounts.hold('/pod/a');
    expect(await codeOf(kernel.unmount('/pod/a'))).to.equal('EBUSY');
    nodes.one.mounts.release('/pod/a');
    await kernel.unmount('/pod/a');
    await kernel.unmount('/pod/b');
    await kernel.unmount('/pod/b');
    await kernel.stopMdArray('md127');
  });

  it('fails everything on a filesystem that was shut down, and unmounts it', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    await nodes.one.kernel.shutdownFilesystem('/mnt');
    expect(await codeOf(nodes.one.mounts.writeFile('/mnt', 'a', 'x'))).to.equal('EIO');
    expect(await codeOf(nodes.one.kernel.filesystemUsage('/mnt', 1000))).to.equal('EIO');
    await nodes.one.kernel.unmount('/mnt');
    expect(await codeOf(nodes.one.kernel.filesystemUsage('/mnt', 1000))).to.equal('ENOENT');
  });
});

describe('fake kernel: crashes, faults and events', () => {
  it('loses everything but the drives in a crash, and boots with another id', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    await nodes.one.mounts.writeFile('/mnt', 'a', 'durable');
    const bootId = nodes.one.bootId;
    await nodes.one.kernel.acquireNodeLock('/run/lock');
    nodes.one.powerOff();
    expect(await codeOf(nodes.one.kernel.mounts())).to.equal('ENOTCONN');
    nodes.one.powerOn();
    const { kernel } = nodes.one;
    expect(nodes.one.bootId).to.not.equal(bootId);
    const left = [await kernel.mounts(), await kernel.mdArrays(), await kernel.dmDevices('')];
    expect(left).to.deep.equal([[], [], []]);
    expect((await kernel.nvmeControllers()).length).to.equal(1);
    expect((await kernel.readGpt(DISK)).partitions.length).to.equal(1);
    await kernel.acquireNodeLock('/run/lock');
    await kernel.createDm('g0', '', guardTable('/dev/nvme0n1p1', SIZE));
    await nodes.one.md.assembleReadOnly(ARRAY_UUID, ['/dev/mapper/g0']);
    await kernel.setMdAttribute('md127', 'array_state', 'active');
    await kernel.mount('/dev/md127', '/mnt', 'xfs', []);
    expect(await nodes.one.mounts.readFile('/mnt', 'a')).to.equal('durable');
  });

  it('ends I/O that waits in a guard of a machine that loses power', async () => {
    const nodes = new TwoNodes();
    await nodes.mirror();
    nodes.fabric.cut('node1', 'node2');
    const write = nodes.one.mounts.writeFile('/mnt', 'a', 'lost');
    expect(await waits(write)).to.equal(true);
    nodes.one.crash();
    expect(await codeOf(write)).to.not.equal('success');
  });

  it('fails the nth call of a method, that one only, and does nothing then', async () => {
    const { one } = new TwoNodes();
    one.faults.fail('initializeGpt', 'EIO', 2);
    await one.kernel.initializeGpt(DISK, FS_UUID);
    expect(await codeOf(one.kernel.initializeGpt(DISK, FS_UUID))).to.equal('EIO');
    expect(await codeOf(one.kernel.initializeGpt(DISK, FS_UUID))).to.equal('EEXIST');
  });

  it('kills the caller before or after a change, and looks do not count', async () => {
    const { one } = new TwoNodes();
    const add = (): Promise<string> => one.kernel.addGptPartition(DISK, newPartition(PART, MIB));
    const outcomeOf = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error);
    await one.kernel.initializeGpt(DISK, FS_UUID);
    one.faults.killBefore(1);
    await one.kernel.readGpt(DISK);
    expect(await outcomeOf(add())).to.be.instanceOf(Killed);
    expect(await outcomeOf(one.kernel.readGpt(DISK)), 'a dead process asks nothing').to.be.instanceOf(Killed);
    one.restartProcess();
    expect((await one.kernel.readGpt(DISK)).partitions).to.deep.equal([]);
    one.faults.killAfter(1);
    expect(await outcomeOf(add())).to.be.instanceOf(Killed);
    one.restartProcess();
    expect((await one.kernel.readGpt(DISK)).partitions.length).to.equal(1);
    expect(one.faults.changes).to.deep.equal([]);
    await add();
    expect(one.faults.changes).to.deep.equal([`addGptPartition ${DISK}`]);
  });

  it('refuses a node lock that is held, until the process is gone', async () => {
    const { one } = new TwoNodes();
    await one.kernel.acquireNodeLock('/run/lock');
    expect(await codeOf(one.kernel.acquireNodeLock('/run/lock'))).to.equal('EAGAIN');
    one.restartProcess();
    await one.kernel.acquireNodeLock('/run/lock');
  });

  it('tells watchers of one turn’s events together, until they stop', async () => {
    const nodes = new TwoNodes();
    const seen: (readonly KernelEvent[])[] = [];
    const watcher = nodes.one.kernel.watch((events) => seen.push(events));
    await nodes.mirror();
    await new Promise(setImmediate);
    const all = seen.flat();
    expect(all.some(({ source, device }) => source === 'md' && device === 'md127')).to.equal(true);
    expect(all.some(({ action, device }) => action === 'add' && device === 'nvme1n1')).to.equal(true);
    watcher.stop();
    const told = seen.length;
    nodes.one.disks.pull(nodes.one.disk('nvme0n1'));
    await new Promise(setImmediate);
    expect(seen.length).to.equal(told);
    expect(await codeOf(nodes.one.kernel.readGpt(DISK))).to.equal('ENOENT');
  });
});
