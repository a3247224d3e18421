/**
 * The driver on a booted lab as Kubernetes runs it: a real control plane at the host's address, the chart installed with helm,
 * the controller role and its sidecars on the host with the arguments of the chart's pod, the node role in every guest. Each has
 * the token of its own pod. Only kubelet and node-driver-registrar are played.
 */
import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Api, DEVICES, VOLUMES } from '../../kube/contract/server.ts';
import type { Component } from '../../kube/real/component.ts';
import { startComponent, untilReady } from '../../kube/real/component.ts';
import type { ControlPlane } from '../../kube/real/control-plane.ts';
import { startControlPlane } from '../../kube/real/control-plane.ts';
import { toolPath } from '../../kube/real/tools.ts';
import type { CsiClient } from '../../csi/client.ts';
import { connectCsi } from '../../csi/client.ts';
import type { Cluster } from '../cluster.ts';
import type { ApiObject } from '../deployment.ts';
import { GUEST_SOCKET, NodeRole, PROGRAM } from '../deployment.ts';
import { kubectl } from '../kubectl.ts';
import { REPO_ROOT } from '../paths.ts';
import type { DriverCalls } from './driver-log.ts';
import { driverCalls } from './driver-log.ts';
import { NodeAgent } from './node-agent.ts';
import type { Pod } from './pod.ts';
import { waitFor } from './wait-for.ts';

