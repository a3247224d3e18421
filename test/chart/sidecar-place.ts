/** A cluster as the sidecars of the controller's pod see it: the real ones run in it, with the arguments of the chart. */
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../src/api/names.ts';
import type { Api, Wire } from '../kube/contract/server.ts';
import type { ApiRelay } from '../kube/real/api-relay.ts';
import type { Component } from '../kube/real/component.ts';
import { startComponent } from '../kube/real/component.ts';
import type { ControlPlane } from '../kube/real/control-plane.ts';
import { toolPath } from '../kube/real/tools.ts';
import type { Manifest } from './helm.ts';
import { containerOf, named } from './helm.ts';
import { NAMESPACE } from './node-tokens.ts';

export type Sidecar = 'provisioner' | 'attacher' | 'resizer';

export const ACCOUNT = 'release-meshstor-controller';
export const CLAIMS = '/api/v1/namespaces/default/persistentvolumeclaims';
export const PVS = '/api/v1/persistentvolumes';
export const STORAGE = '/apis/storage.k8s.io/v1';
export const SELECTED = 'volume.kubernetes.io/selected-node';
const CLASS = 'meshstor-replicated';

/** The objects that the controller's pod hangs on: capacities belong to the Deployment. */
async function addPod({ api }: ControlPlane): Promise<void> {
  const apps = `/apis/apps/v1/namespaces/${NAMESPACE}`;
  const labels = { app: 'controller' };
  const containers = [{ name: 'meshstor', image: 'registry.example.org/meshstor' }];
  const template = { metadata: { labels }, spec: { containers } };
  const spec = { selector: { matchLabels: labels }, template };
  const ownedBy = ({ apiVersion, kind, metadata }: Wire): object => ({
    ownerReferences: [{ apiVersion, kind, name: metadata.name, uid: metadata.uid, controller: true }],
  });
  const meta = { metadata: { name: 'controller', labels } };
  const deployment = await api.create(`${apps}/deployments`, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    ...meta,
    spec,
  });
  const set = { apiVersion: 'apps/v1', kind: 'ReplicaSet', spec };
  const metadata = { ...meta.metadata, ...ownedBy(deployment) };
  const replicaSet = await api.create(`${apps}/replicasets`, { ...set, metadata });
  await api.create(`/api/v1/namespaces/${NAMESPACE}/pods`, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'controller-0', ...ownedBy(replicaSet) },
    spec: { serviceAccountName: ACCOUNT, containers },
  });
}

/** What a cluster with the chart in it has, as far as the sidecars look at it. */
export async function prepareForSidecars(
  plane: ControlPlane,
  chart: readonly Manifest[],
  nodes: readonly string[],
): Promise<void> {
  const { api } = plane;
  await api.create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } });
  const accounts = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts`;
  await api.create(accounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: ACCOUNT } });
  await api.create(`${STORAGE}/csidrivers`, named(chart, 'CSIDriver', DRIVER_NAME));
  for (const name of [CLASS, 'meshstor-local-storage']) {
    await api.create(`${STORAGE}/storageclasses`, named(chart, 'StorageClass', name));
  }
  for (const name of nodes) {
    await api.patch(`/api/v1/nodes/${name}`, { metadata: { labels: { [TOPOLOGY_KEY]: name } } });
    const drivers = [{ name: DRIVER_NAME, nodeID: name, topologyKeys: [TOPOLOGY_KEY] }];
    const apiVersion = 'storage.k8s.io/v1';
    await api.create(`${STORAGE}/csinodes`, { apiVersion, kind: 'CSINode', metadata: { name }, spec: { drivers } });
  }
  await addPod(plane);
}

export interface SidecarOptions {
  readonly sidecar: Sidecar;
  readonly chart: readonly Manifest[];
  /** Path of the controller's. */
  readonly socket: string;
  readonly token: string;
  /** Asks in the name of that token. */
  readonly relay: ApiRelay;
}

/** Starts one as in its pod; its log is `csi-NAME.log` in the control plane's folder. */
export function startSidecar(plane: ControlPlane, options: SidecarOptions): Promise<Component> {
  const { sidecar, chart, socket, token, relay } = options;
  const kubeconfig = plane.kubeconfigFor(sidecar, token, relay.url);
  const { args } = containerOf(named(chart, 'Deployment', ACCOUNT), sidecar);
  const own = args
    .filter((arg) => !arg.startsWith('--http-endpoint'))
    .map((arg) => arg.replace('/csi/csi.sock', socket).replace('$(NAMESPACE)', NAMESPACE));
  // As on API servers that do not stream lists, Kubernetes 1.33 and older ones: there they list, too.
  const env = ['POD_NAME=controller-0', `NAMESPACE=${NAMESPACE}`, 'KUBE_FEATURE_WatchListClient=false'];
  const all = [...env, toolPath(`csi-${sidecar}`), ...own, `--kubeconfig=${kubeconfig}`];
  return startComponent(`csi-${sidecar}`, 'env', all, plane.folder);
}

/** A claim that the scheduler has just given to a node. */
export function createClaim(api: Api, name: string, storage: string): Promise<Wire> {
  return api.create(CLAIMS, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name,
      namespace: 'default',
      annotations: { [SELECTED]: 'node1', 'volume.kubernetes.io/storage-provisioner': DRIVER_NAME },
    },
    spec: { storageClassName: CLASS, accessModes: ['ReadWriteOnce'], resources: { requests: { storage } } },
  });
}
