import type { Json, JsonObject, Mutable } from './json.ts';
import { equal, isObject, textAt } from './json.ts';
import { StatusError } from './status.ts';

export const STRATEGIC_MERGE = 'application/strategic-merge-patch+json';

/**
 * The object after a patch of this content type. A strategic merge patch is taken as a merge patch: what kubectl sends for
 * labels, annotations and cordons is the same in both.
 */
export function applyPatch(object: JsonObject, patch: unknown, contentType: string): JsonObject {
  if (contentType === 'application/merge-patch+json' || contentType === STRATEGIC_MERGE) {
    const merged = mergePatch(object, patch as Json);
    if (!isObject(merged)) throw new StatusError(400, 'the patch does not leave an object');
    return merged;
  }
  if (contentType === 'application/json-patch+json') return jsonPatch(object, patch);
  throw new StatusError(415, `the body of the request was in an unknown format: ${contentType}`);
}

/** RFC 7396. */
function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const result: Mutable = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) Reflect.deleteProperty(result, name);
    else if (value !== undefined) result[name] = mergePatch(result[name], value);
  }
  return result;
}

/** RFC 6902: add, remove, replace, test. */
function jsonPatch(object: JsonObject, patch: unknown): JsonObject {
  if (!Array.isArray(patch)) throw new StatusError(400, 'a JSON patch is a list');
  const root = structuredClone(object) as Mutable;
  for (const step of patch as readonly JsonObject[]) applyStep(root, step);
  return root;
}

function applyStep(root: Mutable, step: JsonObject): void {
  const path = textAt(step, 'path');
  const names = path.split('/').slice(1);
  const parts = names.map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  const last = parts.pop();
  let parent: unknown = root;
  for (const part of parts) parent = (parent as Record<string, unknown> | undefined)?.[part];
  const operation = textAt(step, 'op');
  const fail = (): never => {
    throw new StatusError(422, `the server rejected our request due to an error in our request: ${operation} ${path}`);
  };
  if (last === undefined || typeof parent !== 'object' || parent === null) return fail();
  const holder = parent as Record<string, Json | undefined>;
  const value = step['value'];
  if (operation === 'test') {
    if (!equal(holder[last], value)) fail();
  } else if (operation === 'add' && Array.isArray(parent)) {
    parent.splice(last === '-' ? parent.length : Number(last), 0, value);
  } else if (operation === 'add' || (operation === 'replace' && !Array.isArray(parent))) {
    // To replace what is not there is no error on a real server.
    holder[last] = value;
  } else if (holder[last] === undefined) {
    fail();
  } else if (operation === 'replace') {
    holder[last] = value;
  } else if (operation === 'remove') {
    if (Array.isArray(parent)) parent.splice(Number(last), 1);
    else Reflect.deleteProperty(holder, last);
  } else {
    fail();
  }
}
