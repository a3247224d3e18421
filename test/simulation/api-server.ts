/** The API server: one volume's object behind compare and swap, caches that lag, Nodes, outages, a restored backup. */
import { DomainError } from '../../src/api/errors.ts';
import type { NodeInfo } from '../../src/api/object.ts';
import type { MeshStorVolume } from '../../src/api/volume.ts';
import { findTransition } from '../../src/plan/lifecycle.ts';
import type { Cluster } from './cluster.ts';
import { Violation } from './parts.ts';
import { Random } from './random.ts';
import type { Actor } from './scheduler.ts';

/** The name of the API in cuts of the network, and that of whoever talks to it from beside it. */
export const API = 'api';
export const CONTROLLER = 'controller';

/** Who has not been heard of for so long is silent. */
const HEARTBEAT_LIMIT_MS = 15_000;
const MOST_TRIES = 5;

interface Cached {
  readonly version: number;
  readonly volume: MeshStorVolume | undefined;
}

export class ApiServer {
  readonly #cluster: Cluster;
  readonly #random: Random;
  #volume: MeshStorVolume | undefined;
  #version = 1;
  isAway = false;
  /** The object, or what it was before it was removed. */
  lastVolume: MeshStorVolume;
  /** What a backup would bring back. */
  #backup: MeshStorVolume | undefined;
  /** Restored from a backup of an older attachment: a person is needed. */
  isBehind = false;
  readonly #caches = new Map<string, Cached>();
  /** Watches that bring nothing until then. */
  readonly #deaf = new Map<string, number>();
  readonly #beats = new Map<string, number>();
  readonly #deleted = new Set<string>();
  readonly #tainted = new Set<string>();

  constructor(cluster: Cluster, volume: MeshStorVolume) {
    this.#cluster = cluster;
    this.#random = new Random(cluster.seed, 'api');
    this.#volume = volume;
    this.lastVolume = volume;
    for (const { name } of cluster.machines) {
      this.#caches.set(name, { version: 1, volume });
      this.#beats.set(name, 0);
    }
  }

  /** As it is: for whoever judges, not for those who take part. */
  get truth(): MeshStorVolume | undefined {
    return this.#volume;
  }

  isReachable(client: string): boolean {
    return !this.isAway && this.#cluster.hears(client, API) && this.#cluster.hears(API, client);
  }

  cached(client: string): MeshStorVolume | undefined {
    return this.#caches.get(client)?.volume;
  }

