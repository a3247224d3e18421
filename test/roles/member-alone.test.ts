/** One member's drive that hangs keeps a holder from nothing that it owes for the volume's other members. */
import { expect } from 'chai';
import { legNameFor, parseLegName, parseSubsystemNqn } from '../../src/api/names.ts';
import type { PartitionStatus } from '../../src/api/volume.ts';
import { NativeError } from '../../src/native/index.ts';
import { GIB } from '../../src/support/units.ts';
import { InProcessCluster } from './in-process-cluster.ts';

const VOLUME = 'pvc-3b8a1f9e-2c3d-4e5f-8a7b-6c5d4e3f2a1e';

describe('a member whose drive hangs', () => {
  let cluster: InProcessCluster;

  beforeEach(async () => {
    cluster = new InProcessCluster(['node1', 'node2'], { drivesPerNode: 2 });
    await cluster.ready();
  });

  afterEach(() => cluster.stop());

  it('does not keep the other member on its node from being revoked and granted', async () => {
    const volumeId = await cluster.create(VOLUME, 'node1', { drivesPerCopy: 2 }, GIB);
    const request = await cluster.stageRequest(volumeId, 'node1');
    await cluster.role('node1').operations.stage(request, AbortSignal.timeout(10_000));
    const held = (): readonly PartitionStatus[] =>
      [...(cluster.volume(volumeId)?.status?.partitions ?? [])]
        .filter(({ nodeID }) => nodeID === 'node2')
        .sort((a, b) => (a.partitionUUID < b.partitionUUID ? -1 : 1));
    // The first in the order of the plan.
    const [hangs, other] = held().map(({ partitionUUID }) => partitionUUID);
    if (hangs === undefined || other === undefined) throw new Error('node2 holds no copy');
    const { kernel } = cluster.fake('node2');
    const remove = kernel.removeNvmetExport.bind(kernel);
    let attempts = 0;
    kernel.removeNvmetExport = (nqn) => {
      if (parseSubsystemNqn(nqn)?.partitionUUID !== hangs) return remove(nqn);
      const code = attempts === 0 ? 'ETIMEDOUT' : 'EBUSY';
      attempts += 1;
      return Promise.reject(new NativeError(code, { errno: -1, code, syscall: 'rmdir' }));
    };

    await cluster.unstage(volumeId, 'node1');
    await cluster.controller.operations.unpublishVolume(volumeId, 'node1').catch(() => undefined);
    const epochs = (): readonly number[] => held().map(({ epoch }) => epoch);
    const before = epochs()[0] ?? 0;
    await cluster.until('the other one is revoked', () => (epochs()[1] ?? 0) > before);
    const exports = (await kernel.nvmetState()).subsystems.map(({ nqn }) => parseSubsystemNqn(nqn)?.partitionUUID);
    expect(exports).to.deep.equal([hangs]);

    await cluster.controller.operations.publishVolume(volumeId, 'node1');
    const epoch = (): number => cluster.volume(volumeId)?.status?.attachmentEpoch ?? 0;
    await cluster.until('the other one is granted', () => epochs()[1] === epoch());
    const legs = (await kernel.dmDevices('meshstor-')).map(({ name }) => name);
    expect(legs).to.include(legNameFor(other, epoch()));
    const kept = legs.filter((name) => parseLegName(name)?.partitionUUID === hangs);
    expect(kept, 'what is not revoked keeps its claim').to.deep.equal([legNameFor(hangs, before)]);
    expect(epochs()[0]).to.equal(before);
    expect(attempts).to.be.greaterThan(1);
  }).timeout(30_000);
});
