import { expect } from 'chai';
import { expanded, recordExpanded, recordGrowable, recordGrown } from '../../src/plan/expansion-records.ts';
import { wayOf } from '../../src/plan/connections.ts';
import { expansionProgress } from '../../src/plan/expansion.ts';
import { planGrow } from '../../src/plan/grow.ts';
import { membersWithoutPath } from '../../src/plan/mending.ts';
import { planHolder } from '../../src/plan/holding.ts';
import type { ConsumerWorld } from '../../src/plan/world.ts';
import { DATA_OFFSET_BYTES } from '../../src/api/layout.ts';
import { MIB } from '../../src/support/units.ts';
import { ModelCluster, NOW } from '../support/model-cluster.ts';
import { advance, wish } from '../support/model-growth.ts';
import { grow, holdAll, publish, stage } from '../support/model-run.ts';
import { whoOf } from '../support/model-rules.ts';

const SHAPE = { copies: 2, drives: 1, nodes: 2, mode: 'Filesystem' } as const;
const GROWN = 1024 * MIB;

function staged(): ModelCluster {
  const cluster = new ModelCluster(SHAPE);
  cluster.attach('node-0');
  stage(cluster);
  publish(cluster);
  return cluster;
}

/** The first pass ends with everybody's answer. */
function allGrow(cluster: ModelCluster): void {
  holdAll(cluster);
  holdAll(cluster);
}

/** The capacity has moved on; the consumer has done nothing yet. */
function movedOn(): ModelCluster {
  const cluster = staged();
  wish(cluster, GROWN);
  allGrow(cluster);
  advance(cluster);
  return cluster;
}

const kindsOf = (world: ConsumerWorld): readonly string[] => {
  const plan = planGrow(world);
  return plan.kind === 'steps' ? plan.steps.map(({ kind }) => kind) : [plan.kind];
};

describe('the records of an expansion', () => {
  it('move the capacity on only when the old one is remembered for the consumer', () => {
    const cluster = staged();
    wish(cluster, GROWN);
    allGrow(cluster);
    expect(expansionProgress(cluster.volume).kind).to.equal('grown');
    expect(expanded(cluster.volume)).to.equal(undefined);
    cluster.status = { ...cluster.status, servedBytes: cluster.volume.spec.capacityBytes };
    expect(expanded(cluster.volume)?.spec).to.include({ capacityBytes: GROWN });
  });

  it('do not say that all is done while more is wished, or more was added', () => {
    const cluster = movedOn();
    const who = whoOf(cluster, cluster.node('node-0'));
    expect(recordExpanded(cluster.volume, who, GROWN / 2)).to.equal(undefined);
    const { volume } = cluster;
    const more = { ...volume, spec: { ...volume.spec, expandToBytes: 2 * GROWN } };
    expect(recordExpanded(more, who, GROWN)).to.equal(undefined);
    expect(recordExpanded(volume, who, GROWN)).to.not.have.property('servedBytes');
    expect(() => recordExpanded(volume, { ...who, epoch: 7 }, GROWN)).to.throw(/not to node-0 at 7/);
  });

  it('take no answer to another wish, no smaller size, and nothing of the partition of another node', () => {
    const cluster = staged();
    wish(cluster, GROWN);
    const [first] = cluster.status.partitions;
    const uuid = first!.partitionUUID;
    const answer = { expandToBytes: GROWN / 2, growableToBytes: 1 };
    expect(recordGrowable(cluster.volume, 'node-0', uuid, answer, NOW)).to.equal(undefined);
    expect(() => recordGrowable(cluster.volume, 'node-1', uuid, answer, NOW)).to.throw(/belongs to node node-0/);
    expect(recordGrown(cluster.volume, 'node-0', uuid, first!.sizeBytes, NOW)).to.equal(undefined);
    expect(recordGrown(cluster.volume, 'node-0', uuid, first!.sizeBytes - MIB, NOW)).to.equal(undefined);
  });
});

