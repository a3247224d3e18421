/** Attaching and detaching (SPEC §4, §7): epochs, confirmations, refusals. */
import { expect } from 'chai';
import { DomainError } from '../../src/api/errors.ts';
import type { DomainErrorKind } from '../../src/api/errors.ts';
import { recordStart } from '../../src/plan/records.ts';
import { createRequest, FakeCluster } from '../fakes/fake-cluster.ts';
import type { Replica } from '../fakes/fake-cluster.ts';

const NAME = createRequest().name;

async function failure(work: Promise<unknown>): Promise<DomainError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).to.be.instanceOf(DomainError);
  return error as DomainError;
}

async function expectKind(work: Promise<unknown>, kind: DomainErrorKind, ...words: readonly string[]): Promise<void> {
  const error = await failure(work);
  expect(error.kind, error.message).to.equal(kind);
  for (const word of words) expect(error.message).to.include(word);
}

describe('publishVolume', () => {
  let cluster: FakeCluster;
  let operations: Replica['operations'];

  beforeEach(async () => {
    cluster = new FakeCluster().withNodes(3);
    ({ operations } = cluster.replica());
    await operations.createVolume(createRequest());
  });

  it('places a new volume with the consumer as holder, and attaches it at epoch 1', async () => {
    expect(cluster.status(NAME)).to.deep.include({ phase: 'New', partitions: [], nodeName: '' });
    const published = await operations.publishVolume(NAME, 'n2');
    const status = cluster.status(NAME);
    expect(published).to.deep.equal({ epoch: 1, attachmentID: status.attachmentID });
    expect(status).to.include({ nodeName: 'n2', machineID: 'machine-of-n2', attachmentEpoch: 1, phase: 'Requested' });
    expect(status.partitions).to.have.length(2);
    expect(status.partitions.map((entry) => entry.nodeID)).to.include('n2');
    expect(status.partitions.every((entry) => entry.state === 'Requested' && entry.epoch === 0)).to.be.true;
    expect(cluster.volume(NAME).spec.sectorSize).to.equal(512);
  });

  it('changes nothing at a second publish to the same node and machine', async () => {
    const first = await operations.publishVolume(NAME, 'n2');
    const writes = cluster.volumeServer.writes.length;
    expect(await operations.publishVolume(NAME, 'n2')).to.deep.equal(first);
    expect(cluster.volumeServer.writes).to.have.length(writes);
  });

  it('takes another machine under the same name for another consumer', async () => {
    await operations.publishVolume(NAME, 'n2');
    cluster.nodes.set('n2', { machineID: 'another' });
    await expectKind(operations.publishVolume(NAME, 'n2'), 'precondition', 'another machine');
    expect(cluster.status(NAME).attachmentEpoch).to.equal(1);
  });

  it('refuses a node without machine id: two of them could not be told apart', async () => {
    cluster.nodes.set('n2', { machineID: '' });
    await expectKind(operations.publishVolume(NAME, 'n2'), 'precondition', 'systemUUID');
  });

  it('never places or attaches a volume that was born and has no status, and says so on the object', async () => {
    cluster.writeSpec(NAME, { activatedAt: '2026-01-01T00:00:00Z' });
    for (let attempt = 0; attempt < 2; attempt += 1) {
      await expectKind(operations.publishVolume(NAME, 'n1'), 'precondition', 'StatusLost');
    }
    const { conditions, partitions, nodeName } = cluster.status(NAME);
    expect(conditions[0]).to.include({ type: 'StatusLost', status: 'True' });
    expect(partitions).to.deep.equal([]);
    expect(nodeName).to.equal('');
    await operations.createVolume(createRequest({ preferredNodes: ['n1'] }));
    expect(cluster.status(NAME).partitions).to.deep.equal([]);
  });

  it('refuses while the object is older than the disks', async () => {
    await operations.publishVolume(NAME, 'n1');
    cluster.writeStatus(NAME, () => ({
      nodeName: '',
      conditions: [
        {
          type: 'WitnessBehind',
          status: 'True',
          reason: 'R',
          message: 'm',
          lastTransitionTime: '2026-01-01T00:00:00Z',
        },
      ],
    }));
    const error = await failure(operations.publishVolume(NAME, 'n1'));
    expect(error.kind).to.equal('precondition');
    expect(error.message).to.match(/WitnessBehind: .*restore its status/);
  });

  it('gives each attachment a higher epoch and an id of its own, and forgets what the last consumer reported', async () => {
    const first = await operations.publishVolume(NAME, 'n1');
    cluster.confirm(NAME);
    cluster.bear(NAME);
    cluster.writeStatus(NAME, () => ({ releasedEpoch: first.epoch, mdState: '' }));
    cluster.confirm(NAME);
    await failure(operations.unpublishVolume(NAME, 'n1'));
    cluster.confirm(NAME);
    await operations.unpublishVolume(NAME, 'n1');
    expect(cluster.status(NAME)).to.include({ attachmentEpoch: 2, nodeName: '', machineID: '', releasedEpoch: 1 });
    const second = await operations.publishVolume(NAME, 'n3');
    expect(second.epoch).to.equal(3);
    expect(second.attachmentID).not.to.equal(first.attachmentID);
    expect(cluster.status(NAME)).to.include({ mdState: '', releasedEpoch: 1 });
  });
});

