import { expect } from 'chai';
import type { Kernel } from '../../src/api/kernel.ts';
import { nodeDeviceNameFor } from '../../src/api/names.ts';
import { NativeError } from '../../src/native/index.ts';
import { lookAtDrives } from '../../src/node/snapshot.ts';
import { GIB } from '../../src/support/units.ts';
import { FakeFabric } from '../fakes/fake-fabric.ts';
import { FakeNode } from '../fakes/fake-node.ts';
import { InProcessCluster } from './in-process-cluster.ts';

const VOLUME = 'pvc-1b8a1f9e-2c3d-4e5f-8a7b-6c5d4e3f2a1c';
const OTHER = 'pvc-2b8a1f9e-2c3d-4e5f-8a7b-6c5d4e3f2a1d';

/** From now on the drive's table is given up, as the facade gives up a drive that hangs. */
function hang(kernel: Kernel, path: string): () => void {
  const read = kernel.readGpt.bind(kernel);
  const late = (): NativeError =>
    new NativeError('readGpt: ETIMEDOUT', { errno: -110, code: 'ETIMEDOUT', syscall: 'pread', path });
  kernel.readGpt = (asked) => (asked === path ? Promise.reject(late()) : read(asked));
  return () => void (kernel.readGpt = read);
}

describe('a drive that hangs', () => {
  it('is a drive without a table in a look at the node, and keeps no other from being seen', async () => {
    const disks = ['nvme0n1', 'nvme1n1'].map((name) => ({ name, sizeBytes: GIB, serial: name }));
    const { kernel } = new FakeNode({ name: 'node1', fabric: new FakeFabric(), addresses: ['10.0.0.1'], disks });
    hang(kernel, '/dev/nvme0n1');
    const seen = await lookAtDrives(kernel, await kernel.nvmeNamespaces());
    expect(seen.map(({ tableError }) => tableError)).to.deep.equal(['ETIMEDOUT', '']);
    expect(seen.map(({ table }) => table?.state)).to.deep.equal([undefined, 'blank']);
  });

  describe('in a cluster', () => {
    let cluster: InProcessCluster;

    beforeEach(async () => {
      cluster = new InProcessCluster(['node1', 'node2', 'node3']);
      await cluster.ready();
    });

    afterEach(() => cluster.stop());

    it('holds up no stage on other drives, and its partitions are not taken for gone', async () => {
      const volumeId = await cluster.create(VOLUME, 'node1');
      const request = await cluster.stageRequest(volumeId, 'node1');
      await cluster.role('node1').operations.stage(request, AbortSignal.timeout(10_000));
      const before = cluster.volume(volumeId)?.status?.partitions ?? [];
      const holder = before.find(({ nodeID }) => nodeID !== 'node1')?.nodeID ?? '';
      expect(holder).to.match(/^node[23]$/);
      const answers = hang(cluster.fake(holder).kernel, '/dev/nvme0n1');

      // Its object says so, while the objects of the other drives go on.
      const conditionOf = (node: string): string | undefined =>
        cluster.devices.objects
          .get(nodeDeviceNameFor(node, 'nvme0n1'))
          ?.status?.conditions.find(({ type }) => type === 'Usable')?.reason;
      cluster.restart(holder);
      await cluster.until('the drive is unreadable', () => conditionOf(holder) === 'Unreadable');
      expect(conditionOf('node1')).to.equal('Allowed');

      const free = holder === 'node2' ? 'node3' : 'node2';
      const other = await cluster.create(OTHER, 'node1');
      const second = await cluster.stageRequest(other, 'node1');
      await cluster.role('node1').operations.stage(second, AbortSignal.timeout(10_000));
      const nodes = cluster.volume(other)?.status?.partitions.map(({ nodeID }) => nodeID);
      expect(nodes).to.have.members(['node1', free]);

      expect(cluster.volume(volumeId)?.status?.partitions).to.deep.equal(before);

      // Deleting waits for the drive: what cannot be read is not known to be wiped.
      await cluster.unstage(volumeId, 'node1');
      await cluster.controller.operations.unpublishVolume(volumeId, 'node1');
      await cluster.controller.operations.deleteVolume(volumeId);
      await cluster.until('the other copy is gone', () =>
        (cluster.volume(volumeId)?.status?.partitions ?? []).every(({ nodeID }) => nodeID === holder),
      );
      expect(cluster.volume(volumeId), 'still on the drive that hangs').to.not.equal(undefined);
      answers();
      cluster.restart(holder);
      await cluster.until('the volume is gone', () => cluster.volume(volumeId) === undefined);
    }).timeout(40_000);
  });
});
