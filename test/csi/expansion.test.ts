/** ControllerExpandVolume over a real socket; holders and consumer are played by the test. */
import { expect } from 'chai';
import { DATA_OFFSET_BYTES } from '../../src/api/layout.ts';
import { GIB, MIB } from '../../src/support/units.ts';
import { FakeCluster } from '../fakes/fake-cluster.ts';
import type { Replica } from '../fakes/fake-cluster.ts';
import type { Harness } from './harness.ts';
import { BLOCK, expectRefusal, startHarness, WRITER } from './harness.ts';

const NAME = 'pvc-11111111-2222-4333-8444-555555555555';
const GROWN = 2 * GIB;
const WAIT = { deadlineMs: 5000 };

describe('ControllerExpandVolume', () => {
  let cluster: FakeCluster;
  let replica: Replica;
  let harness: Harness;
  const controller = () => harness.client.controller;
  const expand = (requiredBytes = GROWN, more: object = {}, settings = {}) =>
    controller().ControllerExpandVolume({ volumeId: NAME, capacityRange: { requiredBytes }, ...more }, settings);

  beforeEach(async () => {
    cluster = new FakeCluster().withNodes(2);
    replica = cluster.replica();
    harness = await startHarness({ controller: replica.operations });
  });
  afterEach(() => harness.stop());

  async function create(more: object = {}): Promise<void> {
    await controller().CreateVolume({
      name: NAME,
      capacityRange: { requiredBytes: GIB },
      volumeCapabilities: [WRITER],
      accessibilityRequirements: {
        requisite: [{ segments: { 'topology.meshstor.io/node': 'n1' } }],
        preferred: [{ segments: { 'topology.meshstor.io/node': 'n1' } }],
      },
      ...more,
    });
  }

  /** What every holder says of the wish that stands: that it can have so much, by node. */
  function answer(room: Readonly<Record<string, number>>): void {
    const wish = cluster.volume(NAME).spec.expandToBytes ?? 0;
    cluster.writeStatus(NAME, ({ partitions }) => ({
      partitions: partitions.map((entry) => {
        const growableToBytes = room[entry.nodeID];
        return growableToBytes === undefined ? entry : { ...entry, growToBytes: wish, growableToBytes };
      }),
    }));
  }

  function grow(): void {
    const wish = cluster.volume(NAME).spec.expandToBytes ?? 0;
    cluster.writeStatus(NAME, ({ partitions }) => ({
      partitions: partitions.map((entry) => ({ ...entry, sizeBytes: wish + DATA_OFFSET_BYTES })),
    }));
  }

  async function untilWished(bytes = GROWN): Promise<void> {
    while (cluster.volume(NAME).spec.expandToBytes !== bytes || cluster.status(NAME).phase !== 'Expanding') {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  it('waits for every holder, moves the capacity on, and leaves array and filesystem to the consumer', async () => {
    await create();
    cluster.bear(NAME);
    const call = expand();
    await untilWished();
    answer({ n1: 3 * GIB });
    answer({ n2: 3 * GIB });
    expect(cluster.volume(NAME).spec.capacityBytes).to.equal(GIB);
    grow();
    expect(await call).to.include({ capacityBytes: String(GROWN), nodeExpansionRequired: true });
    expect(cluster.volume(NAME).spec).to.include({ capacityBytes: GROWN }).and.not.have.property('expandToBytes');
    expect(cluster.status(NAME)).to.include({ servedBytes: GIB, phase: 'Synced' });
    expect(await expand(), 'again').to.include({ capacityBytes: String(GROWN), nodeExpansionRequired: true });
    expect(await expand(GIB), 'less').to.include({ capacityBytes: String(GROWN) });
    const events = cluster.events.events.map(({ reason }) => reason);
    expect(events.filter((reason) => reason.startsWith('Expand'))).to.deep.equal(['Expanding', 'Expanded']);
  });

  it('rounds up to MiB, and is OUT_OF_RANGE when the limit is below that or below what there is', async () => {
    await create();
    cluster.bear(NAME);
    const range = (requiredBytes: number, limitBytes: number) => ({ capacityRange: { requiredBytes, limitBytes } });
    await expectRefusal(expand(0, range(GIB + 1, GIB + MIB - 1)), 'OUT_OF_RANGE', String(GIB + MIB));
    await expectRefusal(expand(0, range(0, GIB - 1)), 'OUT_OF_RANGE', 'limit');
    await expectRefusal(expand(2 ** 52), 'OUT_OF_RANGE', 'at most');
    expect(await expand(0, range(0, GIB))).to.include({ capacityBytes: String(GIB) });
    expect(cluster.volume(NAME).spec, 'nothing was wished').to.not.have.property('expandToBytes');
    const call = expand(0, range(GIB + 1, GIB + MIB));
    await untilWished(GIB + MIB);
    grow();
    expect(await call).to.include({ capacityBytes: String(GIB + MIB) });
  });

  it('is UNAVAILABLE naming the node that has not answered, or the member that is away, and a retry goes on', async () => {
    await create();
    cluster.bear(NAME);
    await expectRefusal(expand(GROWN, {}, WAIT), 'UNAVAILABLE', 'n1', 'n2', 'not said yet');
    answer({ n1: 3 * GIB, n2: 3 * GIB });
    await expectRefusal(expand(GROWN, {}, WAIT), 'UNAVAILABLE', 'not grown it yet');
    cluster.writeStatus(NAME, ({ partitions }) => ({
      partitions: partitions.map((entry) => (entry.nodeID === 'n2' ? { ...entry, state: 'Missing' } : entry)),
    }));
    await expectRefusal(expand(GROWN, {}, WAIT), 'UNAVAILABLE', 'on n2', 'is Missing');
    grow();
    expect(await expand()).to.include({ capacityBytes: String(GROWN) });
  });

  it('is RESOURCE_EXHAUSTED naming node, drive and room when a holder cannot grow, and the wish is taken back', async () => {
    await create();
    cluster.bear(NAME);
    const call = expectRefusal(expand(), 'RESOURCE_EXHAUSTED', 'node n2', 'nvme0n1', 'S-n2-nvme0n1', 'unchanged');
    await untilWished();
    answer({ n2: GIB + DATA_OFFSET_BYTES + MIB });
    await call;
    const { spec, status } = cluster.volume(NAME);
    expect(spec).to.include({ capacityBytes: GIB }).and.not.have.property('expandToBytes');
    expect(status?.phase).to.equal('Synced');
    for (const entry of status?.partitions ?? []) expect(entry).to.not.have.any.keys('growToBytes', 'growableToBytes');
    const condition = status?.conditions.find(({ type }) => type === 'Expandable');
    expect(condition).to.include({ status: 'False', reason: 'NoRoom' });
    expect(cluster.events.events.map(({ reason }) => reason)).to.include('ExpansionImpossible');
    const again = expand();
    await untilWished();
    expect(
      cluster.status(NAME).conditions.some(({ type }) => type === 'Expandable'),
      'a new wish',
    ).to.equal(false);
    grow();
    expect(await again).to.include({ capacityBytes: String(GROWN) });
  });

  it('asks again when the wish of another call took the place of its own, and was met', async () => {
    await create();
    cluster.bear(NAME);
    const call = expand();
    await untilWished();
    const other = GIB + 256 * MIB;
    cluster.writeSpec(NAME, { expandToBytes: other });
    await untilWished(other);
    answer({ n1: 3 * GIB, n2: 3 * GIB });
    grow();
    await untilWished();
    expect(cluster.volume(NAME).spec.capacityBytes).to.equal(other);
    answer({ n1: 3 * GIB, n2: 3 * GIB });
    grow();
    expect(await call).to.include({ capacityBytes: String(GROWN) });
  });

  it('keeps nobody from attaching it while it waits; a second one is ABORTED', async () => {
    await create();
    cluster.bear(NAME);
    const call = expand();
    await untilWished();
    const attach = { volumeId: NAME, nodeId: 'n1', volumeCapability: WRITER, readonly: false };
    await controller().ControllerPublishVolume(attach);
    await expectRefusal(expand(), 'ABORTED', 'ControllerExpandVolume');
    answer({ n1: 3 * GIB, n2: 3 * GIB });
    grow();
    expect(await call).to.include({ capacityBytes: String(GROWN) });
  });

  it('goes on in the reconciler when its caller has gone', async () => {
    await create();
    cluster.bear(NAME);
    await expectRefusal(expand(GROWN, {}, WAIT), 'UNAVAILABLE');
    answer({ n1: GIB, n2: GIB });
    await replica.reconciler.reconcile(NAME);
    expect(cluster.volume(NAME).spec).to.not.have.property('expandToBytes');
    await expectRefusal(expand(GROWN, {}, WAIT), 'UNAVAILABLE');
    grow();
    await replica.reconciler.reconcile(NAME);
    expect(cluster.volume(NAME).spec.capacityBytes).to.equal(GROWN);
  });

  it('of a volume that was placed nowhere yet is done at once, and it is placed with the new size', async () => {
    await create({ accessibilityRequirements: null });
    expect(await expand()).to.include({ capacityBytes: String(GROWN) });
    expect(cluster.status(NAME)).to.include({ phase: 'New' }).and.not.have.property('servedBytes');
    await controller().ControllerPublishVolume({ volumeId: NAME, nodeId: 'n1', volumeCapability: WRITER });
    const sizes = cluster.status(NAME).partitions.map(({ sizeBytes }) => sizeBytes);
    expect(sizes).to.deep.equal([GROWN + DATA_OFFSET_BYTES, GROWN + DATA_OFFSET_BYTES]);
  });

  it('keeps what it asks for from being given to others', async () => {
    cluster.addNode('n1', { freeBytes: 5 * GIB });
    cluster.addNode('n2', { freeBytes: 5 * GIB });
    await create();
    cluster.bear(NAME);
    const before = Number((await controller().GetCapacity({})).availableCapacity);
    await expectRefusal(expand(GROWN, {}, WAIT), 'UNAVAILABLE');
    const { availableCapacity } = await controller().GetCapacity({});
    expect(before - Number(availableCapacity)).to.equal(GROWN - GIB);
  });

  it('is refused for what cannot grow', async () => {
    await expectRefusal(expand(), 'NOT_FOUND', NAME);
    await expectRefusal(expand(GROWN, { volumeId: '' }), 'INVALID_ARGUMENT', 'volume_id');
    await expectRefusal(expand(GROWN, { capacityRange: null }), 'INVALID_ARGUMENT', 'capacity_range');
    await create();
    await expectRefusal(expand(GROWN, { volumeCapability: BLOCK }), 'INVALID_ARGUMENT', 'mode Filesystem');
    cluster.writeSpec(NAME, { drivesPerCopy: 2 });
    await expectRefusal(expand(), 'INVALID_ARGUMENT', 'drivesPerCopy is 2');
    cluster.writeSpec(NAME, { drivesPerCopy: 1 });
    const call = expectRefusal(expand(), 'FAILED_PRECONDITION', 'being deleted');
    await untilWished();
    await replica.operations.deleteVolume(NAME);
    await call;
    await expectRefusal(expand(), 'FAILED_PRECONDITION', 'being deleted');
  });
});
