import { randomBytes, randomUUID } from 'node:crypto';
import type { Json, JsonObject, Mutable } from './json.ts';
import { equal, isObject, objectAt, textAt } from './json.ts';
import { applyPatch, STRATEGIC_MERGE } from './patches.ts';
import type { Resource } from './resources.ts';
import { collectionOf, groupVersion, qualifiedName } from './resources.ts';
import type { Violation } from './schema.ts';
import { applyDefaults, checkRules, prune, validate } from './schema.ts';
import { StatusError } from './status.ts';
import type { Storage } from './storage.ts';

/** One object that a request is about. */
export interface Target {
  readonly resource: Resource;
  readonly namespace: string;
  readonly name: string;
}

export interface WriteOptions {
  /** `Strict` refuses unknown fields, all else drops them. */
  readonly fieldValidation: string;
  readonly dryRun: boolean;
}

export interface Written {
  readonly object: JsonObject;
  /** Fields that were dropped. */
  readonly dropped: readonly string[];
}

/** What the API does with objects, without HTTP. Every method is atomic. */
export class Service {
  readonly #storage: Storage;
  readonly #now: () => number;

  constructor(storage: Storage, now: () => number) {
    this.#storage = storage;
    this.#now = now;
  }

  get(target: Target): JsonObject {
    const found = this.#storage.get(collectionOf(target.resource), keyOf(target));
    if (found === undefined) throw notFound(target);
    return found;
  }

