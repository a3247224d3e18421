/**
 * /metrics, /healthz and /readyz. Liveness answers as long as this process serves at all: it depends neither on preflight nor
 * on the API, because a restart helps with neither and the guards need the process (SPEC §7.14).
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Log } from '../support/log.ts';
import { errorFields } from '../support/log.ts';

export interface HttpOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly log: Log;
  /** The text of /metrics and its content type. */
  readonly metrics: () => Promise<{ readonly text: string; readonly contentType: string }>;
  /** Why this process is not ready; undefined when it is. */
  readonly notReady: () => string | undefined;
}

export interface HttpEndpoint {
  readonly address: AddressInfo;
  close(): Promise<void>;
}

const MAX_CONNECTIONS = 64;
const REQUEST_LIMIT_MS = 10_000;

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly contentType?: string;
}

async function answer(options: HttpOptions, path: string): Promise<Answer> {
  switch (path) {
    case '/healthz':
      return { status: 200, text: 'ok\n' };
    case '/readyz': {
      const reason = options.notReady();
      return reason === undefined ? { status: 200, text: 'ok\n' } : { status: 503, text: `not ready: ${reason}\n` };
    }
    case '/metrics':
      return { status: 200, ...(await options.metrics()) };
    case '/':
      return { status: 200, text: 'meshstor: see /metrics, /healthz, /readyz\n' };
    default:
      return { status: 404, text: 'not found: see /metrics, /healthz, /readyz\n' };
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status, text, contentType }: Answer): void {
  if (response.destroyed) return;
  response.writeHead(status, {
    'content-type': contentType ?? 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    ...(status === 405 ? { allow: 'GET, HEAD' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : text);
}

async function handle(options: HttpOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  request.resume();
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    send(request, response, { status: 405, text: 'only GET and HEAD\n' });
    return;
  }
  const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
  try {
    send(request, response, await answer(options, path));
  } catch (error: unknown) {
    options.log.error('http request failed', { path, error: errorFields(error) });
    send(request, response, { status: 500, text: 'internal error: see the log\n' });
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Listens and serves until closed. Rejects when the address cannot be had. */
export async function serveHttp(options: HttpOptions): Promise<HttpEndpoint> {
  const server = createServer({ requestTimeout: REQUEST_LIMIT_MS, headersTimeout: REQUEST_LIMIT_MS }, (req, res) => {
    res.on('error', (error) => options.log.debug('http answer failed', { error: errorFields(error) }));
    void handle(options, req, res);
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.on('clientError', (error, socket) => {
    options.log.debug('http client error', { error: errorFields(error) });
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
    else socket.destroy();
  });
  await listen(server, options.host, options.port);
  server.on('error', (error) => options.log.error('http server failed', { error: errorFields(error) }));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('the http server has no port');
  return {
    address,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
