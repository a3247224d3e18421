/** The node role put together: inventory and heartbeat, the target's ports, background work on volumes, and the CSI operations. */
import { NVMET_RDMA_PORT_ID, NVMET_TCP_PORT_ID, RDMA_PORT, TCP_PORT } from '../api/names.ts';
import type { Kernel, KernelEvent } from '../api/kernel.ts';
import type { MeshStorNodeDevice } from '../api/node-device.ts';
import type { EventRecorder, ObjectStore } from '../api/object.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import type { NodeIdentity } from '../plan/world.ts';
import { KeyedMutex } from '../support/keyed-mutex.ts';
import type { Log } from '../support/log.ts';
import { errorFields } from '../support/log.ts';
import { Wakeups } from '../support/wakeups.ts';
import type { OnStep, StepDone, Surroundings } from './converge.ts';
import type { DrivePolicy } from './drive-policy.ts';
import { Inventory } from './inventory.ts';
import type { NodeOperations } from './operations.ts';
import { NodeVolumeReconciler } from './reconciler.ts';
import { lookAtDrives } from './snapshot.ts';
import type { Tools } from './tools.ts';
import { VolumeNodeOperations } from './volume-operations.ts';
import type { NodeReader } from './volume-worlds.ts';
import { addressesOf, VolumeWorlds } from './volume-worlds.ts';

/** Keys to work on, each once at a time, failures later again. */
export interface VolumeQueue {
  start(): void;
  add(volumeId: string): void;
  shutdown(): Promise<void>;
}

export type ReconcileVolume = (volumeId: string) => Promise<{ readonly requeueAfterMs?: number }>;

export interface NodeParts {
  readonly kernel: Kernel;
  readonly tools: Tools;
  readonly volumes: ObjectStore<MeshStorVolume>;
  readonly devices: ObjectStore<MeshStorNodeDevice>;
  readonly nodes: NodeReader;
  readonly events: EventRecorder;
  readonly me: NodeIdentity;
  readonly policy: DrivePolicy;
  /** Address to listen on; else from the Node object. */
  readonly tcpAddress?: string;
  /** How long a start waits for a silent holder, milliseconds. */
  readonly startGraceMs: number;
  readonly fatalFindings: () => string;
  readonly now: () => string;
  readonly log: Log;
  /** Called after every step that was carried out. */
  readonly onStep?: OnStep;
  /** Makes the queue of the background work, not started. */
  readonly queueFor: (reconcile: ReconcileVolume) => VolumeQueue;
}

export interface RunningNode {
  readonly operations: NodeOperations;
  /** Ends the background work; leaves arrays, guards, mounts and exports as they are (SPEC §7.14). */
  stop(): Promise<void>;
}

/** The safety net behind the events (SPEC §8). */
export const PASS_EVERY_MS = 10_000;
/** Below the 20 s that SPEC §2 allows. */
const HEARTBEAT_EVERY_MS = 15_000;
/** Steps after which a drive's free space is another one. */
const SPACE_STEPS: ReadonlySet<string> = new Set(['recordCreated', 'recordRemoved', 'recordImpossible']);

class Node implements RunningNode {
  readonly operations: NodeOperations;
  readonly #parts: NodeParts;
  readonly #inventory: Inventory;
  readonly #reconciler: NodeVolumeReconciler;
  readonly #queue: VolumeQueue;
  readonly #wakeups = new Wakeups();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #undo: (() => void)[] = [];
  #listens: { readonly tcp: boolean; readonly rdma: boolean } = { tcp: false, rdma: false };
  #pass: Promise<void> | undefined;
  #publishing: Promise<void> | undefined;
  #publishAgain = false;
  #stopped = false;

