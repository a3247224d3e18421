/**
 * Small checkers for what comes out of the addon. Each either returns or throws a `TypeError` that says where the value is
 * wrong; nothing is copied.
 */
export type Check = (value: unknown, at: string) => void;

export const isText: Check = (value, at) => {
  if (typeof value !== 'string') refuse('a string', value, at);
};

export const isBoolean: Check = (value, at) => {
  if (typeof value !== 'boolean') refuse('a boolean', value, at);
};

/** Every number that crosses the border is a safe integer, not below zero. */
export const isCount: Check = (value, at) => {
  if (!Number.isSafeInteger(value) || (value as number) < 0) refuse('a safe integer of at least 0', value, at);
};

export const isNothing: Check = (value, at) => {
  if (value !== undefined) refuse('undefined', value, at);
};

export const isBytes: Check = (value, at) => {
  if (!(value instanceof Uint8Array)) refuse('a Uint8Array', value, at);
};

export function isOneOf(...words: readonly string[]): Check {
  return (value, at) => {
    if (typeof value !== 'string' || !words.includes(value)) refuse(`one of ${words.join(', ')}`, value, at);
  };
}

export function matches(pattern: RegExp, what: string): Check {
  return (value, at) => {
    if (typeof value !== 'string' || !pattern.test(value)) refuse(what, value, at);
  };
}

export function anyOf(...checks: readonly Check[]): Check {
  return (value, at) => {
    let last: unknown;
    for (const check of checks) {
      try {
        check(value, at);
        return;
      } catch (error: unknown) {
        last = error;
      }
    }
    throw last;
  };
}

export function optional(check: Check): Check {
  return (value, at) => {
    if (value !== undefined) check(value, at);
  };
}

export function listOf(check: Check): Check {
  return (value, at) => {
    if (!Array.isArray(value)) refuse('an array', value, at);
    for (const [index, item] of (value as readonly unknown[]).entries()) check(item, `${at}[${String(index)}]`);
  };
}

/** An object of exactly the type `T`: the compiler refuses a list of fields that is not that of `T`. */
export function record<T extends object>(fields: { readonly [K in keyof T]-?: Check }): Check {
  const checks = Object.entries<Check>(fields);
  return (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse('an object', value, at);
    const found = value as Readonly<Record<string, unknown>>;
    for (const [name, check] of checks) check(found[name], `${at}.${name}`);
  };
}

function refuse(wanted: string, value: unknown, at: string): never {
  throw new TypeError(`expected ${at} to be ${wanted}, got ${describeValue(value)}`);
}

/** Short text for a value in a message; long strings are cut. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') {
    const quoted = JSON.stringify(value);
    return quoted.length > 80 ? `${quoted.slice(0, 77)}…"` : quoted;
  }
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  if (Array.isArray(value)) return 'an array';
  return value === null ? 'null' : typeof value;
}
