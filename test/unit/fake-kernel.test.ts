import { expect } from 'chai';

import type { DmTarget, Kernel } from '../../src/api/kernel.ts';
import { claimTable, guardTable, parseLegTable } from '../../src/node/dm-tables.ts';
import { MIB } from '../fakes/fake-bytes.ts';
import {
  ARRAY_UUID,
  codeOf,
  connectTo,
  DATA_OFFSET,
  DISK,
  FS_UUID,
  newPartition,
  NQN,
  NS_UUID,
  OTHER,
  PART,
  SIZE,
  TwoNodes,
  waits,
} from '../fakes/two-nodes.ts';

async function guardOf(kernel: Kernel, name: string) {
  const device = (await kernel.dmDevices(name))[0];
  if (device === undefined) throw new Error(`no ${name}`);
  return parseLegTable(device);
}

describe('fake kernel: drives and tables', () => {
  it('starts blank, takes one table, and refuses a second', async () => {
    const { kernel } = new TwoNodes().one;
    expect((await kernel.readGpt(DISK)).state).to.equal('blank');
    expect(await kernel.signatures(DISK)).to.deep.equal([]);
    await kernel.initializeGpt(DISK, FS_UUID);
    expect(await codeOf(kernel.initializeGpt(DISK, FS_UUID))).to.equal('EEXIST');
    const table = await kernel.readGpt(DISK);
    expect(table).to.include({ state: 'valid', diskGuid: FS_UUID });
    expect(table.freeExtents).to.deep.equal([{ startBytes: MIB, sizeBytes: 254 * MIB }]);
  });

  it('shows a planted owner as foreign and takes no table', async () => {
    const { one } = new TwoNodes();
    one.disk('nvme0n1').plant('LVM2_member');
    expect((await one.kernel.readGpt(DISK)).state).to.equal('foreign');
    expect(await one.kernel.signatures(DISK)).to.deep.equal(['LVM2_member']);
    expect(await codeOf(one.kernel.initializeGpt(DISK, FS_UUID))).to.equal('EEXIST');
    expect(await codeOf(one.kernel.addGptPartition(DISK, newPartition(PART, MIB)))).to.equal('EBADMSG');
  });

  it('adds a partition once, and says why it does not add another', async () => {
    const { kernel } = new TwoNodes().one;
    await kernel.initializeGpt(DISK, FS_UUID);
    expect(await kernel.addGptPartition(DISK, newPartition(PART, MIB))).to.equal('/dev/nvme0n1p1');
    expect(await kernel.addGptPartition(DISK, newPartition(PART, MIB))).to.equal('/dev/nvme0n1p1');
    expect(await codeOf(kernel.addGptPartition(DISK, newPartition(PART, 64 * MIB)))).to.equal('EEXIST');
    expect(await codeOf(kernel.addGptPartition(DISK, newPartition(OTHER, 32 * MIB)))).to.equal('ENOSPC');
    expect(await codeOf(kernel.addGptPartition(DISK, newPartition(OTHER, 40 * MIB + 512)))).to.equal('EINVAL');
    expect(await kernel.addGptPartition(DISK, newPartition(OTHER, 40 * MIB))).to.equal('/dev/nvme0n1p2');
    const [namespace] = await kernel.nvmeNamespaces();
    expect(namespace?.partitions.map(({ number, sizeBytes }) => [number, sizeBytes])).to.deep.equal([
      [1, SIZE],
      [2, SIZE],
    ]);
    const free = (await kernel.readGpt(DISK)).freeExtents.map(({ startBytes }) => startBytes / MIB);
    expect(free).to.deep.equal([33, 72]);
  });

  it('resizes in place only as far as the space behind is free', async () => {
    const { kernel } = new TwoNodes().one;
    await kernel.initializeGpt(DISK, FS_UUID);
    await kernel.addGptPartition(DISK, newPartition(PART, MIB));
    await kernel.addGptPartition(DISK, newPartition(OTHER, 64 * MIB));
    expect(await codeOf(kernel.resizeGptPartition(DISK, PART, 64 * MIB))).to.equal('ENOSPC');
    await kernel.resizeGptPartition(DISK, PART, 63 * MIB);
    const [namespace] = await kernel.nvmeNamespaces();
    expect(namespace?.partitions[0]?.sizeBytes).to.equal(63 * MIB);
    expect(await codeOf(kernel.resizeGptPartition(DISK, FS_UUID, MIB))).to.equal('ENOENT');
  });

  it('removes a partition that nobody has open, gone already included', async () => {
    const nodes = new TwoNodes();
    const { kernel } = nodes.one;
    await nodes.partition(nodes.one);
    await kernel.createDm('claim', '', claimTable('/dev/nvme0n1p1', SIZE));
    expect(await codeOf(kernel.removeGptPartition(DISK, PART))).to.equal('EBUSY');
    expect((await kernel.readGpt(DISK)).partitions.length).to.equal(1);
    await kernel.removeDm('claim');
    await kernel.removeGptPartition(DISK, PART);
    await kernel.removeGptPartition(DISK, PART);
    expect((await kernel.readGpt(DISK)).partitions).to.deep.equal([]);
    expect(await codeOf(kernel.readBytes('/dev/nvme0n1p1', 0, 512))).to.equal('ENOENT');
  });

  it('repairs a half table, and gives the kernel partitions that it lacked', async () => {
    const nodes = new TwoNodes();
    await nodes.partition(nodes.one);
    nodes.one.disk('nvme0n1').gptState = 'damaged';
    nodes.one.crash();
    expect((await nodes.one.kernel.nvmeNamespaces())[0]?.partitions).to.deep.equal([]);
    nodes.one.disk('nvme0n1').gptState = 'backup-only';
    expect((await nodes.one.kernel.readGpt(DISK)).partitions.length).to.equal(1);
    await nodes.one.kernel.repairGpt(DISK);
    expect((await nodes.one.kernel.readGpt(DISK)).state).to.equal('valid');
    expect((await nodes.one.kernel.nvmeNamespaces())[0]?.partitions.length).to.equal(1);
  });

  it('keeps bytes of a removed partition until they are zeroed', async () => {
    const nodes = new TwoNodes();
    const { kernel } = nodes.one;
    const path = await nodes.partition(nodes.one);
    await kernel.writeBytes(path, 4096, new Uint8Array(512).fill(7));
    await kernel.removeGptPartition(DISK, PART);
    await kernel.addGptPartition(DISK, newPartition(OTHER, MIB));
    expect((await kernel.readBytes(path, 4096, 512))[511]).to.equal(7);
    const progress: number[] = [];
    await kernel.zeroRange(path, { startBytes: 0, sizeBytes: SIZE }, 'full', (done) => progress.push(done));
    expect(progress.at(-1)).to.equal(SIZE);
    expect((await kernel.readBytes(path, 4096, 512)).every((byte) => byte === 0)).to.equal(true);
    expect(await codeOf(kernel.readBytes(path, 100, 512))).to.equal('EINVAL');
  });
});

