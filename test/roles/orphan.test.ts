import { expect } from 'chai';
import type { StageRequest } from '../../src/node/operations.ts';
import { InProcessCluster } from './in-process-cluster.ts';
import { newVolume } from './role-parts.ts';

const VOLUME = 'pvc-0b8a1f9e-2c3d-4e5f-8a7b-6c5d4e3f2a1b';
const OTHER = 'pvc-11111111-2c3d-4e5f-8a7b-6c5d4e3f2a1b';

describe('unstaging a volume whose object is gone', () => {
  let cluster: InProcessCluster;

  async function staged(name: string, volumeMode: 'Block' | 'Filesystem' = 'Block'): Promise<void> {
    const asked = newVolume(name, 'node1', { volumeMode });
    const { metadata } = await cluster.controller.operations.createVolume(asked);
    const mount = await cluster.stageRequest(metadata.name, 'node1');
    const request: StageRequest = volumeMode === 'Block' ? { ...mount, access: { kind: 'block' } } : mount;
    await cluster.role('node1').operations.stage(request, AbortSignal.timeout(10_000));
  }

  beforeEach(async () => {
    cluster = new InProcessCluster(['node1', 'node2'], { findOpeners: whoSeesAMount });
    await cluster.ready();
    await staged(VOLUME);
  });

  afterEach(() => cluster.stop());

  /** As on a machine: every process sees what is mounted there. */
  async function whoSeesAMount(node: string, of: string): Promise<readonly string[]> {
    const mounted = (await kernelOf(node).mounts()).some(({ devNumber }) => devNumber === of);
    return mounted ? ['init (1)', 'kubelet (2)'] : [];
  }

  const kernelOf = (node: string) => cluster.fake(node).kernel;

  /** What the consumer has in its kernel, in short. */
  async function leftOnConsumer(): Promise<Record<string, number>> {
    const kernel = kernelOf('node1');
    const remote = (await kernel.nvmeControllers()).filter(({ transport }) => transport !== 'pcie');
    const arrays = await kernel.mdArrays();
    const legs = await kernel.dmDevices('meshstor-');
    return { arrays: arrays.length, legs: legs.length, connections: remote.length };
  }

  it('takes away its array, its guards and its connections, and leaves those of others', async () => {
    await staged(OTHER);
    expect(await leftOnConsumer()).to.deep.equal({ arrays: 2, legs: 4, connections: 2 });
    cluster.volumes.objects.delete(VOLUME);
    await cluster.unstage(VOLUME, 'node1');
    expect(await leftOnConsumer()).to.deep.equal({ arrays: 1, legs: 2, connections: 1 });
    await cluster.unstage(OTHER, 'node1');
    expect(await leftOnConsumer()).to.deep.equal({ arrays: 0, legs: 0, connections: 0 });
  });

  it('takes it away when the path of a guard is lost, too', async () => {
    cluster.volumes.objects.delete(VOLUME);
    const [exported] = (await kernelOf('node2').nvmetState()).subsystems;
    await kernelOf('node2').removeNvmetExport(exported?.nqn ?? '');
    await cluster.unstage(VOLUME, 'node1');
    expect(await leftOnConsumer()).to.deep.equal({ arrays: 0, legs: 0, connections: 0 });
  });

  it('takes away a mounted filesystem and what is under it', async () => {
    await staged(OTHER, 'Filesystem');
    await cluster.unstage(VOLUME, 'node1');
    cluster.volumes.objects.delete(OTHER);
    await cluster.unstage(OTHER, 'node1');
    expect(await leftOnConsumer()).to.deep.equal({ arrays: 0, legs: 0, connections: 0 });
    expect((await kernelOf('node1').mounts()).filter(({ fsType }) => fsType === 'xfs')).to.deep.equal([]);
  });

  it('takes away guards that are in no array any more', async () => {
    cluster.volumes.objects.delete(VOLUME);
    const [array] = await kernelOf('node1').mdArrays();
    await kernelOf('node1').stopMdArray(array?.name ?? '');
    expect(await leftOnConsumer()).to.include({ arrays: 0, legs: 2 });
    await cluster.unstage(VOLUME, 'node1');
    expect(await leftOnConsumer()).to.deep.equal({ arrays: 0, legs: 0, connections: 0 });
  });
});
