/** Stands between one program and an API server: notes every request, counts, and cuts what it is told to cut. */
import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { Agent, request as send } from 'node:https';
import type { AddressInfo } from 'node:net';

export interface RelayedRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: string;
  readonly isWatch: boolean;
  readonly contentType: string | undefined;
  readonly body: Buffer;
  /** Of the answer; undefined before it has come. */
  status: number | undefined;
}

export interface RelayOptions {
  /** Of the API server, `https://…`. */
  readonly upstream: string;
  readonly authority: Buffer;
  /** For programs that keep theirs to themselves where the connection is not encrypted, as Kubernetes' own do. */
  readonly token?: string;
}

export class ApiRelay {
  readonly requests: RelayedRequest[] = [];
  /** Called when the program has asked and the server does not know it yet; false: it never will. */
  onRequest: (request: RelayedRequest) => boolean = () => true;
  /** Called when the server has done what was asked and the program does not know it yet; false: it never will. */
  onAnswer: (request: RelayedRequest) => boolean = () => true;
  readonly #upstream: string;
  readonly #token: string | undefined;
  readonly #agent: Agent;
  readonly #server: Server;
  readonly #watches = new Set<ServerResponse>();

  private constructor({ upstream, authority, token }: RelayOptions) {
    this.#upstream = upstream;
    this.#token = token;
    this.#agent = new Agent({ ca: authority, keepAlive: true });
    this.#server = createServer((incoming, outgoing) => {
      // Whoever asked is gone, or the server is: both are what the program has to live with.
      this.#pass(incoming, outgoing).catch(() => outgoing.destroy());
    });
    // Only cuts that were asked for.
    this.#server.keepAliveTimeout = 600_000;
    this.#server.requestTimeout = 0;
  }

  /** Listens on loopback at a port that the system chooses. */
  static async listen(options: RelayOptions): Promise<ApiRelay> {
    const relay = new ApiRelay(options);
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    return relay;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Breaks every watch as a lost connection does; returns how many there were. */
  cutWatches(): number {
    const open = [...this.#watches];
    for (const watch of open) watch.destroy();
    return open.length;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    this.#agent.destroy();
    await closed;
  }

  async #pass(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
    const url = new URL(incoming.url ?? '/', this.#upstream);
    const watching = url.searchParams.get('watch') ?? '';
    const request: RelayedRequest = {
      method: incoming.method ?? 'GET',
      path: url.pathname,
      query: url.search,
      isWatch: watching === '1' || watching === 'true',
      contentType: incoming.headers['content-type'],
      body: Buffer.concat(chunks),
      status: undefined,
    };
    this.requests.push(request);
    if (!this.onRequest(request)) {
      outgoing.destroy();
      return;
    }
    const answer = await this.#ask(request, incoming, outgoing);
    request.status = answer.statusCode ?? 0;
    if (!this.onAnswer(request)) {
      outgoing.destroy();
      return;
    }
    if (request.isWatch) this.#keep(outgoing);
    outgoing.writeHead(request.status, answer.headers);
    outgoing.flushHeaders();
    answer.on('error', () => outgoing.destroy());
    answer.pipe(outgoing);
  }

  #ask(request: RelayedRequest, incoming: IncomingMessage, outgoing: ServerResponse): Promise<IncomingMessage> {
    const { method, path, query, body } = request;
    const { host: _, 'transfer-encoding': __, ...headers } = incoming.headers;
    return new Promise((resolve, reject) => {
      const own = this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` };
      const all = { ...headers, ...own, 'content-length': String(body.length) };
      const options = { method, agent: this.#agent, headers: all };
      const asked = send(`${this.#upstream}${path}${query}`, options, resolve);
      asked.on('error', reject);
      // A watch that the program has ended is ended there, too.
      outgoing.on('close', () => asked.destroy());
      asked.end(body);
    });
  }

  #keep(watch: ServerResponse): void {
    this.#watches.add(watch);
    watch.on('close', () => this.#watches.delete(watch));
  }
}
