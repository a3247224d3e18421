/** What the services answer, over a real socket. */
import { expect } from 'chai';
import { GIB, MIB } from '../../src/support/units.ts';
import { FakeCluster } from '../fakes/fake-cluster.ts';
import type { Harness } from './harness.ts';
import { BLOCK, expectRefusal, fakeNode, startHarness, WRITER } from './harness.ts';

const NAME = 'pvc-11111111-2222-4333-8444-555555555555';
const STAGE = { volumeId: 'v', stagingTargetPath: '/staging/', volumeCapability: WRITER };
const at = (node: string) => ({ segments: { 'topology.meshstor.io/node': node } });

describe('the Node service', () => {
  it('hands every request on in the words of the node, and repeats give the same answer', async () => {
    const node = fakeNode();
    const harness = await startHarness({ node });
    try {
      const calls = harness.client.node;
      const single = { block: {}, accessMode: { mode: 'SINGLE_NODE_SINGLE_WRITER' } } as const;
      const reader = { mount: { mountFlags: ['sync'] }, accessMode: { mode: 'SINGLE_NODE_READER_ONLY' as const } };
      const publishContext = { epoch: '3', attachmentID: 'a' };
      for (let attempt = 0; attempt < 2; attempt += 1) {
        await calls.NodeStageVolume({ ...STAGE, publishContext, volumeCapability: reader });
        await calls.NodePublishVolume({ ...STAGE, targetPath: '/t', volumeCapability: single, readonly: true });
        const range = { requiredBytes: 5, limitBytes: 7 };
        const grown = await calls.NodeExpandVolume({ volumeId: 'v', volumePath: '/t', capacityRange: range });
        expect(grown.capacityBytes).to.equal(String(GIB));
        await calls.NodeUnpublishVolume({ volumeId: 'v', targetPath: '/t' });
        await calls.NodeUnstageVolume({ volumeId: 'v', stagingTargetPath: '/staging' });
      }
      const stage = {
        volumeId: 'v',
        stagingPath: '/staging',
        access: { kind: 'mount', fsType: '', mountFlags: ['sync'] },
        readOnly: true,
        singleWriter: false,
        publishContext,
      };
      const publish = {
        ...stage,
        targetPath: '/t',
        access: { kind: 'block' },
        singleWriter: true,
        publishContext: {},
      };
      const once = [
        ['stage', stage],
        ['publish', publish],
        ['expand', { volumeId: 'v', volumePath: '/t', requiredBytes: 5, limitBytes: 7 }],
        ['unpublish', 'v', '/t'],
        ['unstage', 'v', '/staging'],
      ];
      expect(node.calls).to.deep.equal([...once, ...once]);
    } finally {
      await harness.stop();
    }
  });

  it('reports usage in bytes and inodes with the condition, the bare size for a block volume, and its place', async () => {
    const node = fakeNode();
    let harness = await startHarness({ node });
    const filesystem = await harness.client.node.NodeGetVolumeStats({ volumeId: 'v', volumePath: '/t' });
    expect(filesystem.usage).to.deep.equal([
      { available: '60', total: '100', used: '40', unit: 'BYTES' },
      { available: '7', total: '10', used: '3', unit: 'INODES' },
    ]);
    expect(filesystem.volumeCondition).to.deep.equal({ abnormal: true, message: 'array is degraded; down: member 1' });
    const info = await harness.client.node.NodeGetInfo({});
    expect(info).to.deep.include({ nodeId: 'n1', accessibleTopology: at('n1') });
    await harness.stop();
    harness = await startHarness({
      node: fakeNode({ stats: async () => ({ deviceBytes: 512 * MIB, abnormal: false, message: 'array is clean' }) }),
    });
    const block = await harness.client.node.NodeGetVolumeStats({ volumeId: 'v', volumePath: '/t' });
    expect(block.usage).to.deep.equal([{ available: '0', total: String(512 * MIB), used: '0', unit: 'BYTES' }]);
    await harness.stop();
  });
});

describe('the Identity service', () => {
  it('names the driver, its version and the services of the whole plugin, whatever the role', async () => {
    const services = ['CONTROLLER_SERVICE', 'VOLUME_ACCESSIBILITY_CONSTRAINTS'];
    for (const role of [{ controller: new FakeCluster().replica().operations }, { node: fakeNode() }]) {
      const harness = await startHarness(role);
      const info = await harness.client.identity.GetPluginInfo({});
      expect(info).to.include({ name: 'io.meshstor.csi.mesh', vendorVersion: '1.2.3' });
      const { capabilities } = await harness.client.identity.GetPluginCapabilities({});
      expect(capabilities.flatMap(({ service }) => service?.type ?? [])).to.deep.equal(services);
      expect(capabilities.flatMap(({ volumeExpansion }) => volumeExpansion?.type ?? [])).to.deep.equal(['ONLINE']);
      await harness.stop();
    }
  });
});

