/** The node role put together: inventory and heartbeat, the target's ports, background work on volumes, and the CSI operations. */
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
import { VolumeFencer } from './fencer.ts';
import { HoldBack } from './hold-back.ts';
import { Inventory } from './inventory.ts';
import type { Processes } from './openers.ts';
import { PROCESSES } from './openers.ts';
import type { NodeOperations } from './operations.ts';
import { VolumeMender } from './mender.ts';
import { OwnNode } from './own-node.ts';
import type { Rests } from './path-memory.ts';
import type { Preflight } from './preflight-watch.ts';
import { NodeVolumeReconciler } from './reconciler.ts';
import { lookAtDrives } from './snapshot.ts';
import { TargetPorts } from './target-ports.ts';
import { VolumeReporter } from './reporter.ts';
import { RebuildLimit } from './rebuild-limit.ts';
import { SharedLook } from './shared-look.ts';
import type { Tools } from './tools.ts';
import { VolumeNodeOperations } from './volume-operations.ts';
import type { NodeReader } from './volume-worlds.ts';
import { VolumeWorlds } from './volume-worlds.ts';

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
  /** The node's labels are read from its Node object. */
  readonly policy: Omit<DrivePolicy, 'nodeLabels'>;
  /** Address to listen on; else from the Node object. */
  readonly tcpAddress?: string;
  /** How long a start waits for a silent holder, milliseconds. */
  readonly startGraceMs: number;
  /** See `RebuildLimit`; none by default. */
  readonly rebuildLimitMiBs?: number;
  /** How long a member that lost its path is waited for before it is dropped, milliseconds. */
  readonly dropGraceMs: number;
  /** See `FencerParts`. */
  readonly goneGraceMs?: number;
  /** How long a member that was tried in vain is left alone. Default: a second, then longer, up to ten. */
  readonly rests?: Rests;
  readonly preflight: Preflight;
  readonly now: () => string;
  readonly log: Log;
  /** Called after every step that was carried out. */
  readonly onStep?: OnStep;
  /** Default: those of this machine. */
  readonly processes?: Processes;
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
const SPACE_STEPS: ReadonlySet<string> = new Set(['recordCreated', 'recordRemoved', 'recordImpossible', 'recordGrown']);

class Node implements RunningNode {
  readonly operations: NodeOperations;
  readonly #parts: NodeParts;
  readonly #inventory: Inventory;
  readonly #holdBack: HoldBack;
  readonly #reconciler: NodeVolumeReconciler;
  readonly #fencer: VolumeFencer;
  readonly #look: SharedLook;
  readonly #queue: VolumeQueue;
  readonly #wakeups = new Wakeups();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #undo: (() => void)[] = [];
  readonly #ports: TargetPorts;
  readonly #ownNode: OwnNode;
  /** Volumes that concerned this node when they were last heard of. */
  readonly #mine = new Set<string>();
  readonly #zeroedTo = new Map<string, number>();
  readonly #rebuildLimit: RebuildLimit;
  #pass: Promise<void> | undefined;
  #publishing: Promise<void> | undefined;
  #publishAgain = false;
  /** Before it, no drive can be judged by its node's labels. */
  #askedForLabels = false;
  #stopped = false;

