import { expect } from 'chai';
import { removeCondition, setCondition } from '../../src/api/conditions.ts';
import type { Condition } from '../../src/api/object.ts';
import { serializeNodeDevice, serializeVolume } from '../../src/api/parse.ts';
import { EMPTY_STATUS } from '../../src/api/volume.ts';
import { loadParsers } from '../../src/kube/schemas.ts';
import { device } from '../kube/contract/rules.ts';
import { partition, volumeSpec } from '../kube/contract/server.ts';

const parsers = loadParsers();
const metadata = {
  name: 'v',
  uid: 'u',
  resourceVersion: '5',
  generation: 2,
  creationTimestamp: '2026-08-01T10:00:00Z',
  finalizers: ['f'],
  annotations: { a: 'b' },
  labels: {},
};
const wire = (changes: object = {}) => ({
  apiVersion: 'csi.meshstor.io/v1alpha1',
  kind: 'MeshStorVolume',
  metadata,
  spec: volumeSpec(),
  ...changes,
});

describe('parsing volumes', () => {
  it('gives back what was serialised', () => {
    const status = { ...EMPTY_STATUS, phase: 'Synced', partitions: [partition({ stale: true })] };
    const first = parsers.volume(wire({ status }));
    if (!first.ok) throw new Error(first.problem);
    const again = parsers.volume(JSON.parse(JSON.stringify(serializeVolume(first.value))));
    expect(again).to.deep.equal(first);
    expect(first.value.metadata).to.deep.equal(metadata);
  });

  it('keeps an absent status absent, also when only conditions were added to it', () => {
    const conditions = [
      { type: 'Malformed', status: 'True', reason: 'X', message: '', lastTransitionTime: '2026-08-01T10:00:00Z' },
    ];
    for (const changes of [{}, { status: {} }, { status: { conditions } }]) {
      const parsed = parsers.volume(wire(changes));
      expect(parsed.ok && parsed.value.status).to.equal(undefined);
    }
  });

  it('leaves unknown fields out', () => {
    const parsed = parsers.volume(
      wire({ spec: { ...volumeSpec(), colour: 'red' }, status: { phase: 'New', mood: 1 } }),
    );
    expect(parsed.ok && parsed.value.spec).not.to.have.property('colour');
    expect(parsed.ok && parsed.value.status).to.deep.equal(EMPTY_STATUS);
  });

  it('freezes everything, and shares nothing with what it read', () => {
    const source = wire({ status: { ...EMPTY_STATUS, partitions: [partition()] } });
    const parsed = parsers.volume(source);
    if (!parsed.ok) throw new Error(parsed.problem);
    expect(Object.isFrozen(parsed.value.status?.partitions[0])).to.equal(true);
    expect(Object.isFrozen(parsed.value.metadata.annotations)).to.equal(true);
    expect(Object.isFrozen(source.spec)).to.equal(false);
    expect(Object.isFrozen(source.spec['nvmeofNamespaceIDs'])).to.equal(false);
  });

  for (const [what, value, problem] of [
    ['null', null, 'not an object'],
    ['a list', [], 'not an object'],
    ['another kind', wire({ kind: 'Pod' }), 'kind: expected MeshStorVolume'],
    ['no metadata', wire({ metadata: undefined }), 'metadata: missing'],
    ['no uid', wire({ metadata: { name: 'v' } }), 'metadata.uid: missing'],
    ['no spec', wire({ spec: undefined }), "object: must have required property 'spec'"],
    ['a text for a number', wire({ spec: volumeSpec({ capacityBytes: '1' }) }), 'spec.capacityBytes: must be integer'],
    [
      'a number below its minimum',
      wire({ spec: volumeSpec({ memberMissingTimeout: 1 }) }),
      'spec.memberMissingTimeout: must be >= 60',
    ],
    [
      'a bad time',
      wire({ spec: volumeSpec({ activatedAt: 'now' }) }),
      'spec.activatedAt: must match format "date-time"',
    ],
    [
      'a bad word',
      wire({ spec: volumeSpec({ fsType: 'zfs' }) }),
      'spec.fsType: must be equal to one of the allowed values (xfs, ext4)',
    ],
    [
      'a bad partition',
      wire({ status: { phase: 'New', partitions: [partition({ slot: -1 })] } }),
      'status.partitions.0.slot: must be >= 0',
    ],
  ] as const) {
    it(`names what is wrong with ${what}`, () => {
      expect(parsers.volume(value)).to.deep.equal({ ok: false, problem });
    });
  }

  it('takes node devices the same way', () => {
    const source = {
      ...device('n'),
      metadata: { ...metadata, name: 'n' },
      status: { updatedAt: '2026-08-01T10:00:00Z' },
    };
    const parsed = parsers.nodeDevice(source);
    if (!parsed.ok) throw new Error(parsed.problem);
    expect(parsed.value.status?.freeBytes).to.equal(0);
    expect(parsers.nodeDevice(serializeNodeDevice(parsed.value))).to.deep.equal(parsed);
    expect(parsers.nodeDevice({ ...source, spec: {} }).ok).to.equal(false);
  });
});

describe('setCondition', () => {
  const first = '2026-08-01T10:00:00Z';
  const later = '2026-08-01T11:00:00Z';
  const usable = { type: 'Usable', status: 'True', reason: 'Fine', message: 'all well' } as const;

  it('keeps the time of the last transition while the status stays', () => {
    const list = setCondition([], usable, first);
    expect(setCondition(list, { ...usable, message: 'very well' }, later)[0]?.lastTransitionTime).to.equal(first);
    expect(setCondition(list, { ...usable, status: 'False' }, later)[0]?.lastTransitionTime).to.equal(later);
  });

  it('gives back the very list when nothing changes', () => {
    const list = setCondition([], usable, first);
    expect(setCondition(list, usable, later)).to.equal(list);
    expect(removeCondition(list, 'Other')).to.equal(list);
  });

  it('keeps the list sorted by type, one of each', () => {
    let list: readonly Condition[] = [];
    for (const type of ['C', 'A', 'B', 'A']) list = setCondition(list, { ...usable, type }, first);
    expect(list.map((condition) => condition.type)).to.deep.equal(['A', 'B', 'C']);
    expect(removeCondition(list, 'B').map((condition) => condition.type)).to.deep.equal(['A', 'C']);
  });
});