describe('fake kernel: device mapper', () => {
  it('refuses a second device of the same name or uuid, and one over nothing', async () => {
    const nodes = new TwoNodes();
    const { kernel } = nodes.one;
    const path = await nodes.partition(nodes.one);
    await kernel.createDm('a', 'U-1', claimTable(path, SIZE));
    expect(await codeOf(kernel.createDm('a', 'U-2', claimTable(path, SIZE)))).to.equal('EEXIST');
    expect(await codeOf(kernel.createDm('b', 'U-1', claimTable(path, SIZE)))).to.equal('EBUSY');
    expect(await codeOf(kernel.createDm('b', 'U-2', claimTable('/dev/none', SIZE)))).to.equal('ENODEV');
    expect(await codeOf(kernel.createDm('b', 'U-2', claimTable(path, SIZE + MIB)))).to.equal('EINVAL');
    expect((await kernel.dmDevices('')).map(({ name }) => name)).to.deep.equal(['a']);
  });

  it('claims what is under it: no array and no mount can take the partition too', async () => {
    const nodes = new TwoNodes();
    const { kernel } = nodes.one;
    const path = await nodes.partition(nodes.one);
    await nodes.one.mounts.make(path, 'ext4', FS_UUID);
    await kernel.createDm('a', '', claimTable(path, SIZE));
    expect(await codeOf(kernel.mount(path, '/mnt', 'ext4', []))).to.equal('EBUSY');
    const member = { level: 1, writeMostly: new Set<string>(), sizeBytes: MIB, dataOffsetBytes: DATA_OFFSET } as const;
    expect(await codeOf(nodes.one.md.create({ ...member, uuid: ARRAY_UUID, name: 'x', members: [path] }))).to.equal(
      'EBUSY',
    );
    const [namespace] = await kernel.nvmeNamespaces();
    expect(namespace?.partitions[0]?.holders).to.deep.equal(['dm-0']);
    await kernel.mount('/dev/mapper/a', '/mnt', 'ext4', []);
    expect((await kernel.dmDevices('a'))[0]?.openCount).to.equal(1);
    expect(await codeOf(kernel.removeDm('a'))).to.equal('EBUSY');
    await kernel.unmount('/mnt');
    await kernel.removeDm('a');
    await kernel.removeDm('a');
    await kernel.mount(path, '/mnt', 'ext4', []);
    expect(await codeOf(kernel.createDm('a', '', claimTable(path, SIZE)))).to.equal('EBUSY');
  });

  it('makes a guard wait when its path fails, and lets it go on after a reload', async () => {
    const nodes = new TwoNodes();
    const { kernel } = nodes.one;
    const path = await nodes.partition(nodes.one);
    await kernel.createDm('g', '', guardTable(path, SIZE));
    expect(await guardOf(kernel, 'g')).to.deep.equal({
      kind: 'guard',
      queues: true,
      pathState: 'active',
      under: '259:1',
      sizeBytes: SIZE,
    });
    nodes.one.disk('nvme0n1').failing = 'EIO';
    const write = kernel.writeBytes('/dev/mapper/g', 0, new Uint8Array(512).fill(1));
    expect(await waits(write)).to.equal(true);
    expect((await guardOf(kernel, 'g')).pathState).to.equal('failed');
    await kernel.reloadDm('g', guardTable(path, SIZE));
    expect(await waits(write), 'the drive still fails').to.equal(true);
    nodes.one.disk('nvme0n1').failing = undefined;
    await kernel.reloadDm('g', guardTable(path, SIZE));
    await write;
    expect((await kernel.readBytes(path, 0, 512))[0]).to.equal(1);
  });

  it('fails what waits when the guard is told to, and shows it in the table', async () => {
    const nodes = new TwoNodes();
    const { kernel } = nodes.one;
    const path = await nodes.partition(nodes.one);
    await kernel.createDm('g', '', guardTable(path, SIZE));
    nodes.one.disk('nvme0n1').failing = 'EIO';
    const read = kernel.readBytes('/dev/mapper/g', 0, 512);
    expect(await waits(read)).to.equal(true);
    await kernel.messageDm('g', 'fail_if_no_path');
    expect(await codeOf(read)).to.equal('EIO');
    expect((await guardOf(kernel, 'g')).queues).to.equal(false);
    expect(await codeOf(kernel.messageDm('g', 'no_such_word'))).to.equal('EINVAL');
  });

  it('lets a medium error through a guard', async () => {
    const nodes = new TwoNodes();
    const path = await nodes.partition(nodes.one);
    await nodes.one.kernel.createDm('g', '', guardTable(path, SIZE));
    nodes.one.disk('nvme0n1').failing = 'ENODATA';
    expect(await codeOf(nodes.one.kernel.readBytes('/dev/mapper/g', 0, 512))).to.equal('ENODATA');
    expect((await guardOf(nodes.one.kernel, 'g')).pathState).to.equal('active');
  });

  it('holds all I/O of a suspended device', async () => {
    const nodes = new TwoNodes();
    const path = await nodes.partition(nodes.one);
    const table: readonly DmTarget[] = claimTable(path, SIZE);
    await nodes.one.kernel.createDm('a', '', table);
    await nodes.one.kernel.suspendDm('a');
    const read = nodes.one.kernel.readBytes('/dev/mapper/a', 0, 512);
    expect(await waits(read)).to.equal(true);
    await nodes.one.kernel.resumeDm('a');
    expect((await read).length).to.equal(512);
    expect(await codeOf(nodes.one.kernel.suspendDm('none'))).to.equal('ENXIO');
  });
});

