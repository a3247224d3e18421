import { DomainError, errnoCode } from '../api/errors.ts';
import type { DomainErrorKind } from '../api/errors.ts';

/** An answer of the API server other than success, in the project's words. Never carries bodies, headers or tokens. */
export class ApiError extends DomainError {
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  /** Kubernetes' word for it, e.g. `AlreadyExists`; empty when the answer had none. */
  readonly reason: string;
  /** What the server asks to wait before the next attempt, milliseconds; 0 when it does not say. */
  readonly retryAfterMs: number;

  constructor(kind: DomainErrorKind, message: string, details: ApiErrorDetails) {
    super(kind, message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'ApiError';
    this.status = details.status;
    this.reason = details.reason;
    this.retryAfterMs = details.retryAfterMs ?? 0;
  }
}

export interface ApiErrorDetails {
  readonly status: number;
  readonly reason: string;
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** Longest text of a server that is passed on. */
const TEXT_LIMIT = 300;

/** An error for an answer with a failure status. `body` is a `Status` object in most cases, but may be anything. */
export function errorFromAnswer(doing: string, status: number, body: unknown, retryAfter?: string): ApiError {
  const fields = typeof body === 'object' && body !== null ? (body as Readonly<Record<string, unknown>>) : {};
  const reason = typeof fields['reason'] === 'string' ? fields['reason'] : '';
  const text = typeof fields['message'] === 'string' && fields['message'] !== '' ? fields['message'] : `HTTP ${status}`;
  const seconds = Number(retryAfter ?? 0);
  return new ApiError(kindOf(status, reason), `${doing}: ${shorten(text)}${hintFor(status)}`, {
    status,
    reason,
    retryAfterMs: Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0,
  });
}

/** An error for a request that got no answer. */
export function errorFromNetwork(doing: string, cause: unknown): ApiError {
  if (cause instanceof ApiError) return cause;
  const why = errnoCode(cause) ?? (cause instanceof Error ? shorten(cause.message) : 'connection failed');
  return new ApiError('unavailable', `${doing}: API server cannot be reached (${why})`, {
    status: 0,
    reason: '',
    cause,
  });
}

/** The API answered that what was written is based on an old version. */
export function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.status === 409 && error.reason !== 'AlreadyExists';
}

export function isNotFound(error: unknown): boolean {
  return error instanceof ApiError && error.status === 404;
}

/** The version asked for has been forgotten, or (after a restore of the API's storage) does not exist yet. */
export function isVersionGone(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  if (error.status === 410 || error.reason === 'Expired' || error.reason === 'Gone') return true;
  return error.status === 504 && error.message.includes('Too large resource version');
}

function kindOf(status: number, reason: string): DomainErrorKind {
  if (status === 409) return reason === 'AlreadyExists' ? 'conflict' : 'unavailable';
  if (status === 404) return 'notFound';
  if (status === 400 || status === 413 || status === 422) return 'invalid';
  if (status === 408 || status === 410 || status === 429 || status >= 500) return 'unavailable';
  return 'internal';
}

function hintFor(status: number): string {
  if (status === 401) return '; check the credentials of the kubeconfig or service account';
  if (status === 403) return '; check the role bound to the service account';
  return '';
}

function shorten(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length <= TEXT_LIMIT ? line : `${line.slice(0, TEXT_LIMIT)}…`;
}
