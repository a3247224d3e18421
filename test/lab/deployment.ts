/**
 * The driver on a booted lab: the API server's stand-in and the controller role on the host, the node role in every guest, and CSI
 * clients for their sockets. What kubelet writes about nodes is written here.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CsiClient } from '../csi/client.ts';
import { connectCsi } from '../csi/client.ts';
import type { ApiServer } from './api-server/index.ts';
import { createApiServer } from './api-server/index.ts';
import type { Cluster } from './cluster.ts';
import type { GuestProcess, Machine } from './machine.ts';
import { REPO_ROOT } from './paths.ts';
import { spawnBound } from './processes.ts';
import { kubectl } from './kubectl.ts';

export const PROGRAM = join(REPO_ROOT, 'dist', 'meshstor.mjs');
/** The node role's socket in a guest. */
export const GUEST_SOCKET = '/run/meshstor/csi.sock';
let deployments = 0;
const SERVES_LIMIT_MS = 180_000;

export interface DeploymentOptions {
  /** Selectors given to every node role; default: all of the lab's drives. */
  readonly driveSelectors?: readonly string[];
  /** Given to every node role, or by the node's name; default: true. */
  readonly initializeBlank?: boolean | ((node: string) => boolean);
  /** Entry point of the node role; default: the program as it ships. */
  readonly nodeEntry?: readonly string[];
  readonly nodeEnv?: Readonly<Record<string, string>>;
  /** Starts the node role, instead of the entry point with the flags that the other options make. */
  readonly nodeCommand?: (machine: Machine, kubeconfig: string) => readonly string[];
  /** Where that serves its socket, in a guest; default `GUEST_SOCKET`. */
  readonly nodeSocket?: string;
}

/** The node role in one guest. */
export class NodeRole {
  readonly machine: Machine;
  readonly csi: CsiClient;
  readonly #options: DeploymentOptions;
  readonly #kubeconfig: string;
  #process: GuestProcess | undefined;
  #starts = 0;

  constructor(machine: Machine, csi: CsiClient, kubeconfig: string, options: DeploymentOptions) {
    this.machine = machine;
    this.csi = csi;
    this.#kubeconfig = kubeconfig;
    this.#options = options;
  }

  get process(): GuestProcess {
    if (this.#process === undefined) throw new Error(`${this.machine.name}: the node role does not run`);
    return this.#process;
  }

  /** How the role is started: program and flags. */
  get command(): readonly string[] {
    const { driveSelectors = ['model=QEMU*'], initializeBlank = true, nodeEntry = [PROGRAM] } = this.#options;
    if (this.#options.nodeCommand !== undefined) return this.#options.nodeCommand(this.machine, this.#kubeconfig);
    const flags = [
      'node',
      '--node-name',
      this.machine.name,
      '--csi-endpoint',
      `unix://${GUEST_SOCKET}`,
      '--kubeconfig',
      this.#kubeconfig,
    ];
    const drives = driveSelectors.flatMap((selector) => ['--drive-selector', selector]);
    const blank = typeof initializeBlank === 'function' ? initializeBlank(this.machine.name) : initializeBlank;
    return [...nodeEntry, ...flags, ...drives, ...(blank ? ['--initialize-blank'] : [])];
  }

  /** Starts the process and waits until its socket answers. `env` is added to the deployment's. */
  async start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.launch(env);
    await untilServes(`node role of ${this.machine.name}`, this.csi);
  }

  /** Starts the process. */
  async launch(env: Readonly<Record<string, string>> = {}): Promise<GuestProcess> {
    this.#starts += 1;
    await this.machine.run('mkdir -p /run/meshstor');
    this.#process = await this.machine.start(`meshstor-${deployments}-${this.#starts}`, this.command, {
      env: { ...this.#options.nodeEnv, ...env },
    });
    return this.#process;
  }

  /** As a crash would end it. */
  async kill(): Promise<void> {
    await this.process.kill('SIGKILL');
  }

