/**
 * One volume with the checker on it, in the pod's place, and what kubelet and the sidecars do for that pod: attach, stage, publish,
 * start; start again what has ended; let go and detach when the pod moves. Calls are repeated for as long as they are wanted.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CsiError } from '../../csi/client.ts';
import type { Deployment } from '../deployment.ts';
import type { PodVolume } from '../kubelet.ts';
import { Kubelet } from '../kubelet.ts';
import type { GuestProcess } from '../machine.ts';
import { startChecker } from './checker.ts';
import { Ledger } from './ledger.ts';

const READ_LIMIT_MS = 120_000;
const AGAIN_MS = 1000;
/** Between two records: an emulated machine has other things to do as well. */
const PAUSE_MS = 150;
/** A pod that was written to within it is served. */
const FRESH_MS = 6000;

/** What somebody wants of the pod. `take-over`: its node is called off, nothing is asked of it any more. */
export type Wish = 'move' | 'take-over' | 'stop';

interface Order {
  readonly wish: Wish;
  readonly node: string;
  readonly over: AbortController;
  readonly givenAt: number;
}

/** Where it is attached, or may be. */
interface Place {
  readonly node: string;
  readonly volume?: PodVolume;
}

export interface WorkloadParts {
  readonly volumeId: string;
  /** For people. */
  readonly name: string;
  readonly deployment: Deployment;
  /** The bundled checker, readable in every guest. */
  readonly checker: string;
  readonly say: (text: string) => void;
}

export class Workload {
  readonly parts: WorkloadParts;
  readonly ledger = new Ledger();
  /** Starts on another node after the one before was called off. */
  takeovers = 0;
  #order: Order;
  #place: Place | undefined;
  #isTakeover = false;
  /** Checkers that have not ended, as far as is known, with their nodes: those of nodes that were called off go on as long as they can. */
  readonly #programs = new Map<GuestProcess, string>();
  #lives = 0;
  #serves = false;
  #writtenAt = 0;
  #isAbandoned = false;
  #running: Promise<void> | undefined;

  constructor(parts: WorkloadParts, node: string) {
    this.parts = parts;
    this.#order = { wish: 'move', node, over: new AbortController(), givenAt: Date.now() };
  }

  get name(): string {
    return this.parts.name;
  }

  /** Where its pod is, or is about to be. */
  get node(): string {
    return this.#order.node;
  }

  /** Where it is attached; undefined once it was let go. */
  get attachedTo(): string | undefined {
    return this.#place?.node;
  }

