/** What the real node operations refuse, as kubelet hears it: code and words over a socket, kernels and API being stand-ins. */
import { expect } from 'chai';
import type { Preflight } from '../../src/node/preflight-watch.ts';
import { InProcessCluster } from '../roles/in-process-cluster.ts';
import type { Harness } from './harness.ts';
import { BLOCK, expectRefusal, startHarness, WRITER } from './harness.ts';

const VOLUME = 'pvc-0b8a1f9e-2c3d-4e5f-8a7b-6c5d4e3f2a1b';
const STAGING = `/var/lib/kubelet/plugins/kubernetes.io/csi/${VOLUME}`;
const TARGET = '/var/lib/kubelet/pods/one/volumes/mount';
const SINGLE = { ...WRITER, accessMode: { mode: 'SINGLE_NODE_SINGLE_WRITER' } } as const;

describe('a node that runs refuses', () => {
  let cluster: InProcessCluster;
  let controller: Harness;
  let node: Harness;
  let findings: string;
  let publishContext: Record<string, string>;

  const preflight: Preflight = {
    get known() {
      return findings;
    },
    fatalFindings: () => Promise.resolve(findings),
    lookAgain: () => Promise.resolve(),
    onChange: () => undefined,
  };
  const stage = (more: object = {}, deadlineMs = 10_000) =>
    node.client.node.NodeStageVolume(
      { volumeId: VOLUME, stagingTargetPath: STAGING, volumeCapability: WRITER, publishContext, ...more },
      { deadlineMs },
    );
  const publish = (targetPath = TARGET, more: object = {}) =>
    node.client.node.NodePublishVolume({
      ...{ volumeId: VOLUME, stagingTargetPath: STAGING, volumeCapability: WRITER, publishContext },
      ...{ targetPath, ...more },
    });
  const attach = async (): Promise<void> => {
    const request = { volumeId: VOLUME, nodeId: 'node1', volumeCapability: WRITER };
    ({ publishContext } = await controller.client.controller.ControllerPublishVolume(request));
  };

  beforeEach(async () => {
    findings = '';
    cluster = new InProcessCluster(['node1', 'node2'], { preflight });
    await cluster.ready();
    controller = await startHarness({ controller: cluster.controller.operations });
    node = await startHarness({ node: cluster.role('node1').operations });
    await cluster.create(VOLUME, 'node1');
    await attach();
  });

  afterEach(async () => {
    await node.stop();
    await controller.stop();
    await cluster.stop();
  });

  it('usage of a volume where it is not, and of one that is not there', async () => {
    await stage();
    await publish();
    const stats = await node.client.node.NodeGetVolumeStats({ volumeId: VOLUME, volumePath: TARGET });
    expect(stats.usage.map(({ unit }) => unit)).to.deep.equal(['BYTES', 'INODES']);
    const elsewhere = { volumeId: VOLUME, volumePath: '/var/lib/kubelet/pods/other/volumes/mount' };
    await expectRefusal(
      node.client.node.NodeGetVolumeStats(elsewhere),
      'NOT_FOUND',
      VOLUME,
      `not mounted at ${elsewhere.volumePath}`,
    );
    const unknown = { volumeId: 'pvc-unknown', volumePath: TARGET };
    await expectRefusal(node.client.node.NodeGetVolumeStats(unknown), 'NOT_FOUND', 'pvc-unknown');
  });

  it('an unknown volume, except to take it away', async () => {
    await expectRefusal(stage({ volumeId: 'pvc-unknown' }), 'NOT_FOUND', 'pvc-unknown');
    await expectRefusal(publish(TARGET, { volumeId: 'pvc-unknown' }), 'NOT_FOUND', 'pvc-unknown');
    await node.client.node.NodeUnpublishVolume({ volumeId: 'pvc-unknown', targetPath: TARGET });
    await node.client.node.NodeUnstageVolume({ volumeId: 'pvc-unknown', stagingTargetPath: STAGING });
  });

  it('a call for an attachment that is over', async () => {
    const old = publishContext;
    // Until the holders confirmed that the first attachment is over, the detach is asked for again.
    await cluster.until('the holders know the attachment', () =>
      (cluster.volume(VOLUME)?.status?.partitions ?? []).every(({ state }) => state === 'Created'),
    );
    await controller.client.controller.ControllerUnpublishVolume({ volumeId: VOLUME, nodeId: 'node1' });
    await attach();
    expect(publishContext['epoch']).to.not.equal(old['epoch']);
    const epoch = `epoch ${old['epoch'] ?? ''}, the volume is at ${publishContext['epoch'] ?? ''}`;
    await expectRefusal(stage({ publishContext: old }), 'FAILED_PRECONDITION', VOLUME, epoch);
    await stage();
    // A volume that is staged already is no reason to say yes to the old call.
    await expectRefusal(stage({ publishContext: old }), 'FAILED_PRECONDITION', epoch);
  });

  it('new stages while its preflight finds something fatal, and goes on with what runs', async () => {
    findings = 'kernel module nvme-tcp is missing';
    await expectRefusal(stage(), 'FAILED_PRECONDITION', VOLUME, findings, 'meshstor doctor');
    findings = '';
    await stage();
    findings = 'mdadm is missing';
    await stage();
    await publish();
  });

  it('a second pod where one writer is allowed', async () => {
    const single = { volumeCapability: SINGLE };
    await stage(single);
    await publish(TARGET, single);
    await publish(TARGET, single);
    const second = '/var/lib/kubelet/pods/two/volumes/mount';
    await expectRefusal(publish(second, single), 'FAILED_PRECONDITION', 'one writer', TARGET);
    await node.client.node.NodeUnpublishVolume({ volumeId: VOLUME, targetPath: TARGET });
    await publish(second, single);
  });

  it('to go on without a member, and says before the deadline which node it waits for', async () => {
    cluster.fabric.cut('node1', 'node2');
    await expectRefusal(stage({}, 1500), 'UNAVAILABLE', VOLUME, 'waiting for', 'node2');
    cluster.fabric.heal('node1', 'node2');
    await stage();
  });

  it('another filesystem, and another kind of volume, than it was created with', async () => {
    const ext4 = { mount: { fsType: 'ext4' }, accessMode: WRITER.accessMode };
    await expectRefusal(stage({ volumeCapability: ext4 }), 'FAILED_PRECONDITION', 'xfs', 'ext4');
    await expectRefusal(stage({ volumeCapability: BLOCK }), 'INVALID_ARGUMENT', 'Filesystem', 'Block');
    await stage();
    await expectRefusal(stage({ volumeCapability: ext4 }), 'FAILED_PRECONDITION', 'xfs', 'ext4');
    await expectRefusal(publish(TARGET, { volumeCapability: BLOCK }), 'INVALID_ARGUMENT', 'Filesystem', 'Block');
  });

  it('to publish what is not staged', async () => {
    await expectRefusal(publish(), 'FAILED_PRECONDITION', 'not staged');
  });
}).timeout(60_000);
