import { errorFromAnswer, isVersionGone } from './api-error.ts';
import { BackOff } from './back-off.ts';
import type { KubeClient } from './client.ts';
import type { Clock, Log } from './clock.ts';
import { sleep, systemClock } from './clock.ts';
import { listAll } from './list.ts';
import { causeField } from './reason.ts';

type Fields = Readonly<Record<string, unknown>>;

/** What a watch tells its owner. Calls come in the order of the API's versions. */
export interface WatchSink {
  /** The complete state at this version; it replaces everything before. */
  replace(items: readonly unknown[], resourceVersion: string): void;
  /** One change. */
  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: unknown): void;
  /** Everything up to this version has been told. */
  progress(resourceVersion: string): void;
}

export interface WatchOptions {
  readonly client: KubeClient;
  /** Path of the collection. */
  readonly path: string;
  /** `labelSelector` of the API; all objects without. */
  readonly labelSelector?: string;
  /** For messages, e.g. `volumes`. */
  readonly what: string;
  readonly sink: WatchSink;
  /**
   * What is kept of a listed object until the list is complete, undefined for nothing: the sink gets that. Without it, the whole
   * collection is in memory at once.
   */
  readonly trim?: (object: unknown) => unknown;
  readonly log: Log;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly pageSize?: number;
  /** The server is asked to end each watch after this time, and up to half of it more. */
  readonly watchSeconds?: number;
  /** A watch on which nothing came for so long, no bookmark either, is dead: real servers send one each minute. */
  readonly stallMs?: number;
  /** A complete list at least this often, whatever the watch says. */
  readonly relistMs?: number;
  readonly backOff?: { readonly baseMs: number; readonly capMs: number };
}

const DEFAULTS = {
  pageSize: 500,
  watchSeconds: 240,
  stallMs: 90_000,
  relistMs: 1_800_000,
  backOff: { baseMs: 200, capMs: 10_000 },
};
/** A watch that ended without a word before this time counts as failed, else a broken proxy would make a busy loop. */
const SHORT_WATCH_MS = 1_000;
/** List attempts in a row that may restart because their pages expired. */
const EXPIRED_LISTS = 3;

/**
 * Nothing came, no bookmark either. A server that is younger than the version asked for, as after a restored backup, says
 * nothing until it has caught up: only a list shows what there is.
 */
class SilentWatchError extends Error {}

/**
 * List and watch that never goes silent: it ends only by `stop()`. Watches go on from the last version seen, list anew when
 * the server has forgotten that version or when nothing comes for too long, and are given up when another request of the same
 * client got no answer.
 */
export class Watch {
  readonly synced: Promise<void>;
  readonly #options: WatchOptions & typeof DEFAULTS;
  readonly #clock: Clock;
  readonly #backOff: BackOff;
  readonly #stopping = new AbortController();
  #resolveSynced: () => void = () => undefined;
  #isSynced = false;
  #version: string | undefined;
  #listedAt = 0;
  #lastSignAt: number;
  #running: Promise<void> | undefined;