  create(resource: Resource, namespace: string, body: Json, options: WriteOptions): Written {
    const { object, dropped } = this.#decode(resource, body, options);
    const given = objectAt(object, 'metadata');
    const name = textAt(given, 'name') || generatedName(textAt(given, 'generateName'));
    const target = { resource, namespace, name };
    if (textAt(given, 'resourceVersion') !== '') {
      throw new StatusError(500, 'resourceVersion should not be set on objects to be created', { reason: '' });
    }
    this.#assertName(target);
    assertLabels(target, given);
    this.#assertNamespace(target);
    const { status, ...rest } = object;
    const keepStatus = status !== undefined && (resource.keepsNewStatus || !resource.hasStatus);
    const made: JsonObject = {
      ...rest,
      ...(keepStatus ? { status } : {}),
      metadata: {
        ...ownMeta(given),
        name,
        ...(resource.namespaced ? { namespace } : {}),
        uid: randomUUID(),
        ...(resource.schema === undefined ? {} : { generation: 1 }),
        creationTimestamp: this.#timestamp(),
      },
    };
    this.#assertValid(target, made, undefined);
    if (this.#storage.get(collectionOf(resource), keyOf(target)) !== undefined) throw alreadyExists(target);
    return { object: this.#store(target, made, options), dropped };
  }

  /** Replaces the object, or its status only. */
  update(target: Target, body: Json, subresource: '' | 'status', options: WriteOptions): Written {
    const { object, dropped } = this.#decode(target.resource, body, options);
    const old = this.get(target);
    const given = objectAt(object, 'metadata');
    assertNameOfUrl(target, given);
    const version = textAt(given, 'resourceVersion');
    if (version === '' && !target.resource.allowsBlindUpdate) {
      const cause = 'metadata.resourceVersion: Invalid value: 0: must be specified for an update';
      throw invalid(target, [
        { reason: 'FieldValueInvalid', field: 'metadata.resourceVersion', message: cause, value: 0 },
      ]);
    }
    this.#assertSame(target, old, { uid: textAt(given, 'uid'), resourceVersion: version });
    return { object: this.#replace(target, old, object, subresource, options), dropped };
  }

  patch(target: Target, patch: Json, contentType: string, subresource: '' | 'status', options: WriteOptions): Written {
    const old = this.get(target);
    if (target.resource.schema !== undefined && contentType === STRATEGIC_MERGE) {
      throw new StatusError(415, 'the body of the request was in an unknown format: custom resources have no strategy');
    }
    const { object, dropped } = this.#decodePatched(target, applyPatch(old, patch, contentType), options);
    const given = objectAt(object, 'metadata');
    assertNameOfUrl(target, given);
    this.#assertSame(target, old, { uid: textAt(given, 'uid'), resourceVersion: textAt(given, 'resourceVersion') });
    return { object: this.#replace(target, old, object, subresource, options), dropped };
  }

  /** Removes the object, or marks it while it has finalizers. */
  delete(
    target: Target,
    preconditions: JsonObject,
    dryRun: boolean,
  ): { readonly gone: boolean; readonly object: JsonObject } {
    const old = this.get(target);
    this.#assertSame(target, old, {
      uid: textAt(preconditions, 'uid'),
      resourceVersion: textAt(preconditions, 'resourceVersion'),
    });
    const metadata = objectAt(old, 'metadata');
    if (finalizersOf(metadata).length === 0) {
      return {
        gone: true,
        object: dryRun ? old : (this.#storage.remove(collectionOf(target.resource), keyOf(target)) ?? old),
      };
    }
    if (metadata['deletionTimestamp'] !== undefined) return { gone: false, object: old };
    const marked = {
      ...metadata,
      deletionTimestamp: this.#timestamp(),
      deletionGracePeriodSeconds: 0,
      ...(target.resource.schema === undefined ? {} : { generation: Number(metadata['generation'] ?? 0) + 1 }),
    };
    return { gone: false, object: this.#store(target, { ...old, metadata: marked }, { fieldValidation: '', dryRun }) };
  }

  #decode(resource: Resource, body: Json, options: WriteOptions): { object: JsonObject; dropped: string[] } {
    if (!isObject(body)) throw new StatusError(400, 'the body of the request is no JSON object');
    const { apiVersion, kind } = headOf(resource, body);
    const dropped: string[] = [];
    const { schema } = resource;
    const known = schema === undefined ? body : (applyDefaults(schema, prune(schema, body, dropped)) as JsonObject);
    if (dropped.length > 0 && options.fieldValidation === 'Strict') {
      const fields = dropped.map((field) => `unknown field "${field}"`).join(', ');
      throw new StatusError(400, `strict decoding error: ${fields}`);
    }
    return { object: { apiVersion, kind, ...omitHead(known) }, dropped };
  }

  /** Of a patch the patch is called wrong, not the object that it leaves. */
  #decodePatched(target: Target, body: JsonObject, options: WriteOptions): { object: JsonObject; dropped: string[] } {
    const { object, dropped } = this.#decode(target.resource, body, { ...options, fieldValidation: 'Warn' });
    if (dropped.length > 0 && options.fieldValidation === 'Strict') {
      const fields = dropped.map((field) => `unknown field "${field}"`).join(', ');
      const message = `patch: Invalid value: strict decoding error: ${fields}`;
      throw invalid(target, [{ reason: 'FieldValueInvalid', field: 'patch', message, value: undefined }]);
    }
    return { object, dropped };
  }

  #replace(
    target: Target,
    old: JsonObject,
    given: JsonObject,
    subresource: '' | 'status',
    options: WriteOptions,
  ): JsonObject {
    const { resource } = target;
    if (subresource === 'status' && !resource.hasStatus) throw notFound(target);
    const metadata = objectAt(old, 'metadata');
    const next: Mutable = subresource === 'status' ? { ...old } : { ...given };
    if (subresource === 'status') setOrRemove(next, 'status', given['status']);
    else if (resource.hasStatus) setOrRemove(next, 'status', old['status']);
    const changed = subresource === '' && !equal(withoutStatus(old), withoutStatus(next));
    const counted = resource.schema !== undefined;
    const generation = Number(metadata['generation'] ?? 0) + (changed ? 1 : 0);
    // A status write leaves all metadata as it is.
    next['metadata'] =
      subresource === 'status'
        ? metadata
        : { ...ownMeta(objectAt(given, 'metadata')), ...serverMeta(metadata), ...(counted ? { generation } : {}) };
    if (subresource === '') assertLabels(target, objectAt(given, 'metadata'));
    this.#assertFinalizers(target, metadata, objectAt(next, 'metadata'));
    this.#assertValid(target, next, old);
    if (equal(old, next)) return old;
    return this.#store(target, next, options);
  }

  #store(target: Target, object: JsonObject, options: WriteOptions): JsonObject {
    if (options.dryRun) return object;
    const collection = collectionOf(target.resource);
    const stored = this.#storage.put(collection, keyOf(target), object);
    const metadata = objectAt(stored, 'metadata');
    if (metadata['deletionTimestamp'] === undefined || finalizersOf(metadata).length > 0) return stored;
    return this.#storage.remove(collection, keyOf(target)) ?? stored;
  }

