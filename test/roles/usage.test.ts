import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { DomainError } from '../../src/api/errors.ts';
import type { StageRequest, VolumeStats } from '../../src/node/operations.ts';
import { MIB } from '../../src/support/units.ts';
import { InProcessCluster, publishRequest } from './in-process-cluster.ts';
import { newVolume } from './role-parts.ts';

const VOLUME = 'pvc-0b8a1f9e-2c3d-4e5f-8a7b-6c5d4e3f2a1b';
const OTHER = 'pvc-11111111-2c3d-4e5f-8a7b-6c5d4e3f2a1b';
/** Where kubelet asks for the usage of a raw block volume: its own bind of what was published, one for each pod. */
const MAPPED = '/var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/pvc/dev/pod-1';

describe('the usage of a volume', () => {
  let cluster: InProcessCluster;
  /** Target paths are really made. */
  let pods: string;

  beforeEach(async () => {
    pods = mkdtempSync(join(tmpdir(), 'meshstor-pods-'));
    cluster = new InProcessCluster(['node1', 'node2']);
    await cluster.ready();
  });

  afterEach(async () => {
    await cluster.stop();
    rmSync(pods, { recursive: true });
  });

  const targetOf = (volumeId: string): string => join(pods, volumeId);

  /** Staged, and published at its target. */
  async function use(name: string, volumeMode: 'Block' | 'Filesystem'): Promise<StageRequest> {
    const asked = newVolume(name, 'node1', { volumeMode });
    const { metadata } = await cluster.controller.operations.createVolume(asked);
    const mount = await cluster.stageRequest(metadata.name, 'node1');
    const request: StageRequest = volumeMode === 'Block' ? { ...mount, access: { kind: 'block' } } : mount;
    const { operations } = cluster.role('node1');
    await operations.stage(request, AbortSignal.timeout(10_000));
    await operations.publish(publishRequest(request, targetOf(name)), AbortSignal.timeout(10_000));
    return request;
  }

  const ask = (volumeId: string, path: string): Promise<VolumeStats> =>
    cluster.role('node1').operations.stats(volumeId, path, AbortSignal.timeout(10_000));

  /** Kind of the error; the answer where there is none. */
  async function kindAt(volumeId: string, path: string): Promise<unknown> {
    return ask(volumeId, path).catch((error: unknown) => (error as DomainError).kind);
  }

  it('is told of a raw block volume wherever its device node is published, as its size alone', async () => {
    await use(VOLUME, 'Block');
    await cluster.fake('node1').kernel.bindMount(targetOf(VOLUME), MAPPED, false);
    for (const path of [targetOf(VOLUME), MAPPED]) {
      const stats = await ask(VOLUME, path);
      expect(stats, path).to.include({ deviceBytes: 512 * MIB, abnormal: false });
      expect(stats, path).not.to.have.property('usage');
    }
  });

  it('is not found for a raw block volume at any other path, its staging path among them', async () => {
    const { stagingPath } = await use(VOLUME, 'Block');
    await use(OTHER, 'Block');
    for (const path of ['/nowhere', '/dev', stagingPath, targetOf(OTHER)]) {
      expect(await kindAt(VOLUME, path), path).to.equal('notFound');
    }
    await cluster.role('node1').operations.unpublish(VOLUME, targetOf(VOLUME), AbortSignal.timeout(10_000));
    expect(await kindAt(VOLUME, targetOf(VOLUME)), 'unpublished').to.equal('notFound');
    expect(await ask(OTHER, targetOf(OTHER))).to.include({ deviceBytes: 512 * MIB });
  });

  it('is told of a filesystem where it is mounted, staging path included, and nowhere else', async () => {
    const { stagingPath } = await use(VOLUME, 'Filesystem');
    for (const path of [stagingPath, targetOf(VOLUME)]) {
      expect(await ask(VOLUME, path), path).to.have.property('usage');
    }
    expect(await kindAt(VOLUME, '/nowhere')).to.equal('notFound');
  });
});
