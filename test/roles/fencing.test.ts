/** A consumer that was cut off takes down what it had, without a call (SPEC §7.10). */
import { expect } from 'chai';
import type { StageRequest } from '../../src/node/operations.ts';
import { KILL_AFTER_MS } from '../../src/plan/fencing.ts';
import type { Log } from '../../src/support/log.ts';
import { InProcessCluster } from './in-process-cluster.ts';
import { newVolume } from './role-parts.ts';

const VOLUME = 'pvc-7e1f0a52-4c6d-4b8e-9f31-5a0d8c2b6e94';
const POD = ['postgres (4711)'];

describe('a consumer that was cut off', () => {
  let cluster: InProcessCluster;
  let volumeId: string;
  const steps: string[] = [];
  const warnings: string[] = [];
  const log: Log = {
    debug: () => undefined,
    info: () => undefined,
    warn: (message) => warnings.push(message),
    error: () => undefined,
  };

  beforeEach(begin);

  async function begin(): Promise<void> {
    steps.length = 0;
    warnings.length = 0;
    cluster = new InProcessCluster(['node1', 'node2', 'node3'], {
      log,
      findOpeners: async (node) => ((await isMounted(node)) ? POD : []),
      onStep: (node, { operation, step }) => {
        if (node === 'node1' && operation === 'fence') steps.push(step);
      },
    });
    await cluster.ready();
  }

  const isMounted = async (node: string): Promise<boolean> =>
    (await cluster.fake(node).kernel.mounts()).some(({ mountPoint }) => mountPoint.includes('/kubelet/'));

  afterEach(() => cluster.stop());

  async function staged(access: StageRequest['access'], consumer = 'node1', copies = 2): Promise<void> {
    const volumeMode = access.kind === 'block' ? 'Block' : 'Filesystem';
    const fsType = access.kind === 'mount' && access.fsType === 'ext4' ? ('ext4' as const) : ('xfs' as const);
    const asked = {
      ...newVolume(VOLUME, 'node1', { volumeMode, parameters: { numberOfCopies: copies, fsType } }),
      fsType,
    };
    volumeId = (await cluster.controller.operations.createVolume(asked)).metadata.name;
    const request = { ...(await cluster.stageRequest(volumeId, consumer)), access };
    await cluster.role(consumer).operations.stage(request, AbortSignal.timeout(10_000));
  }

  /** As after a force-detach: an administrator says that the node is off. */
  async function forceDetach(node = 'node1'): Promise<void> {
    cluster.nodeStore.set(node, {
      taints: [{ key: 'node.kubernetes.io/out-of-service', value: '', effect: 'NoExecute' }],
    });
    await cluster.controller.operations.unpublishVolume(volumeId, node).catch(() => undefined);
  }

  async function leftOn(node: string): Promise<readonly string[]> {
    const { kernel } = cluster.fake(node);
    const legs = (await kernel.dmDevices('meshstor-')).filter(({ table }) => table[0]?.type === 'multipath');
    const remote = (await kernel.nvmeControllers()).filter(({ transport }) => transport !== 'pcie');
    const mounts = (await kernel.mounts()).filter(({ mountPoint }) => mountPoint.includes('/kubelet/'));
    return [
      ...(await kernel.mdArrays()).map(({ name }) => name),
      ...legs.map(({ name }) => name),
      ...remote.map(({ subsystemNqn }) => subsystemNqn),
      ...mounts.map(({ mountPoint }) => mountPoint),
    ];
  }

  async function untilNothingIsLeft(node = 'node1'): Promise<void> {
    const deadline = Date.now() + 15_000;
    for (;;) {
      const left = await leftOn(node);
      if (left.length === 0) return;
      if (Date.now() > deadline) throw new Error(`left on ${node}: ${left.join(', ')}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  it('shuts its XFS down, only then fails its guards, and lets the next consumer have every member', async () => {
    await staged({ kind: 'mount', fsType: 'xfs', mountFlags: [] });
    await forceDetach();
    await untilNothingIsLeft();
    expect(steps.indexOf('shutdownFilesystem')).to.equal(0);
    expect(steps.indexOf('failGuard')).to.be.greaterThan(0);
    expect(steps.indexOf('stopArray')).to.be.greaterThan(steps.lastIndexOf('failGuard'));
    const told = cluster.events.events.filter(({ reason }) => reason === 'ConsumerFenced');
    expect(told).to.have.length(1);

    await cluster.controller.operations.unpublishVolume(volumeId, 'node1');
    const request = await cluster.stageRequest(volumeId, 'node3');
    await cluster.role('node3').operations.stage(request, AbortSignal.timeout(10_000));
    const statesOf = () => cluster.volume(volumeId)?.status?.partitions.map(({ state }) => state) ?? [];
    await cluster.until('both members are Synced', () => statesOf().every((state) => state === 'Synced'), 20_000);
  }).timeout(60_000);

  it('is not waited for by the next one once it is called off', async () => {
    await staged({ kind: 'mount', fsType: 'xfs', mountFlags: [] });
    await cluster.role('node1').stop();
    cluster.fabric.cut('node1', 'node2');
    await forceDetach();
    await cluster.controller.operations.unpublishVolume(volumeId, 'node1');
    const request = await cluster.stageRequest(volumeId, 'node2');
    // The grace for a holder that is silent is 5 s here.
    await cluster.role('node2').operations.stage(request, AbortSignal.timeout(3000));
    const states = cluster.volume(volumeId)?.status?.partitions.map(({ nodeID, state, stale }) => ({
      nodeID,
      state,
      stale,
    }));
    expect(states).to.deep.include({ nodeID: 'node1', state: 'Missing', stale: true });
  }).timeout(30_000);

  it('keeps the guards of an ext4 and of a raw block volume closed', async () => {
    for (const access of [
      { kind: 'mount' as const, fsType: 'ext4' as const, mountFlags: [] },
      { kind: 'block' as const },
    ]) {
      await staged(access);
      await forceDetach();
      await cluster.until('it is told', () => warnings.some((message) => message === 'fenced volume waits'));
      expect(steps).to.deep.equal([]);
      expect(cluster.killed.size).to.equal(0);
      const guards = (await cluster.fake('node1').kernel.dmDevices('meshstor-')).filter(
        ({ table }) => table[0]?.type === 'multipath',
      );
      expect(guards).to.have.length(2);
      for (const { table } of guards) expect(table[0]?.params).to.include('queue_if_no_path');
      await cluster.stop();
      await begin();
    }
  }).timeout(60_000);

  it('kills who keeps its XFS from being unmounted, once it had time to let go', async () => {
    await staged({ kind: 'mount', fsType: 'xfs', mountFlags: [] });
    const { kernel } = cluster.fake('node1');
    const unmount = kernel.unmount.bind(kernel);
    kernel.unmount = (target) =>
      cluster.killed.has('node1')
        ? unmount(target)
        : Promise.reject(Object.assign(new Error('EBUSY'), { code: 'EBUSY' }));
    const startedAt = Date.now();
    await forceDetach();
    await untilNothingIsLeft();
    expect(Date.now() - startedAt).to.be.greaterThan(KILL_AFTER_MS);
    expect(steps.indexOf('killUsers')).to.be.greaterThan(steps.indexOf('shutdownFilesystem'));
  }).timeout(60_000);

  it('does so also when it holds none of the members and its process was started since', async () => {
    await staged({ kind: 'mount', fsType: 'xfs', mountFlags: [] }, 'node3', 1);
    await cluster.role('node3').stop();
    await forceDetach('node3');
    cluster.restart('node3');
    await untilNothingIsLeft('node3');
  }).timeout(60_000);

  it('leaves alone what the volume’s present consumer has', async () => {
    await staged({ kind: 'mount', fsType: 'xfs', mountFlags: [] });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(steps).to.deep.equal([]);
    expect(await leftOn('node1')).to.not.deep.equal([]);
  }).timeout(30_000);
});
