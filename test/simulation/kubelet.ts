/** The kubelet of a node: brings the pod's volume up and takes it down, calls again and again, knows what it was told last. */
import { DomainError } from '../../src/api/errors.ts';
import { runClient } from './client.ts';
import type { Cluster } from './cluster.ts';
import type { NodeProcess } from './node-process.ts';
import { Operations } from './operations.ts';
import type { SimMachine } from './parts.ts';
import { Random } from './random.ts';
import type { Actor } from './scheduler.ts';

export class Kubelet {
  readonly #cluster: Cluster;
  readonly #machine: SimMachine;
  readonly #random: Random;
  readonly #process: () => NodeProcess | undefined;
  /** What the API said last. */
  #wanted = false;
  /** As it tells the API: the attach-detach controller waits for it. */
  isInUse = false;
  /** A call takes at most so long; a short one is given up and made again. */
  callLimitMs = 20_000;

  constructor(cluster: Cluster, machine: SimMachine, process: () => NodeProcess | undefined) {
    this.#cluster = cluster;
    this.#machine = machine;
    this.#process = process;
    this.#random = new Random(cluster.seed, `kubelet/${machine.name}`);
  }

  start(): void {
    this.#cluster.time.spawn(this.#main(), this.#machine);
  }

  *#main(): Actor {
    for (;;) {
      yield this.#random.between(100, 500);
      const { api, podOn } = this.#cluster;
      if (api.isReachable(this.#machine.name)) this.#wanted = podOn === this.#machine;
      const process = this.#process();
      if (process?.isAlive !== true || api.isNodeDeleted(this.#machine.name)) continue;
      try {
        yield* this.#turn(new Operations(this.#cluster, process), process);
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
      }
    }
  }

  /** A call ends when the process that serves it does. */
  *#call(process: NodeProcess, call: Actor): Actor {
    for (let next = call.next(); next.done !== true; next = call.next()) {
      yield next.value;
      if (!process.isAlive) throw new DomainError('unavailable', 'the node process is gone');
    }
  }

  *#turn(operations: Operations, process: NodeProcess): Actor {
    if (this.#wanted) yield* this.#bringUp(operations, process);
    else yield* this.#takeDown(operations, process);
  }

  *#bringUp(operations: Operations, process: NodeProcess): Actor {
    const { api } = this.#cluster;
    const machine = this.#machine;
    machine.isEnding = false;
    const status = api.isReachable(machine.name) ? api.truth?.status : undefined;
    if (machine.hasClient || status?.nodeName !== machine.name) return;
    this.isInUse = true;
    const attachment = { epoch: status.attachmentEpoch, attachmentID: status.attachmentID };
    yield* this.#call(process, operations.stage(attachment, this.callLimitMs));
    yield* this.#call(process, operations.publish());
    if (api.truth?.status?.nodeName !== machine.name || machine.hasClient) return;
    machine.hasClient = true;
    this.#cluster.tally.thing('pod started');
    this.#cluster.time.spawn(runClient(this.#cluster, machine), machine);
  }

  *#takeDown(operations: Operations, process: NodeProcess): Actor {
    const machine = this.#machine;
    if (!this.isInUse && machine.array === undefined && machine.mounts.length === 0) return;
    // No new write; its process ends when the kernel gives back those under way.
    machine.isEnding = true;
    if (machine.hasClient && !machine.isShutDown && (machine.array?.writes.size ?? 0) > 0) return;
    machine.isEnding = false;
    machine.hasClient = false;
    yield* this.#call(process, operations.unpublish());
    yield* this.#call(process, operations.unstage());
    if (machine.array !== undefined) return;
    this.isInUse = false;
    this.#cluster.tally.thing('unstaged');
  }

  /** The machine started anew: nothing of the pod is left. */
  forget(): void {
    this.isInUse = false;
  }
}
