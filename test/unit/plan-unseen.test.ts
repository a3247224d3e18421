/** What a holder says of a member's partition that it does not see. */
import { expect } from 'chai';
import { planHolder } from '../../src/plan/holding.ts';
import type { DriveTableSeen } from '../../src/plan/world.ts';
import { ModelCluster } from '../support/model-cluster.ts';
import { stage } from '../support/model-run.ts';

/** The wait of node-1, a holder for node-0 whose partition is not seen, with its drives as given. */
function waitWith(change: (drives: readonly DriveTableSeen[]) => readonly DriveTableSeen[]): string {
  const cluster = new ModelCluster({ copies: 2, drives: 1, nodes: 2, mode: 'Filesystem' });
  cluster.attach('node-0');
  expect(stage(cluster)).to.deep.equal({ kind: 'done' });
  const seen = cluster.holderWorld(cluster.node('node-1'));
  const plan = planHolder({ ...seen, partitions: [], drives: change(seen.drives) });
  return plan.kind === 'wait' ? plan.reason : plan.kind;
}

describe('a partition that a holder does not see', () => {
  it('is not said to be lost while the table of its drive cannot be read', () => {
    const reason = waitWith((drives) => drives.map((drive) => ({ ...drive, isUnreadable: true })));
    expect(reason).to.match(/the partition table of \/dev\/\S+ cannot be read$/);
  });

  it('is not said to be lost while its drive is not here', () => {
    expect(waitWith(() => [])).to.match(/its drive \(serial \S+\) is not here$/);
  });

  it('is said to be lost once its table was read', () => {
    expect(waitWith((drives) => drives)).to.match(/the partition is not here, though it is Synced/);
  });
});
