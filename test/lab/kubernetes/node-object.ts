/** What kubelet keeps of its node in the API, with the rights of a node: the Node and its status, its lease, its CSINode. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DRIVER_NAME } from '../../../src/api/names.ts';
import type { Api } from '../../kube/contract/server.ts';
import type { Machine } from '../machine.ts';
import { waitFor } from './wait-for.ts';

const NODES = '/api/v1/nodes';
const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';
const CSI_NODES = '/apis/storage.k8s.io/v1/csinodes';
const LEASE_SEC = 40;
/** As kubelet: a quarter of what the lease lasts. */
const RENEW_MS = 10_000;
const LOOK_MS = 150;
/** The namespace of leases is made by a controller when the API server is new. */
const NAMESPACE_LIMIT_MS = 60_000;
const PRESSURES = ['MemoryPressure', 'DiskPressure', 'PIDPressure'];

export class NodeObject {
  readonly #machine: Machine;
  readonly #api: Api;
  readonly #inUse = new Set<string>();
  /** The last write of the status: each has to see what the one before it wrote. */
  #lastWrite: Promise<unknown> = Promise.resolve();

  constructor(machine: Machine, api: Api) {
    this.#machine = machine;
    this.#api = api;
  }

  get name(): string {
    return this.#machine.name;
  }

  get #path(): string {
    return `${NODES}/${this.name}`;
  }

  /** The Node, which becomes ready when there is a CSINode, and its lease. */
  async join(): Promise<void> {
    const systemUUID = (await this.#machine.run('cat /sys/class/dmi/id/product_uuid')).trim();
    const metadata = {
      name: this.name,
      labels: { 'kubernetes.io/hostname': this.name, 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': 'amd64' },
      // The attach-detach controller leaves other nodes alone.
      annotations: { 'volumes.kubernetes.io/controller-managed-attach-detach': 'true' },
    };
    const { uid } = (await this.#api.create(NODES, { apiVersion: 'v1', kind: 'Node', metadata })).metadata;
    const room = { cpu: '16', memory: '32Gi', pods: '110', 'ephemeral-storage': '10Gi' };
    await this.#patchStatus({
      addresses: [{ type: 'InternalIP', address: this.#machine.address }],
      nodeInfo: { systemUUID, operatingSystem: 'linux', architecture: 'amd64' },
      conditions: conditions(false),
      allocatable: room,
      capacity: room,
    });
    const ownerReferences = [{ apiVersion: 'v1', kind: 'Node', name: this.name, uid }];
    const owned = { metadata: { name: this.name, ownerReferences } };
    await this.#api.create(CSI_NODES, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSINode',
      ...owned,
      spec: { drivers: [] },
    });
    const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', ...owned };
    const spec = { holderIdentity: this.name, leaseDurationSeconds: LEASE_SEC, renewTime: leaseTime() };
    await waitFor('the namespace of leases', NAMESPACE_LIMIT_MS, () => this.#api.create(LEASES, { ...lease, spec }));
    await this.#patchStatus({ conditions: conditions(true) });
  }

  /** Renews the lease until told to stop. */
  async keep(signal: AbortSignal): Promise<void> {
    for (let at = Date.now(); !signal.aborted; await sleep(LOOK_MS)) {
      if (Date.now() - at < RENEW_MS) continue;
      await this.#api.patch(`${LEASES}/${this.name}`, { spec: { renewTime: leaseTime() } });
      at = Date.now();
    }
  }

  /** What is written when a driver has registered. */
  async register(nodeID: string, segments: Readonly<Record<string, string>>): Promise<void> {
    const annotations = { 'csi.volume.kubernetes.io/nodeid': JSON.stringify({ [DRIVER_NAME]: nodeID }) };
    await this.#api.patch(this.#path, { metadata: { labels: segments, annotations } });
    const drivers = [{ name: DRIVER_NAME, nodeID, topologyKeys: Object.keys(segments) }];
    await this.#api.patch(`${CSI_NODES}/${this.name}`, { spec: { drivers } });
  }

  /** Resolves when the status says so: before a volume is used, and after it is unstaged. */
  async setInUse(name: string, isUsed: boolean): Promise<void> {
    if (isUsed) this.#inUse.add(name);
    else this.#inUse.delete(name);
    await this.#patchStatus({ volumesInUse: [...this.#inUse] });
  }

  /** Whether the controllers say that a volume is attached here. */
  async hasAttached(name: string): Promise<boolean> {
    const { status } = await this.#api.get(this.#path);
    const attached = (status?.['volumesAttached'] ?? []) as readonly { readonly name: string }[];
    return attached.some((volume) => volume.name === name);
  }

  #patchStatus(status: Readonly<Record<string, unknown>>): Promise<unknown> {
    const write = (): Promise<unknown> => this.#api.patch(`${this.#path}/status`, { status });
    const written = this.#lastWrite.then(write, write);
    this.#lastWrite = written;
    return written;
  }
}

function conditions(isReady: boolean): readonly object[] {
  const now = new Date().toISOString();
  const condition = (type: string, holds: boolean, reason: string, message = '') => ({
    type,
    status: holds ? 'True' : 'False',
    reason,
    message,
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  });
  const ready = isReady
    ? condition('Ready', true, 'KubeletReady')
    : condition('Ready', false, 'KubeletNotReady', 'CSINode is not yet initialized');
  return [...PRESSURES.map((type) => condition(type, false, 'KubeletHasSufficient')), ready];
}

/** With six digits behind the point, as a lease's times have. */
function leaseTime(): string {
  return new Date().toISOString().replace('Z', '000Z');
}
