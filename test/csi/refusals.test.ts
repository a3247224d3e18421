/** Bad requests over a real socket (SPEC §3, §4): the stated code, a message that names field and rule, nothing created. */
import { expect } from 'chai';
import type { CreateVolumeRequest } from '../../src/csi/generated/csi/v1/CreateVolumeRequest.ts';
import { GIB, MIB } from '../../src/support/units.ts';
import { createRequest, FakeCluster } from '../fakes/fake-cluster.ts';
import type { CsiError } from './client.ts';
import type { Harness } from './harness.ts';
import { BLOCK, expectRefusal, startHarness, WRITER } from './harness.ts';

const NAME = 'pvc-11111111-2222-4333-8444-555555555555';
const good: CreateVolumeRequest = {
  name: NAME,
  capacityRange: { requiredBytes: GIB },
  volumeCapabilities: [WRITER],
  parameters: {},
};
const OTHER = 'pvc-22222222-2222-4333-8444-555555555555';
const ON_N1 = { preferred: [{ segments: { 'topology.meshstor.io/node': 'n1' } }] };
const withParameters = (parameters: Record<string, string>): CreateVolumeRequest => ({ ...good, parameters });
const mode = (name: 'MULTI_NODE_READER_ONLY' | 'MULTI_NODE_SINGLE_WRITER' | 'MULTI_NODE_MULTI_WRITER' | 'UNKNOWN') => ({
  mount: {},
  accessMode: { mode: name },
});

interface Row {
  readonly what: string;
  readonly request: CreateVolumeRequest;
  readonly code: CsiError['code'];
  readonly words: readonly string[];
}

const bad = (what: string, request: CreateVolumeRequest, ...words: readonly string[]): Row => ({
  what,
  request,
  code: 'INVALID_ARGUMENT',
  words,
});

