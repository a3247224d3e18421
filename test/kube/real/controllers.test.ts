import { DRIVER_NAME, TOPOLOGY_KEY } from '../../../src/api/names.ts';
import { failure } from '../contract/server.ts';
import type { Wire } from '../contract/server.ts';
import { until } from '../harness.ts';
import { startControlPlane } from './control-plane.ts';
import type { ControlPlane } from './control-plane.ts';

const CLAIMS = '/api/v1/namespaces/default/persistentvolumeclaims';
const VOLUMES = '/api/v1/persistentvolumes';
const PODS = '/api/v1/namespaces/default/pods';
const SELECTED = 'volume.kubernetes.io/selected-node';
const PROVISIONER = 'volume.kubernetes.io/storage-provisioner';
const LIMIT_MS = 60_000;

interface Claim extends Wire {
  readonly status: { readonly phase?: string };
}

function claim(name: string, spec: Record<string, unknown>): object {
  const resources = { requests: { storage: '1Gi' } };
  const metadata = { name, namespace: 'default' };
  const whole = { accessModes: ['ReadWriteOnce'], resources, ...spec };
  return { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata, spec: whole };
}

/** What kubelet and the driver's registrar write of a node that is ready. */
async function addNode({ api }: ControlPlane, name: string): Promise<void> {
  const labels = { 'kubernetes.io/hostname': name, [TOPOLOGY_KEY]: name };
  await api.create('/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name, labels } });
  const now = new Date().toISOString();
  const ready = { type: 'Ready', status: 'True', reason: 'KubeletReady', message: '' };
  const status = {
    conditions: [{ ...ready, lastHeartbeatTime: now, lastTransitionTime: now }],
    allocatable: { cpu: '4', memory: '8Gi', pods: '110' },
    capacity: { cpu: '4', memory: '8Gi', pods: '110' },
  };
  await api.patch(`/api/v1/nodes/${name}/status`, { status });
  await api.create('/apis/storage.k8s.io/v1/csinodes', {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'CSINode',
    metadata: { name },
    spec: { drivers: [{ name: DRIVER_NAME, nodeID: name, topologyKeys: [TOPOLOGY_KEY] }] },
  });
}

describe('a real control plane with its controllers and scheduler', function () {
  this.timeout(300_000);
  let plane: ControlPlane;

  before(async () => {
    plane = await startControlPlane({ controllers: true });
  });

  after(async () => {
    await (plane as ControlPlane | undefined)?.stop();
  });

  it('binds a claim to its volume, and lets both go again', async () => {
    const driver = { driver: DRIVER_NAME, volumeHandle: 'static-1' };
    await plane.api.create(VOLUMES, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'static-1' },
      spec: {
        capacity: { storage: '1Gi' },
        accessModes: ['ReadWriteOnce'],
        persistentVolumeReclaimPolicy: 'Retain',
        storageClassName: '',
        csi: driver,
      },
    });
    await plane.api.create(CLAIMS, claim('static-1', { storageClassName: '', volumeName: 'static-1' }));
    const isBound = async () => ((await plane.api.get(`${CLAIMS}/static-1`)) as Claim).status.phase === 'Bound';
    await until('the claim to be bound', isBound, LIMIT_MS);
    for (const path of [`${CLAIMS}/static-1`, `${VOLUMES}/static-1`]) {
      await plane.api.delete(path);
      const isGone = async () => (await failure(plane.api.get(path)).catch(() => undefined))?.status === 404;
      await until(`${path} to be gone`, isGone, LIMIT_MS);
    }
  });

  it('chooses the node of a claim that waits for its first pod, and tells the provisioner', async () => {
    await addNode(plane, 'node1');
    await plane.api.create('/apis/storage.k8s.io/v1/storageclasses', {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: 'waits' },
      provisioner: DRIVER_NAME,
      volumeBindingMode: 'WaitForFirstConsumer',
    });
    // Made by a controller; pods are refused before it is there.
    const account = '/api/v1/namespaces/default/serviceaccounts/default';
    await until(
      'the account of pods',
      () =>
        plane.api.get(account).then(
          () => true,
          () => false,
        ),
      LIMIT_MS,
    );
    await plane.api.create(CLAIMS, claim('waits', { storageClassName: 'waits' }));
    await plane.api.create(PODS, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'writer', namespace: 'default' },
      spec: {
        containers: [{ name: 'writer', image: 'none', volumeMounts: [{ name: 'data', mountPath: '/data' }] }],
        volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'waits' } }],
      },
    });
    const annotations = async () => (await plane.api.get(`${CLAIMS}/waits`)).metadata.annotations ?? {};
    // Two components write them, one after the other: the scheduler the node, the binder the provisioner.
    const areThere = async () => {
      const { [SELECTED]: node, [PROVISIONER]: provisioner } = await annotations();
      return node === 'node1' && provisioner === DRIVER_NAME;
    };
    await until('the choice of a node, and the call for the provisioner', areThere, LIMIT_MS);
  });
});
