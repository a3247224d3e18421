/**
 * A stand-in of kubelet on one node of the lab, with the rights of a node and no more. It keeps the Node and its lease, gives
 * the driver's pod its token, registers the driver, and carries every pod's claim through its life: reported as in use, attached
 * by others, staged, published; unpublished, unstaged, reported as unused. It runs no containers.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../../src/api/names.ts';
import { ApiError } from '../../../src/kube/index.ts';
import type { Api, Wire } from '../../kube/contract/server.ts';
import type { NodeRole } from '../deployment.ts';
import type { Kubelet, PodVolume } from '../kubelet.ts';
import type { Machine } from '../machine.ts';
import { attachmentName, stagingFolder } from './names.ts';
import { waitFor } from './wait-for.ts';

const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';
const CSI_NODES = '/apis/storage.k8s.io/v1/csinodes';
const ATTACHMENTS = '/apis/storage.k8s.io/v1/volumeattachments';
const VOLUMES = '/api/v1/persistentvolumes';
/** As kubelet: it waits this long for volumes before it starts over. */
const LIMIT_MS = 243_000;
const RENEW_MS = 5_000;
const LOOK_MS = 150;
const STOP_MS = 10_000;

export interface Pod extends Wire {
  readonly metadata: Wire['metadata'] & { readonly namespace: string };
  readonly spec: {
    readonly nodeName?: string;
    readonly serviceAccountName?: string;
    readonly containers: readonly { readonly name: string; readonly args?: readonly string[] }[];
    readonly volumes?: readonly { readonly persistentVolumeClaim?: { readonly claimName: string } }[];
  };
  readonly status?: { readonly phase?: string };
}

/** Milliseconds that the node's own calls took. */
export interface CallTimes {
  readonly stageMs: number;
  readonly publishMs: number;
  unpublishMs?: number;
  unstageMs?: number;
}

interface Carried {
  readonly inUse: string;
  readonly volume: PodVolume;
  readonly times: CallTimes;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function claimOf(pod: Pod): string | undefined {
  return pod.spec.volumes?.find((volume) => volume.persistentVolumeClaim)?.persistentVolumeClaim?.claimName;
}

function podPath({ metadata }: Pod): string {
  return `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}`;
}

export class NodeAgent {
  readonly machine: Machine;
  readonly #api: Api;
  readonly #kubelet: Kubelet;
  readonly #inUse = new Set<string>();
  readonly #carried = new Map<string, Carried>();
  readonly #busy = new Set<string>();
  readonly #tasks = new Set<Promise<void>>();
  #runs = true;
  #failure: unknown;

  constructor(machine: Machine, api: Api, kubelet: Kubelet) {
    this.machine = machine;
    this.#api = api;
    this.#kubelet = kubelet;
  }

  get name(): string {
    return this.machine.name;
  }

