import type { Wire } from '../../kube/contract/server.ts';
import type { Cluster } from '../cluster.ts';
import { KubernetesDeployment } from '../kubernetes/deployment.ts';
import { Moments } from '../kubernetes/moments.ts';
import type { Pod } from '../kubernetes/node-agent.ts';
import { provideTools } from '../kubernetes/tools.ts';
import { waitFor, waitUntilGone } from '../kubernetes/wait-for.ts';
import { remainsAnywhere } from '../remains.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import { blankDrives, untilUsable } from '../with-driver.ts';

const CLAIMS = '/api/v1/namespaces/default/persistentvolumeclaims';
const PODS = '/api/v1/namespaces/default/pods';
const VOLUMES = '/api/v1/persistentvolumes';
const ATTACHMENTS = '/apis/storage.k8s.io/v1/volumeattachments';
const CAPACITIES = '/apis/storage.k8s.io/v1/namespaces/storage/csistoragecapacities';
const CLASS = 'meshstor-replicated';
const LIMIT_MS = 240_000;
const COUNT = Number(process.env['MESHSTOR_LAB_LIVES'] ?? 3);
const NEXT: Readonly<Record<string, string>> = { node1: 'node2', node2: 'node3', node3: 'node1' };

/** Milliseconds by what was done. */
type Times = Map<string, number[]>;

function record(times: Times, what: string, ms: number | undefined): void {
  if (ms === undefined) throw new Error(`${what} was not timed`);
  const all = times.get(what) ?? [];
  times.set(what, [...all, ms]);
}

/** The value that this share of all is not above. */
function quantile(all: readonly number[], share: number): string {
  const sorted = [...all].sort((a, b) => a - b);
  return Math.round(sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN).toString();
}

function podObject(name: string, claim: string, node?: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      containers: [{ name: 'main', image: 'none', volumeMounts: [{ name: 'data', mountPath: '/data' }] }],
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: claim } }],
      ...(node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node } }),
    },
  };
}

function claimObject(name: string): object {
  const spec = {
    accessModes: ['ReadWriteOncePod'],
    storageClassName: CLASS,
    resources: { requests: { storage: '512Mi' } },
  };
  return { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name }, spec };
}

/** Who sees claims, volumes and attachments come and go. */
function watchAll({ api }: KubernetesDeployment, moments: Moments): void {
  moments.watch(api, CLAIMS, ({ object }) => {
    const { name, annotations } = object.metadata;
    const chosen = annotations?.['volume.kubernetes.io/selected-node'] === undefined ? [] : [`${name} chosen`];
    return object.status?.['phase'] === 'Bound' ? [...chosen, `${name} bound`] : chosen;
  });
  moments.watch(api, ATTACHMENTS, ({ type, object }) => {
    const { source, nodeName } = object.spec as {
      readonly source: { readonly persistentVolumeName: string };
      readonly nodeName: string;
    };
    const what = `${source.persistentVolumeName} on ${nodeName}`;
    const found = [`${what} wanted`];
    if (object.status?.['attached'] === true) found.push(`${what} attached`);
    if (object.metadata.deletionTimestamp !== undefined) found.push(`${what} unwanted`);
    return type === 'DELETED' ? [...found, `${what} detached`] : found;
  });
}

class Life {
  readonly #deployment: KubernetesDeployment;
  readonly #cluster: Cluster;
  readonly #moments: Moments;
  readonly #times: Times;
  readonly #claim: string;

  constructor(parts: {
    deployment: KubernetesDeployment;
    cluster: Cluster;
    moments: Moments;
    times: Times;
    claim: string;
  }) {
    this.#deployment = parts.deployment;
    this.#cluster = parts.cluster;
    this.#moments = parts.moments;
    this.#times = parts.times;
    this.#claim = parts.claim;
  }

