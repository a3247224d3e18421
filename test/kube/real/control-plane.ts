/**
 * A real control plane for tests: etcd and kube-apiserver with RBAC, started and stopped here, on loopback unless told
 * otherwise. Everything that it writes is in a temporary folder of its own.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { identify, isRunning } from '../../lab/processes.ts';
import type { ProcessIdentity } from '../../lab/processes.ts';
import { Api } from '../contract/server.ts';
import type { Wire } from '../contract/server.ts';
import { ApiRelay } from './api-relay.ts';
import type { Component } from './component.ts';
import { freePorts, startComponent, untilReady } from './component.ts';
import type { Place } from './control-plane-files.ts';
import { apiServerArguments, etcdArguments, writeCredentials } from './control-plane-files.ts';
import { CONTROLLER_USERS, startControllers } from './controllers.ts';
import { toolPath } from './tools.ts';

export interface ControlPlaneOptions {
  /** Address that it listens on; 127.0.0.1 by default. */
  readonly host?: string;
  /** Users besides the administrator, with their groups. */
  readonly users?: Readonly<Record<string, readonly string[]>>;
  /** Starts kube-controller-manager and kube-scheduler too. */
  readonly controllers?: boolean;
}

export interface ControlPlane {
  readonly url: string;
  /** Temporary; gone after `stop`. */
  readonly folder: string;
  /** Path of a kubeconfig of `system:masters`, who may do everything. */
  readonly kubeconfig: string;
  /** Path of the certificate of the authority that signed the API server's. */
  readonly authority: string;
  /** As the administrator. */
  readonly api: Api;
  readonly kubectl: string;
  /** Processes that run. */
  readonly pids: readonly number[];
  /** Writes a kubeconfig for a bearer token and returns its path; `server`: where a relay listens instead. */
  kubeconfigFor(name: string, token: string, server?: string): string;
  /** A relay to the API server; `token`: in whose name it asks, whoever asks it. */
  newRelay(token?: string): Promise<ApiRelay>;
  /** The token of a user that was named in the options. */
  tokenOf(user: string): string;
  /** A token for a service account, as a pod of it gets. */
  tokenOfAccount(namespace: string, name: string): Promise<string>;
  /** Stops the API server, by force if told so; etcd and its data stay. */
  stopApiServer(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again at the same address. */
  startApiServer(): Promise<void>;
  /** Stops etcd under a running API server; its data stay in the folder `etcd`. */
  stopEtcd(): Promise<void>;
  startEtcd(): Promise<void>;
  /** Forgets all history: compacts etcd and empties the API server's cache of changes by a restart. */
  compact(): Promise<void>;
  /** Writes an object of ours past the API server's checks: an older schema may have let it in. */
  putRaw(plural: string, object: Readonly<Record<string, unknown>>): Promise<void>;
  /** Creates the kinds of `deploy/crds` and waits until they are served. */
  installDefinitions(): Promise<void>;
  stop(): Promise<void>;
}

const DEFINITIONS = join(import.meta.dirname, '..', '..', '..', 'deploy', 'crds');
const PREFIX = 'meshstor-control-plane-';
const OWNER = 'owner.json';
const ADMIN = 'admin';
/** A cold start on a busy machine with two cores. */
const READY_MS = 180_000;

/** Starts one; resolves when it is ready. */
export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  await sweepLeftovers();
  const host = options.host ?? '127.0.0.1';
  const folder = mkdtempSync(join(tmpdir(), PREFIX));
  writeFileSync(join(folder, OWNER), JSON.stringify(await identify(process.pid)));
  const controllers = Object.fromEntries(Object.values(CONTROLLER_USERS).map((name) => [name, []]));
  const users = { [ADMIN]: ['system:masters'], ...controllers, ...options.users };
  const tokens = new Map(Object.keys(users).map((name) => [name, randomBytes(16).toString('hex')]));
  writeCredentials(folder, users, tokens);
  for (let attempt = 1; ; attempt += 1) {
    const [etcdPort = 0, peerPort = 0, apiPort = 0] = await freePorts(3, host);
    const plane = new RealControlPlane({ folder, host, etcdPort, peerPort, apiPort, tokens });
    try {
      await plane.start();
      if (options.controllers === true) await plane.startControllers();
      return plane;
    } catch (error) {
      await plane.stopProcesses();
      // Somebody else may have taken a port between its choice and its use.
      if (attempt === 3 || !String(error).includes('address already in use')) {
        rmSync(folder, { recursive: true, force: true });
        throw error;
      }
    }
  }
}

