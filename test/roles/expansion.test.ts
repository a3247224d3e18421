import { expect } from 'chai';
import type { StageRequest } from '../../src/node/operations.ts';
import { DATA_OFFSET_BYTES } from '../../src/api/layout.ts';
import type { Log } from '../../src/support/log.ts';
import { GIB, MIB } from '../../src/support/units.ts';
import { InProcessCluster, publishRequest } from './in-process-cluster.ts';

const VOLUME = 'pvc-0b8a1f9e-2c3d-4e5f-8a7b-6c5d4e3f2a1b';
const SIZE = 512 * MIB;
const GROWN = 768 * MIB;
const LIMIT_MS = 10_000;

describe('a volume that is expanded, over fake kernels', () => {
  let cluster: InProcessCluster;
  const limit = (): AbortSignal => AbortSignal.timeout(LIMIT_MS);
  const expand = (volumeId: string, requiredBytes = GROWN) =>
    cluster.controller.operations.expandVolume(volumeId, { requiredBytes, limitBytes: 0 }, limit());
  const arrayBytes = async (node: string) => (await cluster.fake(node).kernel.mdArrays())[0]?.sizeBytes;
  const fsBytes = async (node: string, path: string) =>
    (await cluster.fake(node).kernel.filesystemUsage(path, 1000)).totalBytes;

  /** Partitions that a holder refused to zero. */
  const refusals = new Set<string>();
  const log: Log = {
    debug: () => undefined,
    info: () => undefined,
    warn: (_message, fields) => {
      const partition = /zeroing partition (\S+) .* older than the disks/.exec(JSON.stringify(fields))?.[1];
      if (partition !== undefined) refusals.add(partition);
    },
    error: () => undefined,
  };

  beforeEach(async () => {
    refusals.clear();
    cluster = new InProcessCluster(['node1', 'node2', 'node3'], { log });
    await cluster.ready();
  });
  afterEach(() => cluster.stop());

  async function up(volumeId: string, node: string, more: Partial<StageRequest> = {}): Promise<StageRequest> {
    const request = { ...(await cluster.stageRequest(volumeId, node)), ...more };
    await cluster.role(node).operations.stage(request, limit());
    return request;
  }

  async function down(volumeId: string, node: string): Promise<void> {
    await cluster.unstage(volumeId, node);
    await cluster.controller.operations.unpublishVolume(volumeId, node);
  }

  /** What another volume left behind the partitions. */
  async function plantBehind(volumeId: string): Promise<void> {
    for (const { nodeID, sizeBytes } of cluster.volume(volumeId)?.status?.partitions ?? []) {
      const disk = cluster.fake(nodeID).disk('nvme0n1');
      const [entry] = disk.partitions;
      disk.bytes.write((entry?.startBytes ?? 0) + sizeBytes, Buffer.alloc(4096, 0xa5));
      disk.bytes.write((entry?.startBytes ?? 0) + sizeBytes + 100 * MIB, Buffer.alloc(4096, 0xa5));
    }
  }

  it('grows under its mount: partitions, claims, guards, array, filesystem; data stays and what is added is zero', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1');
    const { stagingPath } = await up(volumeId, 'node1');
    const { mounts, kernel, tools } = cluster.fake('node1');
    await mounts.writeFile(stagingPath, 'a', 'kept');
    await plantBehind(volumeId);
    expect((await expand(volumeId)).spec.capacityBytes).to.equal(GROWN);
    const request = { volumeId, volumePath: stagingPath, requiredBytes: GROWN, limitBytes: 0 };
    expect(await cluster.role('node1').operations.expand(request, limit())).to.equal(GROWN);
    expect(await arrayBytes('node1')).to.equal(GROWN);
    expect(await fsBytes('node1', stagingPath)).to.equal(GROWN);
    expect(await mounts.readFile(stagingPath, 'a')).to.equal('kept');
    for (const offset of [SIZE, SIZE + 100 * MIB]) {
      expect(Buffer.from(await kernel.readBytes('/dev/md127', offset, 4096)).every((byte) => byte === 0)).to.equal(
        true,
      );
    }
    await cluster.until('the phase is Synced', () => cluster.volume(volumeId)?.status?.phase === 'Synced');
    const { status } = cluster.volume(volumeId) ?? {};
    expect(status).to.not.have.property('servedBytes');
    expect(status?.partitions.map(({ sizeBytes }) => sizeBytes)).to.deep.equal([
      GROWN + DATA_OFFSET_BYTES,
      GROWN + DATA_OFFSET_BYTES,
    ]);
    const started = tools.started.length;
    expect(await cluster.role('node1').operations.expand(request, limit()), 'again').to.equal(GROWN);
    expect(tools.started.length, 'a repeated call starts nothing').to.equal(started);
    await down(volumeId, 'node1');
    await up(volumeId, 'node3');
    expect(await fsBytes('node3', stagingPath)).to.equal(GROWN);
    expect(await cluster.fake('node3').mounts.readFile(stagingPath, 'a')).to.equal('kept');
  }).timeout(30_000);

  it('zeroes nothing that the array uses, though an object from a backup says that it is to grow', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1');
    await up(volumeId, 'node1');
    const before = cluster.volume(volumeId);
    if (before?.status === undefined) throw new Error('no volume');
    await expand(volumeId);
    await cluster.until('the phase is Synced', () => cluster.volume(volumeId)?.status?.phase === 'Synced');
    const data = Buffer.alloc(4096, 0x5a);
    await cluster.fake('node1').kernel.writeBytes('/dev/md127', SIZE + 100 * MIB, data);
    const { metadata } = cluster.volume(volumeId) ?? before;
    cluster.volumes.put({ ...before, metadata, spec: { ...before.spec, expandToBytes: GROWN } });
    await cluster.until('every holder has refused', () => refusals.size === 2);
    for (const { nodeID } of before.status.partitions) {
      const disk = cluster.fake(nodeID).disk('nvme0n1');
      const at = (disk.partitions[0]?.startBytes ?? 0) + DATA_OFFSET_BYTES + SIZE + 100 * MIB;
      expect(Buffer.from(disk.bytes.read(at, 4096)).equals(data), nodeID).to.equal(true);
    }
  }).timeout(30_000);

  it('grows by itself when nobody calls its node', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1');
    const { stagingPath } = await up(volumeId, 'node3');
    await expand(volumeId);
    await cluster.until('the phase is Synced', () => cluster.volume(volumeId)?.status?.phase === 'Synced');
    expect(await fsBytes('node3', stagingPath)).to.equal(GROWN);
  }).timeout(30_000);

  it('grows at its next stage when it is attached nowhere, and before its first one', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1');
    await expand(volumeId);
    expect(cluster.volume(volumeId)?.status).to.include({ phase: 'Requested' });
    const { stagingPath } = await up(volumeId, 'node1');
    expect(await fsBytes('node1', stagingPath)).to.equal(GROWN);
    await down(volumeId, 'node1');
    await expand(volumeId, GIB);
    expect(cluster.volume(volumeId)?.status).to.include({ phase: 'Synced', servedBytes: GROWN });
    await up(volumeId, 'node3');
    await cluster.until('all is served', () => cluster.volume(volumeId)?.status?.servedBytes === undefined);
    await cluster.until('the phase is Synced', () => cluster.volume(volumeId)?.status?.phase === 'Synced');
    expect(await arrayBytes('node3')).to.equal(GIB);
    expect(await fsBytes('node3', stagingPath)).to.equal(GIB);
  }).timeout(30_000);

  it('of one copy, used from another node, grows', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1', { numberOfCopies: 1 });
    const { stagingPath } = await up(volumeId, 'node2');
    await expand(volumeId);
    await cluster.until('the phase is Synced', () => cluster.volume(volumeId)?.status?.phase === 'Synced');
    expect(await fsBytes('node2', stagingPath)).to.equal(GROWN);
  }).timeout(30_000);

  it('changes no size where one node has no room, and says which', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1');
    const { stagingPath } = await up(volumeId, 'node1');
    const second = cluster.volume(volumeId)?.status?.partitions.find(({ nodeID }) => nodeID !== 'node1')?.nodeID ?? '';
    const tables = () => ['node1', second].map((name) => cluster.fake(name).disk('nvme0n1').partitions);
    const disk = cluster.fake(second).disk('nvme0n1');
    const [entry] = disk.partitions;
    const startBytes = (entry?.startBytes ?? 0) + (entry?.sizeBytes ?? 0) + MIB;
    const guid = '11111111-2222-4333-8444-555555555555';
    await cluster.fake(second).kernel.addGptPartition('/dev/nvme0n1', {
      typeGuid: guid,
      partitionGuid: guid,
      name: 'other',
      startBytes,
      sizeBytes: MIB,
    });
    const before = JSON.stringify(tables());
    const refused: unknown = await expand(volumeId).catch((error: unknown) => error);
    expect(refused).to.include({ kind: 'exhausted' });
    expect((refused as Error).message).to.include(`node ${second}, drive nvme0n1`);
    expect(JSON.stringify(tables())).to.equal(before);
    expect(cluster.volume(volumeId)?.spec).to.include({ capacityBytes: SIZE }).and.not.have.property('expandToBytes');
    expect(await arrayBytes('node1')).to.equal(SIZE);
    await cluster.fake(second).kernel.removeGptPartition('/dev/nvme0n1', guid);
    await expand(volumeId);
    await cluster.until('the phase is Synced', () => cluster.volume(volumeId)?.status?.phase === 'Synced');
    expect(await fsBytes('node1', stagingPath)).to.equal(GROWN);
  }).timeout(30_000);

  it('is refused by its node where it is not, unknown, or not given that size', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1');
    const { stagingPath } = await up(volumeId, 'node1');
    const { operations } = cluster.role('node1');
    const wanted = { volumeId, volumePath: stagingPath, requiredBytes: 0, limitBytes: 0 };
    const kindOf = (more: object): Promise<unknown> =>
      operations.expand({ ...wanted, ...more }, limit()).catch((error: unknown) => (error as { kind: string }).kind);
    expect(await kindOf({})).to.equal(SIZE);
    expect(await kindOf({ volumeId: 'pvc-none' })).to.equal('notFound');
    expect(await kindOf({ volumePath: '/elsewhere' })).to.equal('notFound');
    expect(await kindOf({ requiredBytes: SIZE + 1 })).to.equal('outOfRange');
    expect(await kindOf({ limitBytes: SIZE - 1 })).to.equal('outOfRange');
  }).timeout(30_000);

  it('is zeroed in turns: whatever else the volume needs of its node gets done in between', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1');
    const request = await up(volumeId, 'node1');
    await plantBehind(volumeId);
    const { kernel } = cluster.fake('node1');
    const pieces: number[] = [];
    const zeroRange = kernel.zeroRange.bind(kernel);
    // A drive so slow that one piece takes more than a turn.
    kernel.zeroRange = async (path, range, check) => {
      pieces.push(range.sizeBytes);
      await new Promise((resolve) => setTimeout(resolve, 2100));
      return zeroRange(path, range, check);
    };
    const call = expand(volumeId, SIZE + 128 * MIB);
    await cluster.until('it is being zeroed', () => pieces.length > 0);
    await cluster.role('node1').operations.stage(request, limit());
    expect(pieces, 'answered before the second turn').to.have.length(1);
    expect((await call).spec.capacityBytes).to.equal(SIZE + 128 * MIB);
    expect(pieces, 'nothing twice').to.deep.equal([64 * MIB, 64 * MIB]);
    await cluster.until('the phase is Synced', () => cluster.volume(volumeId)?.status?.phase === 'Synced');
    const added = Buffer.from(await kernel.readBytes('/dev/md127', SIZE + 100 * MIB, 4096));
    expect(added.every((byte) => byte === 0)).to.equal(true);
  }).timeout(30_000);

  it('keeps no pod from starting while a path is lost: its node says so, and the volume grows when the path is back', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1');
    const staged = await up(volumeId, 'node1');
    const { stagingPath } = staged;
    const { operations } = cluster.role('node1');
    const holder = cluster.volume(volumeId)?.status?.partitions.find(({ nodeID }) => nodeID !== 'node1')?.nodeID ?? '';
    cluster.fabric.cut('node1', holder);
    cluster.fabric.expire();
    await expand(volumeId);
    // Reaching a holder that was away for long is tried again only after a while.
    const within = AbortSignal.timeout(40_000);
    const request = { volumeId, volumePath: stagingPath, requiredBytes: GROWN, limitBytes: 0 };
    const call = (): Promise<{ readonly kind: string; readonly message: string }> =>
      operations.expand(request, within).then(
        (bytes) => ({ kind: 'done', message: String(bytes) }),
        (error: unknown) => error as { kind: string; message: string },
      );
    const refused = await call();
    expect(refused.kind).to.equal('precondition');
    expect(refused.message).to.match(new RegExp(`${holder}.*path is lost.*grows by itself`, 'u'));
    await operations.publish(publishRequest(staged, '/var/lib/kubelet/pods/a/mount'), limit());
    const again = call();
    await new Promise((resolve) => setTimeout(resolve, 6000));
    cluster.fabric.heal('node1', holder);
    const { kind, message } = await again;
    expect({ kind, message }, 'a pod that runs waits for nothing').to.deep.equal({
      kind: 'done',
      message: String(GROWN),
    });
    expect(await fsBytes('node1', stagingPath)).to.equal(GROWN);
  }).timeout(60_000);

  it('of a raw block volume is at the path where its device node is, and nowhere else', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1', {}, SIZE, 'Block');
    const request = await up(volumeId, 'node1', { access: { kind: 'block' } });
    const { operations } = cluster.role('node1');
    const at = (volumePath: string): Promise<unknown> =>
      operations
        .expand({ volumeId, volumePath, requiredBytes: SIZE, limitBytes: 0 }, limit())
        .catch((error: unknown) => (error as { kind: string }).kind);
    const targetPath = '/var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/publish/a';
    expect(await at(targetPath), 'not published yet').to.equal('notFound');
    await operations.publish(publishRequest(request, targetPath), limit());
    expect(await at(targetPath)).to.equal(SIZE);
    expect(await at('/elsewhere')).to.equal('notFound');
    expect(await at(request.stagingPath), 'where nothing is mounted').to.equal('notFound');
  }).timeout(30_000);

  it('lost its node between two pieces of work: what it left over the partition is taken away', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1');
    await up(volumeId, 'node1');
    const { faults } = cluster.fake('node1');
    const { kernel } = cluster.fake('node1');
    const windows = async () => (await kernel.dmDevices('meshstor-')).filter(({ name }) => name.endsWith('-0'));
    faults.reset();
    // After the resize and the creation of the device that maps what was added.
    faults.killBefore(4);
    const call = expand(volumeId);
    await cluster.until('the process is killed', () => faults.changes.some((change) => change.startsWith('createDm')));
    await new Promise((resolve) => setTimeout(resolve, 50));
    cluster.restart('node1');
    expect(await windows(), 'left over').to.have.length(1);
    expect((await call).spec.capacityBytes).to.equal(GROWN);
    expect(await windows()).to.deep.equal([]);
    await cluster.until('the phase is Synced', () => cluster.volume(volumeId)?.status?.phase === 'Synced');
    expect(await arrayBytes('node1')).to.equal(GROWN);
  }).timeout(30_000);
});
