/**
 * A whole cluster in one process: the real node roles and the real controller over fake kernels and a fake API. Nothing but the
 * kernel, the API and the three programs is a stand-in.
 */
import type { ClassParameters } from '../../src/controller/operations.ts';
import { startController } from '../../src/controller/controller.ts';
import type { Controller } from '../../src/controller/controller.ts';
import type { MeshStorNodeDevice } from '../../src/api/node-device.ts';
import { volumeIdFor } from '../../src/api/names.ts';
import type { MeshStorVolume, VolumeMode } from '../../src/api/volume.ts';
import { WorkQueue, systemClock } from '../../src/kube/index.ts';
import { countConnects, countSteps, showNodeMetrics } from '../../src/main/node-metrics.ts';
import type { OnStep, StepDone } from '../../src/node/converge.ts';
import type { RunningNode } from '../../src/node/node.ts';
import { startNode } from '../../src/node/node.ts';
import type { PublishRequest, StageRequest } from '../../src/node/operations.ts';
import type { Processes } from '../../src/node/openers.ts';
import type { Rests } from '../../src/node/path-memory.ts';
import type { Preflight } from '../../src/node/preflight-watch.ts';
import type { Metrics } from '../../src/observability/metrics.ts';
import type { Log } from '../../src/support/log.ts';
import { GIB, MIB } from '../../src/support/units.ts';
import { FakeFabric } from '../fakes/fake-fabric.ts';
import { FakeNode } from '../fakes/fake-node.ts';
import { FakeClaimedVolumes, FakeNodeStore } from '../fakes/fake-nodes.ts';
import { FakeEventRecorder, FakeServer, FakeStore } from '../fakes/fake-store.ts';
import { FIT, machineOf, newVolume, nodeParts, stageOf } from './role-parts.ts';

export const SILENT: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

const STAGING = '/var/lib/kubelet/plugins/kubernetes.io/csi';

interface Member {
  readonly fake: FakeNode;
  role: RunningNode;
}

export interface InProcessOptions {
  readonly log?: Log;
  readonly onStep?: (node: string, done: StepDone) => void;
  readonly startGraceMs?: number;
  /** Default: so long that nothing is dropped by time alone. */
  readonly dropGraceMs?: number;
  /** Default: that of a node that runs. */
  readonly goneGraceMs?: number;
  /** Default: those of a node that runs, a second and more. */
  readonly rests?: Rests;
  readonly drivesPerNode?: number;
  readonly preflight?: Preflight;
  /** The controller's time that nobody sets. */
  readonly monotonicMs?: () => number;
  /** Default: nobody has anything open. */
  readonly findOpeners?: (node: string, devNumber: string) => Promise<readonly string[]>;
  /** What each role counts into. */
  readonly metrics?: (node: string) => Metrics;
}

export class InProcessCluster {
  readonly volumes = new FakeServer<MeshStorVolume>();
  readonly devices = new FakeServer<MeshStorNodeDevice>();
  readonly nodeStore = new FakeNodeStore();
  readonly events = new FakeEventRecorder();
  readonly fabric = new FakeFabric();
  /** Nodes on which whoever used a volume was killed. */
  readonly killed = new Set<string>();
  readonly controller: Controller;
  readonly #members = new Map<string, Member>();
  readonly #options: InProcessOptions;

