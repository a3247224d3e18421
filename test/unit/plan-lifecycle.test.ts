import { expect } from 'chai';
import type { PartitionState } from '../../src/api/volume.ts';
import { deriveStatus, isLegalTransition, PARTITION_TRANSITIONS } from '../../src/plan/lifecycle.ts';
import type { Shape } from '../support/model-cluster.ts';
import { ModelCluster, NOW } from '../support/model-cluster.ts';

const TWO: Shape = { copies: 2, drives: 1, nodes: 3, mode: 'Filesystem' };
const ONE: Shape = { copies: 1, drives: 1, nodes: 2, mode: 'Filesystem' };

function derived(shape: Shape, states: readonly PartitionState[], born: boolean): ReturnType<typeof deriveStatus> {
  const { volume, status } = new ModelCluster(shape);
  const base = status.partitions[0]!;
  const partitions = states.map((state, slot) => ({
    ...base,
    slot: slot % (shape.copies * shape.drives),
    state,
    partitionUUID: `p${slot}`,
  }));
  const spec = born ? { ...volume.spec, activatedAt: NOW } : volume.spec;
  return deriveStatus({ ...volume, spec }, { ...status, partitions });
}

describe('the state table', () => {
  it('has every transition once, and none to the same state', () => {
    const keys = PARTITION_TRANSITIONS.map(({ from, to }) => `${from}>${to}`);
    expect(new Set(keys).size).to.equal(keys.length);
    expect(PARTITION_TRANSITIONS.every(({ from, to }) => from !== to)).to.equal(true);
  });

  it('lets nothing leave Deleting, and nothing return to Requested or Created', () => {
    expect(PARTITION_TRANSITIONS.filter(({ from }) => from === 'Deleting')).to.deep.equal([]);
    expect(PARTITION_TRANSITIONS.filter(({ to }) => to === 'Requested')).to.deep.equal([]);
    expect(PARTITION_TRANSITIONS.filter(({ to }) => to === 'Created').map(({ from }) => from)).to.deep.equal([
      'Requested',
    ]);
  });

  it('lets only the consumer call a member Synced, and a person who accepts a loss', () => {
    const synced = PARTITION_TRANSITIONS.filter(({ to, by }) => to === 'Synced' && by !== 'person');
    expect(synced.map(({ from, by }) => `${from} ${by}`)).to.have.members(['Created consumer', 'Syncing consumer']);
  });

  it('leads a missing member back through Syncing only', () => {
    for (const by of ['holder', 'consumer', 'controller'] as const) {
      expect(isLegalTransition('Missing', 'Synced', by)).to.equal(false);
    }
    expect(isLegalTransition('Missing', 'Syncing', 'consumer')).to.equal(true);
    expect(isLegalTransition('Missing', 'Syncing', 'holder')).to.equal(false);
    expect(isLegalTransition('Deleting', 'Deleting', 'holder')).to.equal(true);
  });
});

describe('derived status', () => {
  const rows: readonly [string, Shape, readonly PartitionState[], boolean, Record<string, unknown>][] = [
    ['nothing requested', TWO, [], false, { phase: 'New', ready: '0/2', totalDevices: 2, degradedDevices: 0 }],
    [
      'one made, one not',
      TWO,
      ['Created', 'Requested'],
      false,
      { phase: 'Requested', ready: '0/2', degradedDevices: 0 },
    ],
    ['born', TWO, ['Synced', 'Synced'], true, { phase: 'Synced', ready: '2/2', activeDevices: 2, degradedDevices: 0 }],
    ['one rebuilding', TWO, ['Synced', 'Syncing'], true, { phase: 'Syncing', ready: '1/2', degradedDevices: 1 }],
    [
      'one missing',
      TWO,
      ['Synced', 'Missing'],
      true,
      { phase: 'Synced', ready: '1/2', downDevices: 1, degradedDevices: 1 },
    ],
    [
      'one faulty',
      TWO,
      ['Faulty', 'Synced'],
      true,
      { phase: 'Synced', failedDevices: 1, downDevices: 0, degradedDevices: 1 },
    ],
    ['one copy, MD has two slots', ONE, ['Synced'], true, { phase: 'Synced', ready: '1/1', degradedDevices: 0 }],
    ['a replacement on its way', TWO, ['Synced', 'Missing', 'Requested'], true, { phase: 'Replacing', ready: '1/2' }],
    ['the old member still there', TWO, ['Synced', 'Synced', 'Synced'], true, { ready: '2/2', activeDevices: 2 }],
    ['the old member going', TWO, ['Synced', 'Synced', 'Deleting'], true, { phase: 'Synced', ready: '2/2' }],
  ];
  for (const [name, shape, states, born, wanted] of rows) {
    it(`of a volume with ${name}`, () => {
      expect(derived(shape, states, born)).to.include(wanted);
    });
  }

  it('is Expanding while a wish stands, and while the consumer has not made use of what was added', () => {
    const { volume, status } = new ModelCluster(TWO);
    const { capacityBytes } = volume.spec;
    const withWish = { ...volume, spec: { ...volume.spec, expandToBytes: 2 * capacityBytes } };
    expect(deriveStatus(withWish, status).phase).to.equal('Expanding');
    const half = { ...status, servedBytes: capacityBytes / 2 };
    expect(deriveStatus(volume, { ...half, nodeName: 'node-0' }).phase).to.equal('Expanding');
    expect(deriveStatus(volume, half).phase, 'attached nowhere').to.equal('Requested');
    expect(deriveStatus(volume, { ...status, servedBytes: capacityBytes, nodeName: 'node-0' }).phase).to.equal(
      'Requested',
    );
    expect(deriveStatus(volume, { ...status, phase: 'Expanding' }).phase).to.equal('Requested');
    expect(deriveStatus(withWish, { ...status, phase: 'Deleting' }).phase).to.equal('Deleting');
  });

  it('keeps Deleting, and says nothing of the array of a detached volume', () => {
    const { volume, status } = new ModelCluster(TWO);
    expect(deriveStatus(volume, { ...status, phase: 'Deleting', partitions: [] }).phase).to.equal('Deleting');
    expect(deriveStatus(volume, { ...status, mdState: 'active', syncPercentage: '1.0%' })).to.include({
      mdState: '',
      syncPercentage: '',
    });
  });
});