const CREATE_ROWS: readonly Row[] = [
  bad('no name', { ...good, name: '' }, 'name', 'required'),
  bad('a name of 129 bytes', { ...good, name: 'x'.repeat(129) }, 'name', '128 bytes'),
  bad('a name with a control character', { ...good, name: 'a\nb' }, 'name', 'control'),
  bad('no capability', { ...good, volumeCapabilities: [] }, 'volume_capabilities', 'at least one'),
  bad('no access mode', { ...good, volumeCapabilities: [{ mount: {} }] }, 'access_mode.mode', 'required'),
  bad('access mode UNKNOWN', { ...good, volumeCapabilities: [mode('UNKNOWN')] }, 'access_mode.mode', 'required'),
  ...(['MULTI_NODE_READER_ONLY', 'MULTI_NODE_SINGLE_WRITER', 'MULTI_NODE_MULTI_WRITER'] as const).map((name) =>
    bad(name, { ...good, volumeCapabilities: [mode(name)] }, 'access_mode.mode', name, 'SINGLE_NODE'),
  ),
  bad(
    'neither block nor mount',
    { ...good, volumeCapabilities: [{ accessMode: { mode: 'SINGLE_NODE_WRITER' } }] },
    'access_type',
    'block or mount',
  ),
  bad('block and mount', { ...good, volumeCapabilities: [WRITER, BLOCK] }, 'volume_capabilities', 'block and mount'),
  bad(
    'an unknown filesystem',
    { ...good, volumeCapabilities: [{ ...WRITER, mount: { fsType: 'btrfs' } }] },
    'fs_type',
    'xfs or ext4',
    'btrfs',
  ),
  bad(
    'two filesystems',
    { ...good, volumeCapabilities: [WRITER, { ...WRITER, mount: { fsType: 'ext4' } }] },
    'xfs and ext4',
  ),
  bad(
    'a mount group',
    { ...good, volumeCapabilities: [{ ...WRITER, mount: { volumeMountGroup: '7' } }] },
    'volume_mount_group',
  ),
  bad('an unknown key', withParameters({ copies: '2' }), 'copies', 'unknown parameter', 'numberOfCopies'),
  bad(
    'a key and its alias',
    withParameters({ numberOfCopies: '2', replicaCount: '2' }),
    'numberOfCopies',
    'replicaCount',
  ),
  bad('both of stripes', withParameters({ drivesPerCopy: '1', stripeWidth: '1' }), 'drivesPerCopy', 'stripeWidth'),
  bad('no copies', withParameters({ numberOfCopies: '0' }), 'numberOfCopies = "0"', 'from 1'),
  bad('too many copies, by alias', withParameters({ replicaCount: '17' }), 'replicaCount = "17"', 'to 16'),
  bad('copies that are no number', withParameters({ numberOfCopies: 'two' }), 'numberOfCopies = "two"', 'whole number'),
  bad('a fraction', withParameters({ numberOfCopies: '1.5' }), 'numberOfCopies = "1.5"', 'whole number'),
  bad('an empty number', withParameters({ numberOfCopies: '' }), 'numberOfCopies = ""', 'whole number'),
  bad('no drives', withParameters({ drivesPerCopy: '0' }), 'drivesPerCopy = "0"', 'from 1'),
  bad('too short a time', withParameters({ memberMissingTimeout: '59' }), 'memberMissingTimeout = "59"', 'from 60'),
  bad('a time with a unit', withParameters({ memberMissingTimeout: '15m' }), 'memberMissingTimeout = "15m"'),
  bad('an odd sector size', withParameters({ sectorSize: '520' }), 'sectorSize = "520"', 'auto or 512 or 4096'),
  bad('onWitnessLoss', withParameters({ onWitnessLoss: 'stop' }), 'onWitnessLoss = "stop"', 'suspend or continue'),
  bad('onLastCopyLoss', withParameters({ onLastCopyLoss: 'keep' }), 'onLastCopyLoss = "keep"', 'hold or fail'),
  bad('dataLocality', withParameters({ dataLocality: 'strict' }), 'dataLocality = "strict"', 'best-effort or disabled'),
  bad(
    'a class with an unknown filesystem',
    withParameters({ 'csi.storage.k8s.io/fstype': 'zfs' }),
    'csi.storage.k8s.io/fstype = "zfs"',
    'xfs or ext4',
  ),
  bad('an empty range', { ...good, capacityRange: {} }, 'capacity_range', 'to be set'),
  bad('a negative size', { ...good, capacityRange: { requiredBytes: -1 } }, 'required_bytes', 'negative'),
  bad(
    'a limit below the request',
    { ...good, capacityRange: { requiredBytes: 2 * GIB, limitBytes: GIB } },
    'limit_bytes',
    'below required_bytes',
  ),
  bad(
    'a snapshot as source',
    { ...good, volumeContentSource: { snapshot: { snapshotId: 's' } } },
    'volume_content_source',
  ),
  bad('mutable parameters', { ...good, mutableParameters: { a: 'b' } }, 'mutable_parameters', 'MODIFY_VOLUME'),
  {
    what: 'a size that no number holds',
    request: { ...good, capacityRange: { requiredBytes: '9007199254740993' } },
    code: 'OUT_OF_RANGE',
    words: ['required_bytes', '9007199254740993'],
  },
  {
    what: 'a limit below the smallest volume',
    request: { ...good, capacityRange: { requiredBytes: MIB, limitBytes: 511 * MIB } },
    code: 'OUT_OF_RANGE',
    words: ['limit_bytes', '536870912'],
  },
  {
    what: 'a limit that rounding up exceeds',
    request: { ...good, capacityRange: { requiredBytes: GIB + 1, limitBytes: GIB + 2 } },
    code: 'OUT_OF_RANGE',
    words: ['limit_bytes', 'rounded up'],
  },
  {
    what: 'a topology without our key',
    request: { ...good, accessibilityRequirements: { requisite: [{ segments: { zone: 'a' } }] } },
    code: 'RESOURCE_EXHAUSTED',
    words: ['accessibility_requirements.requisite', 'topology.meshstor.io/node'],
  },
  {
    what: 'more than any node has room for',
    request: {
      ...good,
      capacityRange: { requiredBytes: 500 * GIB },
      accessibilityRequirements: { preferred: [{ segments: { 'topology.meshstor.io/node': 'n1' } }] },
    },
    code: 'RESOURCE_EXHAUSTED',
    words: ['n1', 'n2', 'n3', 'free'],
  },
  {
    what: 'more copies than nodes',
    request: {
      ...withParameters({ numberOfCopies: '4' }),
      accessibilityRequirements: { preferred: [{ segments: { 'topology.meshstor.io/node': 'n1' } }] },
    },
    code: 'RESOURCE_EXHAUSTED',
    words: ['no place', '4 copies'],
  },
];

describe('CreateVolume refuses, and creates nothing for', () => {
  let harness: Harness;
  let cluster: FakeCluster;

  before(async () => {
    cluster = new FakeCluster().withNodes(3);
    harness = await startHarness({ controller: cluster.replica().operations });
  });
  after(() => harness.stop());

  for (const { what, request, code, words } of CREATE_ROWS) {
    it(`${what}: ${code}`, async () => {
      for (let attempt = 0; attempt < 2; attempt += 1) {
        await expectRefusal(harness.client.controller.CreateVolume(request), code, ...words);
      }
      expect(cluster.volumeServer.objects.size).to.equal(0);
      expect(harness.lock.size).to.equal(0);
    });
  }
});