  #require(client: string): void {
    if (!this.isReachable(client)) throw new DomainError('unavailable', 'the API does not answer');
  }

  #latency(): number {
    return this.#random.between(1, 20);
  }

  /** A linearizable read. */
  *read(client: string): Actor<MeshStorVolume | undefined> {
    yield this.#latency();
    this.#require(client);
    const seen = this.#volume;
    yield this.#latency();
    this.#require(client);
    return seen;
  }

  /** Read, compute, write if nobody wrote meanwhile. Undefined from `change`: nothing is written. */
  *write(
    client: string,
    change: (current: MeshStorVolume) => MeshStorVolume | undefined,
    onWritten: () => void = () => undefined,
  ): Actor<MeshStorVolume | undefined> {
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      yield* this.read(client);
      const version = this.#version;
      const current = this.#volume;
      if (current === undefined) throw new DomainError('notFound', 'there is no such volume');
      const next = change(current);
      if (next === undefined) return current;
      yield this.#latency();
      if (this.isAway || !this.#cluster.hears(client, API)) {
        throw new DomainError('unavailable', 'the API does not answer');
      }
      if (version !== this.#version) {
        this.#cluster.tally.thing('conflict');
        continue;
      }
      this.#commit(next, client);
      onWritten();
      yield this.#latency();
      if (!this.#cluster.hears(API, client)) {
        this.#cluster.tally.thing('answer lost');
        throw new DomainError('unavailable', 'the answer of the API was lost');
      }
      return next;
    }
    throw new DomainError('unavailable', 'others write all the time');
  }

  *remove(client: string): Actor {
    yield* this.read(client);
    this.#volume = undefined;
    this.#announce();
  }

  #commit(next: MeshStorVolume, client: string): void {
    this.#count(this.#volume, next, client);
    this.#cluster.revision += 1;
    this.#cluster.log(() => `${client} wrote ${describe(next)}`);
    this.#volume = next;
    this.lastVolume = next;
    this.#announce();
  }

  /** Only transitions of the table are made, and only by whom it names. */
  #count(before: MeshStorVolume | undefined, next: MeshStorVolume, client: string): void {
    const states = new Map(before?.status?.partitions.map((entry) => [entry.partitionUUID, entry.state]));
    for (const { partitionUUID, state } of next.status?.partitions ?? []) {
      const from = states.get(partitionUUID);
      if (from === undefined || from === state) continue;
      const by = findTransition(from, state)?.by;
      // A person may say that an older copy is to be gone on with; here nobody does.
      if ((by === undefined || by === 'person') && !this.#cluster.rules.isOff(7)) {
        throw new Violation('state table', `${client} made a member ${state} that was ${from}`);
      }
      this.#cluster.tally.transition(from, state);
    }
  }

  #announce(): void {
    this.#version += 1;
    for (const { name } of this.#cluster.machines) {
      this.#cluster.time.after(this.#random.between(2, 300), () => {
        this.#deliver(name);
      });
    }
  }

  #deliver(client: string): void {
    if (!this.isReachable(client) || (this.#deaf.get(client) ?? 0) > this.#cluster.time.now) return;
    this.#caches.set(client, { version: this.#version, volume: this.#volume });
  }

  /** The watch begins anew: whatever was lost is made up for. */
  relist(client: string): void {
    if (this.#caches.get(client)?.version !== this.#version) this.#deliver(client);
  }

  loseWatch(client: string, ms: number): void {
    this.#deaf.set(client, this.#cluster.time.now + ms);
  }

  takeBackup(): void {
    this.#backup = this.#volume;
  }

  /** Only a backup of an older attachment shows itself by its epoch (SPEC §7.11). Says whether there was one. */
  restore(): boolean {
    const epoch = this.#volume?.status?.attachmentEpoch ?? 0;
    if (this.#backup === undefined || this.#volume === undefined) return false;
    if ((this.#backup.status?.attachmentEpoch ?? 0) >= epoch || this.#cluster.ledger.startedEpoch < epoch) return false;
    this.#volume = this.#backup;
    this.isBehind = true;
    this.#announce();
    return true;
  }

  // ---------------------------------------------------------------- Nodes

  beat(name: string): void {
    if (this.isReachable(name)) this.#beats.set(name, this.#cluster.time.now);
  }

  isFresh(name: string): boolean {
    return this.#cluster.time.now - (this.#beats.get(name) ?? 0) <= HEARTBEAT_LIMIT_MS;
  }

  deleteNode(name: string): void {
    this.#deleted.add(name);
  }

  isNodeDeleted(name: string): boolean {
    return this.#deleted.has(name);
  }

  taint(name: string, isTainted: boolean): void {
    if (isTainted) this.#tainted.add(name);
    else this.#tainted.delete(name);
  }

  node(name: string): NodeInfo | undefined {
    if (this.#deleted.has(name)) return undefined;
    const { identity } = this.#cluster.machine(name);
    const taint = { key: 'node.kubernetes.io/out-of-service', value: 'nodeshutdown', effect: 'NoExecute' };
    return {
      metadata: {
        name,
        uid: name,
        resourceVersion: '1',
        generation: 1,
        creationTimestamp: '',
        finalizers: [],
        annotations: {},
        labels: {},
      },
      internalIP: name,
      machineID: identity.machineID,
      ready: this.isFresh(name),
      unschedulable: false,
      taints: this.#tainted.has(name) ? [taint] : [],
    };
  }
}

function describe({ spec, status }: MeshStorVolume): string {
  if (status === undefined) return 'no status';
  const members = status.partitions.map(
    ({ slot, state, epoch, stale }) => `${slot}:${state}@${epoch}${stale === true ? '!' : ''}`,
  );
  const where = status.nodeName === '' ? 'nowhere' : status.nodeName;
  const born = spec.activatedAt === undefined ? ' unborn' : '';
  const released = status.releasedEpoch > 0 ? ` released@${status.releasedEpoch}` : '';
  return `${where}@${status.attachmentEpoch} ${members.join(' ')}${released}${born} ${status.phase} ${status.mdState}`;
}