/** Removes the folders of runs that were killed; their processes ended with them. */
async function sweepLeftovers(): Promise<void> {
  for (const name of readdirSync(tmpdir())) {
    if (!name.startsWith(PREFIX)) continue;
    const folder = join(tmpdir(), name);
    if (!(await isInUse(folder))) rmSync(folder, { recursive: true, force: true });
  }
}

async function isInUse(folder: string): Promise<boolean> {
  try {
    return await isRunning(JSON.parse(readFileSync(join(folder, OWNER), 'utf8')) as ProcessIdentity);
  } catch {
    // Being made or removed right now, or left by a run that was killed in its first moment.
    const made = statSync(folder, { throwIfNoEntry: false });
    return made !== undefined && Date.now() - made.mtimeMs < 60_000;
  }
}

class RealControlPlane implements ControlPlane {
  readonly #place: Place;
  #etcd: Component | undefined;
  #apiServer: Component | undefined;
  #controllers: readonly Component[] = [];
  #api: Api | undefined;
  /** Of our kinds, once they are installed. */
  readonly #collections: string[] = [];

  constructor(place: Place) {
    this.#place = place;
  }

  get url(): string {
    return `https://${this.#place.host}:${this.#place.apiPort}`;
  }

  get folder(): string {
    return this.#place.folder;
  }

  get kubeconfig(): string {
    return join(this.folder, `${ADMIN}.kubeconfig`);
  }

  get kubectl(): string {
    return toolPath('kubectl');
  }

  get pids(): readonly number[] {
    return [this.#etcd, this.#apiServer, ...this.#controllers].flatMap((component) =>
      component?.runs === true ? [component.pid] : [],
    );
  }