  #assertSame(
    target: Target,
    old: JsonObject,
    wanted: { readonly uid: string; readonly resourceVersion: string },
  ): void {
    const metadata = objectAt(old, 'metadata');
    const uid = textAt(metadata, 'uid');
    if (wanted.uid !== '' && wanted.uid !== uid) {
      throw conflict(target, `Precondition failed: UID in precondition: ${wanted.uid}, UID in object meta: ${uid}`);
    }
    if (wanted.resourceVersion !== '' && wanted.resourceVersion !== textAt(metadata, 'resourceVersion')) {
      throw conflict(
        target,
        'the object has been modified; please apply your changes to the latest version and try again',
      );
    }
  }

  #assertFinalizers(target: Target, old: JsonObject, next: JsonObject): void {
    if (old['deletionTimestamp'] === undefined) return;
    const before = finalizersOf(old);
    const added = finalizersOf(next).filter((finalizer) => !before.includes(finalizer));
    if (added.length === 0) return;
    const message = `metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers ${JSON.stringify(added)}`;
    throw invalid(target, [{ reason: 'FieldValueForbidden', field: 'metadata.finalizers', message, value: added }]);
  }

  /** What was wrong before the change and was not touched by it does not count (as in servers since 1.30). */
  #assertValid(target: Target, object: JsonObject, old: JsonObject | undefined): void {
    const { schema } = target.resource;
    if (schema === undefined) return;
    const before = old === undefined ? [] : [...validate(schema, old), ...checkRules(schema, old, undefined)];
    const isNew = (violation: Violation) =>
      !before.some((known) => known.field === violation.field && equal(known.value, violation.value));
    const shape = validate(schema, object).filter(isNew);
    if (shape.length > 0) throw invalid(target, shape);
    const rules = checkRules(schema, object, old).filter((violation) => isNew(violation));
    if (rules.length > 0) throw invalid(target, rules);
  }

  #assertName(target: Target): void {
    if (/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(target.name) && target.name.length <= 253) return;
    const message =
      target.name === ''
        ? 'metadata.name: Required value: name or generateName is required'
        : `metadata.name: Invalid value: ${JSON.stringify(target.name)}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character`;
    const reason = target.name === '' ? 'FieldValueRequired' : 'FieldValueInvalid';
    throw invalid(target, [{ reason, field: 'metadata.name', message, value: target.name }]);
  }

  #assertNamespace(target: Target): void {
    if (!target.resource.namespaced) return;
    if (this.#storage.get('/namespaces', `/${target.namespace}`) !== undefined) return;
    throw new StatusError(404, `namespaces "${target.namespace}" not found`, {
      kind: 'namespaces',
      name: target.namespace,
    });
  }

  #timestamp(): string {
    return new Date(this.#now()).toISOString().replace(/\.\d{3}Z$/, 'Z');
  }
}

/** Key of an object within its collection. */
export function keyOf(target: Pick<Target, 'namespace' | 'name'>): string {
  return `${target.namespace}/${target.name}`;
}

/** Metadata that a client may set. */
function ownMeta(given: JsonObject): JsonObject {
  const { labels, annotations, finalizers, ownerReferences, generateName } = given;
  const own = { labels, annotations, finalizers, ownerReferences, generateName };
  const isEmpty = (value: Json) => typeof value === 'object' && value !== null && Object.keys(value).length === 0;
  return Object.fromEntries(
    Object.entries(own).filter(([, value]) => value !== undefined && value !== null && !isEmpty(value)),
  );
}

/** Metadata that only the server sets. */
function serverMeta(old: JsonObject): JsonObject {
  const names = ['name', 'namespace', 'uid', 'creationTimestamp', 'deletionTimestamp', 'deletionGracePeriodSeconds'];
  const kept = [...names, 'resourceVersion'].filter((name) => old[name] !== undefined);
  return Object.fromEntries(kept.map((name) => [name, old[name]]));
}

function finalizersOf(metadata: JsonObject): readonly Json[] {
  return Array.isArray(metadata['finalizers']) ? (metadata['finalizers'] as readonly Json[]) : [];
}

function omitHead(object: JsonObject): JsonObject {
  const { apiVersion: _apiVersion, kind: _kind, ...rest } = object;
  return rest;
}

function withoutStatus(object: JsonObject): JsonObject {
  const { metadata: _metadata, status: _status, ...rest } = object;
  return rest;
}

function setOrRemove(object: Mutable, name: string, value: Json | undefined): void {
  if (value === undefined) Reflect.deleteProperty(object, name);
  else object[name] = value;
}