  async stop(): Promise<void> {
    if (this.#process === undefined) return;
    await this.#process.kill('SIGTERM');
    this.#process = undefined;
  }
}

async function untilServes(what: string, csi: CsiClient): Promise<void> {
  const deadline = Date.now() + SERVES_LIMIT_MS;
  for (;;) {
    try {
      await csi.identity.Probe({});
      return;
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`${what}: its CSI socket does not answer`, { cause: error });
      await sleep(200);
    }
  }
}

/** What kubelet would write: the Node with its address, machine and readiness. */
async function registerNode(api: ApiServer, machine: Machine): Promise<void> {
  const systemUUID = (await machine.run('cat /sys/class/dmi/id/product_uuid')).trim();
  const labels = { 'kubernetes.io/hostname': machine.name, 'topology.meshstor.io/node': machine.name };
  const status = {
    addresses: [{ type: 'InternalIP', address: machine.address }],
    nodeInfo: {
      systemUUID,
      machineID: '',
      bootID: '',
      kernelVersion: '',
      osImage: '',
      containerRuntimeVersion: '',
      kubeletVersion: '',
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: 'amd64',
    },
    conditions: [
      {
        type: 'Ready',
        status: 'True',
        reason: 'KubeletReady',
        message: '',
        lastHeartbeatTime: new Date().toISOString(),
        lastTransitionTime: new Date().toISOString(),
      },
    ],
  };
  const made = await send(api, 'POST', '/api/v1/nodes', {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: machine.name, labels },
  });
  await send(api, 'PUT', `/api/v1/nodes/${machine.name}/status`, { ...made, status });
}

