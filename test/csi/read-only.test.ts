/** Read-only as kubelet asks for it (SPEC §4): over a socket, by the real node operations, the kernel and the API being stand-ins. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { VolumeMode } from '../../src/api/volume.ts';
import { InProcessCluster } from '../roles/in-process-cluster.ts';
import type { Harness } from './harness.ts';
import { BLOCK, expectRefusal, startHarness, WRITER } from './harness.ts';

const VOLUME = 'pvc-7a1c9d2e-3b4f-4a5c-8d6e-1f2a3b4c5d6e';
const READER = { ...WRITER, accessMode: { mode: 'SINGLE_NODE_READER_ONLY' } } as const;
const BLOCK_READER = { ...BLOCK, accessMode: { mode: 'SINGLE_NODE_READER_ONLY' } } as const;

describe('a volume that is asked for read-only', () => {
  let cluster: InProcessCluster;
  let controller: Harness;
  let node: Harness;
  let publishContext: Record<string, string>;
  let folder: string;
  let staging: string;
  let target: string;

  const stage = (volumeCapability: object = WRITER) => {
    const request = { volumeId: VOLUME, stagingTargetPath: staging, volumeCapability, publishContext };
    return node.client.node.NodeStageVolume(request, { deadlineMs: 10_000 });
  };
  const publish = (more: object = {}) =>
    node.client.node.NodePublishVolume({
      ...{ volumeId: VOLUME, stagingTargetPath: staging, volumeCapability: WRITER, publishContext },
      ...{ targetPath: target, ...more },
    });
  const unpublish = () => node.client.node.NodeUnpublishVolume({ volumeId: VOLUME, targetPath: target });
  /** How the kernel has it mounted there, one word a mount. */
  const modesAt = async (path: string): Promise<readonly string[]> => {
    const mounts = await cluster.fake('node1').kernel.mounts();
    const there = mounts.filter(({ mountPoint }) => mountPoint === path);
    return there.map(({ options }) => options.filter((option) => option === 'ro' || option === 'rw').join());
  };
  const create = async (mode: VolumeMode = 'Filesystem', volumeCapability: object = WRITER): Promise<void> => {
    await cluster.create(VOLUME, 'node1', {}, undefined, mode);
    const request = { volumeId: VOLUME, nodeId: 'node1', volumeCapability };
    ({ publishContext } = await controller.client.controller.ControllerPublishVolume(request));
  };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meshstor-read-only-'));
    [staging, target] = [join(folder, 'staging'), join(folder, 'pod', 'mount')];
    cluster = new InProcessCluster(['node1', 'node2']);
    await cluster.ready();
    controller = await startHarness({ controller: cluster.controller.operations });
    node = await startHarness({ node: cluster.role('node1').operations });
  });

  afterEach(async () => {
    await node.stop();
    await controller.stop();
    await cluster.stop();
    await rm(folder, { recursive: true });
  });

  it('by one pod is mounted read-only for that one', async () => {
    await create();
    await stage();
    await publish({ readonly: true });
    await publish({ readonly: true });
    expect(await modesAt(target)).to.deep.equal(['ro']);
    expect(await modesAt(staging)).to.deep.equal(['rw']);
    const other = join(folder, 'other', 'mount');
    await publish({ targetPath: other });
    expect(await modesAt(other)).to.deep.equal(['rw']);
  });

  it('by the access mode of the publish alone is mounted read-only, too', async () => {
    await create();
    await stage();
    await publish({ volumeCapability: READER });
    expect(await modesAt(target)).to.deep.equal(['ro']);
  });

  it('is not made writable under the pod: that takes an unpublish', async () => {
    await create();
    await stage();
    await publish({ readonly: true });
    await expectRefusal(publish(), 'FAILED_PRECONDITION', target, 'read-only', 'unpublish it first');
    expect(await modesAt(target)).to.deep.equal(['ro']);
    await unpublish();
    await publish();
    expect(await modesAt(target)).to.deep.equal(['rw']);
  });

  it('is bound anew where it was bound writable: that bind may have been cut off before it was made read-only', async () => {
    await create();
    await stage();
    await publish();
    expect(await modesAt(target)).to.deep.equal(['rw']);
    await publish({ readonly: true });
    expect(await modesAt(target)).to.deep.equal(['ro']);
  });

  it('by its stage is read-only for every pod, whatever that asks for', async () => {
    await create('Filesystem', READER);
    await stage(READER);
    await stage(READER);
    expect(await modesAt(staging)).to.deep.equal(['ro']);
    await publish();
    await publish();
    expect(await modesAt(target)).to.deep.equal(['ro']);
  });

  it('is not staged writable where it is staged read-only, nor the other way round', async () => {
    await create();
    for (const [there, wanted, how] of [
      [READER, WRITER, 'read-only'],
      [WRITER, READER, 'read-write'],
    ] as const) {
      await stage(there);
      await expectRefusal(stage(wanted), 'FAILED_PRECONDITION', staging, how, 'unstage it first');
      await node.client.node.NodeUnstageVolume({ volumeId: VOLUME, stagingTargetPath: staging });
      ({ publishContext } = await controller.client.controller.ControllerPublishVolume({
        ...{ volumeId: VOLUME, nodeId: 'node1', volumeCapability: WRITER },
      }));
    }
  });

  it('as a raw block device is refused: a read-only mount of its node would keep nobody from writing', async () => {
    await create('Block', BLOCK);
    await stage(BLOCK);
    const block = { volumeCapability: BLOCK };
    await expectRefusal(publish({ ...block, readonly: true }), 'INVALID_ARGUMENT', VOLUME, 'raw block', 'read-only');
    await expectRefusal(publish({ volumeCapability: BLOCK_READER }), 'INVALID_ARGUMENT', 'raw block', 'read-only');
    expect(await modesAt(target)).to.deep.equal([]);
    await publish(block);
    expect(await modesAt(target)).to.deep.equal(['rw']);
  });
}).timeout(60_000);