describe('fake kernel: exports and connections', () => {
  it('serves the one host that is allowed, under the exported UUID, to the byte', async () => {
    const nodes = new TwoNodes();
    const remote = await nodes.partition(nodes.two);
    await nodes.export();
    const path = await nodes.importedPath();
    expect(path).to.equal('/dev/nvme1n1');
    const [, imported] = await nodes.one.kernel.nvmeNamespaces();
    expect(imported).to.include({ uuid: NS_UUID, transport: 'tcp', sizeBytes: SIZE, nsid: 1 });
    await nodes.one.kernel.writeBytes(path, 4096, new Uint8Array(512).fill(9));
    expect((await nodes.two.kernel.readBytes(remote, 4096, 512))[0]).to.equal(9);
    expect((await nodes.one.kernel.nvmeConnect(connectTo('10.0.0.2', NQN, 'node1'))).controller).to.equal('nvme1');
    expect((await nodes.one.kernel.nvmeControllers()).length).to.equal(2);
  });

  it('refuses other hosts, other NQNs, wrong ports, silence and mixed host ids, each with its errno', async () => {
    const nodes = new TwoNodes();
    await nodes.partition(nodes.two);
    await nodes.export();
    const { kernel } = nodes.one;
    expect(await codeOf(kernel.nvmeConnect(connectTo('10.0.0.2', NQN, 'node3')))).to.equal('EIO');
    expect(await codeOf(kernel.nvmeConnect(connectTo('10.0.0.2', 'nqn.none:x', 'node1')))).to.equal('EIO');
    expect(await codeOf(kernel.nvmeConnect({ ...connectTo('10.0.0.2', NQN, 'node1'), trsvcid: '4421' }))).to.equal(
      'ECONNREFUSED',
    );
    expect(await codeOf(kernel.nvmeConnect(connectTo('10.0.0.9', NQN, 'node1')))).to.equal('ETIMEDOUT');
    nodes.fabric.cut('node1', 'node2');
    expect(await codeOf(kernel.nvmeConnect(connectTo('10.0.0.2', NQN, 'node1')))).to.equal('ETIMEDOUT');
    nodes.fabric.heal('node1', 'node2');
    await nodes.importedPath();
    const mixed = { ...connectTo('10.0.0.2', `${NQN}2`, 'node3'), hostId: connectTo('', NQN, 'node1').hostId };
    expect(await codeOf(kernel.nvmeConnect(mixed))).to.equal('EINVAL');
  });

  it('is idempotent as an export, and refuses to become another one', async () => {
    const nodes = new TwoNodes();
    await nodes.partition(nodes.two);
    await nodes.export();
    const { kernel } = nodes.two;
    const wanted = {
      nqn: NQN,
      nsid: 1,
      devicePath: '/dev/mapper/claim',
      uuid: NS_UUID,
      hostNqn: 'nqn.2025-12.io.meshstor:node1',
      portIds: [1],
    };
    await kernel.ensureNvmetExport(wanted);
    expect((await kernel.dmDevices('claim'))[0]?.openCount).to.equal(1);
    for (const other of [{ uuid: FS_UUID }, { hostNqn: 'nqn.2025-12.io.meshstor:node3' }, { nsid: 2 }]) {
      expect(await codeOf(kernel.ensureNvmetExport({ ...wanted, ...other }))).to.equal('EEXIST');
    }
    expect(await codeOf(kernel.ensureNvmetExport({ ...wanted, portIds: [7] }))).to.equal('ENOENT');
    expect(
      await codeOf(kernel.ensureNvmetPort({ id: 1, trtype: 'tcp', traddr: '10.0.0.2', trsvcid: '4999' })),
    ).to.equal('EEXIST');
    await kernel.ensureNvmetPort({ id: 2, trtype: 'tcp', traddr: '10.0.0.7', trsvcid: '4420' });
    expect(await codeOf(kernel.ensureNvmetExport({ ...wanted, portIds: [2] }))).to.equal('EADDRNOTAVAIL');
    await kernel.ensureNvmetPort({ id: 3, trtype: 'tcp', traddr: '10.0.0.2', trsvcid: '4420' });
    expect(await codeOf(kernel.ensureNvmetExport({ ...wanted, portIds: [3] }))).to.equal('EADDRINUSE');
  });

  it('keeps the leg open while it is exported, and cuts the host when the export goes', async () => {
    const nodes = new TwoNodes();
    await nodes.partition(nodes.two);
    await nodes.export();
    const path = await nodes.importedPath();
    expect(await codeOf(nodes.two.kernel.removeDm('claim'))).to.equal('EBUSY');
    await nodes.two.kernel.removeNvmetExport(NQN);
    await nodes.two.kernel.removeNvmetExport(NQN);
    expect((await nodes.two.kernel.nvmetState()).hosts).to.deep.equal([]);
    await nodes.two.kernel.removeDm('claim');
    expect(await codeOf(nodes.one.kernel.readBytes(path, 0, 512))).to.equal('EIO');
    expect((await nodes.one.kernel.nvmeControllers()).at(-1)?.state).to.equal('connecting');
    nodes.fabric.expire();
    expect((await nodes.one.kernel.nvmeControllers()).length).to.equal(1);
    expect((await nodes.one.kernel.nvmeNamespaces()).length).to.equal(1);
  });

  it('gives a namespace that comes back with another UUID a new name, and kills the old device', async () => {
    const nodes = new TwoNodes();
    await nodes.partition(nodes.two);
    await nodes.export();
    const path = await nodes.importedPath();
    nodes.two.crash();
    expect((await nodes.one.kernel.nvmeNamespaces()).some((namespace) => namespace.path === path)).to.equal(true);
    await nodes.export(OTHER);
    const [, imported] = await nodes.one.kernel.nvmeNamespaces();
    expect(imported).to.include({ path: '/dev/nvme1n2', uuid: OTHER });
    expect(await codeOf(nodes.one.kernel.readBytes(path, 0, 512))).to.equal('ENOENT');
  });

  it('shows no block device for a UUID that is known from another subsystem', async () => {
    const nodes = new TwoNodes();
    await nodes.partition(nodes.two);
    await nodes.export();
    await nodes.importedPath();
    await nodes.two.kernel.ensureNvmetExport({
      nqn: `${NQN}b`,
      nsid: 1,
      devicePath: '/dev/mapper/claim',
      uuid: NS_UUID,
      hostNqn: 'nqn.2025-12.io.meshstor:node1',
      portIds: [1],
    });
    expect(await nodes.importedPath(`${NQN}b`)).to.equal('');
    expect((await nodes.one.kernel.nvmeControllers()).map(({ state }) => state)).to.deep.equal([
      'live',
      'live',
      'live',
    ]);
  });

  it('disconnects every controller of an NQN; none is success', async () => {
    const nodes = new TwoNodes();
    await nodes.partition(nodes.two);
    await nodes.export();
    await nodes.importedPath();
    await nodes.one.kernel.nvmeDisconnect(NQN);
    await nodes.one.kernel.nvmeDisconnect(NQN);
    expect((await nodes.one.kernel.nvmeNamespaces()).length).to.equal(1);
  });
});