async function send(api: ApiServer, method: string, path: string, body: unknown): Promise<Record<string, unknown>> {
  const answer = await fetch(`${api.url}${path}`, {
    method,
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}

/** What scenarios look at. */
export interface ApiObject {
  readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: Readonly<Record<string, unknown>>;
  readonly status?: {
    readonly phase?: string;
    readonly mdState?: string;
    readonly ready?: string;
    readonly nodeName?: string;
    readonly partitions?: readonly {
      readonly nodeID: string;
      readonly state: string;
      readonly partitionUUID: string;
      readonly serial?: string;
    }[];
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason: string;
      readonly message: string;
    }[];
  };
}

export class Deployment {
  readonly api: ApiServer;
  readonly kubeconfig: string;
  readonly controller: CsiClient;
  /** Path of the controller's CSI socket on the host. */
  readonly controllerSocket: string;
  readonly nodes: ReadonlyMap<string, NodeRole>;
  readonly #startController: () => ChildProcess;
  #controllerProcess: ChildProcess;
  readonly #folder: string;

  constructor(parts: {
    api: ApiServer;
    kubeconfig: string;
    controller: CsiClient;
    controllerSocket: string;
    nodes: ReadonlyMap<string, NodeRole>;
    startController: () => ChildProcess;
    folder: string;
  }) {
    this.api = parts.api;
    this.kubeconfig = parts.kubeconfig;
    this.controller = parts.controller;
    this.controllerSocket = parts.controllerSocket;
    this.nodes = parts.nodes;
    this.#startController = parts.startController;
    this.#controllerProcess = parts.startController();
    this.#folder = parts.folder;
  }

  node(name: string): NodeRole {
    const role = this.nodes.get(name);
    if (role === undefined) throw new Error(`the deployment has no node ${name}`);
    return role;
  }

  kubectl(...args: readonly string[]): Promise<string> {
    return kubectl(this.kubeconfig, args);
  }

  /** An object of the driver's API group as it is now; undefined when there is none. */
  async object(plural: 'meshstorvolumes' | 'meshstornodedevices', name: string): Promise<ApiObject | undefined> {
    const answer = await fetch(`${this.api.url}/apis/csi.meshstor.io/v1alpha1/${plural}/${name}`);
    if (answer.status === 404) return undefined;
    return (await answer.json()) as ApiObject;
  }

  /** All objects of a kind. */
  async list(plural: 'meshstorvolumes' | 'meshstornodedevices'): Promise<readonly ApiObject[]> {
    const answer = await fetch(`${this.api.url}/apis/csi.meshstor.io/v1alpha1/${plural}`);
    return ((await answer.json()) as { readonly items: readonly ApiObject[] }).items;
  }

  /** As an administrator taints a node. */
  async setTaints(node: string, taints: readonly object[]): Promise<void> {
    const path = `/api/v1/nodes/${node}`;
    const now = (await (await fetch(`${this.api.url}${path}`)).json()) as { readonly spec?: object };
    await send(this.api, 'PUT', path, { ...now, spec: { ...now.spec, taints } });
  }

  /** Puts an earlier status of a volume in the place of the present one, as an API server does that was restored from a backup. */
  async restoreStatus(name: string, status: ApiObject['status']): Promise<void> {
    const path = `/apis/csi.meshstor.io/v1alpha1/meshstorvolumes/${name}/status`;
    const now = await this.object('meshstorvolumes', name);
    await send(this.api, 'PUT', path, { ...now, status });
  }

  /** As a crash would end it. */
  async killController(): Promise<void> {
    if (this.#controllerProcess.exitCode !== null || this.#controllerProcess.signalCode !== null) return;
    const ended = once(this.#controllerProcess, 'exit');
    this.#controllerProcess.kill('SIGKILL');
    await ended;
  }

  /** Again, after it was killed. Does not wait until it serves. */
  restartController(): void {
    this.#controllerProcess = this.#startController();
  }

  async stop(): Promise<void> {
    await Promise.all([...this.nodes.values()].map((role) => role.stop()));
    for (const role of this.nodes.values()) role.csi.close();
    this.controller.close();
    if (this.#controllerProcess.exitCode === null && this.#controllerProcess.signalCode === null) {
      this.#controllerProcess.kill('SIGTERM');
      await once(this.#controllerProcess, 'exit');
    }
    await this.api.close();
    await rm(this.#folder, { recursive: true, force: true });
    folders.delete(this.#folder);
  }
}

/** Of deployments that were not ended. */
const folders = new Set<string>();
process.on('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** Starts everything and waits until every role serves and every drive is listed as usable or with its reason. */
export async function deploy(cluster: Cluster, options: DeploymentOptions = {}): Promise<Deployment> {
  const folder = await mkdtemp(join(tmpdir(), 'meshstor-lab-'));
  folders.add(folder);
  const api = await createApiServer({ host: cluster.hostAddress, port: 0 });
  // A name of its own each time: guests keep what they have read of a file of the host.
  deployments += 1;
  const kubeconfig = join(cluster.results, `kubeconfig-${deployments}`);
  await api.writeKubeconfig(kubeconfig);
  await Promise.all(cluster.nodes.map((machine) => registerNode(api, machine)));
  const socket = join(folder, 'controller.sock');
  const log = openSync(join(cluster.results, 'controller.log'), 'a');
  const flags = [
    'controller',
    '--csi-endpoint',
    `unix://${socket}`,
    '--kubeconfig',
    kubeconfig,
    '--metrics-address',
    `${cluster.hostAddress}:0`,
  ];
  const startController = (): ChildProcess =>
    spawnBound(process.execPath, [PROGRAM, ...flags], { stdio: ['ignore', log, log] });
  const controller = connectCsi(socket);
  const nodes = new Map<string, NodeRole>();
  for (const machine of cluster.nodes) {
    const forwarded = await machine.forwardUnixSocket(options.nodeSocket ?? GUEST_SOCKET);
    nodes.set(machine.name, new NodeRole(machine, connectCsi(forwarded), kubeconfig, options));
  }
  const deployment = new Deployment({
    api,
    kubeconfig,
    controller,
    controllerSocket: socket,
    nodes,
    startController,
    folder,
  });
  try {
    await Promise.all([untilServes('controller role', controller), ...[...nodes.values()].map((role) => role.start())]);
    return deployment;
  } catch (error) {
    await deployment.stop();
    throw error;
  }
}