describe('the Controller service', () => {
  let harness: Harness;
  let cluster: FakeCluster;
  const calls = () => harness.client.controller;
  const wanted = {
    name: NAME,
    capacityRange: { requiredBytes: GIB + 1 },
    volumeCapabilities: [WRITER],
    accessibilityRequirements: { requisite: [at('n1')], preferred: [at('n1')] },
  };

  beforeEach(async () => {
    cluster = new FakeCluster().withNodes(3);
    harness = await startHarness({ controller: cluster.replica().operations });
  });
  afterEach(() => harness.stop());

  it('creates, attaches, detaches and deletes, each call twice with the same answer', async () => {
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const { volume } = await calls().CreateVolume(wanted);
      expect(volume).to.deep.include({ volumeId: NAME, capacityBytes: String(GIB + MIB), accessibleTopology: [] });
    }
    expect(cluster.status(NAME).phase).to.equal('Requested');
    expect(cluster.status(NAME).partitions.map((entry) => entry.nodeID)).to.include('n1');
    const attach = { volumeId: NAME, nodeId: 'n1', volumeCapability: WRITER };
    const contexts = [await calls().ControllerPublishVolume(attach), await calls().ControllerPublishVolume(attach)];
    expect(contexts[0]?.publishContext).to.have.property('epoch', '1');
    expect(contexts[0]?.publishContext['attachmentID']).to.equal(cluster.status(NAME).attachmentID);
    expect(contexts[1]).to.deep.equal(contexts[0]);
    const listed = await calls().ListVolumes({});
    expect(listed.entries[0]?.status?.publishedNodeIds).to.deep.equal(['n1']);
    for (let attempt = 0; attempt < 2; attempt += 1)
      await calls().ControllerUnpublishVolume({ volumeId: NAME, nodeId: 'n1' });
    for (let attempt = 0; attempt < 2; attempt += 1) await calls().DeleteVolume({ volumeId: NAME });
    expect((await calls().ListVolumes({})).entries).to.deep.equal([]);
    await expectRefusal(calls().ControllerGetVolume({ volumeId: NAME }), 'NOT_FOUND');
    await calls().DeleteVolume({ volumeId: 'never-seen' });
    await calls().ControllerUnpublishVolume({ volumeId: 'never-seen', nodeId: 'n1' });
  });

  it('takes a name of 128 characters, keeps it in an annotation, and finds the volume again by it', async () => {
    const name = `${'A'.repeat(120)}-ünïq`.slice(0, 124);
    const first = await calls().CreateVolume({ ...wanted, name });
    const again = await calls().CreateVolume({ ...wanted, name });
    expect(first.volume?.volumeId)
      .to.match(/^vol-[0-9a-f]{32}$/)
      .and.to.equal(again.volume?.volumeId);
    const { metadata } = cluster.volume(first.volume?.volumeId ?? '');
    expect(metadata.annotations['meshstor.io/requested-name']).to.equal(name);
  });

  it('lists in pages that no deletion upsets, each with condition and size', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) await calls().CreateVolume({ ...wanted, name });
    const all = (await calls().ListVolumes({})).entries.map(({ volume }) => volume?.volumeId ?? '');
    const first = await calls().ListVolumes({ maxEntries: 2 });
    await calls().DeleteVolume({ volumeId: all[1] ?? '' });
    const second = await calls().ListVolumes({ maxEntries: 2, startingToken: first.nextToken });
    const third = await calls().ListVolumes({ maxEntries: 2, startingToken: second.nextToken });
    const ids = [first, second, third].flatMap(({ entries }) => entries.map(({ volume }) => volume?.volumeId));
    expect(ids).to.deep.equal(all);
    expect(third.nextToken).to.equal('');
    expect(first.entries[0]?.status?.volumeCondition?.abnormal).to.be.false;
    expect(first.entries[0]?.volume?.capacityBytes).to.equal(String(GIB + MIB));
  });

  it('confirms capabilities that the volume can serve, and says why it does not confirm others', async () => {
    await calls().CreateVolume(wanted);
    const yes = await calls().ValidateVolumeCapabilities({ volumeId: NAME, volumeCapabilities: [WRITER] });
    expect(yes.confirmed?.volumeCapabilities).to.have.length(1);
    for (const [capability, word] of [
      [BLOCK, 'mode Filesystem'],
      [{ mount: { fsType: 'ext4' }, accessMode: WRITER.accessMode }, 'ext4'],
      [{ mount: {}, accessMode: { mode: 'MULTI_NODE_MULTI_WRITER' } }, 'MULTI_NODE_MULTI_WRITER'],
    ] as const) {
      const no = await calls().ValidateVolumeCapabilities({ volumeId: NAME, volumeCapabilities: [capability] });
      expect(no.confirmed).to.be.null;
      expect(no.message).to.include(word);
    }
  });

  it('reports as capacity the largest volume that it would then create, and nothing for a place it does not know', async () => {
    const { maximumVolumeSize, availableCapacity } = await calls().GetCapacity({ accessibleTopology: at('n1') });
    const bytes = Number(maximumVolumeSize?.value);
    expect(bytes).to.equal(100 * GIB - 8 * MIB);
    expect(availableCapacity).to.equal(String(bytes));
    const elsewhere = await calls().GetCapacity({ accessibleTopology: at('n9') });
    expect(elsewhere.availableCapacity).to.equal('0');
    const tooLarge = { ...wanted, name: 'too-large', capacityRange: { requiredBytes: bytes + 1 } };
    await expectRefusal(calls().CreateVolume(tooLarge), 'RESOURCE_EXHAUSTED');
    await calls().CreateVolume({ ...wanted, capacityRange: { requiredBytes: bytes } });
    const after = await calls().GetCapacity({ parameters: { numberOfCopies: '2' } });
    expect(after.availableCapacity).to.equal('0');
  });

  it('serves two calls for the same new name one after the other, and only one volume comes of it', async () => {
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => calls().CreateVolume(wanted)));
    const created = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value.volume?.volumeId] : []));
    expect(created).to.include(NAME);
    expect(new Set(created).size).to.equal(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(String(result.reason)).to.include('ABORTED');
    }
    expect(cluster.volumeServer.objects.size).to.equal(1);
  });
});
