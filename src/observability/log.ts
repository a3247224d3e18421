/**
 * The log: one JSON object a line with the keys ts, level, msg and the facts as fields. Messages are constant and in lower
 * case, so that they can be searched for and counted.
 */
import { Writable } from 'node:stream';
import winston from 'winston';
import type { Log, LogFields } from '../support/log.ts';
import { errorFields } from '../support/log.ts';
import { LineStream } from './line-stream.ts';

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface RootLog extends Log {
  /** The same log with fields that each line carries. */
  child(fields: LogFields): RootLog;
  /** Read and set at run time, for all children together. */
  level: LogLevel;
  /** Lines that were dropped because nobody read. */
  readonly dropped: number;
  /** Writes what waits; for the very end of the process. */
  flushSync(): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  /** Fields of every line, e.g. role and node. */
  readonly fields?: LogFields;
  /** Where lines go; standard error unless a test says otherwise. */
  readonly sink?: LineSink;
  readonly now?: () => Date;
}

export interface LineSink {
  writeLine(line: string): void;
  readonly dropped: number;
  flushSync(): void;
}

const SECRET_KEY = /secret|password|passwd|token|authorization|credential|private.?key/i;
const DEEPEST = 8;

/** A copy of a value that may be logged: secrets blanked by the name of their key, errors as fields, nothing that JSON lacks. */
export function redact(value: unknown): unknown {
  return clean(value, 0);
}

function clean(value: unknown, depth: number): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'function' || typeof value === 'symbol') return undefined;
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= DEEPEST) return '…';
  if (value instanceof Error) return clean(errorFields(value), depth + 1);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'invalid date' : value.toISOString();
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  if (Array.isArray(value)) return value.map((item) => clean(item, depth + 1));
  if (value instanceof Map) return clean(Object.fromEntries(value), depth);
  if (value instanceof Set) return clean([...(value as Set<unknown>)], depth);
  const copy: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    copy[key] = SECRET_KEY.test(key) && isSet(inner) ? '***' : clean(inner, depth + 1);
  }
  return copy;
}

function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === '') return false;
  // Counters such as `pageToken: 3` and flags are no secrets.
  if (typeof value === 'number' || typeof value === 'boolean') return false;
  return typeof value !== 'object' || Object.keys(value).length > 0;
}

const RESERVED = new Set(['ts', 'level', 'msg']);

function toLine(ts: Date, level: string, msg: string, fields: LogFields): string {
  const line: Record<string, unknown> = { ts: ts.toISOString(), level, msg };
  for (const [key, value] of Object.entries(redact(fields) as Record<string, unknown>)) {
    line[RESERVED.has(key) ? `${key}_` : key] = value;
  }
  return JSON.stringify(line);
}

const MESSAGE = Symbol.for('message');

interface Entry extends winston.Logform.TransformableInfo {
  readonly fields?: LogFields;
}

/** winston hands over its line with a newline of its own. */
function lineWritable(sink: LineSink): Writable {
  return new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, callback) {
      sink.writeLine(chunk.replace(/\n$/, ''));
      callback();
    },
  });
}

/** The process's log. Standard error, because standard output belongs to commands that print results. */
export function createLog(options: LogOptions): RootLog {
  const sink = options.sink ?? new LineStream(2);
  const now = options.now ?? (() => new Date());
  const toJson = winston.format((info: Entry) => {
    const fields = { ...options.fields, ...info.fields };
    return { ...info, [MESSAGE]: toLine(now(), info.level, String(info.message), fields) };
  });
  const logger = winston.createLogger({
    level: options.level,
    levels: { error: 0, warn: 1, info: 2, debug: 3 },
    format: toJson(),
    // winston types its own transports as interfaces, not as the class that they are.
    // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
    transports: [new winston.transports.Stream({ stream: lineWritable(sink), eol: '\n' })],
    exitOnError: false,
  });
  return new WinstonLog(logger, sink, {});
}

class WinstonLog implements RootLog {
  readonly #logger: winston.Logger;
  readonly #sink: LineSink;
  readonly #fields: LogFields;

  constructor(logger: winston.Logger, sink: LineSink, fields: LogFields) {
    this.#logger = logger;
    this.#sink = sink;
    this.#fields = fields;
  }

  get level(): LogLevel {
    return LOG_LEVELS.find((level) => level === this.#logger.level) ?? 'info';
  }

  set level(level: LogLevel) {
    this.#logger.level = level;
  }

  get dropped(): number {
    return this.#sink.dropped;
  }

  child(fields: LogFields): RootLog {
    return new WinstonLog(this.#logger, this.#sink, { ...this.#fields, ...fields });
  }

  flushSync(): void {
    this.#sink.flushSync();
  }

  debug(message: string, fields?: LogFields): void {
    this.#put('debug', message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#put('info', message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#put('warn', message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#put('error', message, fields);
  }

  /** The fields stay apart from winston's own keys: it would add a field `message` to the message. */
  #put(level: LogLevel, message: string, fields: LogFields | undefined): void {
    this.#logger.log({ level, message, fields: { ...this.#fields, ...fields } });
  }
}

/** SIGUSR2 switches between debug and the level that was set before. Returns what undoes it. */
export function toggleDebugOnSignal(log: RootLog): () => void {
  let before: LogLevel = log.level === 'debug' ? 'info' : log.level;
  const toggle = (): void => {
    if (log.level === 'debug') log.level = before;
    else {
      before = log.level;
      log.level = 'debug';
    }
    log.info('log level changed', { to: log.level });
  };
  process.on('SIGUSR2', toggle);
  return () => process.off('SIGUSR2', toggle);
}
