/** Which exports count as fences when they are taken away: those of a consumer that never said that it let go. */
import { expect } from 'chai';
import { planHolder } from '../../src/plan/holding.ts';
import { ModelCluster } from '../support/model-cluster.ts';
import { holdAll, stage, tearDownFenced, unstageOn } from '../support/model-run.ts';

const HOLDER = 'node-1';

function taken(cluster: ModelCluster): readonly string[] {
  const plan = planHolder(cluster.holderWorld(cluster.node(HOLDER)));
  if (plan.kind !== 'steps') return [plan.kind];
  return plan.steps.map(({ kind }) => kind).filter((kind) => kind === 'revokeExport' || kind === 'fenceExport');
}

/** Two copies, one of them exported by node-1 to the consumer node-0, which runs the array. */
function running(): ModelCluster {
  const cluster = new ModelCluster({ copies: 2, drives: 1, nodes: 3, mode: 'Filesystem' });
  cluster.attach('node-0');
  expect(stage(cluster)).to.deep.equal({ kind: 'done' });
  return cluster;
}

/** The next consumer starts while node-1 hears of nothing; then node-1 is back, its kernel as it was. */
function startWithoutHolder(cluster: ModelCluster): void {
  const holder = cluster.node(HOLDER);
  holder.up = false;
  cluster.attach('node-0');
  tearDownFenced(cluster);
  expect(stage(cluster)).to.deep.equal({ kind: 'done' });
  expect(cluster.status.releasedEpoch).to.equal(0);
  holder.up = true;
}

describe('an export that is taken away', () => {
  it('is no fence after its consumer stopped the array and said so', () => {
    const cluster = running();
    unstageOn(cluster, cluster.node('node-0'));
    cluster.detach();
    expect(taken(cluster)).to.deep.equal(['revokeExport']);
  });

  it('is a fence when its consumer never said so', () => {
    const cluster = running();
    cluster.detach();
    expect(taken(cluster)).to.deep.equal(['fenceExport']);
  });

  it('is a fence when the partition goes with its volume before it was revoked', () => {
    const cluster = running();
    cluster.detach();
    cluster.delete();
    expect(taken(cluster)).to.deep.equal(['fenceExport']);
  });

  it('is no fence when its consumer never started the array', () => {
    const cluster = running();
    unstageOn(cluster, cluster.node('node-0'));
    cluster.detach();
    cluster.attach('node-0');
    holdAll(cluster);
    cluster.detach();
    expect(taken(cluster)).to.deep.equal(['revokeExport']);
  });

  it('is no fence before the birth: nothing was written', () => {
    const cluster = new ModelCluster({ copies: 2, drives: 1, nodes: 3, mode: 'Filesystem' });
    cluster.attach('node-0');
    holdAll(cluster);
    cluster.detach();
    expect(taken(cluster)).to.deep.equal(['revokeExport']);
  });

  it('is judged by the old hand-over when the holder hears of it only after the next start', () => {
    const clean = running();
    unstageOn(clean, clean.node('node-0'));
    clean.detach();
    startWithoutHolder(clean);
    expect(taken(clean)).to.deep.equal(['revokeExport']);
    const unclean = running();
    unclean.detach();
    startWithoutHolder(unclean);
    expect(taken(unclean)).to.deep.equal(['fenceExport']);
  });
});
