/**
 * A stand-in of kubelet on one node of the lab, with the rights of a node and no more. It keeps the Node, its lease and its
 * CSINode, gives the driver's pod its token, registers the driver, and carries every pod from its binding to its end. It runs
 * no containers.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { TOPOLOGY_KEY } from '../../../src/api/names.ts';
import { ApiError } from '../../../src/kube/index.ts';
import type { Api, WatchEvent } from '../../kube/contract/server.ts';
import type { NodeRole } from '../deployment.ts';
import type { Machine } from '../machine.ts';
import { follow } from './follow.ts';
import { NodeObject } from './node-object.ts';
import type { Pod } from './pod.ts';
import { claimOf, podPath } from './pod.ts';
import type { VolumeStats } from './volume-manager.ts';
import { VolumeManager } from './volume-manager.ts';
import { waitFor } from './wait-for.ts';

const PODS = '/api/v1/pods';
const TOKEN_LIMIT_MS = 30_000;
const STOP_MS = 10_000;

export class NodeAgent {
  readonly machine: Machine;
  readonly #api: Api;
  readonly #node: NodeObject;
  /** By uid: aborts when the pod has to go. */
  readonly #pods = new Map<string, AbortController>();
  readonly #tasks = new Set<Promise<void>>();
  readonly #end = new AbortController();
  #volumes: VolumeManager | undefined;
  #failure: unknown;

  constructor(machine: Machine, api: Api) {
    this.machine = machine;
    this.#api = api;
    this.#node = new NodeObject(machine, api);
  }

  get name(): string {
    return this.machine.name;
  }

  get #driver(): VolumeManager {
    if (this.#volumes === undefined) throw new Error(`${this.name}: the driver is not registered`);
    return this.#volumes;
  }

  /** Throws what went wrong behind the scenes. */
  check(): void {
    if (this.#failure !== undefined)
      throw new Error(`${this.name}: the stand-in of kubelet failed`, { cause: this.#failure });
  }

  /** Where a pod finds its volume; throws when it has none. */
  volumePath(podUid: string): string {
    const path = this.#driver.pathOf(podUid);
    if (path === undefined) throw new Error(`${this.name}: pod ${podUid} has no volume`);
    return path;
  }

  stats(podUid: string): Promise<VolumeStats> {
    return this.#driver.stats(podUid);
  }

  expand(podUid: string, bytes: number): Promise<number> {
    return this.#driver.expand(podUid, bytes);
  }

  async join(): Promise<void> {
    await this.#node.join();
    this.#run(() => this.#node.keep(this.#end.signal));
  }

  /** A token as kubelet asks for it: bound to a pod on this node. */
  async tokenFor(pod: Pod): Promise<string> {
    const { namespace, name, uid } = pod.metadata;
    const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name, uid };
    // For the API server's own audience: nodes may name only those that the pod's volumes name.
    const spec = { audiences: [], expirationSeconds: 3607, boundObjectRef };
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${pod.spec.serviceAccountName ?? ''}/token`;
    const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec };
    const { status } = await waitFor(`a token for ${name}`, TOKEN_LIMIT_MS, () => this.#api.create(path, request));
    return String(status?.['token']);
  }

  /** The pods of this node, as its kubelet sees them. */
  async pods(): Promise<readonly Pod[]> {
    return (await this.#api.list(PODS, this.#ofThisNode)).items as readonly Pod[];
  }

  get #ofThisNode(): Record<string, string> {
    return { fieldSelector: `spec.nodeName=${this.name}` };
  }

  /** What kubelet and node-driver-registrar do with a driver that answers; pods are carried from now on. */
  async register({ csi }: NodeRole): Promise<void> {
    const { nodeId, accessibleTopology } = await csi.node.NodeGetInfo({});
    const { segments } = accessibleTopology ?? {};
    if (nodeId === undefined || segments?.[TOPOLOGY_KEY] === undefined)
      throw new Error(`${this.name}: NodeGetInfo names no node or no topology`);
    await this.#node.register(nodeId, segments);
    const volumes = new VolumeManager({ machine: this.machine, api: this.#api, node: this.#node, csi });
    this.#volumes = volumes;
    const { signal } = this.#end;
    this.#run(() => volumes.keepStats(signal));
    this.#run(() => follow(this.#api, PODS, this.#ofThisNode, signal, (event) => this.#see(event)));
  }

  async stop(): Promise<void> {
    this.#end.abort();
    for (const pod of this.#pods.values()) pod.abort();
    // A call under way ends when its client is closed.
    await Promise.race([Promise.all(this.#tasks), sleep(STOP_MS, undefined, { ref: false })]);
    this.#api.client.close();
  }

  /** In the background; a failure is kept for `check`. */
  #run(work: () => Promise<void>): void {
    const task: Promise<void> = work()
      .catch((error: unknown) => {
        if (!this.#end.signal.aborted) this.#failure ??= error;
      })
      .finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  #see({ type, object }: WatchEvent): void {
    const pod = object as Pod;
    const { uid, deletionTimestamp } = pod.metadata;
    const isToGo = type === 'DELETED' || deletionTimestamp !== undefined;
    if (!this.#pods.has(uid) && type !== 'DELETED') {
      const gone = new AbortController();
      this.#pods.set(uid, gone);
      this.#run(() => this.#carry(pod, gone.signal));
    }
    if (isToGo) this.#pods.get(uid)?.abort();
  }

  async #carry(pod: Pod, gone: AbortSignal): Promise<void> {
    try {
      await this.#bringUp(pod, gone);
      if (!gone.aborted) await once(gone, 'abort');
    } catch (error) {
      if (!gone.aborted) throw error;
    }
    if (!this.#end.signal.aborted) await this.#takeDown(pod);
  }

  async #bringUp(pod: Pod, gone: AbortSignal): Promise<void> {
    if (claimOf(pod) !== undefined) await this.#driver.mount(pod, gone);
    const condition = (type: string) => ({ type, status: 'True', lastTransitionTime: new Date().toISOString() });
    await this.#api.patch(`${podPath(pod)}/status`, {
      status: {
        phase: 'Running',
        startTime: new Date().toISOString(),
        conditions: ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map(condition),
      },
    });
  }

  /** The pod goes when nothing of it is mounted; its volume stays in use until it is unstaged. */
  async #takeDown(pod: Pod): Promise<void> {
    const { uid } = pod.metadata;
    const { signal } = this.#end;
    await this.#driver.unmount(uid, signal);
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0, preconditions: { uid } };
    await this.#api.delete(podPath(pod), body).catch((error: unknown) => {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    });
    await this.#driver.release(uid, signal);
  }
}
