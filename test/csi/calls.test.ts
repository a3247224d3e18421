/** What every call has in common, and what the services answer, over a real socket. */
import { expect } from 'chai';
import { DomainError } from '../../src/api/errors.ts';
import { GIB, MIB } from '../../src/support/units.ts';
import { FakeCluster } from '../fakes/fake-cluster.ts';
import type { Harness } from './harness.ts';
import { BLOCK, expectRefusal, fakeNode, startHarness, WRITER } from './harness.ts';

const NAME = 'pvc-11111111-2222-4333-8444-555555555555';
const STAGE = { volumeId: 'v', stagingTargetPath: '/staging/', volumeCapability: WRITER };
const at = (node: string) => ({ segments: { 'topology.meshstor.io/node': node } });

/** Work that ends when the test says so. */
function gate(): { readonly passed: Promise<void>; open(): void; readonly entered: Promise<void>; enter(): void } {
  let open = (): void => undefined;
  let enter = (): void => undefined;
  const passed = new Promise<void>((resolve) => (open = resolve));
  const entered = new Promise<void>((resolve) => (enter = resolve));
  return { passed, open: () => open(), entered, enter: () => enter() };
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let waited = 0; !isTrue(); waited += 5) {
    if (waited > 5000) throw new Error('waited for 5 s in vain');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('every call', () => {
  let harness: Harness;
  afterEach(() => harness.stop());

  it('on a busy volume is ABORTED, names the volume and what is under way, and works afterwards', async () => {
    const door = gate();
    const node = fakeNode({
      stage: async () => {
        door.enter();
        await door.passed;
      },
    });
    harness = await startHarness({ node });
    const first = harness.client.node.NodeStageVolume(STAGE);
    await door.entered;
    await expectRefusal(
      harness.client.node.NodeStageVolume(STAGE),
      'ABORTED',
      'volume v',
      'NodeStageVolume is under way',
    );
    const unstage = { volumeId: 'v', stagingTargetPath: '/staging' };
    await expectRefusal(harness.client.node.NodeUnstageVolume(unstage), 'ABORTED', 'NodeStageVolume');
    await harness.client.node.NodeUnstageVolume({ ...unstage, volumeId: 'other' });
    door.open();
    await first;
    await harness.client.node.NodeUnstageVolume(unstage);
  });

  it('that waits until shortly before its deadline is UNAVAILABLE with what it waits for', async () => {
    const node = fakeNode({
      stage: (_request, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () =>
            reject(new DomainError('unavailable', 'stage volume v: waiting for node n2; try again')),
          );
        }),
    });
    harness = await startHarness({ node });
    for (const deadlineMs of [400, 2000]) {
      const startedAt = performance.now();
      const call = harness.client.node.NodeStageVolume(STAGE, { deadlineMs });
      await expectRefusal(call, 'UNAVAILABLE', 'waiting for node n2');
      expect(performance.now() - startedAt).to.be.within(deadlineMs * 0.8, deadlineMs);
    }
    const line = harness.log.lines.find(({ message }) => message === 'call refused');
    expect(line?.fields).to.include({ code: 'UNAVAILABLE', reason: 'stage volume v: waiting for node n2; try again' });
  });

  it('whose work does not end in time keeps its lock until the work has ended', async () => {
    const door = gate();
    let reason: unknown;
    const node = fakeNode({
      stage: async (_request, signal) => {
        signal.addEventListener('abort', () => (reason = signal.reason));
        await door.passed;
      },
    });
    harness = await startHarness({ node });
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE, { deadlineMs: 150 }), 'DEADLINE_EXCEEDED');
    await until(() => reason !== undefined);
    expect(reason).to.be.instanceOf(DomainError).with.property('kind', 'unavailable');
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'ABORTED');
    expect(harness.server.callsInFlight()).to.equal(1);
    door.open();
    await until(() => harness.lock.size === 0);
    await until(() => harness.server.callsInFlight() === 0);
    await harness.client.node.NodeStageVolume(STAGE);
  });

  it('that is cancelled aborts its signal', async () => {
    const door = gate();
    const cancel = new AbortController();
    const node = fakeNode({
      stage: (_request, signal) =>
        new Promise((_resolve, reject) => {
          door.enter();
          signal.addEventListener('abort', () => reject(signal.reason as Error));
        }),
    });
    harness = await startHarness({ node });
    const call = harness.client.node.NodeStageVolume(STAGE, { signal: cancel.signal });
    await door.entered;
    cancel.abort();
    await expectRefusal(call, 'CANCELLED');
    await until(() => harness.lock.size === 0);
  });

  it('shares its lock with the reconcilers', async () => {
    harness = await startHarness({ node: fakeNode() });
    const release = harness.lock.tryAcquire('v', 'the healing of v');
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'ABORTED', 'the healing of v');
    release?.();
    release?.();
    await harness.client.node.NodeStageVolume(STAGE);
  });

  it('before the process is ready is UNAVAILABLE, except Identity and what never changes', async () => {
    let notReady: string | undefined = 'not all volumes were listed yet';
    harness = await startHarness({ node: fakeNode(), notReady: () => notReady });
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'UNAVAILABLE', 'not all volumes were listed yet');
    expect((await harness.client.identity.Probe({})).ready).to.deep.equal({ value: true });
    expect((await harness.client.node.NodeGetInfo({})).nodeId).to.equal('n1');
    notReady = undefined;
    await harness.client.node.NodeStageVolume(STAGE);
  });

  it('turns a foreign error, whatever its numeric code, into INTERNAL with a request id and the rest in the log only', async () => {
    const foreign = Object.assign(new Error('password=hunter2 in the body'), {
      code: 16,
      details: 'leak',
      metadata: {},
    });
    harness = await startHarness({
      node: fakeNode({
        stage: async () => {
          throw foreign;
        },
      }),
    });
    const refused = await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'INTERNAL', 'request ');
    expect(refused.details).not.to.match(/hunter2|leak/);
    const id = /request ([0-9a-f-]{36})/.exec(refused.details)?.[1];
    const line = harness.log.lines.find(({ level, fields }) => level === 'error' && fields['requestId'] === id);
    expect(JSON.stringify(line)).to.include('hunter2');
    expect(harness.lock.size).to.equal(0);
  });

  it('survives what is thrown synchronously, and what is no error', async () => {
    harness = await startHarness({
      node: fakeNode({
        stage: () => {
          throw Object.assign(new Error('EBUSY'), { code: 5 });
        },
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
        unstage: () => Promise.reject(7),
      }),
    });
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'INTERNAL');
    await expectRefusal(harness.client.node.NodeUnstageVolume(STAGE), 'INTERNAL');
  });

  for (const [kind, code] of [
    ['invalid', 'INVALID_ARGUMENT'],
    ['notFound', 'NOT_FOUND'],
    ['conflict', 'ALREADY_EXISTS'],
    ['pending', 'ABORTED'],
    ['precondition', 'FAILED_PRECONDITION'],
    ['outOfRange', 'OUT_OF_RANGE'],
    ['exhausted', 'RESOURCE_EXHAUSTED'],
    ['unavailable', 'UNAVAILABLE'],
    ['unsupported', 'UNIMPLEMENTED'],
    ['internal', 'INTERNAL'],
  ] as const) {
    it(`turns a failure of kind ${kind} into ${code} with its message, in any alphabet`, async () => {
      harness = await startHarness({
        node: fakeNode({
          stage: async () => {
            throw new DomainError(kind, 'stage volume v: größer as 5 % ✓');
          },
        }),
      });
      await expectRefusal(harness.client.node.NodeStageVolume(STAGE), code, 'größer as 5 % ✓');
    });
  }

  it('answers even when the reason is longer than a header may be', async () => {
    harness = await startHarness({
      node: fakeNode({
        stage: async () => {
          throw new DomainError('unavailable', `waiting for ${'node, '.repeat(5000)}`);
        },
      }),
    });
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'UNAVAILABLE', 'waiting for node', 'shortened');
  });

  it('never logs secrets or mount flags', async () => {
    harness = await startHarness({ node: fakeNode() });
    const volumeCapability = { ...WRITER, mount: { fsType: 'xfs', mountFlags: ['password=swordfish'] } };
    const secrets = { key: 'tops3cret' };
    await harness.client.node.NodeStageVolume({ ...STAGE, volumeCapability, secrets });
    await harness.client.node.NodePublishVolume({ ...STAGE, volumeCapability, secrets, targetPath: '/t' });
    expect(harness.log.text()).not.to.match(/tops3cret|swordfish/);
    const line = harness.log.lines.find(({ fields }) => fields['rpc'] === 'NodeStageVolume');
    expect(line?.fields['request']).to.include({ volumeId: 'v', secrets: '***' });
  });

  it('is counted with its code', async () => {
    const seen: string[] = [];
    harness = await startHarness({ node: fakeNode(), onAnswer: (rpc, code) => seen.push(`${rpc} ${code}`) });
    await harness.client.node.NodeStageVolume(STAGE);
    await expectRefusal(harness.client.node.NodeStageVolume({}), 'INVALID_ARGUMENT');
    expect(seen).to.deep.equal(['NodeStageVolume OK', 'NodeStageVolume INVALID_ARGUMENT']);
  });
});

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
  it('names the driver, its version and the services of its role', async () => {
    const cluster = new FakeCluster();
    for (const [role, services] of [
      [{ controller: cluster.replica().operations }, ['CONTROLLER_SERVICE', 'VOLUME_ACCESSIBILITY_CONSTRAINTS']],
      [{ node: fakeNode() }, ['VOLUME_ACCESSIBILITY_CONSTRAINTS']],
    ] as const) {
      const harness = await startHarness(role);
      const info = await harness.client.identity.GetPluginInfo({});
      expect(info).to.include({ name: 'io.meshstor.csi.mesh', vendorVersion: '1.2.3' });
      const { capabilities } = await harness.client.identity.GetPluginCapabilities({});
      expect(capabilities.map(({ service }) => service?.type)).to.deep.equal(services);
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