describe('a holder that grows', () => {
  it('tells its kernel first when the table was written and the process died, whatever became of the wish', () => {
    const cluster = staged();
    const world = cluster.holderWorld(cluster.node('node-0'));
    const partitions = world.partitions.map(({ path: _path, ...rest }) => ({
      ...rest,
      sizeBytes: rest.sizeBytes + MIB,
    }));
    const { partitionUUID, diskPath, sizeBytes } = partitions[0]!;
    const resize = [{ kind: 'growPartition', partitionUUID, diskPath, sizeBytes }];
    expect(planHolder({ ...world, partitions })).to.deep.equal({ kind: 'steps', steps: resize });
    cluster.delete();
    const { array: _array, ...stopped } = world;
    const deleting = { ...stopped, volume: cluster.volume, partitions, legs: [] };
    expect(planHolder(deleting)).to.deep.equal({ kind: 'steps', steps: resize });
  });

  it('revokes first what a consumer has that is none any more, whatever becomes of the table', () => {
    const cluster = staged();
    const world = cluster.holderWorld(cluster.node('node-1'));
    const partitions = world.partitions.map(({ path: _path, ...rest }) => ({
      ...rest,
      sizeBytes: rest.sizeBytes + MIB,
    }));
    cluster.detach();
    const plan = planHolder({ ...world, volume: cluster.volume, partitions });
    expect(plan.kind === 'steps' && plan.steps[0]?.kind).to.equal('fenceExport');
  });

  it('half grown, keeps its own leg in the array', () => {
    const cluster = staged();
    const world = cluster.consumerWorld(cluster.node('node-0'), false);
    const partitions = world.partitions.map(({ path: _path, ...rest }) => ({
      ...rest,
      sizeBytes: rest.sizeBytes + MIB,
    }));
    expect(membersWithoutPath(world)).to.deep.equal([]);
    expect(membersWithoutPath({ ...world, partitions })).to.deep.equal([]);
  });

  it('goes on with the zeroing where this process has stopped, and begins anew in another one', () => {
    const cluster = staged();
    wish(cluster, GROWN);
    holdAll(cluster);
    const holder = cluster.node('node-0');
    const [entry] = cluster.status.partitions.filter(({ nodeID }) => nodeID === 'node-0');
    const { partitionUUID = '', sizeBytes = 0 } = entry ?? {};
    cluster.mustPartition(partitionUUID).sizeBytes = GROWN + DATA_OFFSET_BYTES;
    const planned = (zeroedTo: Readonly<Record<string, number>>): unknown => {
      const plan = planHolder({ ...cluster.holderWorld(holder), zeroedTo });
      return plan.kind === 'steps'
        ? plan.steps.map((step) => [step.kind, 'startBytes' in step && step.startBytes])
        : plan;
    };
    expect(planned({})).to.deep.equal([['zeroGrowth', sizeBytes]]);
    expect(planned({ [partitionUUID]: sizeBytes + MIB })).to.deep.equal([['zeroGrowth', sizeBytes + MIB]]);
    expect(planned({ [partitionUUID]: GROWN + DATA_OFFSET_BYTES })).to.deep.equal([['recordGrown', false]]);
  });

  it('cannot on a drive that must not be used, and waits for one that cannot be read', () => {
    const cluster = staged();
    wish(cluster, GROWN);
    const world = cluster.holderWorld(cluster.node('node-0'));
    const { partitionUUID, sizeBytes } = world.partitions[0]!;
    const drives = world.drives.map((drive) => ({ ...drive, usable: false, unusableReason: 'no selector' }));
    expect(planHolder({ ...world, drives })).to.deep.equal({
      kind: 'steps',
      steps: [{ kind: 'recordGrowable', partitionUUID, expandToBytes: GROWN, growableToBytes: sizeBytes }],
    });
    const unread = world.drives.map((drive) => ({ ...drive, isUnreadable: true }));
    expect(planHolder({ ...world, drives: unread })).to.include({ kind: 'wait' });
  });

  it('takes its word back when the room is gone before all have answered', () => {
    const cluster = staged();
    wish(cluster, GROWN);
    const node = cluster.node('node-0');
    const said = planHolder(cluster.holderWorld(node));
    expect(said.kind).to.equal('steps');
    const { partitionUUID, sizeBytes } = cluster.holderWorld(node).partitions[0]!;
    const answer = { expandToBytes: GROWN, growableToBytes: GROWN * 2 };
    cluster.status = recordGrowable(cluster.volume, 'node-0', partitionUUID, answer, NOW)!;
    expect(planHolder(cluster.holderWorld(node))).to.include({ kind: 'wait' });
    node.roomBytes = sizeBytes;
    const steps = [{ kind: 'recordGrowable', partitionUUID, expandToBytes: GROWN, growableToBytes: sizeBytes }];
    expect(planHolder(cluster.holderWorld(node))).to.deep.equal({ kind: 'steps', steps });
  });
});

