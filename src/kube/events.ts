import { hostname } from 'node:os';
import { API_GROUP, API_VERSION, DRIVER_NAME } from '../api/names.ts';
import type { EventRecorder, EventSubject } from '../api/object.ts';
import { hashHex } from '../support/uuid.ts';
import { ApiError, isNotFound } from './api-error.ts';
import type { KubeClient } from './client.ts';
import type { Clock, Log } from './clock.ts';
import { systemClock, timestamp } from './clock.ts';

/** Events about cluster-scoped objects live here; the API takes no other namespace for them. */
const NAMESPACE = 'default';
/** Kinds of the core API that we tell about; all others are ours. */
const CORE_KINDS: ReadonlySet<string> = new Set(['Node', 'PersistentVolumeClaim']);
/** Limits of the API's validation. */
const MESSAGE_LIMIT = 1024;
const NAME_LIMIT = 253;

export interface EventRecorderOptions {
  readonly client: KubeClient;
  readonly log: Log;
  /** Shown as the source of the events; by default the host's name. */
  readonly instance?: string;
  readonly clock?: Clock;
  /** The same event is sent at most once in this time; what happens meanwhile is counted. */
  readonly intervalMs?: number;
  /** All events together: so many at once, then `perSecond`. */
  readonly burst?: number;
  readonly perSecond?: number;
  /** Distinct events that are remembered for counting. */
  readonly capacity?: number;
}

interface Entry {
  readonly key: string;
  readonly name: string;
  readonly namespace: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly firstTimestamp: string;
  lastTimestamp: string;
  /** Counted here, but not sent yet. */
  unsent: number;
  nextAt: number;
}

/** Sends events one at a time, the same ones aggregated, all of them within a rate; what cannot be sent is logged and dropped. */
export class KubeEventRecorder implements EventRecorder {
  readonly #options: Required<Omit<EventRecorderOptions, 'client' | 'log' | 'clock'>>;
  readonly #client: KubeClient;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  #tokens: number;
  #filledAt: number;
  #busy = false;
  #closed = false;
  #cancelTimer: () => void = () => undefined;

  constructor(options: EventRecorderOptions) {
    this.#client = options.client;
    this.#log = options.log;
    this.#clock = options.clock ?? systemClock;
    this.#options = {
      instance: options.instance ?? hostname(),
      intervalMs: options.intervalMs ?? 10_000,
      burst: options.burst ?? 50,
      perSecond: options.perSecond ?? 5,
      capacity: options.capacity ?? 1000,
    };
    this.#tokens = this.#options.burst;
    this.#filledAt = this.#clock.now();
  }

  record(about: EventSubject, type: 'Normal' | 'Warning', reason: string, message: string): void {
    if (this.#closed) return;
    const { kind, namespace = '', name, uid } = about;
    const object = [kind, namespace, name, uid];
    const key = hashHex(JSON.stringify([this.#options.instance, ...object, type, reason, message]), 16);
    const now = timestamp(this.#clock);
    const entry = this.#entries.get(key) ?? this.#remember(key, about, type, reason, message, now);
    if (entry === undefined) return;
    entry.unsent += 1;
    entry.lastTimestamp = now;
    this.#pump();
  }

  /** Drops what was not sent. */
  close(): void {
    this.#closed = true;
    this.#cancelTimer();
    this.#entries.clear();
  }

  #remember(
    key: string,
    about: EventSubject,
    type: string,
    reason: string,
    message: string,
    now: string,
  ): Entry | undefined {
    if (this.#entries.size >= this.#options.capacity) this.#forgetSent();
    if (this.#entries.size >= this.#options.capacity) {
      this.#log.warn('event dropped: too many at once', { about: about.name, reason });
      return undefined;
    }
    const apiVersion = CORE_KINDS.has(about.kind) ? 'v1' : `${API_GROUP}/${API_VERSION}`;
    const entry: Entry = {
      key,
      name: `${about.name.slice(0, NAME_LIMIT - 17)}.${key}`,
      namespace: about.namespace ?? NAMESPACE,
      body: {
        involvedObject: { apiVersion, ...about },
        type,
        reason,
        message: message.length <= MESSAGE_LIMIT ? message : `${message.slice(0, MESSAGE_LIMIT - 1)}…`,
        source: { component: DRIVER_NAME, host: this.#options.instance },
        reportingComponent: DRIVER_NAME,
        reportingInstance: this.#options.instance,
      },
      firstTimestamp: now,
      lastTimestamp: now,
      unsent: 0,
      nextAt: 0,
    };
    this.#entries.set(key, entry);
    return entry;
  }

  #forgetSent(): void {
    for (const [key, entry] of this.#entries) {
      if (entry.unsent === 0 && entry.nextAt <= this.#clock.now()) this.#entries.delete(key);
    }
  }

  #pump(): void {
    if (this.#busy || this.#closed) return;
    this.#cancelTimer();
    const waiting = [...this.#entries.values()].filter((entry) => entry.unsent > 0);
    const next = waiting.sort((a, b) => a.nextAt - b.nextAt)[0];
    if (next === undefined) return;
    const delay = Math.max(next.nextAt - this.#clock.now(), this.#tokenDelayMs());
    if (delay > 0) {
      this.#cancelTimer = this.#clock.after(delay, () => this.#pump());
      return;
    }
    this.#tokens -= 1;
    this.#busy = true;
    void this.#send(next).finally(() => {
      this.#busy = false;
      this.#pump();
    });
  }

  /** Milliseconds until one more may be sent; 0: now. */
  #tokenDelayMs(): number {
    const { burst, perSecond } = this.#options;
    const now = this.#clock.now();
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filledAt) / 1000) * perSecond);
    this.#filledAt = now;
    return this.#tokens >= 1 ? 0 : Math.ceil(((1 - this.#tokens) / perSecond) * 1000);
  }

  async #send(entry: Entry): Promise<void> {
    const count = entry.unsent;
    entry.unsent = 0;
    entry.nextAt = this.#clock.now() + this.#options.intervalMs;
    try {
      await this.#bumpOrCreate(entry, count);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#log.warn('event not sent', { event: entry.name, reason: entry.body['reason'], error: message });
    }
  }

  async #bumpOrCreate(entry: Entry, count: number): Promise<void> {
    const doing = `sending event ${entry.name}`;
    const events = `/api/v1/namespaces/${encodeURIComponent(entry.namespace)}/events`;
    const path = `${events}/${encodeURIComponent(entry.name)}`;
    const times = { firstTimestamp: entry.firstTimestamp, lastTimestamp: entry.lastTimestamp, count };
    const metadata = { name: entry.name, namespace: entry.namespace };
    const event = { apiVersion: 'v1', kind: 'Event', metadata, ...entry.body, ...times };
    try {
      await this.#client.request({ method: 'POST', path: events, body: event, doing });
      return;
    } catch (error) {
      if (!(error instanceof ApiError) || error.reason !== 'AlreadyExists') throw error;
    }
    try {
      const stored = (await this.#client.request({ method: 'GET', path, doing })) as { readonly count?: number };
      const body = { count: (stored.count ?? 1) + count, lastTimestamp: entry.lastTimestamp };
      await this.#client.request({ method: 'PATCH', path, body, contentType: 'application/merge-patch+json', doing });
    } catch (error) {
      // It ran out between the two requests; the next one makes it anew.
      if (!isNotFound(error)) throw error;
      entry.unsent += count;
    }
  }
}