  /** Throws what went wrong behind the scenes. */
  check(): void {
    if (this.#failure !== undefined)
      throw new Error(`${this.name}: the stand-in of kubelet failed`, { cause: this.#failure });
  }

  /** Where a pod finds its volume, and how long it took; undefined while it is not there. */
  volumeOf(podUid: string): { readonly path: string; readonly times: CallTimes } | undefined {
    const found = this.#carried.get(podUid);
    return found && { path: found.volume.targetPath, times: found.times };
  }

  /** The Node, ready, with its lease renewed from now on. */
  async join(): Promise<void> {
    const systemUUID = (await this.machine.run('cat /sys/class/dmi/id/product_uuid')).trim();
    const metadata = {
      name: this.name,
      labels: { 'kubernetes.io/hostname': this.name, 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': 'amd64' },
      // The attach-detach controller leaves other nodes alone.
      annotations: { 'volumes.kubernetes.io/controller-managed-attach-detach': 'true' },
    };
    await this.#api.create('/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata });
    const now = new Date().toISOString();
    const room = { cpu: '4', memory: '8Gi', pods: '110', 'ephemeral-storage': '10Gi' };
    await this.#patchStatus({
      addresses: [{ type: 'InternalIP', address: this.machine.address }],
      nodeInfo: { systemUUID, operatingSystem: 'linux', architecture: 'amd64' },
      conditions: [
        {
          type: 'Ready',
          status: 'True',
          reason: 'KubeletReady',
          message: '',
          lastHeartbeatTime: now,
          lastTransitionTime: now,
        },
      ],
      allocatable: room,
      capacity: room,
    });
    const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: this.name } };
    const spec = { holderIdentity: this.name, leaseDurationSeconds: 40, renewTime: leaseTime() };
    await waitFor('the namespace of leases', 60_000, () => this.#api.create(LEASES, { ...lease, spec }));
    this.#run(() => this.#renewLease());
  }

  /** A token as kubelet asks for it: bound to a pod on this node. */
  async tokenFor(pod: Pod): Promise<string> {
    const { namespace, name, uid } = pod.metadata;
    const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name, uid };
    // For the API server's own audience: nodes may name only those that the pod's volumes name.
    const spec = { audiences: [], expirationSeconds: 3607, boundObjectRef };
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${pod.spec.serviceAccountName ?? ''}/token`;
    const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec };
    const { status } = await waitFor(`a token for ${name}`, 30_000, () => this.#api.create(path, request));
    return String(status?.['token']);
  }

  /** The pods of this node, as its kubelet sees them. */
  async pods(): Promise<readonly Pod[]> {
    const { items } = await this.#api.list('/api/v1/pods', { fieldSelector: `spec.nodeName=${this.name}` });
    return items as readonly Pod[];
  }

  /** What kubelet and node-driver-registrar do with a driver that answers; pods are carried from now on. */
  async register({ csi }: NodeRole): Promise<void> {
    const { nodeId, accessibleTopology } = await csi.node.NodeGetInfo({});
    const { segments } = accessibleTopology ?? {};
    if (segments?.[TOPOLOGY_KEY] === undefined) throw new Error(`${this.name}: NodeGetInfo names no topology`);
    await this.#api.patch(`/api/v1/nodes/${this.name}`, { metadata: { labels: segments } });
    const { uid } = (await this.#api.get(`/api/v1/nodes/${this.name}`)).metadata;
    const ownerReferences = [{ apiVersion: 'v1', kind: 'Node', name: this.name, uid }];
    const drivers = [{ name: DRIVER_NAME, nodeID: nodeId, topologyKeys: Object.keys(segments) }];
    await this.#api.create(CSI_NODES, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSINode',
      metadata: { name: this.name, ownerReferences },
      spec: { drivers },
    });
    this.#run(() => this.#carryPods());
  }

  async stop(): Promise<void> {
    this.#runs = false;
    // A call that is being repeated ends when its client is closed.
    await Promise.race([Promise.all(this.#tasks), sleep(STOP_MS, undefined, { ref: false })]);
    this.#api.client.close();
  }

  /** In the background; a failure is kept for `check`. */
  #run(work: () => Promise<void>): void {
    const task: Promise<void> = work()
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  async #renewLease(): Promise<void> {
    for (let at = Date.now(); this.#runs; await sleep(LOOK_MS)) {
      if (Date.now() - at < RENEW_MS) continue;
      await this.#api.patch(`${LEASES}/${this.name}`, { spec: { renewTime: leaseTime() } });
      at = Date.now();
    }
  }

  async #carryPods(): Promise<void> {
    for (; this.#runs; await sleep(LOOK_MS)) {
      for (const pod of await this.pods()) this.#carry(pod);
    }
  }

  /** One step at a time for each pod. */
  #carry(pod: Pod): void {
    const { uid, deletionTimestamp } = pod.metadata;
    if (this.#busy.has(uid)) return;
    const isNew = pod.status?.phase === 'Pending';
    if (deletionTimestamp === undefined && !isNew) return;
    this.#busy.add(uid);
    this.#run(async () => {
      try {
        await (deletionTimestamp === undefined ? this.#bringUp(pod) : this.#takeDown(pod));
      } finally {
        this.#busy.delete(uid);
      }
    });
  }

  async #bringUp(pod: Pod): Promise<void> {
    const claim = claimOf(pod);
    if (claim !== undefined) await this.#mount(pod, claim);
    const condition = (type: string) => ({ type, status: 'True', lastTransitionTime: new Date().toISOString() });
    await this.#api.patch(`${podPath(pod)}/status`, {
      status: {
        phase: 'Running',
        startTime: new Date().toISOString(),
        conditions: ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map(condition),
      },
    });
  }

  async #mount(pod: Pod, claim: string): Promise<void> {
    const { namespace, uid } = pod.metadata;
    const claimPath = `/api/v1/namespaces/${namespace}/persistentvolumeclaims/${claim}`;
    const { handle, fsType } = await waitFor(`the volume of ${claim}`, LIMIT_MS, async () => {
      const { spec, status } = await this.#api.get(claimPath);
      if (status?.['phase'] !== 'Bound') return undefined;
      const { csi } = (await this.#api.get(`${VOLUMES}/${String(spec['volumeName'])}`)).spec as {
        readonly csi: { readonly volumeHandle: string; readonly fsType: string };
      };
      return { handle: csi.volumeHandle, fsType: csi.fsType };
    });
    const inUse = `kubernetes.io/csi/${DRIVER_NAME}^${handle}`;
    await this.#setInUse(inUse, true);
    const publishContext = await this.#attached(handle, inUse);
    const base = `/var/lib/kubelet/plugins/kubernetes.io/csi/${DRIVER_NAME}/${stagingFolder(handle)}`;
    const volume: PodVolume = {
      volumeId: handle,
      node: this.name,
      stagingPath: `${base}/globalmount`,
      targetPath: `/var/lib/kubelet/pods/${uid}/volumes/kubernetes.io~csi/${handle}/mount`,
      publishContext,
      access: 'mount',
      fsType,
    };
    await this.#kubelet.makeStagingPath(volume);
    const stageMs = await timed(() => this.#kubelet.stageCall(volume));
    const publishMs = await timed(() => this.#kubelet.publish(volume));
    this.#carried.set(uid, { inUse, volume, times: { stageMs, publishMs } });
  }

  /** Waits until the controllers report the volume as attached; resolves to what the driver said about it. */
  async #attached(handle: string, inUse: string): Promise<Record<string, string>> {
    await waitFor(`${handle} in the Node's volumesAttached`, LIMIT_MS, async () => {
      const { status } = await this.#api.get(`/api/v1/nodes/${this.name}`);
      const attached = (status?.['volumesAttached'] ?? []) as readonly { readonly name: string }[];
      return attached.some(({ name }) => name === inUse) ? true : undefined;
    });
    const path = `${ATTACHMENTS}/${attachmentName(handle, this.name)}`;
    return waitFor(`${path} to be attached`, LIMIT_MS, async () => {
      const { status } = await this.#api.get(path);
      if (status?.['attached'] !== true) return undefined;
      return (status['attachmentMetadata'] ?? {}) as Record<string, string>;
    });
  }

  /** The pod goes when nothing of it is mounted; its volume stays in use until it is unstaged. */
  async #takeDown(pod: Pod): Promise<void> {
    const { uid } = pod.metadata;
    const carried = this.#carried.get(uid);
    if (carried) carried.times.unpublishMs = await timed(() => this.#kubelet.unpublish(carried.volume));
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0, preconditions: { uid } };
    await this.#api.delete(podPath(pod), body).catch((error: unknown) => {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    });
    if (!carried) return;
    carried.times.unstageMs = await timed(() => this.#kubelet.unstage(carried.volume));
    await this.#setInUse(carried.inUse, false);
  }

  async #setInUse(name: string, isUsed: boolean): Promise<void> {
    if (isUsed) this.#inUse.add(name);
    else this.#inUse.delete(name);
    await this.#patchStatus({ volumesInUse: [...this.#inUse] });
  }

  async #patchStatus(status: Record<string, unknown>): Promise<void> {
    await this.#api.patch(`/api/v1/nodes/${this.name}/status`, { status });
  }
}

/** With six digits behind the point, as a lease's times have. */
function leaseTime(): string {
  return new Date().toISOString().replace('Z', '000Z');
}
