import { expect } from 'chai';
import fc from 'fast-check';
import type { PartitionStatus } from '../../src/api/volume.ts';
import type { ModelCluster, ModelNode } from '../support/model-cluster.ts';
import { control } from '../support/model-control.ts';
import type { Op } from '../support/model-history.ts';
import { after, bringUp, lifeOf, node, replacingHistories, run, shapes } from '../support/model-history.ts';
import { checkData, holdAll, mend, observe, unstageOn } from '../support/model-run.ts';

const replicated = shapes.filter(({ copies }) => copies > 1);

/** Everything that works goes on for a while; whoever is away stays away. */
function carryOn(cluster: ModelCluster): void {
  for (let round = 0, calm = 0; round < 40 && calm < 2; round += 1) {
    const before = JSON.stringify([cluster.status, cluster.consumer?.array]);
    control(cluster, true);
    holdAll(cluster);
    observe(cluster);
    mend(cluster, true);
    checkData(cluster);
    cluster.write();
    cluster.settle();
    calm = JSON.stringify([cluster.status, cluster.consumer?.array]) === before ? calm + 1 : 0;
  }
  observe(cluster);
  control(cluster, true);
  holdAll(cluster);
  mend(cluster, true);
}

const members = (cluster: ModelCluster): readonly PartitionStatus[] =>
  cluster.status.partitions.filter(({ state }) => state !== 'Deleting');

/** As many members as the volume should have, one in each slot, and each holds everything. */
function expectWhole(cluster: ModelCluster): void {
  const { copies, drives } = cluster.shape;
  expect(
    members(cluster)
      .map(({ slot, state }) => `${slot} ${state}`)
      .sort(),
  ).to.deep.equal(Array.from({ length: copies * drives }, (_, slot) => `${slot} Synced`).sort());
  expect(cluster.status).to.include({ phase: 'Synced', degradedDevices: 0, failedDevices: 0, downDevices: 0 });
  const array = cluster.consumer?.array;
  expect(array?.members.filter(({ faulty, recovering }) => !faulty && recovering !== true)).to.have.length(
    copies * drives,
  );
}

/** Nothing is left of partitions that are members no more. */
function expectClean(cluster: ModelCluster): void {
  const listed = new Set(cluster.status.partitions.map(({ partitionUUID }) => partitionUUID));
  const kept = cluster.nodes.flatMap(({ partitions }) => [...partitions.keys()]);
  expect(kept.filter((partitionUUID) => !listed.has(partitionUUID))).to.deep.equal([]);
  const { consumer } = cluster;
  const used = new Set(members(cluster).map(({ partitionUUID }) => partitionUUID));
  expect(consumer?.legs.filter(({ partitionUUID }) => !used.has(partitionUUID))).to.deep.equal([]);
  expect(consumer?.imports.filter(({ partitionUUID }) => !used.has(partitionUUID))).to.deep.equal([]);
}

function lose(cluster: ModelCluster, gone: ModelNode): void {
  cluster.reboot(gone, true);
  gone.up = false;
}

/** A cluster with a volume in use on a node that is not `gone`. */
function inUse(shape: Parameters<typeof after>[0], history: readonly Op[], which: number): [ModelCluster, ModelNode] {
  const cluster = after(shape, history);
  const gone = cluster.nodes[which % cluster.nodes.length]!;
  bringUp(cluster, (which + 1) % cluster.nodes.length);
  cluster.write();
  carryOn(cluster);
  return [cluster, gone];
}

