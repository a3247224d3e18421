import { expect } from 'chai';
import fc from 'fast-check';
import { partitionSizeBytes } from '../../src/api/layout.ts';
import { planGrow } from '../../src/plan/grow.ts';
import { planHolder } from '../../src/plan/holding.ts';
import { MIB } from '../../src/support/units.ts';
import type { Shape } from '../support/model-cluster.ts';
import { ModelCluster } from '../support/model-cluster.ts';
import { advance, wish } from '../support/model-growth.ts';
import type { Life } from '../support/model-run.ts';
import {
  checkData,
  checkSizes,
  grow,
  holdAll,
  observe,
  publish,
  stage,
  tearDownFenced,
  unpublish,
  unstageOn,
} from '../support/model-run.ts';

const BORN = 512 * MIB;
const ROOM = 2048 * MIB;

type Op =
  | { readonly op: 'stage' | 'unstage' | 'hold' | 'grow'; readonly steps: number; readonly half: boolean }
  | { readonly op: 'advance'; readonly writes: number }
  | { readonly op: 'wish'; readonly mib: number }
  | { readonly op: 'write' | 'settle' | 'observe' | 'detach' | 'publish' }
  | { readonly op: 'attach' | 'power'; readonly node: number };

const shapes: fc.Arbitrary<Shape> = fc
  .record({
    copies: fc.integer({ min: 1, max: 3 }),
    drives: fc.constant(1),
    mode: fc.constantFrom('Filesystem' as const, 'Block' as const),
  })
  .map((shape) => ({ ...shape, nodes: shape.copies + 1 }));

const node = fc.integer({ min: 0, max: 3 });
const killed = fc.record({
  op: fc.constantFrom('stage' as const, 'unstage' as const, 'hold' as const, 'hold' as const, 'grow' as const),
  steps: fc.oneof(fc.integer({ min: 0, max: 25 }), fc.constant(1000)),
  half: fc.boolean(),
});
const written = fc.record({ op: fc.constant('advance' as const), writes: fc.integer({ min: 0, max: 5 }) });
const wishes = fc.record({ op: fc.constant('wish' as const), mib: fc.integer({ min: 1, max: 3000 }) });
const plain = fc.record({
  op: fc.constantFrom<'write' | 'settle' | 'observe' | 'detach' | 'publish'>(
    'write',
    'settle',
    'observe',
    'detach',
    'publish',
  ),
});
const placed = fc.record({ op: fc.constantFrom('attach' as const, 'power' as const), node });
const histories = fc.array(fc.oneof(killed, killed, written, written, wishes, plain, placed), { maxLength: 40 });

const lifeOf = (steps: number, half = false): Life => ({ stepsLeft: steps, half });

function run(cluster: ModelCluster, op: Op): void {
  const nodeOf = (index: number) => cluster.nodes[index % cluster.nodes.length]!;
  switch (op.op) {
    case 'stage':
      stage(cluster, lifeOf(op.steps, op.half));
      return;
    case 'unstage':
      if (cluster.consumer !== undefined) unpublish(cluster, cluster.consumer);
      if (cluster.consumer !== undefined) unstageOn(cluster, cluster.consumer, lifeOf(op.steps));
      return;
    case 'hold':
      holdAll(cluster, lifeOf(op.steps));
      return;
    case 'grow':
      grow(cluster, lifeOf(op.steps));
      return;
    case 'advance':
      advance(cluster, op.writes);
      return;
    case 'wish':
      wish(cluster, op.mib * MIB);
      return;
    case 'write':
      cluster.write();
      return;
    case 'settle':
      cluster.settle();
      return;
    case 'observe':
      observe(cluster);
      return;
    case 'publish':
      publish(cluster);
      return;
    case 'detach':
      cluster.detach();
      return;
    case 'attach':
      cluster.attach(nodeOf(op.node).name);
      return;
    case 'power':
      cluster.reboot(nodeOf(op.node), true);
      return;
  }
}

function after(shape: Shape, history: readonly Op[]): ModelCluster {
  const cluster = new ModelCluster(shape);
  for (const op of history) {
    run(cluster, op);
    checkData(cluster);
    checkSizes(cluster);
  }
  return cluster;
}

/** Every role works until nothing is left to do. */
function settle(cluster: ModelCluster): void {
  for (let round = 0; round < 4; round += 1) {
    tearDownFenced(cluster);
    holdAll(cluster);
    cluster.settle();
    observe(cluster);
    advance(cluster);
    grow(cluster);
  }
}

function bringUp(cluster: ModelCluster, on: number): void {
  cluster.detach();
  cluster.attach(cluster.nodes[on % cluster.nodes.length]!.name);
  expect(stage(cluster)).to.deep.equal({ kind: 'done' });
}

