import type { JsonObject } from './json.ts';
import { isObject, objectAt } from './json.ts';
import { StatusError } from './status.ts';

export type Filter = (object: JsonObject) => boolean;

/** What a request selects by `fieldSelector` and `labelSelector`. */
export function filterOf(query: URLSearchParams): Filter {
  const tests = [
    ...terms(query.get('fieldSelector')).map((term) => fieldTest(term)),
    ...terms(query.get('labelSelector')).map((term) => labelTest(term)),
  ];
  return (object) => tests.every((test) => test(object));
}

function terms(selector: string | null): readonly string[] {
  return (selector ?? '').split(',').filter((term) => term !== '');
}

function fieldTest(term: string): Filter {
  const match = /^([A-Za-z.]+)(!=|==?)(.*)$/.exec(term);
  if (match === null) throw new StatusError(400, `unable to parse field selector: ${term}`);
  const [, path = '', operator, wanted] = match;
  return (object) => {
    let value: unknown = object;
    for (const name of path.split('.')) value = isObject(value) ? value[name] : undefined;
    const text = typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value);
    return (text === wanted) !== (operator === '!=');
  };
}

function labelTest(term: string): Filter {
  const match = /^(!)?([A-Za-z0-9./_-]+)(?:(!=|==?)(.*))?$/.exec(term);
  if (match === null) throw new StatusError(400, `unable to parse label selector: ${term}`);
  const [, not, key = '', operator, wanted] = match;
  return (object) => {
    const value = objectAt(objectAt(object, 'metadata'), 'labels')[key];
    if (operator === undefined) return (value !== undefined) === (not === undefined);
    return (value === wanted) !== (operator === '!=');
  };
}
