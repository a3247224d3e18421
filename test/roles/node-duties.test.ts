import { expect } from 'chai';
import { DomainError } from '../../src/api/errors.ts';
import { findCondition } from '../../src/api/conditions.ts';
import { arrayUuidFor } from '../../src/api/names.ts';
import type { MeshStorNodeDevice } from '../../src/api/node-device.ts';
import type { MeshStorVolume } from '../../src/api/volume.ts';
import { showNodeMetrics } from '../../src/main/node-metrics.ts';
import type { Preflight } from '../../src/node/preflight-watch.ts';
import { Metrics } from '../../src/observability/metrics.ts';
import { startHarness } from '../csi/harness.ts';
import { FakeServer, FakeStore } from '../fakes/fake-store.ts';
import { InProcessCluster } from './in-process-cluster.ts';

const VOLUME = 'pvc-0b8a1f9e-2c3d-4e5f-8a7b-6c5d4e3f2a1b';
const NAMES = ['node1', 'node2', 'node3'];

class FakePreflight implements Preflight {
  known: string | undefined = '';
  readonly #listeners: (() => void)[] = [];

  say(known: string): void {
    this.known = known;
    for (const listener of this.#listeners) listener();
  }

  fatalFindings(): Promise<string> {
    return Promise.resolve(this.known ?? '');
  }

  lookAgain(): Promise<void> {
    return Promise.resolve();
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }
}

describe('the duties of a node role', () => {
  let cluster: InProcessCluster;

  afterEach(() => cluster.stop());

  const conditionOf = (type: string): readonly (string | undefined)[] =>
    [...cluster.devices.objects.values()].map(({ status }) => {
      const found = findCondition(status?.conditions ?? [], type);
      return found === undefined ? undefined : `${found.status} ${found.reason} ${found.message}`;
    });

  it('says on its drives that it fails its preflight, refuses new stages, and takes both back', async () => {
    const preflight = new FakePreflight();
    cluster = new InProcessCluster(NAMES.slice(0, 2), { preflight });
    await cluster.ready();
    const volumeId = await cluster.create(VOLUME, 'node1');
    preflight.say('kernel 6.9 is refused');
    const failed = 'False PreflightFailed preflight fails: kernel 6.9 is refused';
    await cluster.until('no drive is usable', () => conditionOf('Usable').every((text) => text === failed));
    expect(conditionOf('Preflight')[0]).to.equal('False FatalFindings kernel 6.9 is refused');
    const other = cluster.create('pvc-11111111-2c3d-4e5f-8a7b-6c5d4e3f2a1b', 'node1');
    const refused = await other.catch((error: unknown) => String(error));
    expect(refused).to.match(/kernel 6.9 is refused/);
    const request = await cluster.stageRequest(volumeId, 'node1');
    const stage = (): Promise<void> => cluster.role('node1').operations.stage(request, AbortSignal.timeout(5000));
    expect(await stage().catch((error: unknown) => String(error))).to.match(/fails its preflight/);
    preflight.say('');
    await cluster.ready();
    expect(conditionOf('Preflight')[0]).to.match(/^True Passed/);
    await stage();
  });

  it('labels its drives with its name', async () => {
    cluster = new InProcessCluster(['node1']);
    await cluster.ready();
    const [device] = [...cluster.devices.objects.values()];
    expect(device?.metadata.labels).to.deep.equal({ 'meshstor.io/node': 'node1' });
  });

  it('does not look at its kernel for volumes of others', async () => {
    cluster = new InProcessCluster(NAMES);
    await cluster.ready();
    const volumeId = await cluster.create(VOLUME, 'node1');
    await cluster.until('placed', () => cluster.volume(volumeId)?.status?.partitions.length === 2);
    const holders = cluster.volume(volumeId)?.status?.partitions.map(({ nodeID }) => nodeID) ?? [];
    const idle = NAMES.find((name) => !holders.includes(name)) ?? '';
    let looks = 0;
    const { kernel } = cluster.fake(idle);
    const { dmDevices } = kernel;
    kernel.dmDevices = (...given) => {
      looks += 1;
      return dmDevices.apply(kernel, given);
    };
    const request = await cluster.stageRequest(volumeId, 'node1');
    await cluster.role('node1').operations.stage(request, AbortSignal.timeout(10_000));
    expect(looks).to.equal(0);
    cluster.fake(idle).kernel.dmDevices = dmDevices;
  });

  it('tells of the health of a volume on its claim, too', async () => {
    cluster = new InProcessCluster(NAMES.slice(0, 2));
    await cluster.ready();
    const volumeId = await cluster.create(VOLUME, 'node1');
    const named = cluster.volume(volumeId);
    if (named === undefined) throw new Error('no volume');
    const annotations = { 'meshstor.io/pvc-name': 'data', 'meshstor.io/pvc-namespace': 'shop' };
    cluster.volumes.put({ ...named, metadata: { ...named.metadata, annotations } });
    const request = await cluster.stageRequest(volumeId, 'node1');
    await cluster.role('node1').operations.stage(request, AbortSignal.timeout(10_000));
    const [array] = await cluster.fake('node1').kernel.mdArrays();
    const remote = array?.members.find(({ state }) => state.includes('write_mostly'))?.name ?? '';
    await cluster.fake('node1').kernel.setMdMemberState(array?.name ?? '', remote, 'faulty');
    const tellers = () => cluster.events.events.filter(({ reason }) => reason === 'VolumeDegraded');
    await cluster.until('both events', () => tellers().length >= 2);
    expect(tellers().map(({ name }) => name)).to.include.members([volumeId, 'data']);
  });

  it('moves every series that it registers', async () => {
    const all = new Map(NAMES.map((name) => [name, new Metrics({ role: 'node', version: '1.2.3' })]));
    const metricsOf = (name: string): Metrics => {
      const metrics = all.get(name);
      if (metrics === undefined) throw new Error(`no metrics of ${name}`);
      return metrics;
    };
    const renderAll = async (): Promise<string> =>
      (await Promise.all([...all.values()].map(async (metrics) => (await metrics.render()).text))).join('');
    cluster = new InProcessCluster(NAMES.slice(0, 2), { metrics: metricsOf });
    await cluster.ready();
    const volumeId = await cluster.create(VOLUME, 'node1');
    for (const store of cluster.volumes.stores) {
      store.failNext('mutateStatus', new DomainError('unavailable', 'the API is away'));
    }
    const request = await cluster.stageRequest(volumeId, 'node1').catch(() => cluster.stageRequest(volumeId, 'node1'));
    const { operations } = cluster.role('node1');
    await operations
      .stage(request, AbortSignal.timeout(10_000))
      .catch(() => operations.stage(request, AbortSignal.timeout(10_000)));
    const onAnswer = (rpc: string, code: string, seconds: number): void =>
      metricsOf('node1').csiAnswered(rpc, code, seconds);
    const harness = await startHarness({ node: operations, onAnswer });
    await harness.client.node.NodeGetInfo({});
    await harness.stop();
    const attached = await renderAll();
    const exportsOf = async () => (await cluster.fake('node2').kernel.nvmetState()).subsystems;
    const revoked = async (): Promise<void> => {
      while ((await exportsOf()).length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    };
    await cluster.unstage(volumeId, 'node1');
    const detach = (): Promise<void> => cluster.controller.operations.unpublishVolume(volumeId, 'node1');
    await detach();
    await revoked();
    expect(await renderAll(), 'a consumer that let go is not fenced').to.match(/^meshstor_fences_total\{.*\} 0$/m);
    await operations.stage(await cluster.stageRequest(volumeId, 'node1'), AbortSignal.timeout(10_000));
    cluster.nodeStore.set('node1', {
      taints: [{ key: 'node.kubernetes.io/out-of-service', value: '', effect: 'NoExecute' }],
    });
    await detach();
    await revoked();
    const after = await renderAll();
    const names = new Set([...attached.matchAll(/^# TYPE (meshstor_\w+)/gm)].map((match) => match[1] ?? ''));
    // Told apart below: the fake array is in sync at once.
    names.delete('meshstor_volume_sync_bytes_per_second');
    const moved = [...names].filter((name) =>
      new RegExp(`^${name}(_count)?\\{.*\\} [0-9.e+-]*[1-9]`, 'm').test(attached + after),
    );
    expect(moved).to.have.members([...names]);
    expect(names.size).to.be.greaterThan(15);
  });

  it('tells how fast a volume is synchronised that it consumes', async () => {
    cluster = new InProcessCluster(NAMES.slice(0, 2));
    await cluster.ready();
    const volumeId = await cluster.create(VOLUME, 'node1');
    const volume = cluster.volume(volumeId);
    if (volume?.status === undefined) throw new Error('no volume');
    const volumes = Object.assign(new FakeStore(new FakeServer<MeshStorVolume>()), { watchAgeMs: 0 });
    volumes.server.put({ ...volume, status: { ...volume.status, nodeName: 'node1', syncPercentage: '12.0%' } });
    const devices = Object.assign(new FakeStore(new FakeServer<MeshStorNodeDevice>()), { watchAgeMs: 0 });
    const metrics = new Metrics({ role: 'node', version: '1.2.3' });
    const kernel = Object.create(cluster.fake('node1').kernel) as ReturnType<InProcessCluster['fake']>['kernel'];
    const array = { uuid: arrayUuidFor(volume.spec.volumeUUID), syncSpeed: 2048 };
    kernel.mdArrays = () => Promise.resolve([array as unknown as Awaited<ReturnType<typeof kernel.mdArrays>>[number]]);
    showNodeMetrics({ metrics, kernel, inFlight: () => [], volumes, devices, nodeName: 'node1', log: { dropped: 0 } });
    const { text } = await metrics.render();
    expect(text).to.match(/^meshstor_volume_sync_bytes_per_second\{.*volume="pvc-0b8a.*\} 2097152$/m);
  });
});