describe('the Controller service refuses', () => {
  let harness: Harness;
  let cluster: FakeCluster;
  const controller = () => harness.client.controller;

  beforeEach(async () => {
    cluster = new FakeCluster().withNodes(3);
    const { operations } = cluster.replica();
    harness = await startHarness({ controller: operations });
    await operations.createVolume(createRequest());
  });
  afterEach(() => harness.stop());

  it('the same name with other parameters, another size or another mode: ALREADY_EXISTS', async () => {
    await expectRefusal(
      controller().CreateVolume(withParameters({ numberOfCopies: '3' })),
      'ALREADY_EXISTS',
      'numberOfCopies 2',
    );
    const larger = { ...good, capacityRange: { requiredBytes: 2 * GIB, limitBytes: 2 * GIB } };
    await expectRefusal(controller().CreateVolume(larger), 'ALREADY_EXISTS', String(GIB));
    const block = { ...good, volumeCapabilities: [BLOCK] };
    await expectRefusal(controller().CreateVolume(block), 'ALREADY_EXISTS', 'mode Filesystem');
  });

  it('sectors that no drive has, one size for all copies: RESOURCE_EXHAUSTED', async () => {
    const objects = cluster.volumeServer.objects.size;
    const at4096 = { ...withParameters({ sectorSize: '4096' }), name: OTHER };
    await expectRefusal(
      controller().CreateVolume({ ...at4096, accessibilityRequirements: ON_N1 }),
      'RESOURCE_EXHAUSTED',
      ...['n1', 'n2', 'n3'].map((name) => `${name}: nvme0n1: sector size 512, needed 4096`),
    );
    cluster.setDrive('n1', { sectorSize: 4096 });
    await expectRefusal(
      controller().CreateVolume({ ...at4096, accessibilityRequirements: ON_N1 }),
      'RESOURCE_EXHAUSTED',
      'n2: nvme0n1: sector size 512, needed 4096',
    );
    expect(cluster.volumeServer.objects.size, 'nothing is created').to.equal(objects);
    cluster.setDrive('n2', { sectorSize: 4096 });
    await controller().CreateVolume({ ...at4096, accessibilityRequirements: ON_N1 });
  });

  it('a node that is silent for more than a minute: RESOURCE_EXHAUSTED', async () => {
    const objects = cluster.volumeServer.objects.size;
    const three = { ...withParameters({ numberOfCopies: '3' }), name: OTHER, accessibilityRequirements: ON_N1 };
    cluster.clock.advance(61_000);
    cluster.beat('n1', 'n2');
    const words = ['n3', 'last heartbeat 61 s ago, at most 60 s'];
    await expectRefusal(controller().CreateVolume(three), 'RESOURCE_EXHAUSTED', ...words);
    expect(cluster.volumeServer.objects.size, 'nothing is created').to.equal(objects);
    cluster.beat('n3');
    await controller().CreateVolume(three);
  });

  it('the name of a volume that is still being deleted: ABORTED', async () => {
    await controller().DeleteVolume({ volumeId: NAME });
    await expectRefusal(controller().CreateVolume(good), 'ABORTED', 'being deleted');
  });

  it('to delete without an id, and while attached: INVALID_ARGUMENT, FAILED_PRECONDITION', async () => {
    await expectRefusal(controller().DeleteVolume({}), 'INVALID_ARGUMENT', 'volume_id');
    await controller().ControllerPublishVolume({ volumeId: NAME, nodeId: 'n1', volumeCapability: WRITER });
    await expectRefusal(controller().DeleteVolume({ volumeId: NAME }), 'FAILED_PRECONDITION', 'attached to node n1');
  });

  it('to attach without id, node or capability, in another way than created, or read-only: INVALID_ARGUMENT', async () => {
    const attach = { volumeId: NAME, nodeId: 'n1', volumeCapability: WRITER };
    for (const [field, request] of [
      ['volume_id', { ...attach, volumeId: '' }],
      ['node_id', { ...attach, nodeId: '' }],
      ['volume_capability', { ...attach, volumeCapability: null }],
      ['volume_capability', { ...attach, volumeCapability: BLOCK }],
      ['volume_capability', { ...attach, volumeCapability: { ...WRITER, mount: { fsType: 'ext4' } } }],
      ['access_mode', { ...attach, volumeCapability: mode('MULTI_NODE_MULTI_WRITER') }],
      ['readonly', { ...attach, readonly: true }],
    ] as const) {
      await expectRefusal(controller().ControllerPublishVolume(request), 'INVALID_ARGUMENT', field);
    }
    expect(cluster.volume(NAME).status?.nodeName ?? '').to.equal('');
  });

  it('to attach what or where there is not: NOT_FOUND', async () => {
    const attach = { volumeId: NAME, nodeId: 'n1', volumeCapability: WRITER };
    await expectRefusal(
      controller().ControllerPublishVolume({ ...attach, volumeId: 'pvc-none' }),
      'NOT_FOUND',
      'pvc-none',
    );
    await expectRefusal(controller().ControllerPublishVolume({ ...attach, volumeId: '../x' }), 'NOT_FOUND', '../x');
    await expectRefusal(controller().ControllerPublishVolume({ ...attach, nodeId: 'n9' }), 'NOT_FOUND', 'n9');
  });

  it('to attach what is attached elsewhere: FAILED_PRECONDITION', async () => {
    const attach = { volumeId: NAME, nodeId: 'n1', volumeCapability: WRITER };
    await controller().ControllerPublishVolume(attach);
    const elsewhere = controller().ControllerPublishVolume({ ...attach, nodeId: 'n2' });
    await expectRefusal(elsewhere, 'FAILED_PRECONDITION', 'attached to node n1');
  });

  it('to detach without an id: INVALID_ARGUMENT; in use on a live node: FAILED_PRECONDITION; not fenced yet: UNAVAILABLE', async () => {
    await expectRefusal(controller().ControllerUnpublishVolume({ nodeId: 'n1' }), 'INVALID_ARGUMENT', 'volume_id');
    await controller().ControllerPublishVolume({ volumeId: NAME, nodeId: 'n1', volumeCapability: WRITER });
    cluster.confirm(NAME);
    cluster.bear(NAME);
    const detach = { volumeId: NAME, nodeId: 'n1' };
    await expectRefusal(controller().ControllerUnpublishVolume(detach), 'FAILED_PRECONDITION', 'in use', 'n1');
    cluster.writeStatus(NAME, (status) => ({ mdState: '', releasedEpoch: status.attachmentEpoch }));
    await expectRefusal(controller().ControllerUnpublishVolume(detach), 'UNAVAILABLE', 'confirmed');
    cluster.confirm(NAME);
    await controller().ControllerUnpublishVolume(detach);
  });

  it('a page token that is none of ours, and a negative page: ABORTED, INVALID_ARGUMENT', async () => {
    await expectRefusal(controller().ListVolumes({ startingToken: 'invalid-token' }), 'ABORTED', 'starting_token');
    await expectRefusal(controller().ListVolumes({ maxEntries: -1 }), 'INVALID_ARGUMENT', 'max_entries');
  });

  it('questions about a volume that is not there: NOT_FOUND; without id or capability: INVALID_ARGUMENT', async () => {
    const question = { volumeId: 'pvc-none', volumeCapabilities: [WRITER] };
    await expectRefusal(controller().ControllerGetVolume({ volumeId: 'pvc-none' }), 'NOT_FOUND', 'pvc-none');
    await expectRefusal(controller().ControllerGetVolume({}), 'INVALID_ARGUMENT', 'volume_id');
    await expectRefusal(controller().ValidateVolumeCapabilities(question), 'NOT_FOUND', 'pvc-none');
    await expectRefusal(
      controller().ValidateVolumeCapabilities({ ...question, volumeId: '' }),
      'INVALID_ARGUMENT',
      'volume_id',
    );
    const none = { volumeId: NAME, volumeCapabilities: [] };
    await expectRefusal(controller().ValidateVolumeCapabilities(none), 'INVALID_ARGUMENT', 'volume_capabilities');
    await expectRefusal(controller().GetCapacity({ parameters: { x: '1' } }), 'INVALID_ARGUMENT', 'x = "1"');
  });

  it('snapshots and modification: UNIMPLEMENTED, and none of them is advertised', async () => {
    await expectRefusal(controller().CreateSnapshot({}), 'UNIMPLEMENTED', 'CREATE_DELETE_SNAPSHOT');
    await expectRefusal(controller().DeleteSnapshot({}), 'UNIMPLEMENTED');
    await expectRefusal(controller().ListSnapshots({}), 'UNIMPLEMENTED', 'LIST_SNAPSHOTS');
    await expectRefusal(controller().GetSnapshot({}), 'UNIMPLEMENTED');
    await expectRefusal(controller().ControllerModifyVolume({ volumeId: NAME }), 'UNIMPLEMENTED', 'MODIFY_VOLUME');
    const { capabilities } = await controller().ControllerGetCapabilities({});
    expect(capabilities.map((capability) => capability.rpc?.type).sort()).to.deep.equal([
      'CREATE_DELETE_VOLUME',
      'EXPAND_VOLUME',
      'GET_CAPACITY',
      'GET_VOLUME',
      'LIST_VOLUMES',
      'LIST_VOLUMES_PUBLISHED_NODES',
      'PUBLISH_UNPUBLISH_VOLUME',
      'SINGLE_NODE_MULTI_WRITER',
      'VOLUME_CONDITION',
    ]);
  });

  it('the Node service, which it does not have: UNIMPLEMENTED', async () => {
    await expectRefusal(harness.client.node.NodeGetInfo({}), 'UNIMPLEMENTED');
  });
});
