import type { Rule } from './cel.ts';
import { compileRule } from './cel.ts';
import type { Json, JsonObject, Mutable } from './json.ts';
import { equal, isObject, textAt } from './json.ts';
import type { Cause } from './status.ts';

/** A structural schema as compiled from a CRD. */
export interface Schema {
  readonly type: string;
  readonly properties: ReadonlyMap<string, Schema>;
  readonly additional: Schema | undefined;
  readonly items: Schema | undefined;
  readonly required: readonly string[];
  readonly fallback: Json | undefined;
  readonly nullable: boolean;
  readonly preservesUnknown: boolean;
  readonly checks: readonly ((value: Json) => string | undefined)[];
  readonly rules: readonly { readonly rule: Rule; readonly message: string }[];
  readonly mapKeys: readonly string[];
}

export interface Violation extends Cause {
  readonly value: Json | undefined;
}

const KNOWN = new Set(
  (
    'type properties additionalProperties items required default nullable description title format example ' +
    'minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern enum minItems maxItems ' +
    'x-kubernetes-validations x-kubernetes-list-type x-kubernetes-list-map-keys x-kubernetes-preserve-unknown-fields'
  ).split(' '),
);

const FORMATS: Readonly<Record<string, (value: Json) => boolean>> = {
  int32: (value) => Number(value) >= -(2 ** 31) && Number(value) < 2 ** 31,
  int64: () => true,
  'date-time': (value) =>
    /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/.test(JSON.stringify(value).slice(1, -1)) &&
    !Number.isNaN(Date.parse(JSON.stringify(value).slice(1, -1))),
};

/** Throws on every word that it does not know: what is not checked here would be found out on a real cluster only. */
export function compileSchema(source: unknown, path = ''): Schema {
  if (!isObject(source)) throw new Error(`schema of ${path || 'object'}: not an object`);
  for (const key of Object.keys(source)) {
    if (!KNOWN.has(key)) throw new Error(`schema of ${path || 'object'}: the word "${key}" is not known here`);
  }
  const properties = Object.entries(isObject(source['properties']) ? source['properties'] : {});
  const rules = (source['x-kubernetes-validations'] ?? []) as readonly { rule: string; message?: string }[];
  const listType = source['x-kubernetes-list-type'] ?? 'atomic';
  if (listType !== 'atomic' && listType !== 'map')
    throw new Error(`schema of ${path}: list type ${JSON.stringify(listType)}`);
  return {
    type: textAt(source, 'type'),
    properties: new Map(properties.map(([name, schema]) => [name, compileSchema(schema, join(path, name))])),
    additional: isObject(source['additionalProperties'])
      ? compileSchema(source['additionalProperties'], `${path}[*]`)
      : undefined,
    items: source['items'] === undefined ? undefined : compileSchema(source['items'], `${path}[]`),
    required: (source['required'] ?? []) as readonly string[],
    fallback: source['default'],
    nullable: source['nullable'] === true,
    preservesUnknown: source['x-kubernetes-preserve-unknown-fields'] === true,
    checks: compileChecks(source, path),
    rules: rules.map((entry) => ({
      rule: compileRule(entry.rule),
      message: entry.message ?? `failed rule: ${entry.rule}`,
    })),
    mapKeys: (source['x-kubernetes-list-map-keys'] ?? []) as readonly string[],
  };
}

function compileChecks(source: JsonObject, path: string): ((value: Json) => string | undefined)[] {
  const checks: ((value: Json) => string | undefined)[] = [];
  const bound = (word: string, fails: (value: Json, limit: number) => boolean, says: string) => {
    const limit = source[word];
    if (typeof limit !== 'number') return;
    checks.push((value) => (fails(value, limit) ? `${says} ${limit}` : undefined));
  };
  const count = (value: Json) =>
    typeof value === 'string' ? Array.from(value).length : Array.isArray(value) ? value.length : 0;
  bound('minimum', (value, limit) => Number(value) < limit, 'should be greater than or equal to');
  bound('maximum', (value, limit) => Number(value) > limit, 'should be less than or equal to');
  bound('multipleOf', (value, limit) => Number(value) % limit !== 0, 'should be a multiple of');
  bound('minLength', (value, limit) => count(value) < limit, 'should be at least this many chars long:');
  bound('maxLength', (value, limit) => count(value) > limit, 'may not be more chars long than');
  bound('minItems', (value, limit) => count(value) < limit, 'should have at least this many items:');
  bound('maxItems', (value, limit) => count(value) > limit, 'must have at most this many items:');
  const { pattern, format } = source;
  if (typeof pattern === 'string') {
    const expression = new RegExp(pattern, 'u');
    checks.push((value) =>
      expression.test(typeof value === 'string' ? value : '') ? undefined : `should match '${pattern}'`,
    );
  }
  if (typeof format === 'string') {
    const fits = FORMATS[format];
    if (fits === undefined) throw new Error(`schema of ${path}: the format "${format}" is not known here`);
    checks.push((value) => (fits(value) ? undefined : `must be of type ${format}: ${JSON.stringify(value)}`));
  }
  const allowed = source['enum'];
  if (Array.isArray(allowed)) {
    const words = allowed.map((entry) => JSON.stringify(entry)).join(', ');
    checks.push((value) => (allowed.some((entry) => equal(entry, value)) ? undefined : `supported values: ${words}`));
  }
  return checks;
}