describe('replacing members that are out for good', () => {
  it('brings a volume back to all its members after any history, with a node gone for ever, and cleans that up when it returns', () => {
    fc.assert(
      fc.property(replicated, replacingHistories, node, fc.boolean(), (shape, history, which, isBack) => {
        const [cluster, gone] = inUse(shape, history, which);
        lose(cluster, gone);
        carryOn(cluster);
        expectWhole(cluster);
        expect(members(cluster).every(({ nodeID }) => nodeID !== gone.name)).to.equal(true);
        if (!isBack) return;
        gone.up = true;
        carryOn(cluster);
        expectWhole(cluster);
        expectClean(cluster);
        expect(gone.partitions.size).to.equal(0);
      }),
      { numRuns: 60 },
    );
  });

  it('replaces a member whose drive failed at once, however often', () => {
    fc.assert(
      fc.property(
        replicated,
        node,
        fc.array(fc.nat({ max: 7 }), { minLength: 1, maxLength: 4 }),
        (shape, on, drops) => {
          const cluster = after(shape, []);
          bringUp(cluster, on);
          for (const choice of drops) {
            cluster.write();
            cluster.drop(choice);
            observe(cluster);
            control(cluster, false);
            carryOn(cluster);
            expectWhole(cluster);
            expectClean(cluster);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('takes the old member or the new one, never both, when the old one comes back at any step of its replacement', () => {
    fc.assert(
      fc.property(
        replicated,
        node,
        fc.integer({ min: 0, max: 30 }),
        fc.boolean(),
        fc.boolean(),
        replacingHistories,
        (shape, which, steps, hasRestarted, isPlanned, history) => {
          const cluster = after(shape, []);
          bringUp(cluster, 0);
          cluster.write();
          const gone = cluster.nodes.slice(1, shape.copies)[which % (shape.copies - 1)]!;
          gone.up = false;
          cluster.cut(gone);
          mend(cluster, true);
          cluster.write();
          observe(cluster);
          if (isPlanned) control(cluster, true);
          holdAll(cluster, lifeOf(steps, false));
          mend(cluster, true, lifeOf(steps % 9, false));
          if (hasRestarted) cluster.reboot(gone, false);
          gone.up = true;
          cluster.write();
          for (const op of history) {
            run(cluster, op);
            checkData(cluster);
          }
          for (const each of cluster.nodes) each.up = true;
          bringUp(cluster, 0);
          carryOn(cluster);
          expectWhole(cluster);
          expectClean(cluster);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('takes the old one back by its bitmap as long as no other one was added', () => {
    fc.assert(
      fc.property(replicated, node, (shape, which) => {
        const cluster = after(shape, []);
        bringUp(cluster, 0);
        cluster.write();
        const gone = cluster.nodes.slice(1, shape.copies)[which % (shape.copies - 1)]!;
        const before = members(cluster).map(({ partitionUUID }) => partitionUUID);
        gone.up = false;
        cluster.cut(gone);
        mend(cluster, true);
        observe(cluster);
        control(cluster, true);
        expect(cluster.status.phase).to.equal('Replacing');
        expect(members(cluster)).to.have.length(before.length + shape.drives);
        gone.up = true;
        carryOn(cluster);
        expectWhole(cluster);
        expectClean(cluster);
        expect(members(cluster).map(({ partitionUUID }) => partitionUUID)).to.have.members(before);
      }),
    );
  });

  it('fills the old one anew once another one was added, however little was copied to that one', () => {
    const cluster = after({ copies: 2, drives: 1, nodes: 3, mode: 'Block' }, []);
    bringUp(cluster, 0);
    cluster.write();
    const [, old, other] = cluster.nodes as [ModelNode, ModelNode, ModelNode];
    old.up = false;
    cluster.cut(old);
    mend(cluster, true);
    cluster.write();
    observe(cluster);
    control(cluster, true);
    holdAll(cluster);
    mend(cluster, true);
    expect(members(cluster).map(({ state }) => state)).to.deep.equal(['Synced', 'Replacing', 'Syncing']);
    other.up = false;
    cluster.cut(other);
    mend(cluster, true);
    old.up = true;
    carryOn(cluster);
    other.up = true;
    carryOn(cluster);
    expectWhole(cluster);
    expectClean(cluster);
  });

  it('waits with what is missing while nobody uses the volume, unless nothing is heard of its node', () => {
    const cluster = after({ copies: 2, drives: 1, nodes: 3, mode: 'Block' }, []);
    bringUp(cluster, 0);
    cluster.write();
    const gone = cluster.nodes[1]!;
    gone.up = false;
    cluster.cut(gone);
    mend(cluster, true);
    gone.up = true;
    unstageOn(cluster, cluster.consumer!);
    cluster.detach();
    control(cluster, true);
    expect(members(cluster)).to.have.length(2);
    gone.up = false;
    control(cluster, true);
    holdAll(cluster);
    expect(members(cluster).map(({ state }) => state)).to.deep.equal(['Synced', 'Replacing', 'Created']);
    bringUp(cluster, 0);
    carryOn(cluster);
    expectWhole(cluster);
  });
});
