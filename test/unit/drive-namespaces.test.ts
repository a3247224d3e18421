/** Two namespaces of one controller have one serial number: they are two drives everywhere. */
import { expect } from 'chai';
import { driveKey } from '../../src/node/drive-policy.ts';
import { planHolder } from '../../src/plan/holding.ts';
import type { DriveTableSeen, HolderWorld } from '../../src/plan/world.ts';
import { isSameDrive } from '../../src/api/node-device.ts';
import type { PartitionState } from '../../src/api/volume.ts';
import { ModelCluster } from '../support/model-cluster.ts';

/** A holder whose entry is on namespace 2 of a drive; what of the drive is there is given. */
function world(
  state: PartitionState,
  namespaces: readonly { readonly nsid: number; readonly device: string }[],
): HolderWorld {
  const cluster = new ModelCluster({ copies: 1, drives: 1, nodes: 1, mode: 'Filesystem' });
  const partitions = cluster.status.partitions.map((entry) => ({ ...entry, state, device: 'nvme0n2', nsid: 2 }));
  cluster.status = { ...cluster.status, partitions };
  const seen = cluster.holderWorld(cluster.node('node-0'));
  const drives = namespaces.map(({ nsid, device }): DriveTableSeen => ({
    ...seen.drives[0]!,
    nsid,
    device,
    diskPath: `/dev/${device}`,
  }));
  return { ...seen, drives };
}

const FIRST = { nsid: 1, device: 'nvme0n1' };

describe('two namespaces with one serial number', () => {
  it('are told apart when a partition is made, whatever their names are now', () => {
    // The names are swapped since the drive was chosen.
    const swapped = world('Requested', [
      { nsid: 1, device: 'nvme0n2' },
      { nsid: 2, device: 'nvme0n1' },
    ]);
    const plan = planHolder(swapped);
    expect(plan.kind === 'steps' && plan.steps[0]).to.include({ kind: 'createPartition', diskPath: '/dev/nvme0n1' });
    const alone = planHolder(world('Requested', [FIRST]));
    expect(alone.kind === 'steps' && alone.steps[0], 'the other one is no stand-in').to.include({
      kind: 'recordImpossible',
    });
  });

  it('are told apart when a partition goes: one that is not seen is not known to be wiped', () => {
    expect(planHolder(world('Deleting', [FIRST])).kind).to.equal('wait');
    const plan = planHolder(world('Deleting', [FIRST, { nsid: 2, device: 'nvme0n2' }]));
    expect(plan.kind === 'steps' && plan.steps[0]).to.include({ kind: 'recordRemoved' });
  });

  it('are allowed one by one', () => {
    expect(driveKey('S', 1)).not.to.equal(driveKey('S', 2));
    expect(isSameDrive({ serial: 'S', nsid: 1 }, { serial: 'S', nsid: 2 })).to.equal(false);
    expect(isSameDrive({ serial: 'S' }, { serial: 'S', nsid: 2 }), 'of an older version').to.equal(true);
  });
});