  constructor(names: readonly string[], options: InProcessOptions = {}) {
    this.#options = options;
    names.forEach((name, index) => this.#addNode(name, `10.0.0.${index + 1}`));
    const log = options.log ?? SILENT;
    this.controller = startController({
      volumes: new FakeStore(this.volumes),
      devices: new FakeStore(this.devices),
      nodes: this.nodeStore,
      events: this.events,
      claimed: new FakeClaimedVolumes(),
      clock: systemClock,
      ...(options.monotonicMs === undefined ? {} : { monotonicMs: options.monotonicMs }),
      log,
      newQueue: (work) =>
        new WorkQueue({ reconciler: { reconcile: (name) => work.reconcile(name) }, name: 'volumes', log }),
    });
  }

  #addNode(name: string, address: string): void {
    const disks = Array.from({ length: this.#options.drivesPerNode ?? 1 }, (_, index) => ({
      name: `nvme${index}n1`,
      sizeBytes: 4 * GIB,
      serial: `${name}-${index}`,
    }));
    const fake = new FakeNode({ name, fabric: this.fabric, addresses: [address], disks });
    this.nodeStore.set(name, { internalIP: address, machineID: machineOf(name) });
    this.#members.set(name, { fake, role: this.#startRole(fake) });
  }

  #startRole(fake: FakeNode): RunningNode {
    const { log = SILENT, startGraceMs = 5000, dropGraceMs = 600_000 } = this.#options;
    const { name } = fake;
    const metrics = this.#options.metrics?.(name);
    const volumes = Object.assign(new FakeStore(this.volumes), { watchAgeMs: 1500 });
    const devices = Object.assign(new FakeStore(this.devices), { watchAgeMs: 1500 });
    if (metrics !== undefined) {
      const inFlight = () => [{ op: 'mdArrays', key: '', since: 0 }];
      showNodeMetrics({
        metrics,
        kernel: fake.kernel,
        inFlight,
        volumes,
        devices,
        nodeName: name,
        log: { dropped: 2 },
      });
    }
    return startNode({
      ...nodeParts(fake),
      ...(metrics === undefined ? {} : { kernel: countConnects(fake.kernel, metrics) }),
      volumes,
      devices,
      nodes: this.nodeStore,
      events: this.events,
      startGraceMs,
      dropGraceMs,
      ...(this.#options.goneGraceMs === undefined ? {} : { goneGraceMs: this.#options.goneGraceMs }),
      ...(this.#options.rests === undefined ? {} : { rests: this.#options.rests }),
      preflight: this.#options.preflight ?? FIT,
      processes: this.#processesOf(name),
      log,
      queueFor: (reconcile) =>
        new WorkQueue({
          reconciler: { reconcile },
          name: 'volumes',
          log,
          backOff: { baseMs: 20, capMs: 200 },
          onDone: (_key, outcome, ms) => metrics?.reconciled('volumes', ms / 1000, outcome !== 'done'),
        }),
      ...this.#onStep(name, metrics),
    });
  }

  /** Killed at once, if `findOpeners` says who is there. */
  #processesOf(name: string): Processes {
    const findOpeners = async (devNumber: string): Promise<readonly string[]> =>
      this.killed.has(name) ? [] : ((await this.#options.findOpeners?.(name, devNumber)) ?? []);
    return {
      findOpeners,
      killUsers: async (devNumber) => {
        const users = await findOpeners(devNumber);
        this.killed.add(name);
        return users;
      },
    };
  }

  #onStep(name: string, metrics: Metrics | undefined): { readonly onStep?: OnStep } {
    const { onStep } = this.#options;
    const told = onStep === undefined ? undefined : (done: StepDone): void => onStep(name, done);
    if (metrics !== undefined) return { onStep: countSteps(metrics, told) };
    return told === undefined ? {} : { onStep: told };
  }

  fake(name: string): FakeNode {
    return this.#member(name).fake;
  }

  role(name: string): RunningNode {
    return this.#member(name).role;
  }

  #member(name: string): Member {
    const member = this.#members.get(name);
    if (member === undefined) throw new Error(`no node ${name}`);
    return member;
  }

  /** The process is killed and started again; its kernel goes on. */
  restart(name: string): void {
    const member = this.#member(name);
    void member.role.stop();
    member.fake.restartProcess();
    member.role = this.#startRole(member.fake);
  }

  async create(
    name: string,
    consumer: string,
    parameters: Partial<ClassParameters> = {},
    sizeBytes = 512 * MIB,
    volumeMode: VolumeMode = 'Filesystem',
  ): Promise<string> {
    const request = newVolume(name, consumer, { parameters, requiredBytes: sizeBytes, volumeMode });
    return (await this.controller.operations.createVolume(request)).metadata.name;
  }

  async stageRequest(volumeId: string, node: string): Promise<StageRequest> {
    const published = await this.controller.operations.publishVolume(volumeId, node);
    return stageOf(volumeId, published, `${STAGING}/${volumeId}`);
  }

  async unstage(volumeId: string, node: string): Promise<void> {
    await this.role(node).operations.unstage(volumeId, `${STAGING}/${volumeId}`, AbortSignal.timeout(10_000));
  }

  volume(volumeId: string): MeshStorVolume | undefined {
    return this.volumes.objects.get(volumeIdFor(volumeId));
  }

  /** Waits until the condition holds. */
  async until(what: string, isSo: () => boolean, limitMs = 10_000): Promise<void> {
    const deadline = Date.now() + limitMs;
    while (!isSo()) {
      if (Date.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Drives listed and usable on every node. */
  async ready(): Promise<void> {
    await this.until('every drive is usable', () => {
      const usable = [...this.devices.objects.values()].filter((device) =>
        device.status?.conditions.some((condition) => condition.type === 'Usable' && condition.status === 'True'),
      );
      return usable.length === this.#members.size * (this.#options.drivesPerNode ?? 1);
    });
  }

  async remains(): Promise<readonly string[]> {
    const found = [...this.#members.values()].map(async ({ fake }) => {
      const { kernel, name } = fake;
      const table = await kernel.readGpt('/dev/nvme0n1');
      const legs = await kernel.dmDevices('meshstor-');
      const nvmet = await kernel.nvmetState();
      const imported = (await kernel.nvmeControllers()).filter((controller) => controller.transport !== 'pcie');
      const arrays = await kernel.mdArrays();
      const mounts = (await kernel.mounts()).filter((mount) => mount.mountPoint.includes('/kubelet/'));
      return [
        ...table.partitions.map((partition) => `${name}: partition ${partition.name}`),
        ...legs.map((leg) => `${name}: leg ${leg.name}`),
        ...nvmet.subsystems.map((subsystem) => `${name}: export ${subsystem.nqn}`),
        ...imported.map((controller) => `${name}: connection ${controller.subsystemNqn}`),
        ...arrays.map((array) => `${name}: array ${array.name}`),
        ...mounts.map((mount) => `${name}: mount ${mount.mountPoint}`),
      ];
    });
    return (await Promise.all(found)).flat();
  }

  async stop(): Promise<void> {
    await this.controller.stop();
    await Promise.all([...this.#members.values()].map(({ role }) => role.stop()));
  }
}

export function publishRequest(stage: StageRequest, targetPath: string): PublishRequest {
  return { ...stage, targetPath };
}
