/** Bad requests to the Node service over a real socket (SPEC §4): refused before anything is asked of the node. */
import { expect } from 'chai';
import type { Harness } from './harness.ts';
import { expectRefusal, fakeNode, startHarness, WRITER } from './harness.ts';

describe('the Node service refuses', () => {
  let harness: Harness;
  const node = fakeNode();
  const calls = () => harness.client.node;
  const stage = { volumeId: 'v', stagingTargetPath: '/s', volumeCapability: WRITER };
  const publish = { ...stage, targetPath: '/t' };

  before(async () => {
    harness = await startHarness({ node });
  });
  after(() => harness.stop());
  afterEach(() => expect(node.calls).to.deep.equal([]));

  it('to stage without id, path or capability, with a bad path or a multi-node mode: INVALID_ARGUMENT', async () => {
    for (const [field, request] of [
      ['volume_id', { ...stage, volumeId: '' }],
      ['staging_target_path', { ...stage, stagingTargetPath: '' }],
      ['staging_target_path', { ...stage, stagingTargetPath: 'relative' }],
      ['staging_target_path', { ...stage, stagingTargetPath: '/a/../etc' }],
      ['volume_capability', { ...stage, volumeCapability: null }],
      ['access_mode', { ...stage, volumeCapability: { mount: {}, accessMode: { mode: 'MULTI_NODE_SINGLE_WRITER' } } }],
      ['fs_type', { ...stage, volumeCapability: { ...WRITER, mount: { fsType: 'vfat' } } }],
    ] as const) {
      await expectRefusal(calls().NodeStageVolume(request), 'INVALID_ARGUMENT', field);
    }
  });

  it('to publish without id, target or capability: INVALID_ARGUMENT; without a staging path: FAILED_PRECONDITION', async () => {
    for (const [field, request] of [
      ['volume_id', { ...publish, volumeId: '' }],
      ['target_path', { ...publish, targetPath: '' }],
      ['volume_capability', { ...publish, volumeCapability: null }],
    ] as const) {
      await expectRefusal(calls().NodePublishVolume(request), 'INVALID_ARGUMENT', field);
    }
    const unstaged = calls().NodePublishVolume({ ...publish, stagingTargetPath: '' });
    await expectRefusal(unstaged, 'FAILED_PRECONDITION', 'staging_target_path');
  });

  it('to unstage, unpublish or count without id or path: INVALID_ARGUMENT', async () => {
    await expectRefusal(calls().NodeUnstageVolume({ stagingTargetPath: '/s' }), 'INVALID_ARGUMENT', 'volume_id');
    await expectRefusal(calls().NodeUnstageVolume({ volumeId: 'v' }), 'INVALID_ARGUMENT', 'staging_target_path');
    await expectRefusal(calls().NodeUnpublishVolume({ targetPath: '/t' }), 'INVALID_ARGUMENT', 'volume_id');
    await expectRefusal(calls().NodeUnpublishVolume({ volumeId: 'v' }), 'INVALID_ARGUMENT', 'target_path');
    await expectRefusal(calls().NodeGetVolumeStats({ volumePath: '/t' }), 'INVALID_ARGUMENT', 'volume_id');
    await expectRefusal(calls().NodeGetVolumeStats({ volumeId: 'v' }), 'INVALID_ARGUMENT', 'volume_path');
  });

  it('to count at a relative path, where no volume is: NOT_FOUND', async () => {
    await expectRefusal(
      calls().NodeGetVolumeStats({ volumeId: 'v', volumePath: 'some/path' }),
      'NOT_FOUND',
      'some/path',
    );
  });

  it('to expand without id or path, at a relative path, or to a size that is none', async () => {
    const expand = { volumeId: 'v', volumePath: '/t' };
    await expectRefusal(calls().NodeExpandVolume({ volumePath: '/t' }), 'INVALID_ARGUMENT', 'volume_id');
    await expectRefusal(calls().NodeExpandVolume({ volumeId: 'v' }), 'INVALID_ARGUMENT', 'volume_path');
    await expectRefusal(calls().NodeExpandVolume({ ...expand, volumePath: 'a/b' }), 'NOT_FOUND', 'a/b');
    const inverted = { ...expand, capacityRange: { requiredBytes: 2, limitBytes: 1 } };
    await expectRefusal(calls().NodeExpandVolume(inverted), 'INVALID_ARGUMENT', 'limit_bytes');
    const shared = {
      ...expand,
      volumeCapability: { mount: {}, accessMode: { mode: 'MULTI_NODE_MULTI_WRITER' } },
    } as const;
    await expectRefusal(calls().NodeExpandVolume(shared), 'INVALID_ARGUMENT', 'access_mode');
  });

  it('nothing that it advertises', async () => {
    const { capabilities } = await calls().NodeGetCapabilities({});
    expect(capabilities.map((capability) => capability.rpc?.type).sort()).to.deep.equal([
      'EXPAND_VOLUME',
      'GET_VOLUME_STATS',
      'SINGLE_NODE_MULTI_WRITER',
      'STAGE_UNSTAGE_VOLUME',
      'VOLUME_CONDITION',
    ]);
  });
});