  constructor(parts: NodeParts) {
    this.#parts = parts;
    const { kernel, tools, volumes, me, now, log, events } = parts;
    const { nodeName } = me;
    this.#rebuildLimit = new RebuildLimit(kernel, parts.rebuildLimitMiBs ?? 0);
    this.#ports = new TargetPorts({ ...parts, nodeName });
    const needsLabels = parts.policy.selectors.some(({ nodeLabels }) => nodeLabels !== undefined);
    this.#ownNode = new OwnNode({ ...parts, nodeName, needsLabels });
    this.#inventory = new Inventory({ ...parts, nodeName, policy: () => this.#policy() });
    const around: Surroundings = {
      me,
      rounds: new KeyedMutex(),
      wakeups: this.#wakeups,
      log,
      onStep: (done) => this.#stepDone(done),
    };
    this.#look = new SharedLook(kernel);
    const processes = parts.processes ?? PROCESSES;
    const worlds = new VolumeWorlds({ ...parts, processes, look: this.#look, holderView: () => this.#holderView() });
    const pause = (limitMs: number): Promise<void> => this.#wakeups.next(this.#wakeups.mark, limitMs);
    const fatalFindings = (): Promise<string> => parts.preflight.fatalFindings();
    const acts = { kernel, tools, volumes, me, now, log, pause, zeroedTo: this.#zeroedTo };
    const operations = new VolumeNodeOperations({ kernel, worlds, acts, around, fatalFindings });
    this.operations = operations;
    const { dropGraceMs, goneGraceMs, rests } = parts;
    const mender = new VolumeMender({ worlds, acts, around, volumes, dropGraceMs, rests });
    const grow = (volumeId: string): Promise<string | undefined> => operations.growOnce(volumeId);
    this.#fencer = new VolumeFencer({ worlds, acts, around, volumes, events, processes, goneGraceMs });
    const reporter = new VolumeReporter({ volumes, events, now });
    this.#holdBack = new HoldBack({ kernel, worlds, reporter, around });
    this.#reconciler = new NodeVolumeReconciler({
      worlds,
      acts,
      around,
      volumes,
      reporter,
      mender,
      fencer: this.#fencer,
      grow,
    });
    this.#queue = parts.queueFor((volumeId) => this.#reconciler.reconcile(volumeId));
  }

  start(): void {
    const { kernel, volumes, preflight } = this.#parts;
    preflight.onChange(() => this.#publishSoon());
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
    await Promise.all([this.#queue.shutdown(), this.#pass, this.#publishing, this.#holdBack.stop()]);
  }

  #holderView(): ReturnType<ConstructorParameters<typeof VolumeWorlds>[0]['holderView']> {
    const annotatedDrives = this.#inventory.annotatedDrives();
    const { listensOnRdma } = this.#ports;
    return { me: this.#parts.me, policy: this.#policy(), annotatedDrives, listensOnRdma, zeroedTo: this.#zeroedTo };
  }

  #policy(): DrivePolicy {
    return { ...this.#parts.policy, nodeLabels: this.#ownNode.labels };
  }

  #stepDone(done: StepDone): void {
    this.#look.invalidate();
    this.#parts.onStep?.(done);
    if (SPACE_STEPS.has(done.step)) this.#publishSoon();
  }

  /** Volumes of others cost a look into the cache and nothing else. One that ceases to be ours is worked on once more. */
  #onVolume(name: string): void {
    if (this.#reconciler.isConcerned(name)) this.#mine.add(name);
    else if (!this.#mine.delete(name)) return;
    this.#wakeups.ring();
    this.#queue.add(name);
  }

  #onKernelEvents(events: readonly KernelEvent[]): void {
    if (events.some(({ source, device }) => source === 'md' || device.startsWith('md'))) void this.#holdBack.look();
    this.#look.invalidate();
    this.#wakeups.ring();
    for (const volumeId of this.#reconciler.concerned()) this.#queue.add(volumeId);
    void this.#limitRebuilds();
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
    void this.#holdBack.look();
    await this.#parts.preflight.lookAgain();
    await this.#ownNode.refresh();
    this.#askedForLabels = true;
    await this.#listen();
    const drives = await this.#drives();
    if (await this.#inventory.prepareDrives(drives)) this.#publishSoon();
    for (const volumeId of this.#reconciler.concerned()) this.#queue.add(volumeId);
    await this.#limitRebuilds();
    for (const volumeId of await this.#fencer.leftHere()) this.#queue.add(volumeId);
    void this.#fencer.fenceOrphans();
  }

  async #limitRebuilds(): Promise<void> {
    try {
      await this.#rebuildLimit.apply(await this.#look.take());
    } catch (error) {
      this.#parts.log.warn('rebuilds are not limited', { error: errorFields(error) });
    }
  }

  async #drives(): ReturnType<typeof lookAtDrives> {
    return lookAtDrives(this.#parts.kernel, await this.#parts.kernel.nvmeNamespaces());
  }

  /** A target that cannot be set up keeps neither drives nor volumes from being looked after. */
  async #listen(): Promise<void> {
    try {
      await this.#ports.ensure(this.#ownNode.addresses);
    } catch (error) {
      this.#parts.log.warn('not listening', { error: errorFields(error) });
    }
  }

  /** Heartbeat and free space; asked for while it runs, it runs once more. */
  #publishSoon(): void {
    if (this.#stopped || !this.#askedForLabels) return;
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