describe('unpublishVolume', () => {
  let cluster: FakeCluster;
  let operations: Replica['operations'];

  beforeEach(async () => {
    cluster = new FakeCluster().withNodes(3);
    ({ operations } = cluster.replica());
    await operations.createVolume(createRequest({ preferredNodes: ['n1'] }));
    await operations.publishVolume(NAME, 'n1');
    cluster.confirm(NAME);
    cluster.bear(NAME);
  });

  const holders = (): readonly string[] => cluster.status(NAME).partitions.map((entry) => entry.nodeID);

  it('leaves a live healthy consumer that uses the volume alone', async () => {
    await expectKind(operations.unpublishVolume(NAME, 'n1'), 'precondition', 'in use', 'unstage');
    await expectKind(operations.unpublishVolume(NAME, ''), 'precondition');
    expect(cluster.status(NAME)).to.include({ nodeName: 'n1', attachmentEpoch: 1 });
  });

  it('leaves a consumer alone from its start record on, before it has reported anything', async () => {
    cluster.writeStatus(NAME, () => ({ releasedEpoch: 1, mdState: '' }));
    await expectKind(operations.unpublishVolume(NAME, 'n1'), 'unavailable');
    cluster.confirm(NAME);
    await operations.publishVolume(NAME, 'n1');
    cluster.confirm(NAME);
    const { attachmentEpoch: epoch, attachmentID, partitions } = cluster.status(NAME);
    const who = { nodeName: 'n1', machineID: 'machine-of-n1', epoch, attachmentID };
    const synced = partitions.map(({ partitionUUID }) => partitionUUID);
    const record = { synced, syncing: [], missing: [], missingAreStale: false };
    cluster.writeStatus(NAME, () => recordStart(cluster.volume(NAME), who, record, '2026-06-01T00:00:00Z') ?? {});
    expect(cluster.status(NAME).releasedEpoch).to.equal(0);
    await expectKind(operations.unpublishVolume(NAME, 'n1'), 'precondition', 'in use');
    expect(cluster.status(NAME)).to.include({ nodeName: 'n1', attachmentEpoch: 3 });
  });

  for (const [what, change] of [
    [
      'that is out of service',
      (c: FakeCluster) =>
        c.nodes.set('n1', { taints: [{ key: 'node.kubernetes.io/out-of-service', value: '', effect: 'NoExecute' }] }),
    ],
    ['whose Node is gone', (c: FakeCluster) => c.nodes.remove('n1')],
    ['that is another machine now', (c: FakeCluster) => c.nodes.set('n1', { machineID: 'another' })],
    [
      'that is not ready and silent',
      (c: FakeCluster) => {
        c.nodes.set('n1', { ready: false });
        c.clock.advance(61_000);
        c.beat('n2', 'n3');
      },
    ],
    ['that released the array', (c: FakeCluster) => c.writeStatus(NAME, () => ({ releasedEpoch: 1 }))],
    ['whose array is missing', (c: FakeCluster) => c.writeStatus(NAME, () => ({ mdState: 'missing' }))],
  ] as const) {
    it(`cuts a consumer off ${what}: recorded at once, done when every reachable holder confirmed`, async () => {
      change(cluster);
      await expectKind(operations.unpublishVolume(NAME, 'n1'), 'unavailable', 'confirmed');
      const status = cluster.status(NAME);
      expect(status).to.include({ nodeName: '', machineID: '', attachmentEpoch: 2, attachmentID: '', mdState: '' });
      const writes = cluster.volumeServer.writes.length;
      await expectKind(operations.unpublishVolume(NAME, 'n1'), 'unavailable');
      expect(cluster.volumeServer.writes, 'a repeated call only checks').to.have.length(writes);
      cluster.confirm(NAME);
      await operations.unpublishVolume(NAME, 'n1');
      expect(cluster.status(NAME).attachmentEpoch).to.equal(2);
    });
  }

  it('keeps a silent but ready node, and an unready one that still beats: both may be writing', async () => {
    cluster.clock.advance(61_000);
    await expectKind(operations.unpublishVolume(NAME, 'n1'), 'precondition');
    cluster.nodes.set('n1', { ready: false });
    cluster.beat('n1');
    await expectKind(operations.unpublishVolume(NAME, 'n1'), 'precondition');
  });

  it('waits for every holder that can be reached and names them, and for no silent one', async () => {
    cluster.writeStatus(NAME, () => ({ releasedEpoch: 1, mdState: '' }));
    const other = holders().find((node) => node !== 'n1') ?? '';
    await expectKind(operations.unpublishVolume(NAME, 'n1'), 'unavailable', 'n1', other);
    cluster.confirm(NAME, ['n1']);
    const error = await failure(operations.unpublishVolume(NAME, 'n1'));
    expect(error.message).to.include(`until ${other} confirmed`);
    cluster.clock.advance(61_000);
    await operations.unpublishVolume(NAME, 'n1');
    cluster.beat(other);
    await expectKind(operations.unpublishVolume(NAME, 'n1'), 'unavailable', other);
  });

  it('records the revocation even when no holder can be reached', async () => {
    cluster.writeStatus(NAME, () => ({ releasedEpoch: 1, mdState: '' }));
    cluster.clock.advance(61_000);
    await operations.unpublishVolume(NAME, 'n1');
    expect(cluster.status(NAME)).to.include({ nodeName: '', attachmentEpoch: 2 });
  });

  it('from a node that does not have it, of an unknown volume and of one without status is success and changes nothing', async () => {
    const writes = cluster.volumeServer.writes.length;
    await operations.unpublishVolume(NAME, 'n3');
    await operations.unpublishVolume('vol-none', 'n1');
    await operations.unpublishVolume('../etc', 'n1');
    expect(cluster.volumeServer.writes).to.have.length(writes);
  });

  it('wakes as soon as the holders have confirmed', async () => {
    cluster.writeStatus(NAME, () => ({ releasedEpoch: 1, mdState: '' }));
    const { Heartbeats } = await import('../../src/controller/heartbeats.ts');
    const { VolumeOperations } = await import('../../src/controller/volume-operations.ts');
    const heartbeats = new Heartbeats(cluster.devices, cluster.clock);
    const limits = { cacheMs: 0, confirmMs: 60_000 };
    const patient = new VolumeOperations(cluster.parts(), heartbeats, cluster.replica().placer, limits);
    const done = patient.unpublishVolume(NAME, 'n1');
    while (cluster.status(NAME).nodeName !== '') await Promise.resolve();
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
    cluster.confirm(NAME);
    await done;
  });
});

