/** A CSI server on a unix socket. */
import { chmod, lstat, unlink } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { ControllerOperations } from '../controller/operations.ts';
import type { NodeOperations } from '../node/operations.ts';
import type { KeyedLock } from '../support/keyed-lock.ts';
import type { Log } from '../support/log.ts';
import { errorFields } from '../support/log.ts';
import { DomainError, errnoCode } from '../api/errors.ts';
import { controllerHandlers } from './controller.ts';
import { logHttp2Sessions } from './http2-sessions.ts';
import { identityHandlers } from './identity.ts';
import { nodeHandlers } from './node.ts';
import { csiService } from './proto.ts';
import type { CsiEdge } from './unary.ts';

/** `sun_path` holds 108 bytes and Node cuts a longer path silently: another socket would be served. */
const LONGEST_SOCKET_PATH_BYTES = 100;
const SOCKET_MODE = 0o600;
/** The largest request is a volume context; grpc-js would take 4 MiB. */
const LARGEST_MESSAGE_BYTES = 1024 * 1024;
const PROBE_LIMIT_MS = 1000;

export interface CsiServerOptions {
  /** Absolute path, or the same as a `unix://` URL. */
  readonly endpoint: string;
  readonly version: string;
  readonly log: Log;
  /** Shared with the reconcilers of this process. */
  readonly lock: KeyedLock;
  readonly controller?: ControllerOperations;
  readonly node?: NodeOperations;
  readonly notReady?: () => string | undefined;
  readonly onAnswer?: (rpc: string, code: string, seconds: number) => void;
}

export interface CsiServer {
  readonly socketPath: string;
  /** Calls whose work has not ended. */
  readonly callsInFlight: () => number;
  /**
   * Takes no new calls and waits for those in flight: after half of the limit they are asked to end, after all of it their
   * callers are cut off. Removes the socket.
   */
  stop(limitMs: number): Promise<void>;
}

export async function startCsiServer(options: CsiServerOptions): Promise<CsiServer> {
  const socketPath = socketPathOf(options.endpoint);
  await removeStaleSocket(socketPath);
  const stopping = new AbortController();
  const edge: CsiEdge = {
    log: options.log,
    lock: options.lock,
    notReady: options.notReady ?? (() => undefined),
    stopping: stopping.signal,
    inFlight: new Set(),
    ...(options.onAnswer === undefined ? {} : { onAnswer: options.onAnswer }),
  };
  const server = serverFor(options, edge);
  try {
    await bind(server, socketPath);
    await chmod(socketPath, SOCKET_MODE);
    logHttp2Sessions(server, options.log);
  } catch (error: unknown) {
    server.forceShutdown();
    throw error;
  }
  options.log.info('csi server listens', { socketPath });
  return {
    socketPath,
    callsInFlight: () => edge.inFlight.size,
    stop: (limitMs) => drain(server, stopping, limitMs, options.log),
  };
}

function serverFor(options: CsiServerOptions, edge: CsiEdge): Server {
  const server = new Server({
    'grpc.max_receive_message_length': LARGEST_MESSAGE_BYTES,
    'grpc.max_send_message_length': -1,
  });
  server.addService(csiService('Identity'), identityHandlers(edge, { version: options.version }));
  if (options.controller !== undefined) {
    server.addService(csiService('Controller'), controllerHandlers(edge, options.controller));
  }
  if (options.node !== undefined) server.addService(csiService('Node'), nodeHandlers(edge, options.node));
  return server;
}

function socketPathOf(endpoint: string): string {
  const path = endpoint.startsWith('unix:') ? endpoint.slice('unix:'.length).replace(/^\/\/(?=\/)/, '') : endpoint;
  if (!path.startsWith('/')) {
    throw new DomainError('invalid', `listen on ${endpoint}: expected an absolute path or unix:// and one`);
  }
  const bytes = Buffer.byteLength(path);
  if (bytes > LONGEST_SOCKET_PATH_BYTES) {
    const rule = `its ${bytes} bytes are more than ${LONGEST_SOCKET_PATH_BYTES}, choose a shorter path`;
    throw new DomainError('invalid', `listen on ${path}: ${rule}`);
  }
  return path;
}

/** Only a socket that nobody answers is removed: not a file, not the socket of a process that lives. */
async function removeStaleSocket(path: string): Promise<void> {
  const stats = await lstat(path).catch((error: unknown) => {
    if (errnoCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (stats === undefined) return;
  if (!stats.isSocket()) throw new DomainError('precondition', `listen on ${path}: it exists and is no socket`);
  if (await isAnswered(path)) throw new DomainError('precondition', `listen on ${path}: another process serves it`);
  await unlink(path);
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    const settle = (answered: boolean): void => {
      probe.destroy();
      resolve(answered);
    };
    probe.setTimeout(PROBE_LIMIT_MS, () => settle(true));
    probe.once('connect', () => settle(true));
    probe.once('error', () => settle(false));
  });
}

function bind(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(new DomainError('internal', `listen on ${socketPath}: ${error.message}`, { cause: error }));
    });
  });
}

async function drain(server: Server, stopping: AbortController, limitMs: number, log: Log): Promise<void> {
  const ask = setTimeout(() => stopping.abort(), limitMs / 2);
  const force = setTimeout(() => {
    log.warn('csi calls still in flight are cut off', { limitMs });
    server.forceShutdown();
  }, limitMs);
  try {
    await new Promise<void>((resolve) => {
      server.tryShutdown((error) => {
        if (error !== undefined) log.warn('csi server did not stop cleanly', { error: errorFields(error) });
        resolve();
      });
    });
  } finally {
    clearTimeout(ask);
    clearTimeout(force);
  }
}
