/** A real control plane with node roles over fake kernels in it, and replicas of the controller as processes. */
import { ApiError, createKubeClient } from '../../../src/kube/index.ts';
import { FakeFabric } from '../../fakes/fake-fabric.ts';
import type { Wire } from '../contract/server.ts';
import { VOLUMES } from '../contract/server.ts';
import { until } from '../harness.ts';
import type { NodeRole } from '../node-roles.ts';
import { addressOf, countUsableDrives, nodeObject, startNodeRole, stopNodeRole } from '../node-roles.ts';
import type { ApiRelay } from './api-relay.ts';
import type { Accounts } from './chart-accounts.ts';
import type { ControlPlane } from './control-plane.ts';
import { startControlPlane } from './control-plane.ts';
import type { ControllerProcessOptions } from './controller-process.ts';
import { ControllerProcess } from './controller-process.ts';
import { VolumeHistory } from './volume-history.ts';

const LIMIT_MS = 60_000;
/** Events that name what happened so that each has a text of its own. */
const ONCE: ReadonlySet<string> = new Set(['Attached', 'Expanded']);

interface Status {
  readonly phase?: string;
  readonly nodeName?: string;
  readonly attachmentEpoch?: number;
  readonly attachmentID?: string;
  readonly servedBytes?: number;
  readonly partitions?: readonly { readonly state: string; readonly nodeID: string }[];
}

interface Told {
  readonly reason: string;
  readonly message: string;
  readonly count?: number;
  readonly involvedObject: { readonly uid: string };
}

function stagingPathOf(name: string): string {
  return `/var/lib/kubelet/plugins/kubernetes.io/csi/${name}`;
}

export interface ReplicasOptions<Given extends Accounts> {
  /** Whom the roles run as; default: as the administrator. The nodes' objects are there by then. */
  readonly accounts?: (plane: ControlPlane) => Promise<Given>;
  /** Of each node; one by default. */
  readonly drives?: number;
}

export class Replicas<Given extends Accounts = Accounts> {
  readonly plane: ControlPlane;
  readonly accounts: Given | undefined;
  readonly history: VolumeHistory;
  readonly nodes: ReadonlyMap<string, NodeRole>;
  /** Between the node roles and the API server. */
  readonly nodeRelay: ApiRelay;
  readonly #controllers: ControllerProcess[] = [];
  #started = 0;

  private constructor(
    plane: ControlPlane,
    names: readonly string[],
    nodeRelay: ApiRelay,
    accounts: Given | undefined,
    drives: number,
  ) {
    this.plane = plane;
    this.nodeRelay = nodeRelay;
    this.accounts = accounts;
    const fabric = new FakeFabric();
    const start = (name: string, index: number): NodeRole => {
      const token = accounts === undefined ? plane.tokenOf('admin') : accounts.nodes.get(name);
      if (token === undefined) throw new Error(`no account for ${name}`);
      const kubeconfig = plane.kubeconfigFor(`role-on-${name}`, token, nodeRelay.url);
      const client = createKubeClient({ kubeconfig });
      return startNodeRole({ name, address: addressOf(index), fabric, client, drives });
    };
    this.nodes = new Map(names.map((name, index) => [name, start(name, index)]));
    this.history = new VolumeHistory(plane.kubeconfig);
  }

  /** With every drive ready to be placed on. No controller yet. */
  static async start<Given extends Accounts = Accounts>(
    names: readonly string[],
    options: ReplicasOptions<Given> = {},
  ): Promise<Replicas<Given>> {
    const plane = await startControlPlane();
    await plane.installDefinitions();
    for (const [index, name] of names.entries()) {
      await plane.api.create('/api/v1/nodes', nodeObject(name, addressOf(index)));
    }
    const accounts = await options.accounts?.(plane);
    const { drives = 1 } = options;
    const replicas = new Replicas(plane, names, await plane.newRelay(), accounts, drives);
    await replicas.history.ready;
    const areUsable = async () => (await countUsableDrives(plane.api)) === names.length * drives;
    await until('every drive is usable', areUsable, LIMIT_MS);
    return replicas;
  }

  async startController(options: ControllerProcessOptions = {}): Promise<ControllerProcess> {
    this.#started += 1;
    const own = this.accounts === undefined ? {} : { token: this.accounts.controller };
    const name = `controller-${this.#started}`;
    const controller = await ControllerProcess.start(this.plane, name, { ...own, ...options });
    this.#controllers.push(controller);
    return controller;
  }