  constructor(options: WatchOptions) {
    this.#options = { ...DEFAULTS, ...options };
    this.#clock = options.clock ?? systemClock;
    this.#backOff = new BackOff({ ...this.#options.backOff, ...(options.random ? { random: options.random } : {}) });
    this.#lastSignAt = this.#clock.now();
    this.synced = new Promise((resolve) => {
      this.#resolveSynced = resolve;
    });
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Milliseconds since the API gave the last sign of life on this watch: list, event, bookmark or orderly end. */
  get ageMs(): number {
    return this.#clock.now() - this.#lastSignAt;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when nothing of it runs any more. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        if (this.#version === undefined || this.#clock.now() - this.#listedAt > this.#options.relistMs)
          await this.#list();
        else await this.#watch();
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        if (isVersionGone(error) || error instanceof SilentWatchError) this.#version = undefined;
        const delayMs = Math.max(this.#backOff.next(), retryAfterOf(error));
        const message = error instanceof Error ? error.message : String(error);
        const { log, what } = this.#options;
        log.warn('watch interrupted', { what, error: message, ...causeField(error), delayMs });
        await sleep(this.#clock, delayMs, signal);
      }
    }
  }

  async #list(): Promise<void> {
    const { what, sink, pageSize, path, client, trim } = this.#options;
    const { signal } = this.#stopping;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const listed = await listAll({ client, path, what, pageSize, query: this.#selection, trim, signal });
        this.#version = listed.resourceVersion;
        this.#listedAt = this.#clock.now();
        this.#signOfLife();
        sink.replace(listed.items, listed.resourceVersion);
        this.#markSynced();
        return;
      } catch (error) {
        if (signal.aborted || !isVersionGone(error) || attempt >= EXPIRED_LISTS) throw error;
      }
    }
  }

  get #selection(): Readonly<Record<string, string>> {
    const { labelSelector } = this.#options;
    return labelSelector === undefined ? {} : { labelSelector };
  }

  #markSynced(): void {
    if (this.#isSynced) return;
    this.#isSynced = true;
    this.#resolveSynced();
  }

  #signOfLife(): void {
    this.#lastSignAt = this.#clock.now();
  }

  async #watch(): Promise<void> {
    const { client, path, what, watchSeconds, random = Math.random } = this.#options;
    const startedAt = this.#clock.now();
    const guard = this.#guard();
    let events = 0;
    try {
      const lines = await client.stream({
        path,
        query: {
          watch: '1',
          ...this.#selection,
          allowWatchBookmarks: 'true',
          resourceVersion: this.#version ?? '',
          timeoutSeconds: String(Math.max(1, Math.round(watchSeconds * (1 + random() / 2)))),
        },
        doing: `watching ${what}`,
        signal: guard.signal,
      });
      this.#signOfLife();
      for await (const line of lines) {
        guard.rearm();
        this.#signOfLife();
        this.#handle(line);
        events += 1;
        this.#backOff.reset();
      }
    } catch (error) {
      throw guard.reason ?? error;
    } finally {
      guard.release();
    }
    if (events === 0 && this.#clock.now() - startedAt < SHORT_WATCH_MS) {
      throw new Error(`watching ${what}: the server ended the watch at once`);
    }
    this.#signOfLife();
  }

  /** Cuts the stream on stop, on silence, and when another request finds the server gone. */
  #guard(): { signal: AbortSignal; rearm: () => void; release: () => void; readonly reason: Error | undefined } {
    const { stallMs, client, what } = this.#options;
    const cut = new AbortController();
    let reason: Error | undefined;
    const fail = (why: Error) => {
      reason ??= why;
      cut.abort();
    };
    const stop = () => {
      cut.abort();
    };
    const arm = () =>
      this.#clock.after(stallMs, () => fail(new SilentWatchError(`watching ${what}: nothing came for ${stallMs} ms`)));
    let disarm = arm();
    const unsubscribe = client.onNetworkFailure(() =>
      fail(new Error(`watching ${what}: another request got no answer`)),
    );
    this.#stopping.signal.addEventListener('abort', stop);
    return {
      signal: cut.signal,
      rearm: () => {
        disarm();
        disarm = arm();
      },
      release: () => {
        disarm();
        unsubscribe();
        this.#stopping.signal.removeEventListener('abort', stop);
      },
      get reason() {
        return reason;
      },
    };
  }

  #handle(line: string): void {
    const { what, sink } = this.#options;
    const event = JSON.parse(line) as Fields;
    const object = event['object'] as Fields | undefined;
    const type = event['type'];
    if (type === 'ERROR') throw errorFromAnswer(`watching ${what}`, Number(object?.['code'] ?? 500), object);
    const version = (object?.['metadata'] as Fields | undefined)?.['resourceVersion'];
    if (typeof version !== 'string' || version === '') throw new Error(`watching ${what}: an event without version`);
    if (type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED') sink.apply(type, object);
    this.#version = version;
    sink.progress(version);
  }
}

function retryAfterOf(error: unknown): number {
  if (typeof error !== 'object' || error === null || !('retryAfterMs' in error)) return 0;
  return Math.min(Number(error.retryAfterMs), 30_000);
}