describe('a consumer that grows', () => {
  it('reloads guards over what is seen with its size, then array, filesystem and record in one go', () => {
    const cluster = movedOn();
    const node = cluster.node('node-0');
    expect(kindsOf(cluster.consumerWorld(node, false))).to.deep.equal([
      'reloadGuard',
      'refreshNamespace',
      'reloadGuard',
    ]);
    grow(cluster, { stepsLeft: 3, half: false });
    const world = cluster.consumerWorld(node, false);
    expect(kindsOf(world)).to.deep.equal(['growArray', 'growFilesystem', 'recordExpanded']);
    expect(kindsOf({ ...world, mounts: [] })).to.deep.equal(['growArray']);
    const readOnly = world.mounts.map((mount) => ({ ...mount, readOnly: true }));
    expect(kindsOf({ ...world, mounts: readOnly })).to.deep.equal(['growArray']);
    const frozen = { ...world.array!, syncAction: 'frozen' };
    expect(kindsOf({ ...world, array: frozen })[0]).to.equal('thawArray');
  });

  it('does nothing to MD while a path is lost, a member is away or something is copied', () => {
    const cluster = movedOn();
    const node = cluster.node('node-0');
    grow(cluster, { stepsLeft: 3, half: false });
    const world = cluster.consumerWorld(node, false);
    const array = world.array!;
    const lost = world.legs.map((leg) => (leg.kind === 'guard' ? { ...leg, pathState: 'failed' as const } : leg));
    expect(planGrow({ ...world, legs: lost })).to.include({ kind: 'wait' });
    for (const syncAction of ['resync', 'recover', 'check']) {
      expect(planGrow({ ...world, array: { ...array, syncAction } })).to.include({ kind: 'wait' });
    }
    expect(planGrow({ ...world, array: { ...array, resyncPending: true } })).to.include({ kind: 'wait' });
    const members = array.members.map((member, index) => ({ ...member, inSync: index === 0 }));
    expect(planGrow({ ...world, array: { ...array, members } })).to.include({ kind: 'wait' });
    const full = { ...world, array: { ...array, sizeBytes: GROWN }, legs: lost };
    expect(planGrow(full), 'nor to the filesystem').to.include({ kind: 'wait' });
  });

  it('has its lost path back with the size that it had while the new one is not seen', () => {
    const cluster = movedOn();
    const node = cluster.node('node-0');
    const world = cluster.consumerWorld(node, false);
    const remote = world.imports[0]!.partitionUUID;
    const legs = world.legs.map((leg) =>
      leg.partitionUUID === remote ? { ...leg, pathState: 'failed' as const } : leg,
    );
    const status = cluster.status;
    const entry = status.partitions.find(({ partitionUUID }) => partitionUUID === remote)!;
    const old = legs.find(({ partitionUUID }) => partitionUUID === remote)!.sizeBytes;
    const sizeOf = (seen: ConsumerWorld): unknown => {
      const way = wayOf(seen, status, entry);
      return way.kind === 'steps' ? way.steps.map((step) => ('sizeBytes' in step ? step.sizeBytes : 0)) : way;
    };
    expect(entry.sizeBytes).to.be.above(old);
    expect(sizeOf({ ...world, legs })).to.deep.equal([old]);
    const imports = world.imports.map((seen) => ({ ...seen, namespaceSizeBytes: entry.sizeBytes }));
    expect(sizeOf({ ...world, legs, imports })).to.deep.equal([entry.sizeBytes]);
  });

  it('asks for the new size before it makes a guard over a connection that is older than the growth', () => {
    const cluster = movedOn();
    const { array: _array, ...world } = cluster.consumerWorld(cluster.node('node-0'), false);
    const remote = world.imports[0]!.partitionUUID;
    const entry = cluster.status.partitions.find(({ partitionUUID }) => partitionUUID === remote)!;
    const kindsFor = (seen: ConsumerWorld): unknown => {
      const way = wayOf(seen, cluster.status, entry);
      return way.kind === 'steps' ? [...way.steps.map(({ kind }) => kind), way.quick] : way;
    };
    const legs = world.legs.filter(({ partitionUUID }) => partitionUUID !== remote);
    expect(kindsFor({ ...world, legs })).to.deep.equal(['refreshNamespace', 'createGuard', false]);
    const empty = world.legs.map((leg) => (leg.partitionUUID === remote ? { ...leg, kind: 'empty' as const } : leg));
    const again = ['removeLeg', 'refreshNamespace', 'createGuard', false];
    expect(kindsFor({ ...world, legs: empty })).to.deep.equal(again);
    const imports = world.imports.map((seen) => ({ ...seen, namespaceSizeBytes: entry.sizeBytes }));
    expect(kindsFor({ ...world, legs, imports })).to.deep.equal(['createGuard', true]);
  });

  it('leaves alone what is not up here, and is refused what is not its own', () => {
    const cluster = movedOn();
    const world = cluster.consumerWorld(cluster.node('node-0'), false);
    const { array, ...without } = world;
    expect(planGrow(without)).to.deep.equal({ kind: 'done' });
    expect(planGrow({ ...world, array: { ...array!, isReadOnly: true } })).to.deep.equal({ kind: 'done' });
    const other = cluster.consumerWorld(cluster.node('node-1'), false);
    expect(planGrow(other)).to.include({ kind: 'refuse', error: 'precondition' });
  });
});