  get api(): Api {
    if (this.#api === undefined) throw new Error('the control plane has not been started');
    return this.#api;
  }

  async start(): Promise<void> {
    await this.startEtcd();
    await this.startApiServer();
  }

  async startEtcd(): Promise<void> {
    if (this.#etcd?.runs === true) return;
    const etcd = await startComponent('etcd', toolPath('etcd'), etcdArguments(this.#place), this.folder);
    this.#etcd = etcd;
    await untilReady(etcd, async () => (await fetch(this.#etcdUrl('/health'))).ok, READY_MS);
  }

  async stopEtcd(): Promise<void> {
    await this.#etcd?.stop();
  }

  async startControllers(): Promise<void> {
    this.#controllers = await startControllers({
      folder: this.folder,
      host: this.#place.host,
      kubeconfigOf: (name) => this.kubeconfigFor(name, this.tokenOf(CONTROLLER_USERS[name])),
      authority: this.authority,
    });
  }

  async startApiServer(): Promise<void> {
    if (this.#apiServer?.runs === true) return;
    const args = apiServerArguments(this.#place);
    const server = await startComponent('kube-apiserver', toolPath('kube-apiserver'), args, this.folder);
    this.#apiServer = server;
    await untilReady(server, () => this.#isReady(), READY_MS);
    this.#api ??= new Api(this.kubeconfig);
    // It is ready before its caches of custom resources are: until then it answers 429.
    for (const collection of this.#collections) {
      await untilReady(server, () => this.#isCached(collection), READY_MS);
    }
  }

  async #isCached(collection: string): Promise<boolean> {
    const { metadata } = await this.api.list(collection);
    await this.api.list(collection, { resourceVersion: metadata.resourceVersion });
    return true;
  }

  async #isReady(): Promise<boolean> {
    // The first start makes the certificate that clients trust.
    if (this.#api === undefined) this.kubeconfigFor(ADMIN, this.tokenOf(ADMIN));
    const ca = readFileSync(this.authority);
    const headers = { Authorization: `Bearer ${this.tokenOf(ADMIN)}` };
    const status = await new Promise((resolve, reject) => {
      const request = get(`${this.url}/readyz`, { ca, headers, agent: false, timeout: 5_000 }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      request.once('timeout', () => request.destroy(new Error('no answer from /readyz')));
      request.once('error', reject);
    });
    return status === 200;
  }

  async stopApiServer(signal?: NodeJS.Signals): Promise<void> {
    await this.#apiServer?.stop(signal);
  }

  async putRaw(plural: string, object: Readonly<Record<string, unknown>>): Promise<void> {
    const metadata = object['metadata'] as { readonly name: string };
    const made = { uid: randomUUID(), generation: 1, creationTimestamp: new Date().toISOString() };
    const value = JSON.stringify({ ...object, metadata: { ...metadata, ...made } });
    const [key, text] = [`/registry/csi.meshstor.io/${plural}/${metadata.name}`, value].map((part) => btoa(part));
    await this.#askEtcd('put', { key, value: text });
  }

  async #askEtcd(what: string, body: object): Promise<void> {
    const answer = await fetch(this.#etcdUrl(`/v3/kv/${what}`), { method: 'POST', body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`etcd, ${what}: ${answer.status} ${await answer.text()}`);
  }

  async compact(): Promise<void> {
    const { metadata } = await this.api.list('/api/v1/namespaces');
    await this.stopApiServer();
    await this.#askEtcd('compaction', { revision: metadata.resourceVersion, physical: true });
    await this.startApiServer();
  }

  tokenOf(user: string): string {
    const token = this.#place.tokens.get(user);
    if (token === undefined) throw new Error(`no user is called ${user}`);
    return token;
  }

  async tokenOfAccount(namespace: string, name: string): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
    const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} };
    const { status } = await this.api.create(path, request);
    return String(status?.['token']);
  }

  newRelay(token?: string): Promise<ApiRelay> {
    const upstream = { upstream: this.url, authority: readFileSync(this.authority) };
    return ApiRelay.listen({ ...upstream, ...(token === undefined ? {} : { token }) });
  }

  kubeconfigFor(name: string, token: string, server = this.url): string {
    const authority = readFileSync(this.authority);
    const trusted = { 'certificate-authority-data': authority.toString('base64') };
    const cluster = server.startsWith('https:') ? { server, ...trusted } : { server };
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'real', cluster }],
      users: [{ name, user: { token } }],
      contexts: [{ name: 'real', context: { cluster: 'real', user: name } }],
      'current-context': 'real',
    };
    const path = join(this.folder, `${name}.kubeconfig`);
    writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
    return path;
  }

  async installDefinitions(): Promise<void> {
    const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
    for (const file of readdirSync(DEFINITIONS)) {
      const definition = parse(readFileSync(join(DEFINITIONS, file), 'utf8')) as Definition;
      await this.api.create(path, definition);
      const { group, names, versions } = definition.spec;
      const server = this.#apiServer;
      if (server === undefined) throw new Error('the control plane has not been started');
      const isEstablished = async () => {
        const { status } = await this.api.get(`${path}/${definition.metadata.name}`);
        return conditionsOf(status).some(({ type, status: holds }) => type === 'Established' && holds === 'True');
      };
      await untilReady(server, isEstablished, 30_000);
      const collection = `/apis/${group}/${versions[0]?.name ?? ''}/${names.plural}`;
      await untilReady(server, () => this.#isCached(collection), 30_000);
      this.#collections.push(collection);
    }
  }

  async stopProcesses(): Promise<void> {
    this.#api?.client.close();
    await Promise.all(this.#controllers.map((controller) => controller.stop()));
    await this.#apiServer?.stop();
    await this.#etcd?.stop();
  }

  async stop(): Promise<void> {
    await this.stopProcesses();
    rmSync(this.folder, { recursive: true, force: true });
  }

  get authority(): string {
    return join(this.folder, 'certs', 'apiserver.crt');
  }

  #etcdUrl(path: string): string {
    return `http://${this.#place.host}:${this.#place.etcdPort}${path}`;
  }
}

interface Definition {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly group: string;
    readonly names: { readonly plural: string };
    readonly versions: readonly { readonly name: string }[];
  };
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

/** The conditions of any status. */
export function conditionsOf(status: Wire['status']): readonly Condition[] {
  return (status?.['conditions'] ?? []) as readonly Condition[];
}
