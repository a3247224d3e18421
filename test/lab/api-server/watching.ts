import type { ServerResponse } from 'node:http';
import type { JsonObject } from './json.ts';
import type { Resource } from './resources.ts';
import { collectionOf, groupVersion } from './resources.ts';
import type { Filter } from './selectors.ts';
import { StatusError } from './status.ts';
import type { Change, Storage } from './storage.ts';

export interface WatchRequest {
  readonly resource: Resource;
  readonly filter: Filter;
  /** Undefined: begin with everything there is. */
  readonly from: number | undefined;
  readonly bookmarks: boolean;
  readonly timeoutMs: number;
  readonly bookmarkMs: number;
  /** How an object is shown, e.g. as a table. */
  readonly show: (object: JsonObject, isFirst: boolean) => JsonObject;
}

/** One watch: writes changes as lines until its time is over, its past is forgotten, or it is cut. */
export class WatchStream {
  readonly #storage: Storage;
  readonly #request: WatchRequest;
  readonly #response: ServerResponse;
  readonly #isPaused: () => boolean;
  readonly #cleanups: (() => void)[] = [];
  #cursor: number;
  #sent = 0;

  constructor(storage: Storage, request: WatchRequest, response: ServerResponse, isPaused: () => boolean) {
    this.#storage = storage;
    this.#request = request;
    this.#response = response;
    this.#isPaused = isPaused;
    this.#cursor = request.from ?? storage.revision;
  }

  start(): void {
    const { resource, filter, from, timeoutMs, bookmarks, bookmarkMs } = this.#request;
    this.#response.writeHead(200, { 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' });
    this.#response.flushHeaders();
    if (from === undefined) {
      const initial = this.#storage.list(collectionOf(resource)).map(([, object]) => object);
      for (const object of initial.filter(filter)) this.#write('ADDED', object);
    }
    this.#cleanups.push(this.#storage.subscribe(() => this.pump()));
    const end = setTimeout(() => this.#end(), timeoutMs);
    this.#cleanups.push(() => clearTimeout(end));
    if (bookmarks) {
      const timer = setInterval(() => this.#bookmark(), bookmarkMs);
      this.#cleanups.push(() => clearInterval(timer));
    }
    this.#response.on('close', () => this.#release());
    this.pump();
  }

  /** Sends what has changed since the last time. */
  pump(): void {
    if (this.#isPaused() || this.#response.writableEnded) return;
    // A version that is still to come is waited for.
    if (this.#cursor > this.#storage.revision) return;
    try {
      for (const change of this.#storage.since(this.#cursor)) {
        this.#cursor = change.revision;
        this.#tell(change);
      }
      this.#cursor = this.#storage.revision;
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      this.#response.write(`${JSON.stringify({ type: 'ERROR', object: error.toJson() })}\n`);
      this.#release();
      this.#response.end();
    }
  }

  /** Breaks the connection without an orderly end. */
  cut(): void {
    this.#release();
    this.#response.destroy();
  }

  #tell(change: Change): void {
    const { resource, filter } = this.#request;
    if (change.collection !== collectionOf(resource)) return;
    const before = change.previous !== undefined && filter(change.previous);
    const after = change.type !== 'DELETED' && filter(change.object);
    if (after) this.#write(before ? 'MODIFIED' : 'ADDED', change.object);
    else if (before) this.#write('DELETED', change.object);
  }

  #write(type: string, object: JsonObject): void {
    const shown = this.#request.show(object, this.#sent === 0);
    this.#sent += 1;
    this.#response.write(`${JSON.stringify({ type, object: shown })}\n`);
  }

  #bookmark(): void {
    if (this.#isPaused() || this.#response.writableEnded) return;
    this.pump();
    if (this.#response.writableEnded || this.#cursor > this.#storage.revision) return;
    const { resource } = this.#request;
    const metadata = { resourceVersion: String(this.#cursor), creationTimestamp: null };
    const object = { kind: resource.kind, apiVersion: groupVersion(resource), metadata };
    this.#response.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
  }

  #end(): void {
    this.#release();
    if (this.#request.bookmarks && !this.#isPaused() && !this.#response.writableEnded) this.#bookmark();
    this.#response.end();
  }

  #release(): void {
    for (const cleanup of this.#cleanups.splice(0)) cleanup();
  }
}