describe('a heartbeat', () => {
  it('has the age that the observer heard, not what its writer claims', async () => {
    const cluster = new FakeCluster().withNodes(1);
    const { Heartbeats } = await import('../../src/controller/heartbeats.ts');
    const beats = new Heartbeats(cluster.devices, cluster.clock);
    const claim = (updatedAt: string): void => {
      const [device] = cluster.devices.list();
      if (device?.status !== undefined)
        cluster.deviceServer.put({ ...device, status: { ...device.status, updatedAt } });
    };
    cluster.clock.advance(50_000);
    expect(beats.ageOfNodeMs('n1')).to.equal(50_000);
    claim('2020-01-01T00:00:00Z');
    expect(beats.ageOfNodeMs('n1')).to.equal(0);
    cluster.clock.advance(61_000);
    expect(beats.isNodeFresh('n1')).to.be.false;
    claim('2099-01-01T00:00:00Z');
    expect(beats.ageOfNodeMs('n1')).to.equal(0);
    const restarted = new Heartbeats(cluster.devices, cluster.clock);
    claim('2001-01-01T00:00:00Z');
    expect(restarted.isNodeFresh('n1')).to.be.true;
    const late = new Heartbeats(cluster.devices, cluster.clock);
    expect(late.ageOfNodeMs('n1'), 'a silence is heard, not computed').to.equal(60_001);
    expect(late.isNodeFresh('n2')).to.be.false;
  });
});
