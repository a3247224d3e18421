import type { JsonObject } from './json.ts';

export interface Cause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  406: 'NotAcceptable',
  409: 'Conflict',
  410: 'Expired',
  415: 'UnsupportedMediaType',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

/** A failure as the API tells it. */
export class StatusError extends Error {
  readonly status: number;
  readonly reason: string;
  readonly details: JsonObject;

  constructor(status: number, message: string, details: JsonObject & { readonly reason?: string } = {}) {
    super(message);
    const { reason, ...rest } = details;
    this.status = status;
    this.reason = reason ?? REASONS[status] ?? 'Unknown';
    this.details = rest;
  }

  toJson(): JsonObject {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: this.message,
      reason: this.reason,
      details: this.details,
      code: this.status,
    };
  }
}

export function tooLargeVersion(asked: number, current: number): StatusError {
  return new StatusError(504, `Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });
}

export function expired(asked: number, oldest: number): StatusError {
  return new StatusError(410, `too old resource version: ${asked} (${oldest})`);
}
