import { expect } from 'chai';
import type { PartitionStatus } from '../../src/api/volume.ts';
import { takeOver } from '../../src/plan/takeover.ts';
import { ModelCluster, NOW } from '../support/model-cluster.ts';

describe('a volume that is taken over while a member is being replaced', () => {
  it('goes on with the old member, never with one that was only half copied to', () => {
    const cluster = new ModelCluster({ copies: 2, drives: 1, nodes: 4, mode: 'Filesystem' });
    const [first, old] = cluster.status.partitions as [PartitionStatus, PartitionStatus];
    const lost = { missingEpoch: 1, stale: true } as const;
    cluster.volume = { ...cluster.volume, spec: { ...cluster.volume.spec, activatedAt: NOW } };
    cluster.status = {
      ...cluster.status,
      partitions: [
        { ...first, state: 'Synced' },
        { ...old, ...lost, state: 'Replacing', failed: true },
        { ...old, ...lost, state: 'Missing', nodeID: 'node-2', partitionUUID: 'newcomer', generation: 1 },
      ],
    };
    const freshNodes = new Set(['node-1', 'node-2', 'node-3']);
    const { chosen, status } = takeOver(cluster.volume, { members: [], freshNodes }, NOW);
    expect(chosen.map(({ partitionUUID }) => partitionUUID)).to.deep.equal([old.partitionUUID]);
    expect(status.partitions[1]).to.include({ state: 'Synced' }).and.to.not.have.property('failed');
    const half = (): unknown => takeOver(cluster.volume, { members: ['newcomer'], freshNodes }, NOW);
    expect(half).to.throw(/is no whole copy/);
  });
});
