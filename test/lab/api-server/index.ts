/**
 * A stand-in for the Kubernetes API server: in memory, one process, no authentication unless asked for, no admission, no
 * garbage collection. Made for tests and for the virtual cluster; the contract suite in `test/kube` says in what it agrees
 * with the real one.
 */
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { Faults } from './faults.ts';
import { Handler } from './handler.ts';
import type { JsonObject } from './json.ts';
import { objectAt, textAt } from './json.ts';
import type { Resource } from './resources.ts';
import { builtInResources, collectionOf, customResources, groupVersion } from './resources.ts';
import { keyOf } from './service.ts';
import { Storage } from './storage.ts';

export type { Failure } from './faults.ts';
export { humanDuration } from './columns.ts';

export interface ApiServerOptions {
  /** 0, the default: any free one; kept over restarts. */
  readonly port?: number;
  /** Loopback by default. */
  readonly host?: string;
  /** Folder with CustomResourceDefinitions; those of the project by default. */
  readonly definitions?: string;
  /** Serves HTTPS. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Bearer tokens that are let in; everybody by default. The first one goes into kubeconfigs. */
  readonly tokens?: readonly string[];
  readonly bookmarkMs?: number;
  /** Milliseconds since the epoch, for time stamps and ages. */
  readonly now?: () => number;
}

export interface ApiServer {
  readonly url: string;
  /** What tests make it do wrong. */
  readonly faults: Faults;
  /** Ends every watch without a word; returns how many there were. */
  dropWatches(): number;
  /** Forgets the history: watches from before get 410, pages of lists too. */
  compact(): void;
  /** Closes the port and every connection; what is stored stays. */
  stop(): Promise<void>;
  /** Opens the port again. Like a real server after its start it knows no history. */
  start(): Promise<void>;
  /** Stops for good. */
  close(): Promise<void>;
  /** For kubectl and for the driver. */
  writeKubeconfig(path: string): void;
  /** Puts an object in place with no check at all, as an older version of the schema may have left it. */
  putRaw(object: JsonObject): JsonObject;
  /** Lets in these tokens from now on. */
  setTokens(tokens: readonly string[]): void;
  /** Requests so far by method, `WATCH` apart from `GET`. */
  readonly counts: ReadonlyMap<string, number>;
  readonly openWatches: number;
}

const DEFINITIONS = join(import.meta.dirname, '..', '..', '..', 'deploy', 'crds');
const NAMESPACES = ['default', 'kube-system', 'kube-node-lease', 'meshstor'];
/** As kube-apiserver has it (IdleTimeout in apiserver/pkg/server/secure_serving.go); what Node has by default is 5 s. */
const IDLE_TIMEOUT_MS = 90_000;

/** Starts one; resolves when it listens. */
export async function createApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const server = new StandInServer(options);
  await server.start();
  return server;
}

class StandInServer implements ApiServer {
  readonly faults = new Faults();
  readonly #options: ApiServerOptions;
  readonly #storage = new Storage();
  readonly #resources: readonly Resource[];
  readonly #handler: Handler;
  readonly #sockets = new Set<Socket>();
  #tokens: readonly string[] | undefined;
  #server: http.Server | undefined;
  #port: number;

  constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#tokens = options.tokens;
    this.#port = options.port ?? 0;
    this.#resources = [...builtInResources(), ...customResources(options.definitions ?? DEFINITIONS)];
    const now = options.now ?? Date.now;
    this.#handler = new Handler({
      storage: this.#storage,
      resources: this.#resources,
      faults: this.faults,
      now,
      bookmarkMs: options.bookmarkMs ?? 10_000,
      tokens: () => this.#tokens,
    });
    for (const name of NAMESPACES) {
      const metadata = { name, uid: name, creationTimestamp: new Date(now()).toISOString() };
      this.putRaw({ apiVersion: 'v1', kind: 'Namespace', metadata, status: { phase: 'Active' } });
    }
  }

  get url(): string {
    const scheme = this.#options.tls === undefined ? 'http' : 'https';
    return `${scheme}://${this.#options.host ?? '127.0.0.1'}:${this.#port}`;
  }

  get counts(): ReadonlyMap<string, number> {
    return this.#handler.counts;
  }

  get openWatches(): number {
    return this.#handler.watches.size;
  }

  dropWatches(): number {
    const watches = [...this.#handler.watches];
    for (const watch of watches) watch.cut();
    return watches.length;
  }

  compact(): void {
    this.#storage.compact();
    this.#handler.forgetLists();
  }

  async start(): Promise<void> {
    if (this.#server !== undefined) return;
    const listener = (request: http.IncomingMessage, response: http.ServerResponse) => {
      void this.#handler.handle(request, response);
    };
    const { tls } = this.#options;
    const server = tls === undefined ? http.createServer(listener) : https.createServer({ ...tls }, listener);
    server.keepAliveTimeout = IDLE_TIMEOUT_MS;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, this.#options.host ?? '127.0.0.1', resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.compact();
    if (server === undefined) return;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async close(): Promise<void> {
    this.faults.heal();
    this.dropWatches();
    await this.stop();
  }

  writeKubeconfig(path: string): void {
    const { tls } = this.#options;
    const [token] = this.#tokens ?? [];
    const trust =
      tls === undefined
        ? { 'insecure-skip-tls-verify': true }
        : { 'certificate-authority-data': Buffer.from(tls.cert).toString('base64') };
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'stand-in', cluster: { server: this.url, ...trust } }],
      users: [{ name: 'anybody', user: token === undefined ? {} : { token } }],
      contexts: [{ name: 'stand-in', context: { cluster: 'stand-in', user: 'anybody' } }],
      'current-context': 'stand-in',
    };
    writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
  }

  putRaw(object: JsonObject): JsonObject {
    const resource = this.#resources.find(
      (candidate) => candidate.kind === object['kind'] && groupVersion(candidate) === object['apiVersion'],
    );
    if (resource === undefined) throw new Error(`no kind ${textAt(object, 'kind')} in ${textAt(object, 'apiVersion')}`);
    const metadata = objectAt(object, 'metadata');
    const key = keyOf({ name: textAt(metadata, 'name'), namespace: textAt(metadata, 'namespace') });
    return this.#storage.put(collectionOf(resource), key, object);
  }

  setTokens(tokens: readonly string[]): void {
    this.#tokens = tokens;
  }
}