  async #runningPod(name: string, node?: string): Promise<{ node: string; uid: string; path: string }> {
    const { api } = this.#deployment;
    const start = performance.now();
    await api.create(PODS, podObject(name, this.#claim, node));
    const pod = await waitFor(`pod ${name} to run`, LIMIT_MS, async () => {
      this.#deployment.check();
      const found = (await api.get(`${PODS}/${name}`)) as Pod;
      return found.status?.phase === 'Running' ? found : undefined;
    });
    record(this.#times, 'pod made → running', performance.now() - start);
    const where = pod.spec.nodeName ?? '';
    const volume = this.#deployment.agent(where).volumeOf(pod.metadata.uid);
    if (volume === undefined) throw new Error(`${name}: nothing is mounted on ${where}`);
    record(this.#times, 'NodeStageVolume', volume.times.stageMs);
    record(this.#times, 'NodePublishVolume', volume.times.publishMs);
    return { node: where, uid: pod.metadata.uid, path: volume.path };
  }

  async #deletePod(name: string, pv: string, { node, uid }: { node: string; uid: string }): Promise<void> {
    const { api } = this.#deployment;
    const start = performance.now();
    await api.delete(`${PODS}/${name}`);
    await waitUntilGone(`pod ${name}`, LIMIT_MS, () => api.get(`${PODS}/${name}`));
    record(this.#times, 'pod deleted → gone', performance.now() - start);
    await waitFor(`the attachment of ${pv} to be gone`, LIMIT_MS, async () => {
      this.#deployment.check();
      return (await this.#attachments(pv)).length === 0 ? true : undefined;
    });
    const times = this.#deployment.agent(node).volumeOf(uid)?.times;
    record(this.#times, 'NodeUnpublishVolume', times?.unpublishMs);
    record(this.#times, 'NodeUnstageVolume', times?.unstageMs);
    this.#attachTimes(pv, node);
  }

  #attachTimes(pv: string, node: string): void {
    const between = (from: string, to: string) =>
      this.#moments.between(`${pv} on ${node} ${from}`, `${pv} on ${node} ${to}`);
    record(this.#times, 'attach: VolumeAttachment made → attached', between('wanted', 'attached'));
    record(this.#times, 'detach: VolumeAttachment deleted → gone', between('unwanted', 'detached'));
  }

  async #attachments(pv: string): Promise<readonly Wire[]> {
    const { items } = await this.#deployment.api.list(ATTACHMENTS);
    return items.filter(({ spec }) => JSON.stringify(spec).includes(`"${pv}"`));
  }

  /** The claim is bound for the first pod, written there, read on another node by the second, deleted with all it had. */
  async live(): Promise<string> {
    const claim = this.#claim;
    const { api } = this.#deployment;
    await api.create(CLAIMS, claimObject(claim));
    const first = await this.#runningPod(`${claim}-writer`);
    record(
      this.#times,
      'create: node chosen → claim bound',
      this.#moments.between(`${claim} chosen`, `${claim} bound`),
    );
    const pv = String((await api.get(`${CLAIMS}/${claim}`)).spec['volumeName']);
    const write = `head -c 8M /dev/urandom > /tmp/data && dd if=/tmp/data of=${first.path}/data bs=1M conv=fsync status=none && sha256sum < /tmp/data`;
    const written = await this.#cluster.node(first.node).run(write, { timeoutMs: 120_000 });
    await this.#deletePod(`${claim}-writer`, pv, first);
    const second = await this.#runningPod(`${claim}-reader`, NEXT[first.node]);
    if (second.node === first.node) throw new Error(`${claim}: the second pod is on ${second.node} as well`);
    const read = await this.#cluster.node(second.node).run(`sha256sum < ${second.path}/data`, { timeoutMs: 120_000 });
    if (read !== written) throw new Error(`${claim}: the data is ${read.trim()}, ${written.trim()} was written`);
    await this.#deletePod(`${claim}-reader`, pv, second);
    await this.#deleteClaim(pv);
    return `${pv}: ${first.node}, then ${second.node}`;
  }

  async #deleteClaim(pv: string): Promise<void> {
    const { api } = this.#deployment;
    const start = performance.now();
    await api.delete(`${CLAIMS}/${this.#claim}`);
    await waitUntilGone(`claim ${this.#claim}`, LIMIT_MS, () => api.get(`${CLAIMS}/${this.#claim}`));
    await waitUntilGone(`PersistentVolume ${pv}`, LIMIT_MS, () => api.get(`${VOLUMES}/${pv}`));
    record(this.#times, 'delete: claim deleted → PersistentVolume gone', performance.now() - start);
    await waitFor(`${pv} to be gone from our volumes`, LIMIT_MS, async () => {
      this.#deployment.check();
      return (await this.#deployment.list('meshstorvolumes')).length === 0 ? true : undefined;
    });
    record(this.#times, 'delete: claim deleted → every partition gone', performance.now() - start);
    const remains = await remainsAnywhere(this.#cluster.nodes);
    if (remains.length > 0) throw new Error(`something is left over:\n${remains.join('\n')}`);
  }
}

async function tell(context: ScenarioContext, deployment: KubernetesDeployment): Promise<void> {
  const { cluster, step, note } = context;
  await step('the chart is installed', () => deployment.installChart());
  await step('node roles serve and are registered', () => deployment.startNodes());
  await step('every drive is usable', () => untilUsable(deployment, cluster.nodes));
  await step('the controller role serves; csi-provisioner and csi-attacher start', () => deployment.startController());
  const capacities = await step('every node has a CSIStorageCapacity of the class', () =>
    waitFor('the capacities', LIMIT_MS, async () => {
      deployment.check();
      const { items } = await deployment.api.list(CAPACITIES);
      const ours = items as unknown as readonly { readonly storageClassName: string; readonly capacity?: string }[];
      const full = ours.filter((one) => one.storageClassName === CLASS && one.capacity !== undefined);
      return full.length === cluster.nodes.length ? full : undefined;
    }),
  );
  note(`room for ${CLASS} by node: ${capacities.map(({ capacity }) => capacity).join(', ')}`);
  const moments = new Moments();
  watchAll(deployment, moments);
  const times: Times = new Map();
  try {
    for (let index = 1; index <= COUNT; index += 1) {
      const claim = `claim-${index}`;
      const life = new Life({ deployment, cluster, moments, times, claim });
      note(await step(`life ${index} of ${COUNT}`, () => life.live()));
    }
  } finally {
    await moments.stop();
  }
  for (const [what, all] of times) {
    const [half, most] = [quantile(all, 0.5), quantile(all, 0.99)];
    note(`${what}: p50 ${half} ms, p99 ${most} ms of ${all.length}`);
  }
}

export const kubernetesLife: Scenario = {
  name: 'kubernetes-life',
  title: 'with a real control plane and the sidecars a claim is bound, written, moved to another node and deleted',
  nodes: 3,
  prepare: provideTools,
  run: async (context) => {
    const { cluster, step } = context;
    const deployment = await step('a real control plane starts, with the nodes', () =>
      KubernetesDeployment.start(cluster),
    );
    try {
      await tell(context, deployment);
    } finally {
      await deployment.stop();
    }
    await Promise.all(cluster.nodes.map(blankDrives));
  },
};
