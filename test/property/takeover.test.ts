import { expect } from 'chai';
import fc from 'fast-check';
import type { PartitionStatus } from '../../src/api/volume.ts';
import { takeOver } from '../../src/plan/takeover.ts';
import type { Shape } from '../support/model-cluster.ts';
import { NOW } from '../support/model-cluster.ts';
import type { ModelCluster } from '../support/model-cluster.ts';
import { after, bringUp, mendingHistories, run, shapes } from '../support/model-history.ts';
import { checkData, holdAll, mend, observe, stage, unstageOn } from '../support/model-run.ts';

const replicated = shapes.filter(({ copies }) => copies > 1);

/** The holder of the last copy was dropped from the array, then everybody else died: an old copy is all there is. */
function withOldCopyOnly(shape: Shape): { readonly cluster: ModelCluster; readonly kept: number } {
  const cluster = after(shape, []);
  bringUp(cluster, shape.copies);
  cluster.write();
  const kept = shape.copies - 1;
  const holder = cluster.nodes[kept]!;
  holder.up = false;
  cluster.cut(holder);
  mend(cluster, true);
  cluster.write();
  for (const node of cluster.nodes.slice(0, kept)) {
    cluster.reboot(node, false);
    node.up = false;
  }
  cluster.reboot(cluster.nodes[shape.copies]!, false);
  cluster.detach();
  holder.up = true;
  return { cluster, kept };
}

/** What the person decides, and what it means for what counts as acknowledged. */
function accept(cluster: ModelCluster): readonly PartitionStatus[] {
  const { status, chosen } = takeOver(cluster.volume, { members: [], freshNodes: freshNodes(cluster) }, NOW);
  cluster.status = status;
  const partitions = chosen.map(({ partitionUUID }) => cluster.mustPartition(partitionUUID));
  for (const partition of partitions) partition.lost = false;
  cluster.acknowledged = Math.min(...partitions.map(({ data }) => Math.floor(data)));
  return chosen;
}

const freshNodes = (cluster: ModelCluster): ReadonlySet<string> =>
  new Set(cluster.nodes.filter(({ up }) => up).map(({ name }) => name));

describe('a volume that a person takes over', () => {
  it('waits for those who hold every write, until it is; then the old copy serves, and the others come back wiped', () => {
    fc.assert(
      fc.property(replicated, mendingHistories, (shape, history) => {
        const { cluster, kept } = withOldCopyOnly(shape);
        cluster.attach(cluster.nodes[shape.copies]!.name);
        expect(stage(cluster).kind, 'nobody starts from less').to.equal('wait');
        const chosen = accept(cluster);
        expect(chosen.map(({ nodeID }) => nodeID)).to.deep.equal(
          Array.from({ length: shape.drives }, () => cluster.nodes[kept]!.name),
        );
        expect(stage(cluster)).to.deep.equal({ kind: 'done' });
        cluster.write();
        checkData(cluster);
        for (const node of cluster.nodes) node.up = true;
        for (const op of history) {
          run(cluster, op);
          checkData(cluster);
        }
        for (const node of cluster.nodes) node.up = true;
        if (cluster.status.phase === 'Deleting') return;
        bringUp(cluster, 0);
        for (let round = 0; round < 12; round += 1) {
          holdAll(cluster);
          observe(cluster);
          mend(cluster, true);
          cluster.settle();
        }
        observe(cluster);
        checkData(cluster);
      }),
      { numRuns: 60 },
    );
  });

  it('is the same volume when it is told so again, and refused once it serves', () => {
    fc.assert(
      fc.property(replicated, (shape) => {
        const { cluster } = withOldCopyOnly(shape);
        const wish = { members: [], freshNodes: freshNodes(cluster) };
        accept(cluster);
        expect(() => takeOver(cluster.volume, wish, NOW)).to.throw('nothing is lost');
        cluster.attach(cluster.nodes[shape.copies]!.name);
        stage(cluster);
        expect(() => takeOver(cluster.volume, wish, NOW)).to.throw('delete the pod');
        unstageOn(cluster, cluster.consumer!);
        cluster.detach();
        expect(() => takeOver(cluster.volume, wish, NOW)).to.throw('nothing is lost');
      }),
      { numRuns: 20 },
    );
  });
});
