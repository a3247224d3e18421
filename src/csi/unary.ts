/** One wrapper for every unary call: log → ready? → validate → lock → work → log. */
import type { handleUnaryCall, sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import { DomainError } from '../api/errors.ts';
import type { KeyedLock } from '../support/keyed-lock.ts';
import type { Log, LogFields } from '../support/log.ts';
import { errorFields } from '../support/log.ts';
import { randomUuid } from '../support/uuid.ts';
import { codeName, isDriversFault, toRpcFailure } from './errors.ts';
import { withoutSecrets } from './redact.ts';

/** What all calls of one server share. */
export interface CsiEdge {
  readonly log: Log;
  readonly lock: KeyedLock;
  /** Why calls cannot be served yet; undefined when they can. */
  readonly notReady: () => string | undefined;
  /** Aborts when the server has waited long enough for calls in flight. */
  readonly stopping: AbortSignal;
  /** Calls whose work has not ended, whatever their caller was told. */
  readonly inFlight: Set<string>;
  /** Called when a call has been answered. */
  readonly onAnswer?: (rpc: string, code: string, seconds: number) => void;
}

export interface CallContext {
  readonly requestId: string;
  /**
   * Aborts shortly before the caller's deadline, so that what the work waits for still reaches the caller; when the caller has
   * gone, and when the server stops. The reason is a `DomainError`.
   */
  readonly signal: AbortSignal;
}

export interface Rpc<Request, Valid, Response> {
  readonly name: string;
  /** Message type of the request, for its secret fields. */
  readonly requestType: string;
  /** Throws `invalid`, or returns what the work needs. */
  readonly validate: (request: Request) => Valid;
  /** The volume that the work is about; undefined when calls may run side by side. */
  readonly lockKey?: (valid: Valid) => string;
  readonly work: (valid: Valid, context: CallContext) => Response | Promise<Response>;
  /** Answered before the process is ready, and logged at debug level. */
  readonly isAlwaysServed?: boolean;
}

/** The handler for a server. It never throws and always answers, once the work has really ended. */
export function unary<Request extends object, Valid, Response>(
  edge: CsiEdge,
  rpc: Rpc<Request, Valid, Response>,
): handleUnaryCall<Request, Response> {
  return (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
    const requestId = randomUuid();
    const startedAt = performance.now();
    const facts: LogFields = { rpc: rpc.name, requestId };
    const chatter = rpc.isAlwaysServed === true ? 'debug' : 'info';
    edge.inFlight.add(requestId);
    edge.log[chatter]('call received', { ...facts, request: withoutSecrets(rpc.requestType, call.request) });
    void serve(edge, rpc, call, requestId)
      .then(
        (response) => {
          edge.log[chatter]('call answered', { ...facts, code: 'OK', durationMs: since(startedAt) });
          edge.onAnswer?.(rpc.name, 'OK', since(startedAt) / 1000);
          callback(null, response);
        },
        (error: unknown) => {
          const failure = toRpcFailure(error, requestId);
          const code = codeName(failure.code);
          const level = isDriversFault(failure) ? 'error' : 'warn';
          const detail = level === 'error' ? { error: errorFields(error) } : { reason: failure.details };
          edge.log[level]('call refused', { ...facts, code, durationMs: since(startedAt), ...detail });
          edge.onAnswer?.(rpc.name, code, since(startedAt) / 1000);
          callback(failure);
        },
      )
      .finally(() => edge.inFlight.delete(requestId));
  };
}

async function serve<Request extends object, Valid, Response>(
  edge: CsiEdge,
  rpc: Rpc<Request, Valid, Response>,
  call: ServerUnaryCall<Request, Response>,
  requestId: string,
): Promise<Response> {
  const notReady = rpc.isAlwaysServed === true ? undefined : edge.notReady();
  if (notReady !== undefined) throw new DomainError('unavailable', `serve ${rpc.name}: ${notReady}; try again`);
  const valid = rpc.validate(call.request);
  const key = rpc.lockKey?.(valid);
  const release = key === undefined ? undefined : edge.lock.tryAcquire(key, rpc.name);
  if (key !== undefined && release === undefined) {
    const holder = edge.lock.holderOf(key) ?? 'another operation';
    throw new DomainError('pending', `serve ${rpc.name} for volume ${key}: ${holder} is under way; try again`);
  }
  const leave = leaveSignal(edge, rpc.name, call);
  try {
    // The lock outlives the caller's deadline: kernel work cannot be called back.
    return await rpc.work(valid, { requestId, signal: leave.signal });
  } finally {
    leave.dispose();
    release?.();
  }
}

function leaveSignal<Request, Response>(
  edge: CsiEdge,
  name: string,
  call: ServerUnaryCall<Request, Response>,
): { readonly signal: AbortSignal; dispose(): void } {
  const controller = new AbortController();
  const abort = (why: string): void =>
    controller.abort(new DomainError('unavailable', `serve ${name}: ${why}; try again`));
  const onCancelled = (): void => abort('the caller has gone or its deadline has passed');
  const onDeadline = (): void => abort("the caller's deadline is near");
  const onStopping = (): void => abort('the driver is stopping');
  const leftMs = timeForWork(Number(call.getDeadline()) - Date.now());
  const timer = leftMs === undefined ? undefined : setTimeout(onDeadline, leftMs);
  call.on('cancelled', onCancelled);
  edge.stopping.addEventListener('abort', onStopping);
  if (call.cancelled) onCancelled();
  if (edge.stopping.aborted) onStopping();
  return {
    signal: controller.signal,
    dispose: () => {
      clearTimeout(timer);
      call.off('cancelled', onCancelled);
      edge.stopping.removeEventListener('abort', onStopping);
    },
  };
}

/** After the caller's deadline grpc-js answers by itself, without a reason: the answer needs this much of the time before it. */
const ANSWER_SHARE = 0.1;
const ANSWER_MS = 1000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Milliseconds until the work has to end; undefined when the caller waits for as long as it takes. */
function timeForWork(untilDeadlineMs: number): number | undefined {
  const leftMs = untilDeadlineMs - Math.min(ANSWER_MS, untilDeadlineMs * ANSWER_SHARE);
  return leftMs <= LONGEST_TIMER_MS ? Math.max(0, leftMs) : undefined;
}

function since(startedAt: number): number {
  return Math.round(performance.now() - startedAt);
}
