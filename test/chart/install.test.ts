/**
 * The chart on a real API server: installed, upgraded, uninstalled; and its admission policies where they are evaluated in
 * earnest, on requests with tokens that a node's pod has.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { createKubeClient } from '../../src/kube/index.ts';
import { Api, DEVICES, failure, VOLUMES, volumeSpec } from '../kube/contract/server.ts';
import { until } from '../kube/harness.ts';
import { addressOf, nodeObject } from '../kube/node-roles.ts';
import type { ControlPlane } from '../kube/real/control-plane.ts';
import { startControlPlane } from '../kube/real/control-plane.ts';
import type { Outcome } from './helm.ts';
import { BUILD_LIMIT_MS, CHART, helmOn, REGISTRIES, toolPath } from './helm.ts';
import { NAMESPACE, NODE_ACCOUNT, tokenOnNode } from './node-tokens.ts';
import { CONTROLLER, RecordedCluster } from './recorded-cluster.ts';

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const ROLES = '/apis/rbac.authorization.k8s.io/v1/clusterroles';
const NODES = ['node1', 'node2', 'node3'];
const STEP_MS = 180_000;

const DEVICE_SPEC = {
  usedAlias: '',
  model: 'm',
  serial: 's',
  size: '1Gi',
  sizeBytes: 1 << 30,
  multiQueue: 1,
  sectorSize: 512,
};

function partition(nodeID: string, index: number, state = 'Created'): Record<string, unknown> {
  return {
    nodeID,
    partitionUUID: `0000000${index}-0000-4000-8000-000000000000`,
    nvmeofNamespaceID: 1,
    state,
    sizeBytes: 1 << 30,
    updatedAt: '2026-01-01T00:00:00Z',
    device: 'nvme0n1',
    serial: 's',
    slot: index,
    generation: 0,
    transport: 'tcp',
    epoch: 0,
  };
}

describe('the chart on a real API server', () => {
  let plane: ControlPlane;
  let old: string;

  function helm(...args: readonly string[]): Outcome {
    const outcome = helmOn(plane.kubeconfig, ...args, '--namespace', NAMESPACE);
    expect(outcome.ok, outcome.stderr).to.equal(true);
    return outcome;
  }

  /** With the token that the node role's pod on this node has. */
  async function kubeconfigOn(node: string): Promise<string> {
    return plane.kubeconfigFor(`pod-on-${node}`, await tokenOnNode(plane, node));
  }

  /** An older chart: a short name in its definitions is another one. */
  function olderChart(): string {
    const folder = mkdtempSync(join(tmpdir(), 'meshstor-chart-'));
    cpSync(CHART, folder, { recursive: true });
    for (const name of readdirSync(join(folder, 'files', 'crds'))) {
      const path = join(folder, 'files', 'crds', name);
      writeFileSync(path, readFileSync(path, 'utf8').replaceAll('shortNames: [msvol]', 'shortNames: [oldvol]'));
    }
    return folder;
  }

  async function shortNames(): Promise<unknown> {
    const { spec } = await plane.api.get(`${CRDS}/meshstorvolumes.csi.meshstor.io`);
    return (spec['names'] as { readonly shortNames: unknown }).shortNames;
  }

  before(async function () {
    this.timeout(BUILD_LIMIT_MS);
    const names = ['etcd', 'kube-apiserver', 'kubectl', 'helm'] as const;
    const tools = Object.fromEntries(names.map((name) => [name, toolPath(name)]));
    process.env['MESHSTOR_KUBE_TOOLS'] ??= JSON.stringify(tools);
    old = olderChart();
    plane = await startControlPlane();
    for (const [index, name] of NODES.entries()) {
      await plane.api.create('/api/v1/nodes', nodeObject(name, addressOf(index)));
    }
  });

  after(async function () {
    this.timeout(STEP_MS);
    await plane.stop();
    rmSync(old, { recursive: true });
  });

  it('installs, and says what to do next', async () => {
    const { stdout, stderr } = helm('install', 'release', old, '--create-namespace', ...REGISTRIES);
    expect(stderr).to.equal('');
    expect(stdout)
      .to.match(/kubectl get msnd/)
      .and.to.match(/60-meshstor\.rules/)
      .and.to.match(/node\.driveSelectors is empty/);
    expect(stdout).not.to.match(/not held to its own/);
    expect(await shortNames()).to.deep.equal(['oldvol']);
  }).timeout(STEP_MS);

  it('changes the definitions when it is upgraded', async () => {
    helm('upgrade', 'release', CHART, ...REGISTRIES, '--set', 'node.driveSelectors[0]=model=X*');
    expect(await shortNames()).to.deep.equal(['msvol']);
    const daemonSet = await plane.api.get(`/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets/release-meshstor-node`);
    expect(JSON.stringify(daemonSet.spec)).to.include('--drive-selector=model=X*');
  }).timeout(STEP_MS);

  describe('with accounts of nodes', () => {
    let node1: Api;
    let node2: Api;
    let node3: Api;
    const clients: Api[] = [];
    const kubeconfigs = new Map<string, string>();
    const path = `${VOLUMES}/pvc-1`;

    before(async function () {
      this.timeout(STEP_MS);
      await until('the kinds are served', async () => {
        return plane.api.list(VOLUMES).then(
          () => true,
          () => false,
        );
      });
      for (const node of NODES) kubeconfigs.set(node, await kubeconfigOn(node));
      [node1, node2, node3] = NODES.map((node) => new Api(kubeconfigs.get(node) ?? '')) as [Api, Api, Api];
      clients.push(node1, node2, node3);
      await plane.api.create(VOLUMES, {
        apiVersion: 'csi.meshstor.io/v1alpha1',
        kind: 'MeshStorVolume',
        metadata: { name: 'pvc-1', finalizers: ['csi.meshstor.io/partitions'] },
        spec: volumeSpec(),
      });
      const status = {
        phase: 'Requested',
        nodeName: 'node1',
        machineID: 'm1',
        attachmentEpoch: 1,
        attachmentID: '00000000-0000-4000-8000-00000000000a',
        partitions: [partition('node1', 0), partition('node2', 1)],
      };
      await plane.api.patch(`${path}/status`, { status });
      // The policies are known to the API server a moment after they were made.
      await until(
        'the policies hold',
        async () => {
          const refused = await node3.patch(`${path}/status`, { status: { mdState: 'clean' } }).then(
            () => '',
            (error: unknown) => String(error),
          );
          return refused.includes('neither holds nor consumes');
        },
        60_000,
      );
    });

    after(() => {
      for (const { client } of clients) client.close();
    });

    /** The volume with another status, as the roles write it. */
    async function withStatus(changes: Record<string, unknown>): Promise<unknown> {
      const current = await plane.api.get(path);
      return { ...current, status: { ...current.status, ...changes } };
    }

    async function withSpec(changes: Record<string, unknown>): Promise<unknown> {
      const current = await plane.api.get(path);
      return { ...current, spec: { ...current.spec, ...changes } };
    }

    function device(node: string, name = `${node}-nvme0n1`): unknown {
      const spec = { node, device: 'nvme0n1', ...DEVICE_SPEC };
      return { apiVersion: 'csi.meshstor.io/v1alpha1', kind: 'MeshStorNodeDevice', metadata: { name }, spec };
    }

    it('lets a holder and the consumer write what is theirs', async () => {
      const granted = [partition('node1', 0), { ...partition('node2', 1), epoch: 1 }];
      await node2.put(`${path}/status`, await withStatus({ partitions: granted }));
      const both = [partition('node1', 0, 'Synced'), partition('node2', 1, 'Synced')];
      await node1.put(`${path}/status`, await withStatus({ partitions: both, mdState: 'clean' }));
      const born = await node1.put(path, await withSpec({ activatedAt: '2026-01-01T00:00:00Z' }));
      expect(born.spec['activatedAt']).to.equal('2026-01-01T00:00:00Z');
      await node1.create(DEVICES, device('node1'));
      await node1.patch(`${DEVICES}/node1-nvme0n1/status`, { status: { freeBytes: 5 } });
      await node1.delete(`${DEVICES}/node1-nvme0n1`);
    }).timeout(STEP_MS);

    it('lets them write nothing else', async () => {
      const others = [partition('node1', 0, 'Faulty'), partition('node2', 1, 'Synced')];
      await plane.api.create(DEVICES, device('node1'));
      const refused: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
        [
          async () => node3.put(`${path}/status`, await withStatus({ mdState: 'active' })),
          /neither holds nor consumes/,
        ],
        [
          async () => node2.put(`${path}/status`, await withStatus({ nodeName: 'node2' })),
          /where a volume is attached/,
        ],
        [
          async () => node2.put(`${path}/status`, await withStatus({ partitions: others })),
          /only the consumer changes/,
        ],
        [
          async () => node1.put(`${path}/status`, await withStatus({ partitions: [others[0]] })),
          /removes no partition but its own/,
        ],
        [async () => node1.put(path, await withSpec({ memberMissingTimeout: 60 })), /nothing in the spec/],
        [async () => node2.put(path, await withSpec({ formattedAt: '2026-01-01T00:00:00Z' })), /nothing in the spec/],
        [async () => node1.patch(path, { metadata: { finalizers: null } }), /forbidden|changes no labels/i],
        [async () => node2.create(DEVICES, device('node1', 'node1-other')), /its own drives alone/],
        [async () => node2.create(DEVICES, device('node2', 'node1-other')), /must be called node2-DEVICE/],
        [async () => node2.delete(`${DEVICES}/node1-nvme0n1`), /does not have this drive/],
        [async () => node1.create(VOLUMES, {}), /forbidden/i],
        [async () => node1.delete(path), /forbidden/i],
      ];
      for (const [request, why] of refused) expect((await failure(request())).message).to.match(why);
    }).timeout(STEP_MS);

    it('refuses the account without a pod', async () => {
      const token = await plane.tokenOfAccount(NAMESPACE, NODE_ACCOUNT);
      const api = new Api(plane.kubeconfigFor('unbound', token));
      const refused = await failure(api.put(`${path}/status`, (await withStatus({ mdState: 'active' })) as object));
      expect(refused.message).to.match(/does not say from which node/);
      api.client.close();
    }).timeout(STEP_MS);

    it('lets both roles do all their work', async () => {
      // What the other tests left is no volume of these nodes.
      await plane.api.patch(path, { metadata: { finalizers: null } });
      await plane.api.delete(path);
      await plane.api.delete(`${DEVICES}/node1-nvme0n1`);
      const token = await plane.tokenOfAccount(NAMESPACE, 'release-meshstor-controller');
      kubeconfigs.set(CONTROLLER, plane.kubeconfigFor(CONTROLLER, token));
      const clientOf = (who: string) => createKubeClient({ kubeconfig: kubeconfigs.get(who) ?? '' });
      const cluster = await RecordedCluster.start({ api: plane.api, clientOf }, NODES);
      try {
        await cluster.liveOnce();
        await cluster.repeatEvents();
        await cluster.lead(NAMESPACE);
        await cluster.correctDrive('node3');
        await cluster.loseDrive('node2');
      } finally {
        await cluster.stop();
      }
    }).timeout(STEP_MS);
  });

  describe('at its end', () => {
    it('leaves the definitions and what is recorded when it is uninstalled, and takes them up again', async () => {
      const kept = await plane.api.create(VOLUMES, {
        apiVersion: 'csi.meshstor.io/v1alpha1',
        kind: 'MeshStorVolume',
        metadata: { name: 'pvc-kept' },
        spec: volumeSpec(),
      });
      const { stdout } = helm('uninstall', 'release');
      expect(stdout).to.match(/meshstorvolumes\.csi\.meshstor\.io/);
      expect((await failure(plane.api.get(`${ROLES}/release-meshstor-node`))).kind).to.equal('notFound');
      helm('install', 'release', CHART, ...REGISTRIES);
      expect((await plane.api.get(`${VOLUMES}/pvc-kept`)).metadata.uid).to.equal(kept.metadata.uid);
      expect(await shortNames()).to.deep.equal(['msvol']);
    }).timeout(STEP_MS);
  });
});
