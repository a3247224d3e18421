import { getSystemErrorName } from 'node:util';
import { constants } from 'node:os';

export interface NativeErrorInit {
  /** Negative, as in Node's own errors. */
  readonly errno: number;
  /** `EBUSY`; derived from `errno` when left out. */
  readonly code?: string;
  readonly syscall: string;
  readonly path?: string;
  readonly cause?: unknown;
}

/**
 * A failed kernel operation, in the shape of Node's `fs` errors. `code` is always a string: a numeric one would become a
 * gRPC status if it ever reached the server.
 */
export class NativeError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;
  declare readonly path?: string;

  constructor(message: string, init: NativeErrorInit) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause });
    this.name = 'NativeError';
    this.errno = init.errno < 0 ? init.errno : -init.errno;
    this.code = init.code ?? errnoName(this.errno);
    this.syscall = init.syscall;
    if (init.path !== undefined) this.path = init.path;
  }
}

/** `-16` → `EBUSY`; a number that nobody knows → `E<number>`. */
export function errnoName(errno: number): string {
  if (!Number.isSafeInteger(errno) || errno >= 0) return `E${String(errno)}`;
  const name = getSystemErrorName(errno);
  return /^E[A-Z0-9]+$/.test(name) ? name : `E${String(-errno)}`;
}

/** An argument that the facade refuses: `EINVAL`, nothing was called. */
export function invalidArgument(operation: string, message: string, path?: string): NativeError {
  return new NativeError(`${operation}: ${message}`, {
    errno: -constants.errno.EINVAL,
    code: 'EINVAL',
    syscall: operation,
    ...(path === undefined ? {} : { path }),
  });
}

/** The addon broke its own contract: a result of the wrong shape, or a failure without an errno. */
export function contractBroken(operation: string, message: string, cause?: unknown): NativeError {
  return new NativeError(`${operation}: ${message}`, {
    errno: -constants.errno.EPROTO,
    code: 'EPROTO',
    syscall: operation,
    cause,
  });
}

/**
 * Rebuilds what the addon rejected with. An error made on the main thread by native code has no JavaScript stack; one made
 * here, behind the `await`, has the asynchronous stack of the caller. The raw one stays as `cause`.
 */
export function wrapNativeError(operation: string, raw: unknown): NativeError {
  if (raw instanceof NativeError) return raw;
  if (!(raw instanceof Error)) return contractBroken(operation, `the addon rejected with ${typeof raw}`, raw);
  const fields = raw as Error & Record<'errno' | 'code' | 'syscall' | 'path', unknown>;
  if (typeof fields.errno !== 'number' || !Number.isSafeInteger(fields.errno) || fields.errno === 0) {
    return contractBroken(operation, raw.message, raw);
  }
  return new NativeError(`${operation}: ${raw.message}`, {
    errno: fields.errno,
    ...(typeof fields.code === 'string' && fields.code !== '' ? { code: fields.code } : {}),
    syscall: typeof fields.syscall === 'string' && fields.syscall !== '' ? fields.syscall : operation,
    ...(typeof fields.path === 'string' && fields.path !== '' ? { path: fields.path } : {}),
    cause: raw,
  });
}
