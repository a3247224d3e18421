/** Which guards are held back from a drop that nobody has recorded, and which are let go (SPEC §7.3). */
import { expect } from 'chai';
import type { PartitionState } from '../../src/api/volume.ts';
import { planMending } from '../../src/plan/mending.ts';
import { planStage } from '../../src/plan/staging.ts';
import { planUnstage } from '../../src/plan/teardown.ts';
import { isDropUnrecorded, planHoldBack } from '../../src/plan/unrecorded-drop.ts';
import type { ConsumerWorld } from '../../src/plan/world.ts';
import { ModelCluster, STAGING } from '../support/model-cluster.ts';
import { stage } from '../support/model-run.ts';

interface Sketch {
  readonly drives?: number;
  readonly copies?: number;
  /** By slot, what the record says. */
  readonly states: readonly PartitionState[];
  /** Slots that MD has dropped. */
  readonly dropped?: readonly number[];
  /** Slots whose guard is suspended: its table does not queue meanwhile. */
  readonly held?: readonly number[];
  readonly phase?: 'Deleting';
}

/** A volume that is up on node-0, changed as sketched. */
function world({ states, dropped = [], held = [], phase, drives = 1, copies = 2 }: Sketch): ConsumerWorld {
  const cluster = new ModelCluster({ copies, drives, nodes: 4, mode: 'Filesystem' });
  cluster.attach('node-0');
  expect(stage(cluster)).to.deep.equal({ kind: 'done' });
  const seen = cluster.consumerWorld(cluster.node('node-0'), false);
  const status = seen.volume.status;
  if (status === undefined || seen.array === undefined) throw new Error('it is not up');
  const slotOf = (uuid: string | undefined): number =>
    status.partitions.find(({ partitionUUID }) => partitionUUID === uuid)?.slot ?? -1;
  const partitions = status.partitions.map((entry) => ({ ...entry, state: states[entry.slot] ?? entry.state }));
  const legs = seen.legs.map((leg) => {
    const suspended = held.includes(slotOf(leg.partitionUUID));
    return suspended ? { ...leg, suspended, queues: false } : leg;
  });
  const members = seen.array.members.map((member) =>
    dropped.includes(slotOf(member.partitionUUID)) ? { ...member, faulty: true, inSync: false } : member,
  );
  return {
    ...seen,
    volume: { ...seen.volume, status: { ...status, partitions, ...(phase === undefined ? {} : { phase }) } },
    legs,
    array: { ...seen.array, members },
  };
}

/** `suspend 1`, `resume 0`: by slot. */
function steps(seen: ConsumerWorld): readonly string[] {
  const slotOf = (name: string): number | undefined => {
    const leg = seen.legs.find((each) => each.name === name);
    return seen.volume.status?.partitions.find(({ partitionUUID }) => partitionUUID === leg?.partitionUUID)?.slot;
  };
  return planHoldBack(seen)
    .map(({ kind, name }) => `${kind.replace('Guard', '')} ${slotOf(name)}`)
    .sort();
}

const WANTED = {
  stagingPath: STAGING,
  access: { kind: 'mount', fsType: 'xfs', mountFlags: [] },
  readOnly: false,
} as const;
const SYNCED = ['Synced', 'Synced'] as const;

describe('a drop by MD that is not on record', () => {
  it('holds the other members back, and those alone', () => {
    expect(steps(world({ states: SYNCED }))).to.deep.equal([]);
    expect(steps(world({ states: SYNCED, dropped: [1] }))).to.deep.equal(['suspend 0']);
    expect(steps(world({ states: SYNCED, dropped: [1], held: [0] }))).to.deep.equal([]);
    expect(steps(world({ copies: 3, states: [], dropped: [0] }))).to.deep.equal(['suspend 1', 'suspend 2']);
  });

  it('holds every column of a striped volume back', () => {
    expect(steps(world({ drives: 2, states: [], dropped: [3] }))).to.deep.equal([
      'suspend 0',
      'suspend 1',
      'suspend 2',
    ]);
  });

  it('lets go what is held once it is on record, or when it never will be', () => {
    expect(steps(world({ states: ['Synced', 'Faulty'], dropped: [1], held: [0] }))).to.deep.equal(['resume 0']);
    expect(steps(world({ states: SYNCED, held: [0, 1] }))).to.deep.equal(['resume 0', 'resume 1']);
    const deleting = world({ states: SYNCED, dropped: [1], held: [0], phase: 'Deleting' });
    expect(steps(deleting)).to.deep.equal(['resume 0']);
  });

  it('lets go the guard of a member that MD has dropped meanwhile', () => {
    expect(steps(world({ copies: 3, states: [], dropped: [0, 1], held: [1, 2] }))).to.deep.equal(['resume 1']);
  });

  it('counts a member that MD has filled and nobody has recorded as one that may be', () => {
    const filled = world({ states: ['Synced', 'Syncing'], dropped: [0] });
    expect(isDropUnrecorded(filled)).to.equal(true);
    expect(steps(filled)).to.deep.equal(['suspend 1']);
    // Whoever comes later cannot see that it queued: it lets go, looks again, and records both at once.
    expect(steps(world({ states: ['Synced', 'Syncing'], dropped: [0], held: [1] }))).to.deep.equal(['resume 1']);
  });

  it('is not waited for when a member is dropped that was being filled', () => {
    expect(steps(world({ states: ['Synced', 'Syncing'], dropped: [1] }))).to.deep.equal([]);
  });

  it('is not let go by a stage that would mount it meanwhile', () => {
    const seen = world({ states: SYNCED, dropped: [1], held: [0] });
    expect(planStage({ ...seen, mounts: [] }, WANTED).kind).to.equal('wait');
  });

  it('keeps whoever mends and whoever unstages from touching the array while anything is held', () => {
    for (const seen of [
      world({ states: SYNCED, dropped: [1] }),
      world({ states: SYNCED, dropped: [1], held: [0] }),
      world({ states: ['Synced', 'Faulty'], dropped: [1], held: [0] }),
    ]) {
      const mending = { ...seen, lostMs: {}, dropGraceMs: 1000, failing: [], resting: [] };
      expect(planMending(mending).kind).to.equal('wait');
      if (!seen.legs.some(({ suspended }) => suspended)) continue;
      expect(planUnstage(seen, STAGING).kind).to.equal('wait');
    }
  });
});
