import { expect } from 'chai';
import fc from 'fast-check';
import type { PartitionStatus } from '../../src/api/volume.ts';
import { mdSlotOf } from '../../src/plan/view.ts';
import type { ModelCluster } from '../support/model-cluster.ts';
import { after, bringUp, lifeOf, mendingHistories, node, run, shapes } from '../support/model-history.ts';
import { checkData, holdAll, mend, observe, stage, unstageOn } from '../support/model-run.ts';

/** Everything works again, and the background work goes on for a while. */
function heal(cluster: ModelCluster): void {
  for (const each of cluster.nodes) each.up = true;
  for (let round = 0; round < 12; round += 1) {
    holdAll(cluster);
    observe(cluster);
    mend(cluster, true);
    cluster.settle();
  }
  observe(cluster);
}

const statesOf = (cluster: ModelCluster): readonly string[] => cluster.status.partitions.map(({ state }) => state);
/** In RAID10 MD gives a new member the first empty slot: that of a faulty one below keeps it out until that one is replaced. */
function waitsForSlot({ shape, status, volume }: ModelCluster, entry: PartitionStatus): boolean {
  if (shape.drives === 1 || entry.state !== 'Missing') return false;
  return status.partitions.some(
    (other) => other.state === 'Faulty' && mdSlotOf(volume, other) < mdSlotOf(volume, entry),
  );
}

/** A drive that MD called faulty is replaced, it does not come back. */
function expectWell(cluster: ModelCluster): void {
  const isWell = (entry: PartitionStatus): boolean =>
    entry.state === 'Synced' || entry.state === 'Faulty' || waitsForSlot(cluster, entry);
  expect(cluster.status.partitions.filter((entry) => !isWell(entry))).to.deep.equal([]);
}

describe('mending a staged volume', () => {
  it('brings every member back after any history, by its bitmap only where that is safe', () => {
    fc.assert(
      fc.property(shapes, mendingHistories, node, (shape, history, on) => {
        const cluster = after(shape, history);
        bringUp(cluster, on);
        cluster.write();
        heal(cluster);
        checkData(cluster);
        expectWell(cluster);
        const isLeft = cluster.status.partitions.some((entry) => waitsForSlot(cluster, entry));
        expect(mend(cluster, true).kind).to.equal(isLeft ? 'wait' : 'done');
      }),
      { numRuns: 250 },
    );
  });

  it('lets pods write on without a holder that is gone, once that is recorded', () => {
    const replicated = shapes.filter(({ copies }) => copies > 1);
    fc.assert(
      fc.property(replicated, node, mendingHistories, (shape, which, history) => {
        const cluster = after(shape, []);
        bringUp(cluster, 0);
        cluster.write();
        const gone = cluster.nodes.slice(1, shape.copies)[which % (shape.copies - 1)]!;
        cluster.reboot(gone, false);
        gone.up = false;
        const before = cluster.acknowledged;
        cluster.write();
        expect(cluster.acknowledged, 'the guard holds the write').to.equal(before);
        mend(cluster, false);
        cluster.write();
        expect(cluster.acknowledged, 'within the grace nothing is dropped').to.equal(before);
        mend(cluster, true);
        cluster.write();
        expect(cluster.acknowledged).to.equal(before + 1);
        gone.up = true;
        for (const op of history) run(cluster, op);
        for (const each of cluster.nodes) each.up = true;
        bringUp(cluster, 0);
        heal(cluster);
        checkData(cluster);
        expectWell(cluster);
      }),
      { numRuns: 60 },
    );
  });

  it('never drops the last member of a column that holds every write', () => {
    fc.assert(
      fc.property(shapes, fc.boolean(), mendingHistories, (shape, isLocal, history) => {
        const cluster = after(shape, []);
        const consumer = isLocal ? 0 : shape.copies;
        bringUp(cluster, consumer);
        cluster.write();
        for (const each of cluster.nodes.filter((_, index) => index !== consumer)) {
          each.up = false;
          cluster.cut(each);
        }
        mend(cluster, true);
        for (const op of history) run(cluster, op);
        const columns = Array.from({ length: shape.drives }, (_, column) =>
          cluster.status.partitions.filter(
            ({ partitionUUID, state }) => cluster.columnOf(partitionUUID) === column && state === 'Synced',
          ),
        );
        if (cluster.status.phase !== 'Deleting') for (const column of columns) expect(column).to.not.deep.equal([]);
      }),
      { numRuns: 60 },
    );
  });

  it('trusts no member that was dropped before the array was stopped and started again under the same attachment', () => {
    const replicated = shapes.filter(({ copies }) => copies > 1);
    fc.assert(
      fc.property(replicated, node, fc.integer({ min: 0, max: 6 }), (shape, which, steps) => {
        const cluster = after(shape, []);
        bringUp(cluster, 0);
        cluster.write();
        const gone = cluster.nodes.slice(1, shape.copies)[which % (shape.copies - 1)]!;
        gone.up = false;
        cluster.cut(gone);
        mend(cluster, true);
        // Back for a moment: the process is killed on the way, and so may be the return.
        gone.up = true;
        mend(cluster, true, lifeOf(steps, false));
        gone.up = false;
        cluster.cut(gone);
        mend(cluster, true);
        unstageOn(cluster, cluster.consumer!);
        cluster.reboot(gone, false);
        gone.up = true;
        expect(stage(cluster)).to.deep.equal({ kind: 'done' });
        heal(cluster);
        expect(statesOf(cluster)).to.satisfy((states: readonly string[]) =>
          states.every((state) => state === 'Synced'),
        );
      }),
      { numRuns: 60 },
    );
  });

  it('records nobody as lost before the birth is on record: its members are used all or not at all', () => {
    const replicated = shapes.filter(({ copies }) => copies > 1);
    fc.assert(
      fc.property(replicated, node, (shape, which) => {
        const cluster = after(shape, []);
        bringUp(cluster, 0);
        // Killed between the two writes of the record of the birth.
        const { activatedAt: _born, formattedAt: _formatted, ...spec } = cluster.volume.spec;
        cluster.volume = { ...cluster.volume, spec };
        const gone = cluster.nodes.slice(1, shape.copies)[which % (shape.copies - 1)]!;
        cluster.reboot(gone, false);
        expect(mend(cluster, true)).to.deep.equal({ kind: 'done' });
        expect(statesOf(cluster).every((state) => state === 'Synced')).to.equal(true);
      }),
      { numRuns: 20 },
    );
  });

  it('leaves a volume that is degraded free to be unstaged', () => {
    const replicated = shapes.filter(({ copies }) => copies > 1);
    fc.assert(
      fc.property(replicated, node, (shape, which) => {
        const cluster = after(shape, []);
        bringUp(cluster, 0);
        cluster.write();
        const gone = cluster.nodes.slice(1, shape.copies)[which % (shape.copies - 1)]!;
        gone.up = false;
        cluster.cut(gone);
        mend(cluster, true);
        expect(unstageOn(cluster, cluster.consumer!)).to.deep.equal({ kind: 'done' });
        expect(cluster.status.releasedEpoch).to.equal(cluster.status.attachmentEpoch);
      }),
    );
  });
});
