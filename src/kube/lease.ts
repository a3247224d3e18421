import { ApiError, isConflict, isNotFound } from './api-error.ts';
import type { KubeClient } from './client.ts';
import type { Clock, Log } from './clock.ts';
import { sleep, systemClock } from './clock.ts';

type Fields = Readonly<Record<string, unknown>>;

export interface LeaderElectorOptions {
  readonly client: KubeClient;
  readonly log: Log;
  readonly namespace: string;
  /** Of the Lease object. */
  readonly name: string;
  /** Unlike that of any other process, also of this one's predecessor under the same name. */
  readonly identity: string;
  /** Called each time the lease is won; the signal fires when it is lost or given back. */
  readonly lead: (signal: AbortSignal) => void;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** Others wait so long after the last renewal that they saw. */
  readonly leaseDurationMs?: number;
  /** A leader that could not renew for so long stops leading; shorter than the lease. */
  readonly renewDeadlineMs?: number;
  readonly retryMs?: number;
}

/**
 * Lets one of several processes lead, by a coordination.k8s.io Lease. Clocks of other machines are never compared with ours:
 * a lease has run out when we have seen no change of it for its whole duration. It keeps work from being done twice; safety
 * never depends on it.
 */
export class LeaderElector {
  readonly #options: LeaderElectorOptions;
  readonly #clock: Clock;
  readonly #durationMs: number;
  readonly #deadlineMs: number;
  readonly #retryMs: number;
  readonly #stopping = new AbortController();
  #leading: AbortController | undefined;
  #renewedAt = 0;
  #cancelDeadline: () => void = () => undefined;
  #seen: { readonly version: string; readonly at: number } | undefined;
  #running: Promise<void> | undefined;

  constructor(options: LeaderElectorOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#durationMs = options.leaseDurationMs ?? 15_000;
    this.#deadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryMs = options.retryMs ?? 2_000;
    if (this.#deadlineMs >= this.#durationMs || this.#retryMs >= this.#deadlineMs) {
      throw new RangeError('Expected retryMs < renewDeadlineMs < leaseDurationMs');
    }
  }

  get isLeader(): boolean {
    return this.#leading !== undefined;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Stops leading first, then gives the lease back so that another need not wait. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const wasLeader = this.isLeader;
    this.#lose('stopped');
    await this.#running;
    if (wasLeader) await this.#release();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { random = Math.random, log, name } = this.#options;
    while (!signal.aborted) {
      const startedAt = this.#clock.now();
      try {
        if (await this.#acquireOrRenew()) this.#won(startedAt);
        else this.#lose('another holds it');
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        log.warn('lease not renewed', { lease: name, error: message });
      }
      await sleep(this.#clock, this.#retryMs * (1 + random() / 5), signal);
    }
  }

  /** `startedAt`: when the request was sent, so that its way does not count in our favour. */
  #won(startedAt: number): void {
    if (this.#stopping.signal.aborted) return;
    this.#renewedAt = startedAt;
    this.#cancelDeadline();
    const left = this.#renewedAt + this.#deadlineMs - this.#clock.now();
    this.#cancelDeadline = this.#clock.after(Math.max(0, left), () => this.#lose('could not renew in time'));
    if (this.#leading !== undefined) return;
    this.#leading = new AbortController();
    this.#options.log.info('leading', { lease: this.#options.name });
    this.#options.lead(this.#leading.signal);
  }

  #lose(why: string): void {
    const leading = this.#leading;
    if (leading === undefined) return;
    this.#cancelDeadline();
    this.#leading = undefined;
    this.#options.log.warn('no longer leading', { lease: this.#options.name, why });
    leading.abort();
  }

  get #collection(): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${this.#options.namespace}/leases`;
  }

  async #acquireOrRenew(): Promise<boolean> {
    const doing = `renewing lease ${this.#options.name}`;
    const path = `${this.#collection}/${this.#options.name}`;
    const timeoutMs = this.#deadlineMs / 2;
    let lease: Fields;
    try {
      lease = (await this.#options.client.request({ method: 'GET', path, doing, timeoutMs })) as Fields;
    } catch (error) {
      if (!isNotFound(error)) throw error;
      return this.#create(doing);
    }
    const spec = (lease['spec'] ?? {}) as Fields;
    const holder = typeof spec['holderIdentity'] === 'string' ? spec['holderIdentity'] : '';
    if (holder !== '' && holder !== this.#options.identity && !this.#hasRunOut(lease)) return false;
    try {
      const body = { ...lease, spec: this.#spec(spec, holder) };
      await this.#options.client.request({ method: 'PUT', path, body, doing, timeoutMs });
      return true;
    } catch (error) {
      if (isConflict(error)) return false;
      throw error;
    }
  }

  async #create(doing: string): Promise<boolean> {
    const metadata = { name: this.#options.name, namespace: this.#options.namespace };
    const body = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec: this.#spec({}, '') };
    try {
      await this.#options.client.request({ method: 'POST', path: this.#collection, body, doing });
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.reason === 'AlreadyExists') return false;
      throw error;
    }
  }

  #spec(old: Fields, holder: string): Fields {
    const now = new Date(this.#clock.now()).toISOString().replace(/Z$/, '000Z');
    const changes = typeof old['leaseTransitions'] === 'number' ? old['leaseTransitions'] : 0;
    const isOurs = holder === this.#options.identity;
    return {
      holderIdentity: this.#options.identity,
      leaseDurationSeconds: Math.ceil(this.#durationMs / 1000),
      acquireTime: isOurs ? (old['acquireTime'] ?? now) : now,
      renewTime: now,
      leaseTransitions: isOurs ? changes : changes + 1,
    };
  }

  #hasRunOut(lease: Fields): boolean {
    const version = String((lease['metadata'] as Fields | undefined)?.['resourceVersion']);
    const now = this.#clock.now();
    if (this.#seen?.version !== version) this.#seen = { version, at: now };
    const seconds = (lease['spec'] as Fields | undefined)?.['leaseDurationSeconds'];
    const duration = typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : this.#durationMs;
    return now - this.#seen.at >= duration;
  }

  async #release(): Promise<void> {
    const doing = `giving back lease ${this.#options.name}`;
    const path = `${this.#collection}/${this.#options.name}`;
    try {
      const lease = (await this.#options.client.request({ method: 'GET', path, doing, timeoutMs: 2_000 })) as Fields;
      const spec = (lease['spec'] ?? {}) as Fields;
      if (spec['holderIdentity'] !== this.#options.identity) return;
      const body = { ...lease, spec: { ...spec, holderIdentity: '' } };
      await this.#options.client.request({ method: 'PUT', path, body, doing, timeoutMs: 2_000 });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#options.log.debug('lease not given back', { lease: this.#options.name, error: message });
    }
  }
}
