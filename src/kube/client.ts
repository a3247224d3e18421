import http from 'node:http';
import https from 'node:https';
import { ApiError, errorFromAnswer, errorFromNetwork } from './api-error.ts';
import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';
import type { ClusterAccess, Credentials } from './credentials.ts';
import { findClusterAccess } from './credentials.ts';

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Absolute path, e.g. `/api/v1/nodes`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Of the body; JSON unless said otherwise. */
  readonly contentType?: string;
  /** For messages: `<doing what> <on what>`, e.g. `reading volume pvc-1`. */
  readonly doing: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Speaks to the API server. Failures are `ApiError`s. */
export interface KubeClient {
  /** Sends one request and gives the parsed answer. */
  request(request: ApiRequest): Promise<unknown>;
  /** Opens an answer that goes on; resolves when its head has come. The lines end when the server ends them. */
  stream(request: Omit<ApiRequest, 'method' | 'body'>): Promise<AsyncIterable<string>>;
  /** Called each time a request got no answer: connections that look idle may be dead too. Returns the unsubscriber. */
  onNetworkFailure(listener: () => void): () => void;
  close(): void;
}

export interface KubeClientOptions {
  /** Path of a kubeconfig; else as `findClusterAccess` says. */
  readonly kubeconfig?: string;
  readonly access?: ClusterAccess;
  readonly userAgent?: string;
  readonly clock?: Clock;
}

const REQUEST_TIMEOUT_MS = 15_000;
const CREDENTIALS_MS = 30_000;
/** A watch's line holds one object; etcd takes 1.5 MiB, and the API adds some. */
const ANSWER_LIMIT = 64 * 1024 * 1024;

export function createKubeClient(options: KubeClientOptions = {}): KubeClient {
  return new HttpKubeClient(options);
}

interface Connection {
  readonly credentials: Credentials;
  readonly agent: http.Agent;
  readonly loadedAt: number;
  /** Tells credentials apart, so that a new agent is made only for new ones. */
  readonly fingerprint: string;
}

class HttpKubeClient implements KubeClient {
  readonly #access: ClusterAccess;
  readonly #clock: Clock;
  readonly #userAgent: string;
  readonly #listeners = new Set<() => void>();
  #connection: Connection | undefined;
  #loading: Promise<Connection> | undefined;
  #closed = false;

  constructor(options: KubeClientOptions) {
    this.#access = options.access ?? findClusterAccess(options.kubeconfig);
    this.#clock = options.clock ?? systemClock;
    this.#userAgent = options.userAgent ?? 'meshstor';
  }

