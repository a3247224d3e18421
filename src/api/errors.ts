/** Kinds of failure that callers act on. `csi` turns them into gRPC codes by one table; nothing else knows those codes. */
export type DomainErrorKind =
  | 'invalid' // the request is wrong: INVALID_ARGUMENT
  | 'notFound' // NOT_FOUND
  | 'conflict' // same name, other parameters: ALREADY_EXISTS
  | 'pending' // an operation on this volume is under way: ABORTED
  | 'precondition' // the state forbids it: FAILED_PRECONDITION
  | 'outOfRange' // OUT_OF_RANGE
  | 'exhausted' // no room: RESOURCE_EXHAUSTED
  | 'unavailable' // try again later: UNAVAILABLE
  | 'unsupported' // UNIMPLEMENTED
  | 'internal';

/**
 * A failure in the project's own words. Message: `<doing what> <on what>: <why>`, lower case, no trailing dot, ending with
 * what to do where that is not plain.
 */
export class DomainError extends Error {
  readonly kind: DomainErrorKind;
  constructor(kind: DomainErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'DomainError';
    this.kind = kind;
  }
}

/** A code of the kernel (`EBUSY`, …) on an error of any origin; undefined when it has none. */
export function errnoCode(error: unknown): string | undefined {
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string')
    return error.code;
  return undefined;
}