  constructor(parts: NodeParts) {
    this.#parts = parts;
    const { kernel, tools, volumes, me, now, log, events } = parts;
    this.#inventory = new Inventory({ ...parts, nodeName: me.nodeName });
    const around: Surroundings = {
      me,
      rounds: new KeyedMutex(),
      wakeups: this.#wakeups,
      log,
      onStep: (done) => this.#stepDone(done),
    };
    const worlds = new VolumeWorlds({ ...parts, holderView: () => this.#holderView() });
    const pause = (limitMs: number): Promise<void> => this.#wakeups.next(this.#wakeups.mark, limitMs);
    const acts = { kernel, tools, volumes, me, now, log, pause };
    this.operations = new VolumeNodeOperations({ kernel, worlds, acts, around, fatalFindings: parts.fatalFindings });
    this.#reconciler = new NodeVolumeReconciler({ worlds, acts, around, volumes, events });
    this.#queue = parts.queueFor((volumeId) => this.#reconciler.reconcile(volumeId));
  }

  start(): void {
    const { kernel, volumes } = this.#parts;
    const watch = kernel.watch((events) => this.#onKernelEvents(events));
    this.#undo.push(() => watch.stop());
    this.#undo.push(volumes.onChange((name) => this.#onVolume(name)));
    this.#timers.push(setInterval(() => void this.#runPass(), PASS_EVERY_MS));
    this.#timers.push(setInterval(() => this.#publishSoon(), HEARTBEAT_EVERY_MS));
    void Promise.all([volumes.synced, this.#parts.devices.synced]).then(async () => {
      if (this.#stopped) return;
      this.#queue.start();
      await this.#runPass();
      this.#publishSoon();
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    for (const undo of this.#undo) undo();
    await Promise.all([this.#queue.shutdown(), this.#pass, this.#publishing]);
  }

  #holderView(): ReturnType<ConstructorParameters<typeof VolumeWorlds>[0]['holderView']> {
    const { me, policy } = this.#parts;
    return { me, policy, annotatedSerials: this.#inventory.annotatedSerials(), listensOnRdma: this.#listens.rdma };
  }

  #stepDone(done: StepDone): void {
    this.#parts.onStep?.(done);
    if (SPACE_STEPS.has(done.step)) this.#publishSoon();
  }

  #onVolume(name: string): void {
    this.#wakeups.ring();
    this.#queue.add(name);
  }

  #onKernelEvents(events: readonly KernelEvent[]): void {
    this.#wakeups.ring();
    for (const volumeId of this.#reconciler.concerned()) this.#queue.add(volumeId);
    if (events.some((event) => /^nvme\d+n\d+$/.test(event.device) && event.action !== 'change')) void this.#runPass();
  }

  /** One at a time; a pass that is asked for while one runs is that one. */
  async #runPass(): Promise<void> {
    this.#pass ??= this.#doPass()
      .catch((error: unknown) => {
        this.#parts.log.warn('pass failed', { error: errorFields(error) });
      })
      .finally(() => {
        this.#pass = undefined;
      });
    return this.#pass;
  }

  async #doPass(): Promise<void> {
    if (this.#stopped || !this.#parts.devices.isSynced) return;
    await this.#listen();
    const drives = await this.#drives();
    if (await this.#inventory.prepareDrives(drives)) this.#publishSoon();
    for (const volumeId of this.#reconciler.concerned()) this.#queue.add(volumeId);
  }

  async #drives(): ReturnType<typeof lookAtDrives> {
    return lookAtDrives(this.#parts.kernel, await this.#parts.kernel.nvmeNamespaces());
  }

  /** The target's ports. The address is looked up until it is found; then it stays. */
  async #listen(): Promise<void> {
    if (this.#listens.tcp) return;
    const { kernel, nodes, me, tcpAddress, log } = this.#parts;
    const node = await nodes.read(me.nodeName);
    const addresses = node === undefined ? undefined : addressesOf(node);
    const tcp = tcpAddress ?? addresses?.tcp;
    if (tcp === undefined || tcp === '') {
      log.warn('no address to listen on', {
        node: me.nodeName,
        fix: 'give --nvme-tcp-address or the annotation meshstor.io/nvme-over-tcp-address',
      });
      return;
    }
    await kernel.ensureNvmetPort({ id: NVMET_TCP_PORT_ID, trtype: 'tcp', traddr: tcp, trsvcid: String(TCP_PORT) });
    if (addresses?.rdma !== undefined) {
      await kernel.ensureNvmetPort({
        id: NVMET_RDMA_PORT_ID,
        trtype: 'rdma',
        traddr: addresses.rdma,
        trsvcid: String(RDMA_PORT),
      });
    }
    this.#listens = { tcp: true, rdma: addresses?.rdma !== undefined };
  }

  /** Heartbeat and free space; asked for while it runs, it runs once more. */
  #publishSoon(): void {
    if (this.#stopped || !this.#parts.devices.isSynced) return;
    if (this.#publishing !== undefined) {
      this.#publishAgain = true;
      return;
    }
    this.#publishing = this.#publish().finally(() => {
      this.#publishing = undefined;
      if (!this.#publishAgain) return;
      this.#publishAgain = false;
      this.#publishSoon();
    });
  }

  async #publish(): Promise<void> {
    try {
      await this.#inventory.publish(await this.#drives());
    } catch (error) {
      this.#parts.log.warn('writing the drives failed', { error: errorFields(error) });
    }
  }
}

/** Starts the background work; the caller has started the stores' watches. */
export function startNode(parts: NodeParts): RunningNode {
  const node = new Node(parts);
  node.start();
  return node;
}