  async request(request: ApiRequest): Promise<unknown> {
    for (let attempt = 0; ; attempt += 1) {
      const response = await this.#open(request, attempt);
      if (response === undefined) continue;
      const text = await this.#readAll(request, response);
      const body = parseJson(text);
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) {
        if (body === undefined && text !== '') throw this.#unreadable(request);
        return body;
      }
      if (status === 401 && attempt === 0) {
        this.#forget();
        continue;
      }
      throw errorFromAnswer(request.doing, status, body, response.headers['retry-after']);
    }
  }

  async stream(request: Omit<ApiRequest, 'method' | 'body'>): Promise<AsyncIterable<string>> {
    const get = { ...request, method: 'GET' as const };
    const response = (await this.#open(get, 0)) ?? (await this.#open(get, 1));
    if (response === undefined) throw errorFromNetwork(request.doing, new Error('connection lost twice'));
    const status = response.statusCode ?? 0;
    if (status === 200) return linesOf(response, request.doing);
    if (status === 401) this.#forget();
    const body = parseJson(await this.#readAll(get, response));
    throw errorFromAnswer(request.doing, status, body, response.headers['retry-after']);
  }

  onNetworkFailure(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  close(): void {
    this.#closed = true;
    this.#forget();
  }

  /** The answer's head; undefined when a kept-alive connection turned out closed and the request may be sent again. */
  async #open(request: ApiRequest, attempt: number): Promise<http.IncomingMessage | undefined> {
    if (this.#closed) throw errorFromNetwork(request.doing, new Error('client is closed'));
    const connection = await this.#connect();
    const payload = request.body === undefined ? undefined : Buffer.from(JSON.stringify(request.body));
    try {
      return await this.#send(connection, request, payload);
    } catch (error) {
      if (attempt === 0 && request.method !== 'POST' && error instanceof StaleConnection) return undefined;
      if (request.signal?.aborted !== true) this.#reportFailure();
      throw errorFromNetwork(request.doing, error instanceof StaleConnection ? error.cause : error);
    }
  }

  #send(connection: Connection, request: ApiRequest, payload: Buffer | undefined): Promise<http.IncomingMessage> {
    const { credentials, agent } = connection;
    const url = this.#url(request);
    const { request: send } = url.protocol === 'http:' ? http : https;
    return new Promise((resolve, reject) => {
      const sent = send(url, {
        method: request.method,
        agent: credentials.agent ?? agent,
        ...credentials.tls,
        ...(credentials.basic === undefined ? {} : { auth: credentials.basic }),
        headers: {
          ...credentials.headers,
          Accept: 'application/json',
          'User-Agent': this.#userAgent,
          ...(payload === undefined
            ? {}
            : { 'Content-Type': request.contentType ?? 'application/json', 'Content-Length': payload.length }),
        },
        ...(request.signal === undefined ? {} : { signal: request.signal }),
      });
      const limit = request.timeoutMs ?? REQUEST_TIMEOUT_MS;
      const timer = setTimeout(() => sent.destroy(new Error(`no answer within ${limit} ms`)), limit);
      sent.on('response', (response) => {
        clearTimeout(timer);
        response.socket.setKeepAlive(true, 10_000);
        resolve(response);
      });
      sent.on('error', (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        reject(sent.reusedSocket && error.code === 'ECONNRESET' ? new StaleConnection(error) : error);
      });
      sent.end(payload);
    });
  }

  #url(request: ApiRequest): URL {
    const url = new URL(this.#access.server);
    url.pathname = `${url.pathname.replace(/\/$/, '')}${request.path}`;
    for (const [name, value] of Object.entries(request.query ?? {})) url.searchParams.set(name, value);
    return url;
  }

  async #readAll(request: ApiRequest, response: http.IncomingMessage): Promise<string> {
    const limit = request.timeoutMs ?? REQUEST_TIMEOUT_MS;
    const timer = setTimeout(() => response.destroy(new Error(`answer not complete within ${limit} ms`)), limit);
    try {
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of response as AsyncIterable<Buffer>) {
        chunks.push(chunk);
        size += chunk.length;
        if (size > ANSWER_LIMIT) throw new Error(`answer is longer than ${ANSWER_LIMIT} bytes`);
      }
      return Buffer.concat(chunks).toString('utf8');
    } catch (error) {
      if (request.signal?.aborted !== true) this.#reportFailure();
      throw errorFromNetwork(request.doing, error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Credentials and agent of now, loaded at most twice a minute, by one caller at a time. */
  async #connect(): Promise<Connection> {
    const known = this.#connection;
    if (known !== undefined && this.#clock.now() - known.loadedAt < CREDENTIALS_MS) return known;
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #load(): Promise<Connection> {
    const credentials = await this.#access.load();
    const old = this.#connection;
    const fingerprint = JSON.stringify(credentials.tls);
    const keep = old?.fingerprint === fingerprint;
    const next = {
      credentials,
      fingerprint,
      loadedAt: this.#clock.now(),
      agent: keep ? old.agent : this.#agent(credentials),
    };
    // Requests under way on the old agent end by themselves; its idle connections do not.
    if (!keep && old !== undefined) closeIdle(old.agent);
    this.#connection = next;
    return next;
  }

  #agent(credentials: Credentials): http.Agent {
    const keep = { keepAlive: true, keepAliveMsecs: 10_000, maxFreeSockets: 4, scheduling: 'lifo' as const };
    return this.#access.server.protocol === 'http:'
      ? new http.Agent(keep)
      : new https.Agent({ ...keep, ...credentials.tls });
  }

  #forget(): void {
    const old = this.#connection;
    this.#connection = undefined;
    if (old !== undefined) closeIdle(old.agent);
  }

  #reportFailure(): void {
    for (const listener of this.#listeners) listener();
  }

  #unreadable(request: ApiRequest): ApiError {
    return new ApiError('unavailable', `${request.doing}: the answer is no JSON`, { status: 0, reason: '' });
  }
}

class StaleConnection extends Error {
  constructor(cause: unknown) {
    super('connection was closed by the server', { cause });
  }
}

function closeIdle(agent: http.Agent): void {
  for (const sockets of Object.values(agent.freeSockets)) {
    for (const socket of sockets ?? []) socket.destroy();
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

async function* linesOf(response: http.IncomingMessage, doing: string): AsyncGenerator<string> {
  response.setEncoding('utf8');
  let rest = '';
  try {
    for await (const chunk of response as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > ANSWER_LIMIT) throw new Error(`a line is longer than ${ANSWER_LIMIT} characters`);
      for (const line of lines) if (line !== '') yield line;
    }
  } catch (error) {
    throw errorFromNetwork(doing, error);
  } finally {
    response.destroy();
  }
}