  /** The checker of the last order runs and has just written something. */
  get isServed(): boolean {
    return this.#serves && Date.now() - this.#writtenAt < FRESH_MS;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Takes effect at once, whatever is being waited for. */
  order(wish: Wish, node: string): void {
    const before = this.#order;
    this.#order = { wish, node, over: new AbortController(), givenAt: Date.now() };
    this.#serves = false;
    before.over.abort();
  }

  /** Let go and detached. Rejects if that takes too long. */
  async stop(limitMs: number): Promise<void> {
    this.order('stop', this.#order.node);
    const late = sleep(limitMs, undefined, { ref: false }).then(() => {
      throw new Error(`${this.name}: its pod does not end within ${limitMs / 1000} s`);
    });
    await Promise.race([this.#running, late]);
  }

  /** Leaves everything as it is: nothing is done any more. */
  abandon(): void {
    this.#isAbandoned = true;
    this.#order.over.abort();
  }

  async #run(): Promise<void> {
    let said = '';
    while (!this.#isAbandoned && (this.#order.wish !== 'stop' || this.#place !== undefined)) {
      const order = this.#order;
      try {
        await this.#obey(order);
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        if (order === this.#order && text !== said && !this.#isAbandoned) this.parts.say(`${this.name}: ${text}`);
        if (order === this.#order) said = text;
      }
      this.#serves = false;
      if (order === this.#order) await sleep(AGAIN_MS);
    }
  }

  async #obey(order: Order): Promise<void> {
    const place = this.#place;
    if (place !== undefined && (order.wish === 'stop' || place.node !== order.node)) {
      this.#isTakeover = order.wish === 'take-over';
      await this.#leave(place, order);
      this.#place = undefined;
    }
    if (order.wish !== 'stop') await this.#serve(order);
  }

  async #leave({ node, volume }: Place, order: Order): Promise<void> {
    const kubelet = new Kubelet(this.parts.deployment, order.over.signal);
    if (order.wish !== 'take-over' && volume !== undefined) {
      await this.#endPrograms(node, order);
      await whileWanted(kubelet.unpublish(volume), order);
      await whileWanted(kubelet.unstage(volume), order);
    }
    await kubelet.detach({ volumeId: this.parts.volumeId, node });
  }

  async #endPrograms(node: string, order: Order): Promise<void> {
    for (const [program, where] of this.#programs) {
      if (where === node) await whileWanted(program.kill('SIGKILL'), order);
    }
  }

  async #serve(order: Order): Promise<void> {
    const { deployment } = this.parts;
    const kubelet = new Kubelet(deployment, order.over.signal);
    this.#place = { node: order.node, ...(this.#place?.volume === undefined ? {} : { volume: this.#place.volume }) };
    const volume = await this.#attach(kubelet, order);
    this.#place = { node: order.node, volume };
    await whileWanted(kubelet.stage(volume), order);
    await whileWanted(kubelet.publish(volume), order);
    await this.#endPrograms(order.node, order);
    const { found, ended, writer } = await this.#startProgram(volume, order);
    const what = await whileWanted(Promise.race([found, ended, tooLong(READ_LIMIT_MS)]), order);
    if (typeof what === 'string') throw new Error(`the checker has not read its file: ${what}`);
    this.ledger.found(writer, what);
    this.#serves = true;
    this.#writtenAt = Date.now();
    const took = this.#isTakeover ? `, taken over in ${((Date.now() - order.givenAt) / 1000).toFixed(1)} s` : '';
    this.parts.say(`${this.name} is served at ${order.node} (${writer})${took}`);
    if (this.#isTakeover) this.takeovers += 1;
    this.#isTakeover = false;
    const how = await whileWanted(ended, order);
    throw new Error(`the checker at ${order.node} has ended: ${how}`);
  }

  /** An attachment that was asked for and not waited for may be done all the same, by a server that was slow: it is taken back. */
  async #attach(kubelet: Kubelet, { node }: Order): Promise<PodVolume> {
    const { volumeId } = this.parts;
    try {
      return await kubelet.attach(volumeId, node);
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      if (!(cause instanceof CsiError) || cause.code !== 'FAILED_PRECONDITION') throw error;
      await kubelet.detach({ volumeId, node: '' });
      return kubelet.attach(volumeId, node);
    }
  }

  async #startProgram(volume: PodVolume, order: Order) {
    const { deployment, checker } = this.parts;
    this.#lives += 1;
    const writer = `${volume.node}-e${volume.publishContext['epoch'] ?? ''}-${this.#lives}`;
    this.ledger.begin(writer);
    const onWritten = (number: number): void => {
      this.ledger.acknowledge(writer, number);
      if (order === this.#order) this.#writtenAt = Date.now();
    };
    const { machine } = deployment.node(volume.node);
    const wanted = { checker, volume, writer, pauseMs: PAUSE_MS, onWritten };
    const { program, found } = await whileWanted(startChecker(machine, `pod-${this.name}`, wanted), order);
    this.#programs.set(program, volume.node);
    void program.ended.catch(() => undefined).finally(() => this.#programs.delete(program));
    const ended = program.ended.then(
      ({ code, signal }) => `${code ?? signal}`,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
    return { found, ended, writer };
  }
}

/** Rejects as soon as something else is wanted. */
async function whileWanted<T>(work: Promise<T>, { over: { signal } }: Order): Promise<T> {
  work.catch(() => undefined); // of no interest once something else is wanted
  signal.throwIfAborted();
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(new Error('something else is wanted'));
    signal.addEventListener('abort', onAbort);
  });
  return Promise.race([work, aborted]).finally(() => signal.removeEventListener('abort', onAbort));
}

async function tooLong(limitMs: number): Promise<'too long'> {
  await sleep(limitMs, undefined, { ref: false });
  return 'too long';
}
