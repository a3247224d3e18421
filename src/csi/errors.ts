import { status } from '@grpc/grpc-js';
import type { DomainErrorKind } from '../api/errors.ts';
import { DomainError } from '../api/errors.ts';

/** The one place where kinds of failure become gRPC codes. */
const CODES: Readonly<Record<DomainErrorKind, status>> = {
  invalid: status.INVALID_ARGUMENT,
  notFound: status.NOT_FOUND,
  conflict: status.ALREADY_EXISTS,
  pending: status.ABORTED,
  precondition: status.FAILED_PRECONDITION,
  outOfRange: status.OUT_OF_RANGE,
  exhausted: status.RESOURCE_EXHAUSTED,
  unavailable: status.UNAVAILABLE,
  unsupported: status.UNIMPLEMENTED,
  internal: status.INTERNAL,
};

/** Trailers share one HTTP/2 header limit (8 KiB by default in clients), and text other than ASCII triples on the wire. */
const LONGEST_DETAILS = 2000;

export interface RpcFailure {
  readonly code: status;
  readonly details: string;
}

/**
 * A fresh status for an error of any origin. grpc-js would take a numeric `code` of a foreign error (an errno, an HTTP status)
 * for a gRPC code, so nothing of such an error leaves the process: the client gets the request id, the log has the rest.
 */
export function toRpcFailure(error: unknown, requestId: string): RpcFailure {
  if (error instanceof DomainError) {
    const text = error.kind === 'internal' ? `${error.message} (request ${requestId})` : error.message;
    return { code: CODES[error.kind], details: shorten(text) };
  }
  return { code: status.INTERNAL, details: `internal error, see the driver's log for request ${requestId}` };
}

/** Failures that need a person; the others are refusals, or are tried again by the caller. */
export function isDriversFault(failure: RpcFailure): boolean {
  return failure.code === status.INTERNAL;
}

export function codeName(code: status): string {
  return status[code];
}

function shorten(text: string): string {
  return text.length <= LONGEST_DETAILS ? text : `${text.slice(0, LONGEST_DETAILS)} … (shortened)`;
}
