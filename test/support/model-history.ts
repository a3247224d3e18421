/** Drawn histories of a model cluster, and what they leave behind. */
import { expect } from 'chai';
import fc from 'fast-check';
import type { Shape } from './model-cluster.ts';
import { ModelCluster } from './model-cluster.ts';
import { control } from './model-control.ts';
import type { Life } from './model-run.ts';
import {
  checkData,
  holdAll,
  mend,
  observe,
  publish,
  stage,
  tearDownFenced,
  unpublish,
  unstageOn,
} from './model-run.ts';

/** What befalls a cluster, one thing after another; kills and orders are drawn. */
export type Op =
  | { readonly op: 'stage' | 'unstage' | 'hold' | 'tearDown'; readonly steps: number; readonly half: boolean }
  | { readonly op: 'publish' | 'unpublish' | 'write' | 'settle' | 'observe' | 'detach' }
  | { readonly op: 'attach' | 'down' | 'up' | 'drop'; readonly node: number }
  | { readonly op: 'power'; readonly node: number; readonly torn: boolean }
  | { readonly op: 'cut'; readonly node: number }
  | { readonly op: 'control'; readonly late: boolean }
  | { readonly op: 'mend'; readonly steps: number; readonly late: boolean };

export const shapes: fc.Arbitrary<Shape> = fc
  .record({
    copies: fc.integer({ min: 1, max: 3 }),
    drives: fc.integer({ min: 1, max: 2 }),
    mode: fc.constantFrom('Filesystem' as const, 'Block' as const),
  })
  .map((shape) => ({ ...shape, nodes: shape.copies + 1 }));

const killed = fc.record({
  op: fc.constantFrom(
    'stage' as const,
    'stage' as const,
    'stage' as const,
    'unstage' as const,
    'hold' as const,
    'tearDown' as const,
  ),
  steps: fc.oneof(fc.integer({ min: 0, max: 25 }), fc.constant(1000)),
  half: fc.boolean(),
});
const plain = fc.record({
  op: fc.constantFrom<'publish' | 'unpublish' | 'write' | 'settle' | 'observe' | 'detach'>(
    'publish',
    'unpublish',
    'write',
    'write',
    'settle',
    'observe',
    'observe',
    'detach',
  ),
});
export const node = fc.integer({ min: 0, max: 3 });
const placed = fc.record({
  op: fc.constantFrom('attach' as const, 'attach' as const, 'down' as const, 'up' as const, 'drop' as const),
  node,
});
const power = fc.record({ op: fc.constant('power' as const), node, torn: fc.boolean() });
export const histories: fc.Arbitrary<readonly Op[]> = fc.array(fc.oneof(killed, plain, placed, power), {
  maxLength: 30,
});
const cut = fc.record({ op: fc.constant('cut' as const), node });
const mending = fc.record({
  op: fc.constant('mend' as const),
  steps: fc.oneof(fc.integer({ min: 0, max: 12 }), fc.constant(1000)),
  late: fc.boolean(),
});
/** With paths that are lost, members that are dropped and come back. */
export const mendingHistories: fc.Arbitrary<readonly Op[]> = fc.array(
  fc.oneof(killed, plain, placed, power, cut, mending, mending),
  { maxLength: 40 },
);

const controlled = fc.record({ op: fc.constant('control' as const), late: fc.boolean() });
/** With members that are replaced besides. */
export const replacingHistories: fc.Arbitrary<readonly Op[]> = fc.array(
  fc.oneof(killed, plain, placed, power, cut, mending, mending, controlled, controlled),
  { maxLength: 40 },
);

export function lifeOf(steps: number, half: boolean): Life {
  return { stepsLeft: steps, half };
}

export function run(cluster: ModelCluster, op: Op): void {
  const { consumer } = cluster;
  const nodeOf = (index: number) => cluster.nodes[index % cluster.nodes.length]!;
  switch (op.op) {
    case 'stage':
      stage(cluster, lifeOf(op.steps, op.half));
      return;
    case 'unstage':
      if (consumer?.up === true) unstageOn(cluster, consumer, lifeOf(op.steps, false));
      return;
    case 'hold': {
      holdAll(cluster, lifeOf(op.steps, false));
      return;
    }
    case 'tearDown': {
      tearDownFenced(cluster, lifeOf(op.steps, false));
      return;
    }
    case 'cut': {
      cluster.cut(nodeOf(op.node));
      return;
    }
    case 'control':
      control(cluster, op.late);
      return;
    case 'mend':
      mend(cluster, op.late, lifeOf(op.steps, false));
      return;
    case 'publish':
      publish(cluster);
      return;
    case 'unpublish':
      if (consumer !== undefined) unpublish(cluster, consumer);
      return;
    case 'write': {
      cluster.write();
      return;
    }
    case 'settle': {
      cluster.settle();
      return;
    }
    case 'observe': {
      observe(cluster);
      return;
    }
    case 'detach': {
      cluster.detach();
      return;
    }
    case 'attach': {
      cluster.attach(nodeOf(op.node).name);
      return;
    }
    case 'down':
      nodeOf(op.node).up = false;
      {
        cluster.reboot(nodeOf(op.node), true);
        return;
      }
    case 'up':
      nodeOf(op.node).up = true;
      return;
    case 'drop': {
      cluster.drop(op.node);
      return;
    }
    case 'power': {
      cluster.reboot(nodeOf(op.node), op.torn);
      return;
    }
  }
}

/** A cluster with whatever such a history leaves behind, all nodes up again. */
export function after(shape: Shape, history: readonly Op[]): ModelCluster {
  const cluster = new ModelCluster(shape);
  for (const op of history) {
    run(cluster, op);
    checkData(cluster);
  }
  for (const each of cluster.nodes) each.up = true;
  return cluster;
}

export function bringUp(cluster: ModelCluster, on: number): void {
  cluster.detach();
  cluster.attach(cluster.nodes[on % cluster.nodes.length]!.name);
  expect(stage(cluster)).to.deep.equal({ kind: 'done' });
}
