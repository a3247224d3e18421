/** A consumer that slept while its volume was called off and deleted: there is no object any more, and nobody calls NodeUnstage. */
import { expect } from 'chai';
import { InProcessCluster } from './in-process-cluster.ts';
import { newVolume } from './role-parts.ts';

const VOLUME = 'pvc-2f7b9c10-4c6d-4b8e-9f31-5a0d8c2b6e95';

describe('what is left of a volume that was deleted', () => {
  let cluster: InProcessCluster;
  const steps: string[] = [];

  beforeEach(async () => {
    steps.length = 0;
    cluster = new InProcessCluster(['node1', 'node2'], {
      goneGraceMs: 0,
      findOpeners: async (node) => ((await isMounted(node)) ? ['postgres (4711)'] : []),
      onStep: (node, { operation, step }) => {
        if (node === 'node2' && operation === 'fence') steps.push(step);
      },
    });
    await cluster.ready();
    // Its only copy is on another node.
    const asked = newVolume(VOLUME, 'node1', { parameters: { numberOfCopies: 1 } });
    await cluster.controller.operations.createVolume(asked);
    const request = await cluster.stageRequest(VOLUME, 'node2');
    await cluster.role('node2').operations.stage(request, AbortSignal.timeout(10_000));
    expect(await leftOnConsumer()).to.have.length(4);
  });

  afterEach(() => cluster.stop());

  const isMounted = async (node: string): Promise<boolean> =>
    (await cluster.fake(node).kernel.mounts()).some(({ mountPoint }) => mountPoint.includes('/kubelet/'));

  async function leftOnConsumer(): Promise<readonly string[]> {
    const { kernel } = cluster.fake('node2');
    const remote = (await kernel.nvmeControllers()).filter(({ transport }) => transport !== 'pcie');
    return [
      ...(await kernel.mdArrays()).map(({ name }) => name),
      ...(await kernel.dmDevices('meshstor-')).map(({ name }) => name),
      ...remote.map(({ subsystemNqn }) => subsystemNqn),
      ...((await isMounted('node2')) ? ['a mount'] : []),
    ];
  }

  const outOfService = { key: 'node.kubernetes.io/out-of-service', value: '', effect: 'NoExecute' };

  /** The node sleeps, its pod is moved away by force, the claim goes; then it wakes. */
  async function deletedMeanwhile(): Promise<void> {
    await cluster.role('node2').stop();
    cluster.nodeStore.set('node2', { taints: [outOfService] });
    await cluster.controller.operations.unpublishVolume(VOLUME, 'node2');
    await cluster.controller.operations.deleteVolume(VOLUME);
    await cluster.until('the object is gone', () => cluster.volume(VOLUME) === undefined);
  }

  /** A restarted role works through one pass. */
  async function wake(): Promise<void> {
    cluster.restart('node2');
    await new Promise((resolve) => setTimeout(resolve, 400));
  }

  it('is taken down by the node itself when no path is left, its XFS first', async () => {
    await deletedMeanwhile();
    expect(await leftOnConsumer(), 'nobody has touched it').to.not.deep.equal([]);
    await wake();
    const deadline = Date.now() + 15_000;
    while ((await leftOnConsumer()).length > 0) {
      if (Date.now() > deadline) throw new Error(`left: ${(await leftOnConsumer()).join(', ')}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(steps[0]).to.equal('shutdownFilesystem');
    expect(steps.indexOf('failGuard')).to.be.greaterThan(0);
    expect(steps.indexOf('stopArray')).to.be.greaterThan(steps.lastIndexOf('failGuard'));
  }).timeout(30_000);

  it('is left alone while a member can be reached: the API may have been restored without it', async () => {
    const before = await leftOnConsumer();
    cluster.volumes.objects.delete(VOLUME);
    await wake();
    expect(await leftOnConsumer()).to.deep.equal(before);
    expect(steps).to.deep.equal([]);
  });

  it('is left alone, too, when its guards have given up a path that is back, or hold everything back', async () => {
    const { kernel } = cluster.fake('node2');
    const before = await leftOnConsumer();
    cluster.volumes.objects.delete(VOLUME);
    const guards = (await kernel.dmDevices('meshstor-')).filter(({ table }) => table[0]?.type === 'multipath');
    expect(guards).to.have.length(1);
    for (const { name } of guards) await kernel.messageDm(name, 'fail_path');
    await wake();
    for (const { name } of guards) await kernel.suspendDm(name);
    await wake();
    expect(await leftOnConsumer()).to.deep.equal(before);
    expect(steps).to.deep.equal([]);
    for (const { name } of guards) await kernel.resumeDm(name);
  });

  it('is left alone when there is an object that cannot be understood, and without the API', async () => {
    cluster.volumes.broken.add(VOLUME);
    const before = await leftOnConsumer();
    const [exported] = (await cluster.fake('node1').kernel.nvmetState()).subsystems;
    await cluster.role('node1').stop();
    await cluster.fake('node1').kernel.removeNvmetExport(exported?.nqn ?? '');
    cluster.fabric.expire();
    await wake();
    cluster.volumes.isDown = true;
    await wake();
    expect(steps).to.deep.equal([]);
    expect((await leftOnConsumer()).length).to.be.at.least(before.length - 1);
    cluster.volumes.isDown = false;
  });
});
