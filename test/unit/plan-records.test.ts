import { expect } from 'chai';
import type { DomainError } from '../../src/api/errors.ts';
import type { PartitionState } from '../../src/api/volume.ts';
import type { ConsumerObservation } from '../../src/plan/health.ts';
import {
  activated,
  formatted,
  recordBirth,
  recordCreated,
  recordGranted,
  recordImpossible,
  recordObserved,
  recordReleased,
  recordRemoved,
  recordStart,
} from '../../src/plan/records.ts';
import { recordRefusal } from '../../src/plan/recording.ts';
import { ModelCluster, NOW } from '../support/model-cluster.ts';
import { whoOf } from '../support/model-rules.ts';

const LATER = '2026-11-22T00:00:00Z';

/** Two copies on node-0 and node-1, used by node-0 at epoch 1. */
function cluster(states: readonly PartitionState[], born = true): ModelCluster {
  const made = new ModelCluster({ copies: 2, drives: 1, nodes: 3, mode: 'Filesystem' });
  made.attach('node-0');
  const partitions = made.status.partitions.map((entry, slot) => ({ ...entry, state: states[slot]!, epoch: 1 }));
  made.status = { ...made.status, partitions };
  if (born) made.volume = { ...made.volume, spec: { ...made.volume.spec, activatedAt: NOW } };
  return made;
}

function uuids(made: ModelCluster): readonly [string, string] {
  const [first, second] = made.status.partitions;
  return [first!.partitionUUID, second!.partitionUUID];
}

function refused(run: () => unknown, text: RegExp): void {
  let caught: unknown;
  try {
    run();
  } catch (error) {
    caught = error;
  }
  expect(caught).to.be.instanceOf(Error);
  expect((caught as DomainError).kind).to.equal('precondition');
  expect((caught as DomainError).message).to.match(text);
}

const seen = (more: Partial<ConsumerObservation>): ConsumerObservation => ({
  mdState: 'clean',
  syncPercentage: '',
  abnormal: false,
  message: '',
  inSync: [],
  dropped: [],
  ...more,
});

describe('records of a holder', () => {
  it('say Created once, and only of an entry of its own that is Requested', () => {
    const made = cluster(['Requested', 'Synced'], false);
    const [p0, p1] = uuids(made);
    const next = recordCreated(made.volume, 'node-0', p0, LATER)!;
    expect(next.partitions[0]).to.include({ state: 'Created', updatedAt: LATER });
    expect(recordCreated({ ...made.volume, status: next }, 'node-0', p0, LATER)).to.equal(undefined);
    refused(() => recordCreated(made.volume, 'node-0', p1, LATER), /belongs to node node-1/);
    refused(() => recordCreated(made.volume, 'node-1', p1, LATER), /is Synced, a holder must not make it Created/);
  });

  it('take an impossible entry out with the reason, and never one that was made', () => {
    const made = cluster(['Requested', 'Created'], false);
    const [p0, p1] = uuids(made);
    const next = recordImpossible(made.volume, 'node-0', p0, 'no room', LATER)!;
    expect(next.partitions.map(({ partitionUUID }) => partitionUUID)).to.deep.equal([p1]);
    expect(next.conditions[0]).to.include({ type: 'Placed', status: 'False' });
    expect(next.conditions[0]?.message).to.match(/node-0.*no room/);
    refused(() => recordImpossible(made.volume, 'node-1', p1, 'no room', LATER), /is Created, not Requested/);
  });

  it('grant only the attachment of now, and never below what was granted', () => {
    const made = cluster(['Synced', 'Synced']);
    const [p0] = uuids(made);
    const { attachmentID } = made.status;
    expect(recordGranted(made.volume, 'node-0', p0, 1, attachmentID, LATER)).to.equal(undefined);
    refused(() => recordGranted(made.volume, 'node-0', p0, 2, attachmentID, LATER), /epoch/);
    refused(() => recordGranted(made.volume, 'node-0', p0, 1, 'another', LATER), /another attachment/);
    made.status = { ...made.status, partitions: made.status.partitions.map((entry) => ({ ...entry, epoch: 5 })) };
    refused(() => recordGranted(made.volume, 'node-0', p0, 1, attachmentID, LATER), /granted at epoch 5/);
  });

  it('take out only what is Deleting; gone already is no change', () => {
    const made = cluster(['Deleting', 'Synced']);
    const [p0, p1] = uuids(made);
    const next = recordRemoved(made.volume, 'node-0', p0, LATER)!;
    expect(next.partitions).to.have.length(1);
    expect(recordRemoved({ ...made.volume, status: next }, 'node-0', p0, LATER)).to.equal(undefined);
    refused(() => recordRemoved(made.volume, 'node-1', p1, LATER), /not Deleting/);
  });
});

