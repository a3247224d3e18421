import type { JsonObject } from './json.ts';
import { isObject, objectAt } from './json.ts';
import { StatusError } from './status.ts';

export type Filter = (object: JsonObject) => boolean;

/** Fields by which every kind can be selected; custom resources by no others. */
const COMMON_FIELDS = ['metadata.name', 'metadata.namespace'];

/** What a request selects by `fieldSelector` and `labelSelector`. */
export function filterOf(query: URLSearchParams, isCustom: boolean): Filter {
  const tests = [
    ...terms(query.get('fieldSelector')).map((term) => fieldTest(term, isCustom)),
    ...terms(query.get('labelSelector')).map((term) => labelTest(term)),
  ];
  return (object) => tests.every((test) => test(object));
}

function terms(selector: string | null): readonly string[] {
  // Commas in parentheses are those of lists.
  return (selector ?? '').split(/,(?![^(]*\))/).filter((term) => term !== '');
}

function fieldTest(term: string, isCustom: boolean): Filter {
  const match = /^([A-Za-z.]+)(!=|==?)(.*)$/.exec(term);
  if (match === null) throw new StatusError(400, `unable to parse field selector: ${term}`);
  const [, path = '', operator, wanted] = match;
  if (isCustom && !COMMON_FIELDS.includes(path)) throw new StatusError(400, `field label not supported: ${path}`);
  return (object) => {
    let value: unknown = object;
    for (const name of path.split('.')) value = isObject(value) ? value[name] : undefined;
    const text = typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value);
    return (text === wanted) !== (operator === '!=');
  };
}

/** `key in (a,b)`, `key notin (a,b)`. */
function setTest(term: string): Filter | undefined {
  const match = /^\s*([A-Za-z0-9./_-]+)\s+(in|notin)\s*\(([^()]*)\)\s*$/.exec(term);
  if (match === null) return undefined;
  const [, key = '', operator, list = ''] = match;
  const values: readonly unknown[] = list.split(',').map((value) => value.trim());
  return (object) => values.includes(objectAt(objectAt(object, 'metadata'), 'labels')[key]) === (operator === 'in');
}

function labelTest(term: string): Filter {
  const inSet = setTest(term);
  if (inSet !== undefined) return inSet;
  const match = /^(!)?([A-Za-z0-9./_-]+)(?:(!=|==?)(.*))?$/.exec(term);
  if (match === null) throw new StatusError(400, `unable to parse label selector: ${term}`);
  const [, not, key = '', operator, wanted] = match;
  return (object) => {
    const value = objectAt(objectAt(object, 'metadata'), 'labels')[key];
    if (operator === undefined) return (value !== undefined) === (not === undefined);
    return (value === wanted) !== (operator === '!=');
  };
}
