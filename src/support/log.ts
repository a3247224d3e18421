/** What parts of the program need of a logger: a constant message in lower case, facts as fields. winston's loggers fit. */
export interface Log {
  debug(message: string, fields?: LogFields): unknown;
  info(message: string, fields?: LogFields): unknown;
  warn(message: string, fields?: LogFields): unknown;
  error(message: string, fields?: LogFields): unknown;
}

export type LogFields = Readonly<Record<string, unknown>>;

/** How many causes are followed: a chain that refers to itself ends. */
const LONGEST_CHAIN = 8;

/** An error as plain fields, its causes included: loggers drop nested errors. */
export function errorFields(error: unknown): LogFields {
  return describe(error, 0);
}

function describe(error: unknown, depth: number): LogFields {
  if (!(error instanceof Error)) return { message: String(error) };
  const extra: Record<string, unknown> = {};
  for (const key of ['kind', 'code', 'errno', 'syscall', 'path'] as const) {
    const value: unknown = Reflect.get(error, key);
    if (typeof value === 'string' || typeof value === 'number') extra[key] = value;
  }
  if (error.cause !== undefined && depth < LONGEST_CHAIN) extra['cause'] = describe(error.cause, depth + 1);
  return { name: error.name, message: error.message, ...extra, stack: error.stack };
}
