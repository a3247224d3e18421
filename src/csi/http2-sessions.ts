/**
 * HTTP/2 below gRPC. nghttp2 refuses a request whose `:authority` is a socket path, empty or missing (kubelets before 1.26, old
 * clients of other orchestrators) before any JavaScript runs: grpc-js never hears of it. What can be seen is a session that
 * ends without one request having come through, and that is logged with the likely cause.
 */
import type { Http2Server, ServerHttp2Session } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import type { Log } from '../support/log.ts';
import { errorFields } from '../support/log.ts';

const HINT =
  'the client may have sent a socket path as :authority, which HTTP/2 in Node refuses; kubelet 1.27 and current sidecars send localhost';

/** Attaches to what `server` has bound. Does nothing but log. */
export function logHttp2Sessions(server: Server, log: Log): void {
  for (const http2Server of http2ServersOf(server)) {
    http2Server.on('session', (session) => logSession(session, log));
  }
}

function logSession(session: ServerHttp2Session, log: Log): void {
  let hasSpoken = false;
  let hasRequested = false;
  session.on('localSettings', () => (hasSpoken = true));
  session.on('remoteSettings', () => (hasSpoken = true));
  session.on('stream', () => (hasRequested = true));
  session.on('error', (error) => log.warn('http/2 session failed', { error: errorFields(error), hint: HINT }));
  session.on('close', () => {
    if (hasSpoken && !hasRequested) log.warn('http/2 session ended without a call', { hint: HINT });
  });
}

/** grpc-js keeps them to itself; a version that keeps them elsewhere costs these log lines and nothing more. */
function http2ServersOf(server: Server): readonly Http2Server[] {
  const servers: unknown = Reflect.get(server, 'http2Servers');
  return servers instanceof Map ? ([...servers.keys()] as Http2Server[]) : [];
}