  /** What the API says now; undefined when there is none. */
  async read(name: string): Promise<Wire | undefined> {
    try {
      return await this.plane.api.get(`${VOLUMES}/${name}`);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined;
      throw error;
    }
  }

  async status(name: string): Promise<Status> {
    return ((await this.read(name))?.status ?? {}) as Status;
  }

  /** All of its holders have made their partitions. */
  async untilMade(name: string): Promise<void> {
    const isMade = async (): Promise<boolean> => {
      const { partitions = [] } = await this.status(name);
      return partitions.length > 0 && partitions.every(({ state }) => state === 'Created');
    };
    await until(`the partitions of ${name}`, isMade, LIMIT_MS);
  }

  async untilGone(name: string): Promise<void> {
    await until(`${name} to be gone`, async () => (await this.read(name)) === undefined, LIMIT_MS);
    // The history hears of it by a watch of its own.
    await until(`the end of ${name}`, () => this.history.livesOf(name).every(({ isOver }) => isOver), LIMIT_MS);
  }

  /** Mounts it on a node as kubelet does after an attach. */
  async stage(name: string, node: string): Promise<void> {
    const { attachmentEpoch = 0, attachmentID = '' } = await this.status(name);
    const request = {
      volumeId: name,
      stagingPath: stagingPathOf(name),
      access: { kind: 'mount' as const, fsType: 'xfs' as const, mountFlags: [] },
      readOnly: false,
      singleWriter: true,
      publishContext: { epoch: String(attachmentEpoch), attachmentID },
    };
    await this.#node(node).role.operations.stage(request, AbortSignal.timeout(LIMIT_MS));
  }

  async unstage(name: string, node: string): Promise<void> {
    await this.#node(node).role.operations.unstage(name, stagingPathOf(name), AbortSignal.timeout(LIMIT_MS));
  }

  /** Mounts it and lets it go again. */
  async use(name: string, node: string): Promise<void> {
    await this.stage(name, node);
    await this.unstage(name, node);
  }

  /** What the array of the only volume that is mounted there has, and its filesystem. */
  async servedBytes(name: string, node: string): Promise<readonly (number | undefined)[]> {
    const { kernel } = this.#node(node).fake;
    const [array] = await kernel.mdArrays();
    return [array?.sizeBytes, (await kernel.filesystemUsage(stagingPathOf(name), 1000)).totalBytes];
  }

  #node(name: string): NodeRole {
    const found = this.nodes.get(name);
    if (found === undefined) throw new Error(`no node ${name}`);
    return found;
  }

  /** Attachments, each with its epoch, and expansions, each with its size, that were told of more than once. */
  async toldTwice(): Promise<readonly string[]> {
    const { items } = await this.plane.api.list('/api/v1/namespaces/default/events');
    const told = (items as unknown as readonly Told[]).filter(({ reason }) => ONCE.has(reason));
    const lines = told.flatMap(({ involvedObject: { uid }, message, count = 1 }) =>
      Array.from({ length: count }, () => `${uid}: ${message}`),
    );
    return lines.filter((line, index) => lines.indexOf(line) !== index);
  }

  /** What there is of volumes in the kernels and on the drives. */
  async remains(): Promise<readonly string[]> {
    const found = [...this.nodes].map(async ([name, { fake }]) => {
      const { kernel } = fake;
      const tables = await Promise.all(fake.disks.disks.map(({ name: drive }) => kernel.readGpt(`/dev/${drive}`)));
      const legs = await kernel.dmDevices('meshstor-');
      const { subsystems } = await kernel.nvmetState();
      const arrays = await kernel.mdArrays();
      return [
        ...tables.flatMap(({ partitions }) => partitions).map((partition) => `${name}: partition ${partition.name}`),
        ...legs.map((leg) => `${name}: leg ${leg.name}`),
        ...subsystems.map((subsystem) => `${name}: export ${subsystem.nqn}`),
        ...arrays.map((array) => `${name}: array ${array.name}`),
      ];
    });
    return (await Promise.all(found)).flat();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#controllers.map((controller) => controller.end()));
    await Promise.all([...this.nodes.values()].map(stopNodeRole));
    await this.history.stop();
    await this.nodeRelay.close();
    await this.plane.stop();
  }
}