const CHART = join(REPO_ROOT, 'deploy', 'chart');
const NAMESPACE = 'storage';
const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`;
const CHART_SOCKET = '/csi/csi.sock';
const LIMIT_MS = 180_000;
/** The sidecars of the controller's pod that run here, by the names of their containers. */
const SIDECARS = { provisioner: 'csi-provisioner', attacher: 'csi-attacher', resizer: 'csi-resizer' } as const;

let count = 0;

export class KubernetesDeployment {
  readonly plane: ControlPlane;
  readonly controller: CsiClient;
  readonly agents = new Map<string, NodeAgent>();
  readonly #cluster: Cluster;
  readonly #folder = mkdtempSync(join(tmpdir(), 'meshstor-lab-'));
  readonly #roles = new Map<string, NodeRole>();
  readonly #components: Component[] = [];

  private constructor(cluster: Cluster, plane: ControlPlane) {
    this.#cluster = cluster;
    this.plane = plane;
    this.controller = connectCsi(this.#socket);
    for (const machine of cluster.nodes) {
      const kubeconfig = plane.kubeconfigFor(machine.name, plane.tokenOf(userOf(machine.name)));
      this.agents.set(machine.name, new NodeAgent(machine, new Api(kubeconfig)));
    }
  }

  /** The control plane with the lab's nodes in it, ready; nothing of the driver yet. */
  static async start(cluster: Cluster): Promise<KubernetesDeployment> {
    count += 1;
    const users = Object.fromEntries(cluster.nodes.map(({ name }) => [userOf(name), ['system:nodes']]));
    const plane = await startControlPlane({ host: cluster.hostAddress, controllers: true, users });
    const deployment = new KubernetesDeployment(cluster, plane);
    try {
      await Promise.all([...deployment.agents.values()].map((agent) => agent.join()));
      return deployment;
    } catch (error) {
      await deployment.stop();
      throw error;
    }
  }

  get api(): Api {
    return this.plane.api;
  }

  get #socket(): string {
    return join(this.#folder, 'controller.sock');
  }

  node(name: string): NodeRole {
    const role = this.#roles.get(name);
    if (role === undefined) throw new Error(`the deployment has no node ${name}`);
    return role;
  }

  agent(name: string): NodeAgent {
    const agent = this.agents.get(name);
    if (agent === undefined) throw new Error(`the deployment has no node ${name}`);
    return agent;
  }

  kubectl(...args: readonly string[]): Promise<string> {
    return kubectl(this.plane.kubeconfig, args);
  }

  async list(plural: 'meshstorvolumes' | 'meshstornodedevices'): Promise<readonly ApiObject[]> {
    return (await this.api.list(plural === 'meshstorvolumes' ? VOLUMES : DEVICES)).items;
  }

  async object(plural: 'meshstorvolumes' | 'meshstornodedevices', name: string): Promise<ApiObject | undefined> {
    return (await this.list(plural)).find(({ metadata }) => metadata.name === name);
  }

  /** The chart as a user installs it. */
  async installChart(): Promise<void> {
    const registries = 'image.registry=registry.example.org,sidecars.registry=mirror.example.org:5000';
    const drives = 'node.driveSelectors[0]=model=QEMU*,node.initializeBlank=true';
    const values = `${registries},${drives},controller.replicaCount=1`;
    const args = ['install', 'release', CHART, '--namespace', NAMESPACE, '--create-namespace', '--set', values];
    // Settings of whoever runs the lab do not count.
    const own = {
      HELM_CONFIG_HOME: '/nonexistent',
      HELM_CACHE_HOME: '/nonexistent',
      KUBECONFIG: this.plane.kubeconfig,
    };
    await promisify(execFile)(toolPath('helm'), args, { timeout: LIMIT_MS, env: { ...process.env, ...own } });
    await waitFor('our kinds to be served', LIMIT_MS, () => this.api.list(VOLUMES));
  }

  /** The node role in every guest, with the token of the daemon set's pod there; registered with kubelet's stand-in. */
  async startNodes(): Promise<void> {
    await Promise.all(
      [...this.agents.values()].map(async (agent) => {
        const pod = await waitFor(`the driver's pod on ${agent.name}`, LIMIT_MS, async () =>
          (await agent.pods()).find(({ metadata }) => metadata.name.startsWith('release-meshstor-node-')),
        );
        const kubeconfig = await this.#kubeconfigOf(pod);
        const forwarded = await agent.machine.forwardUnixSocket(GUEST_SOCKET);
        const role = new NodeRole(agent.machine, connectCsi(forwarded), kubeconfig, {});
        this.#roles.set(agent.name, role);
        await role.start();
        await agent.register(role);
      }),
    );
  }

  /** The controller role and its sidecars with the arguments of the chart's pod; resolves to the names of the sidecars. */
  async startController(): Promise<readonly string[]> {
    const pod = await waitFor("the controller's pod", LIMIT_MS, async () => {
      const query = { labelSelector: 'app.kubernetes.io/component=controller' };
      const pods = (await this.api.list(PODS, query)).items as readonly Pod[];
      return pods.find(({ spec }) => spec.nodeName !== undefined);
    });
    const kubeconfig = await this.#kubeconfigOf(pod);
    const program = await this.#startContainer(pod, kubeconfig, 'meshstor', PROGRAM);
    await untilReady(program, () => this.#serves(), LIMIT_MS);
    for (const [name, tool] of Object.entries(SIDECARS)) {
      await this.#startContainer(pod, kubeconfig, name, toolPath(tool));
    }
    return Object.values(SIDECARS);
  }

  async #startContainer(pod: Pod, kubeconfig: string, name: string, path: string): Promise<Component> {
    const container = pod.spec.containers.find((one) => one.name === name);
    if (container?.args === undefined) throw new Error(`the controller's pod has no container ${name}`);
    const args = container.args.map((arg) =>
      arg.replace(CHART_SOCKET, this.#socket).replace('$(NAMESPACE)', NAMESPACE),
    );
    const env = [`POD_NAME=${pod.metadata.name}`, `POD_NAMESPACE=${NAMESPACE}`, `NAMESPACE=${NAMESPACE}`];
    const all = [...env, path, ...args, `--kubeconfig=${kubeconfig}`];
    const component = await startComponent(controllerLabel(name), 'env', all, this.#cluster.results);
    this.#components.push(component);
    return component;
  }

  /** What the logs of the controller and of the nodes tell of calls. */
  calls(): readonly DriverCalls[] {
    const controller = join(this.#cluster.results, `${controllerLabel('meshstor')}.log`);
    const files = [controller, ...[...this.#roles.values()].map((role) => role.process.logFile)];
    return files.map((file) => driverCalls(readFileSync(file, 'utf8')));
  }

  async #serves(): Promise<boolean> {
    await this.controller.identity.Probe({});
    return true;
  }

  /** In the folder of results, which guests see, under a name of its own: they keep what they have read of a file. */
  async #kubeconfigOf(pod: Pod): Promise<string> {
    const token = await this.agent(pod.spec.nodeName ?? '').tokenFor(pod);
    const made = this.plane.kubeconfigFor(pod.metadata.name, token);
    const path = join(this.#cluster.results, `kubeconfig-kubernetes-${count}-${pod.metadata.name}`);
    copyFileSync(made, path);
    return path;
  }

  /** Throws when a component has ended or a stand-in has failed. */
  check(): void {
    for (const agent of this.agents.values()) agent.check();
    const ended = this.#components.find(({ runs }) => !runs);
    if (ended !== undefined) throw new Error(`${ended.name} has ended:\n${ended.log()}`);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.agents.values()].map((agent) => agent.stop()));
    await Promise.all([...this.#roles.values()].map((role) => role.stop()));
    for (const { csi } of this.#roles.values()) csi.close();
    await Promise.all(this.#components.map((component) => component.stop()));
    this.controller.close();
    await this.#saveLogs();
    await this.plane.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #saveLogs(): Promise<void> {
    const events = await this.kubectl('get', 'events', '-A', '-o', 'wide').catch(String);
    writeFileSync(join(this.#cluster.results, `kubernetes-${count}-events.txt`), events);
    for (const name of readdirSync(this.plane.folder)) {
      if (!name.endsWith('.log')) continue;
      copyFileSync(join(this.plane.folder, name), join(this.#cluster.results, `kubernetes-${count}-${name}`));
    }
  }
}

/** Of this deployment's log. */
function controllerLabel(container: string): string {
  return `controller-${count}-${container}`;
}

/** The user that a node's kubelet is. */
function userOf(node: string): string {
  return `system:node:${node}`;
}