/** The value without the members that the schema does not know; their paths are added to `dropped`. */
export function prune(schema: Schema, value: Json, dropped: string[], path = ''): Json {
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined
      ? value
      : value.map((entry: Json, index) => prune(items, entry, dropped, `${path}[${index}]`));
  }
  if (!isObject(value) || schema.type !== 'object') return value;
  const result: Mutable = {};
  for (const [name, member] of Object.entries(value)) {
    const known = schema.properties.get(name) ?? schema.additional;
    const isMeta = path === '' && (name === 'metadata' || name === 'apiVersion' || name === 'kind');
    if (isMeta || (known === undefined && schema.preservesUnknown)) result[name] = member;
    else if (known !== undefined && member !== undefined)
      result[name] = prune(known, member, dropped, join(path, name));
    else dropped.push(join(path, name));
  }
  return result;
}

/** The value with the defaults of the schema; a null where null is not allowed counts as absent. */
export function applyDefaults(schema: Schema, value: Json): Json {
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined ? value : value.map((entry: Json) => applyDefaults(items, entry));
  }
  if (!isObject(value)) return value;
  const result: Mutable = { ...value };
  for (const [name, member] of schema.properties) {
    const present = result[name];
    const isMissing = present === undefined || (present === null && !member.nullable);
    if (isMissing && member.fallback !== undefined) result[name] = structuredClone(member.fallback);
    else if (isMissing) Reflect.deleteProperty(result, name);
    const now = result[name];
    if (now !== undefined) result[name] = applyDefaults(member, now);
  }
  return result;
}

/** Everything by which the value does not fit the schema, rules not included. */
export function validate(schema: Schema, value: Json, path = ''): Violation[] {
  if (value === null && schema.nullable) return [];
  if (!fitsType(schema.type, value)) {
    const message = `${path} in body must be of type ${schema.type}: ${JSON.stringify(typeName(value))}`;
    return [{ reason: 'FieldValueTypeInvalid', field: path, value, message: invalid(path, typeName(value), message) }];
  }
  const found: Violation[] = schema.checks.flatMap((check) => {
    const problem = check(value);
    if (problem === undefined) return [];
    const isEnum = problem.startsWith('supported values');
    const message = isEnum
      ? `${path}: Unsupported value: ${JSON.stringify(value)}: ${problem}`
      : invalid(path, value, `${path} in body ${problem}`);
    const isType = problem.startsWith('must be of type');
    const reason = isEnum ? 'FieldValueNotSupported' : isType ? 'FieldValueTypeInvalid' : 'FieldValueInvalid';
    return [{ reason, field: path, value, message }];
  });
  if (Array.isArray(value)) found.push(...validateItems(schema, value, path));
  if (isObject(value)) {
    for (const name of schema.required) {
      if (value[name] !== undefined) continue;
      const field = join(path, name);
      found.push({ reason: 'FieldValueRequired', field, value: undefined, message: `${field}: Required value` });
    }
    for (const [name, member] of Object.entries(value)) {
      const known = schema.properties.get(name) ?? schema.additional;
      if (known !== undefined && member !== undefined) found.push(...validate(known, member, join(path, name)));
    }
  }
  return found;
}

function validateItems(schema: Schema, value: readonly Json[], path: string): Violation[] {
  const { items, mapKeys } = schema;
  const found = items === undefined ? [] : value.flatMap((entry, index) => validate(items, entry, `${path}[${index}]`));
  const seen = new Set<string>();
  for (const [index, entry] of value.entries()) {
    if (mapKeys.length === 0 || !isObject(entry)) continue;
    const key = JSON.stringify(mapKeys.map((name) => entry[name]));
    const field = `${path}[${index}]`;
    if (seen.has(key))
      found.push({ reason: 'FieldValueDuplicate', field, value: key, message: `${field}: Duplicate value: ${key}` });
    seen.add(key);
  }
  return found;
}

/** The rules that do not hold. `old` is undefined where there was nothing: then rules about changes do not apply. */
export function checkRules(schema: Schema, value: Json | undefined, old: Json | undefined, path = ''): Violation[] {
  if (value === undefined) return [];
  const found: Violation[] = [];
  for (const { rule, message } of schema.rules) {
    if (rule.isTransition && old === undefined) continue;
    let problem: string | undefined;
    try {
      problem = rule.evaluate(value, old) ? undefined : message;
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error);
    }
    if (problem === undefined) continue;
    found.push({ reason: 'FieldValueInvalid', field: path, value, message: invalid(path, value, problem) });
  }
  if (isObject(value)) {
    for (const [name, member] of schema.properties) {
      found.push(...checkRules(member, value[name], isObject(old) ? old[name] : undefined, join(path, name)));
    }
  } else if (Array.isArray(value) && schema.items !== undefined) {
    // Entries of a list have no old self, except in lists that are maps, for which we have no rules.
    for (const [index, entry] of (value as readonly Json[]).entries()) {
      found.push(...checkRules(schema.items, entry, undefined, `${path}[${index}]`));
    }
  }
  return found;
}

function fitsType(type: string, value: Json): boolean {
  if (type === 'object') return isObject(value);
  if (type === 'array') return Array.isArray(value);
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'number') return typeof value === 'number';
  return typeof value === type;
}

function typeName(value: Json): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value === 'number' && Number.isInteger(value) ? 'integer' : typeof value;
}

function invalid(path: string, value: Json, why: string): string {
  const shown = typeof value === 'object' ? JSON.stringify(typeName(value)) : JSON.stringify(value);
  return `${path}: Invalid value: ${shown}: ${why}`;
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}
