import { expect } from 'chai';
import { InProcessCluster } from './in-process-cluster.ts';

const VOLUME = 'pvc-0b8a1f9e-2c3d-4e5f-8a7b-6c5d4e3f2a1b';

describe('the life of a volume over fake kernels', () => {
  let cluster: InProcessCluster;

  beforeEach(async () => {
    cluster = new InProcessCluster(['node1', 'node2', 'node3']);
    await cluster.ready();
  });

  afterEach(() => cluster.stop());

  it('goes from nothing over two consumers to nothing', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1');
    const first = await cluster.stageRequest(volumeId, 'node1');
    await cluster.role('node1').operations.stage(first, AbortSignal.timeout(10_000));
    const born = cluster.volume(volumeId);
    expect(born?.status?.partitions.map(({ state }) => state)).to.deep.equal(['Synced', 'Synced']);
    expect(born?.spec.activatedAt).to.be.a('string');
    expect(born?.spec.formattedAt).to.be.a('string');
    expect(cluster.fake('node1').tools.started.map((line) => line.split(' ')[0])).to.deep.equal([
      'mdadm',
      'blkid',
      'mkfs.xfs',
    ]);

    await cluster.unstage(volumeId, 'node1');
    await cluster.controller.operations.unpublishVolume(volumeId, 'node1');
    const second = await cluster.stageRequest(volumeId, 'node3');
    await cluster.role('node3').operations.stage(second, AbortSignal.timeout(10_000));
    expect(cluster.volume(volumeId)?.status?.partitions.map(({ state }) => state)).to.deep.equal(['Synced', 'Synced']);
    expect(cluster.fake('node3').tools.started.map((line) => line.split(' ')[0])).to.deep.equal(['mdadm']);

    await cluster.unstage(volumeId, 'node3');
    await cluster.controller.operations.unpublishVolume(volumeId, 'node3');
    await cluster.controller.operations.deleteVolume(volumeId);
    await cluster.until('the volume is gone', () => cluster.volume(volumeId) === undefined);
    expect(await cluster.remains()).to.deep.equal([]);
  }).timeout(30_000);
});