describe('records of a consumer', () => {
  it('are refused to another node, machine, epoch or attachment', () => {
    const made = cluster(['Synced', 'Synced']);
    const who = whoOf(made, made.node('node-0'));
    const observation = seen({ mdState: 'degraded' });
    for (const other of [{ nodeName: 'node-1' }, { machineID: 'x' }, { epoch: 2 }, { attachmentID: 'x' }]) {
      refused(() => recordObserved(made.volume, { ...who, ...other }, observation, LATER), /attached to node node-0/);
    }
    expect(recordObserved(made.volume, who, observation, LATER)?.mdState).to.equal('degraded');
  });

  it('say birth of all members at once, before activatedAt, which needs it', () => {
    const made = cluster(['Created', 'Created'], false);
    const who = whoOf(made, made.node('node-0'));
    const birth = { partitionUUIDs: uuids(made), capacityBytes: made.volume.spec.capacityBytes };
    const smaller = { ...birth, capacityBytes: birth.capacityBytes / 2 };
    expect(() => recordBirth(made.volume, who, smaller, LATER)).to.throw(/by now/);
    expect(() => activated(made.volume, who, smaller.capacityBytes, LATER)).to.throw(/by now/);
    refused(() => activated(made.volume, who, made.volume.spec.capacityBytes, LATER), /not all its members/);
    refused(
      () => recordBirth(made.volume, who, { ...birth, partitionUUIDs: uuids(made).slice(1) }, LATER),
      /members of the array/,
    );
    const status = recordBirth(made.volume, who, birth, LATER)!;
    expect(status.ready).to.equal('2/2');
    const born = activated({ ...made.volume, status }, who, birth.capacityBytes, LATER)!;
    expect(born.spec.activatedAt).to.equal(LATER);
    refused(() => recordBirth(born, who, birth, LATER), /born/);
    expect(formatted(born, who, LATER)?.spec.formattedAt).to.equal(LATER);
    refused(() => formatted(made.volume, who, LATER), /not born/);
  });

  it('mark those left out of an unclean start Missing and stale, and forget the release', () => {
    const made = cluster(['Synced', 'Synced']);
    const [p0, p1] = uuids(made);
    const who = whoOf(made, made.node('node-0'));
    made.status = { ...made.status, releasedEpoch: 1 };
    const record = { synced: [p0], syncing: [], missing: [p1], missingAreStale: true };
    const next = recordStart(made.volume, who, record, LATER)!;
    expect(next.partitions[1]).to.include({ state: 'Missing', stale: true, missingEpoch: 1 });
    expect(next.releasedEpoch).to.equal(0);
    const clean = recordStart(made.volume, who, { ...record, missingAreStale: false }, LATER)!;
    expect(clean.partitions[1]).to.not.have.property('stale');
  });

  it('say at the start already that an array is in use, whatever was known before', () => {
    const made = cluster(['Synced', 'Synced']);
    const who = whoOf(made, made.node('node-0'));
    const record = { synced: uuids(made), syncing: [], missing: [], missingAreStale: false };
    for (const [before, after] of [
      ['', 'clean'],
      ['missing', 'clean'],
      ['degraded', 'degraded'],
    ] as const) {
      made.status = { ...made.status, mdState: before, releasedEpoch: 0 };
      const next = recordStart(made.volume, who, record, LATER);
      expect((next ?? made.status).mdState).to.equal(after);
    }
  });

  it('refuse a start that leaves a Synced member unmentioned, or a column without one', () => {
    const made = cluster(['Synced', 'Synced']);
    const [p0, p1] = uuids(made);
    const who = whoOf(made, made.node('node-0'));
    const none = { syncing: [], missing: [], missingAreStale: false };
    refused(() => recordStart(made.volume, who, { ...none, synced: [p0] }, LATER), /does not mention/);
    refused(() => recordStart(made.volume, who, { ...none, synced: [], missing: [p0, p1] }, LATER), /column/);
  });

  it('hear the first of those who say that the object is older than the disks, and nobody of an attachment that is over', () => {
    const made = cluster(['Synced', 'Synced']);
    const { attachmentEpoch: epoch, attachmentID } = made.status;
    const told = { condition: 'WitnessBehind' as const, judged: { epoch, attachmentID } };
    const late = { ...told, message: 'late', judged: { epoch: epoch - 1, attachmentID } };
    expect(recordRefusal(made.volume, late, NOW)).to.equal(undefined);
    made.status = recordRefusal(made.volume, { ...told, message: 'node-0 says so' }, NOW)!;
    expect(made.status.conditions).to.have.lengthOf(1);
    expect(made.status.conditions[0]).to.include({ type: 'WitnessBehind', status: 'True', message: 'node-0 says so' });
    expect(recordRefusal(made.volume, { ...told, message: 'node-1 says so' }, LATER)).to.equal(undefined);
    expect(recordRefusal(made.volume, { message: 'of no condition' }, LATER)).to.equal(undefined);
  });

  it('refuse a start once a node has said that the object is older than the disks', () => {
    const made = cluster(['Synced', 'Synced']);
    const [first, second] = uuids(made);
    const record = { synced: [first, second], syncing: [], missing: [], missingAreStale: true };
    const who = whoOf(made, made.node('node-0'));
    const told = { type: 'WitnessBehind', reason: 'WitnessBehind', message: '', lastTransitionTime: NOW };
    made.status = { ...made.status, conditions: [{ ...told, status: 'False' }] };
    expect(recordStart(made.volume, who, record, NOW)).to.not.equal(undefined);
    made.status = { ...made.status, conditions: [{ ...told, status: 'True' }] };
    refused(() => recordStart(made.volume, who, record, NOW), /WitnessBehind/);
  });

  it('do not write flips between active and clean', () => {
    const made = cluster(['Synced', 'Synced']);
    const who = whoOf(made, made.node('node-0'));
    const first = recordObserved(made.volume, who, seen({ mdState: 'active' }), LATER)!;
    const volume = { ...made.volume, status: first };
    expect(recordObserved(volume, who, seen({ mdState: 'clean' }), LATER)).to.equal(undefined);
    expect(recordObserved(volume, who, seen({ mdState: 'degraded' }), LATER)?.mdState).to.equal('degraded');
  });

  it('leave a member that was recorded as lost as it is, when the report was made before that was known', () => {
    const made = cluster(['Synced', 'Missing']);
    // MD calls it faulty since it was told to let it fail: its drive is none the worse for it.
    const dropped = [{ partitionUUID: uuids(made)[1], faulty: true }];
    const next = recordObserved(
      made.volume,
      whoOf(made, made.node('node-0')),
      seen({ dropped, mdState: 'degraded' }),
      LATER,
    );
    expect(next!.partitions[1]!.state).to.equal('Missing');
  });

  it('promote only Syncing members, and forget what was held against them', () => {
    const made = cluster(['Syncing', 'Missing']);
    const [p0, p1] = uuids(made);
    made.status = { ...made.status, partitions: made.status.partitions.map((entry) => ({ ...entry, stale: true })) };
    const next = recordObserved(made.volume, whoOf(made, made.node('node-0')), seen({ inSync: [p0, p1] }), LATER)!;
    expect(next.partitions.map(({ state }) => state)).to.deep.equal(['Synced', 'Missing']);
    expect(next.partitions[0]).to.not.have.property('stale');
  });

  it('record what MD has dropped, but never the last Synced member of a column', () => {
    const made = cluster(['Synced', 'Synced']);
    const [p0, p1] = uuids(made);
    const who = whoOf(made, made.node('node-0'));
    const lost = (partitionUUID: string) => ({ partitionUUID, faulty: true });
    const one = recordObserved(made.volume, who, seen({ mdState: 'degraded', dropped: [lost(p1)] }), LATER)!;
    expect(one.partitions.map(({ state }) => state)).to.deep.equal(['Synced', 'Faulty']);
    const both = recordObserved(made.volume, who, seen({ mdState: 'degraded', dropped: [lost(p0), lost(p1)] }), LATER)!;
    expect(both.partitions.map(({ state }) => state)).to.deep.equal(['Synced', 'Synced']);
    const released = recordReleased(made.volume, who, LATER, [lost(p1)])!;
    expect(released).to.include({ releasedEpoch: 1, mdState: '' });
    expect(released.partitions[1]?.state).to.equal('Faulty');
  });
});

describe('records of members that MD dropped', () => {
  it('name a dropped member in the same write that makes the other one of its column Synced', () => {
    const made = cluster(['Synced', 'Syncing']);
    const [p0, p1] = uuids(made);
    const observed = seen({ inSync: [p1], dropped: [{ partitionUUID: p0, faulty: true }] });
    const next = recordObserved(made.volume, whoOf(made, made.node('node-0')), observed, LATER)!;
    expect(next.partitions.map(({ state }) => state)).to.deep.equal(['Faulty', 'Synced']);
  });
});