function generatedName(prefix: string): string {
  return prefix === '' ? '' : `${prefix}${randomBytes(3).toString('hex').slice(0, 5)}`;
}

/** Group, version and kind as they are given; those of the URL for built-in kinds that leave them out. */
function headOf(resource: Resource, body: JsonObject): { readonly apiVersion: Json; readonly kind: Json } {
  const isBuiltIn = resource.schema === undefined;
  const { apiVersion = isBuiltIn ? groupVersion(resource) : undefined } = body;
  const { kind = isBuiltIn ? resource.kind : undefined } = body;
  if (kind === undefined) throw new StatusError(400, "the object provided is unrecognized: Object 'Kind' is missing");
  if (apiVersion !== groupVersion(resource)) {
    const found = `the API version in the data (${JSON.stringify(apiVersion ?? '')})`;
    throw new StatusError(400, `${found} does not match the expected API version (${groupVersion(resource)})`);
  }
  if (kind === resource.kind) return { apiVersion, kind };
  const message = `kind: Invalid value: ${JSON.stringify(kind)}: must be ${resource.kind}`;
  if (isBuiltIn) throw new StatusError(400, message);
  const name = textAt(objectAt(body, 'metadata'), 'name');
  throw invalid({ resource, namespace: '', name }, [
    { reason: 'FieldValueInvalid', field: 'kind', message, value: kind },
  ]);
}

function assertNameOfUrl(target: Target, given: JsonObject): void {
  const name = textAt(given, 'name');
  if (name === target.name) return;
  throw new StatusError(400, `the name of the object (${name}) does not match the name on the URL (${target.name})`);
}

const NAME_PART = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const NAME_PREFIX = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** `example.com/name` or `name`. */
function isQualifiedName(text: string): boolean {
  const parts = text.split('/');
  const name = parts.pop() ?? '';
  const [prefix] = parts;
  if (parts.length > 1 || (prefix !== undefined && (prefix.length > 253 || !NAME_PREFIX.test(prefix)))) return false;
  return name.length <= 63 && NAME_PART.test(name);
}

function assertLabels(target: Target, given: JsonObject): void {
  const violations: Violation[] = [];
  for (const field of ['labels', 'annotations'] as const) {
    for (const [key, value] of Object.entries(objectAt(given, field))) {
      if (typeof value !== 'string') {
        throw new StatusError(400, `json: cannot unmarshal ${typeof value} into Go struct field ObjectMeta.${field}`);
      }
      const isFit = field === 'annotations' || value === '' || (value.length <= 63 && NAME_PART.test(value));
      if (isQualifiedName(key) && isFit) continue;
      const message = `metadata.${field}: Invalid value: ${JSON.stringify(isFit ? key : value)}`;
      violations.push({ reason: 'FieldValueInvalid', field: `metadata.${field}`, message, value: key });
    }
  }
  if (violations.length > 0) throw invalid(target, violations);
}

function detailsOf({ name, resource }: Target): JsonObject {
  return { name, ...(resource.group === '' ? {} : { group: resource.group }), kind: resource.plural };
}

function notFound(target: Target): StatusError {
  return new StatusError(404, `${qualifiedName(target.resource)} "${target.name}" not found`, detailsOf(target));
}

function alreadyExists(target: Target): StatusError {
  const details = { ...detailsOf(target), reason: 'AlreadyExists' };
  return new StatusError(409, `${qualifiedName(target.resource)} "${target.name}" already exists`, details);
}

function conflict(target: Target, why: string): StatusError {
  const message = `Operation cannot be fulfilled on ${qualifiedName(target.resource)} "${target.name}": ${why}`;
  return new StatusError(409, message, detailsOf(target));
}

function invalid(target: Target, violations: readonly Violation[]): StatusError {
  const { resource, name } = target;
  const kind = resource.group === '' ? resource.kind : `${resource.kind}.${resource.group}`;
  const messages = violations.map((violation) => violation.message);
  const text = messages.length === 1 ? String(messages[0]) : `[${messages.join(', ')}]`;
  const causes = violations.map(({ reason, message, field }) => ({
    reason,
    message: message.startsWith(`${field}: `) ? message.slice(field.length + 2) : message,
    field,
  }));
  return new StatusError(422, `${kind} "${name}" is invalid: ${text}`, {
    ...detailsOf(target),
    kind: resource.kind,
    causes,
  });
}