function expectServed(cluster: ModelCluster): void {
  const { capacityBytes, expandToBytes, formattedAt } = cluster.volume.spec;
  expect(expandToBytes, 'no wish is left').to.equal(undefined);
  expect(cluster.status.servedBytes, 'nothing is left to grow').to.equal(undefined);
  expect(cluster.status.phase).to.equal('Synced');
  expect(cluster.arrayBytes).to.equal(capacityBytes);
  if (formattedAt !== undefined) expect(cluster.filesystemBytes).to.equal(capacityBytes);
  for (const entry of cluster.status.partitions) {
    expect(entry.sizeBytes).to.be.at.least(partitionSizeBytes(capacityBytes, 1));
    expect(entry).to.not.have.any.keys('growToBytes', 'growableToBytes');
  }
}

/** Killed between mkfs and its record, while a wish stands: the filesystem has what the array had then. */
const FORMATTED_UNRECORDED: [Shape, readonly Op[], number] = [
  { copies: 1, drives: 1, nodes: 2, mode: 'Filesystem' },
  [
    { op: 'wish', mib: 513 },
    { op: 'attach', node: 0 },
    { op: 'stage', steps: 7, half: false },
  ],
  0,
];

describe('an expansion', () => {
  it('comes to its end after any history of wishes, kills, moves and power cuts, and no rule is broken on the way', () => {
    fc.assert(
      fc.property(shapes, histories, node, (shape, history, on) => {
        const cluster = after(shape, history);
        settle(cluster);
        bringUp(cluster, on);
        cluster.write();
        settle(cluster);
        expectServed(cluster);
        checkData(cluster);
        checkSizes(cluster);
        for (const each of cluster.nodes) expect(planHolder(cluster.holderWorld(each))).to.deep.equal({ kind: 'done' });
        expect(planGrow(cluster.consumerWorld(cluster.consumer!, false))).to.deep.equal({ kind: 'done' });
      }),
      { numRuns: 250, examples: [FORMATTED_UNRECORDED] },
    );
  });

  it('is carried out while the volume is written, wherever the processes are killed', () => {
    const kills = fc.array(fc.tuple(fc.integer({ min: 0, max: 8 }), fc.integer({ min: 0, max: 4 })), { maxLength: 6 });
    fc.assert(
      fc.property(shapes, node, kills, fc.integer({ min: 513, max: 2040 }), (shape, on, times, mib) => {
        const cluster = new ModelCluster(shape);
        bringUp(cluster, on);
        wish(cluster, mib * MIB);
        for (const [steps, writes] of times) {
          holdAll(cluster, lifeOf(steps));
          cluster.write();
          advance(cluster, writes);
          grow(cluster, lifeOf(steps));
        }
        settle(cluster);
        cluster.write();
        expect(cluster.volume.spec.capacityBytes).to.equal(mib * MIB);
        expectServed(cluster);
        checkData(cluster);
      }),
      { numRuns: 150 },
    );
  });

  it('changes no size when one holder has no room, says which, and is taken back', () => {
    fc.assert(
      fc.property(shapes, node, node, fc.integer({ min: 513, max: 2040 }), fc.boolean(), (shape, on, full, mib, up) => {
        const cluster = new ModelCluster(shape);
        bringUp(cluster, on);
        if (!up) {
          unstageOn(cluster, cluster.consumer!);
          cluster.detach();
        }
        const holder = cluster.nodes[full % shape.copies]!;
        holder.roomBytes = partitionSizeBytes(BORN, 1) + MIB / 2;
        const before = JSON.stringify(cluster.nodes.map(({ partitions }) => [...partitions.values()]));
        wish(cluster, mib * MIB);
        expect(cluster.status.phase).to.equal('Expanding');
        settle(cluster);
        expect(JSON.stringify(cluster.nodes.map(({ partitions }) => [...partitions.values()]))).to.equal(before);
        expect(cluster.volume.spec).to.include({ capacityBytes: BORN });
        expect(cluster.volume.spec).to.not.have.property('expandToBytes');
        expect(cluster.status.phase).to.equal('Synced');
        const condition = cluster.status.conditions.find(({ type }) => type === 'Expandable');
        expect(condition).to.include({ status: 'False', reason: 'NoRoom' });
        expect(condition?.message).to.include(`node ${holder.name}, drive`);
        holder.roomBytes = ROOM;
        wish(cluster, mib * MIB);
        settle(cluster);
        expect(cluster.volume.spec.capacityBytes, 'the same wish is answered anew').to.equal(mib * MIB);
      }),
      { numRuns: 100 },
    );
  });

  it('of a volume that is deleted meanwhile ends with it', () => {
    fc.assert(
      fc.property(shapes, histories, (shape, history) => {
        const cluster = after(shape, history);
        wish(cluster, 2000 * MIB);
        holdAll(cluster, lifeOf(history.length % 7));
        cluster.detach();
        tearDownFenced(cluster);
        holdAll(cluster);
        cluster.delete();
        advance(cluster);
        holdAll(cluster);
        expect(cluster.status.phase).to.equal('Deleting');
        expect(cluster.status.partitions).to.deep.equal([]);
      }),
      { numRuns: 80 },
    );
  });
});
