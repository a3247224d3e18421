import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ErrorObject } from 'ajv';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';
import type { Parser, SchemaCheck } from '../api/parse.ts';
import { createNodeDeviceParser, createVolumeParser } from '../api/parse.ts';
import { NODE_DEVICE_KIND, VOLUME_KIND } from '../api/names.ts';
import type { MeshStorNodeDevice } from '../api/node-device.ts';
import type { MeshStorVolume } from '../api/volume.ts';

/** Words of Kubernetes in a schema that say nothing about the value by itself. */
const KUBERNETES_WORDS = ['x-kubernetes-validations', 'x-kubernetes-list-type', 'x-kubernetes-list-map-keys'];

/** What is read of a CustomResourceDefinition. */
export interface ResourceDefinition {
  readonly spec: {
    readonly names: { readonly kind: string };
    readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: object } }[];
  };
}

export interface Parsers {
  readonly volume: Parser<MeshStorVolume>;
  readonly nodeDevice: Parser<MeshStorNodeDevice>;
}

/** Folder `deploy/crds` of the installation that this file, or the bundle made of it, belongs to. */
export function findDefinitionFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const candidate = join(folder, 'deploy', 'crds');
    if (existsSync(candidate)) return candidate;
    const parent = dirname(folder);
    if (parent === folder) throw new Error('reading the schemas: no deploy/crds beside the program or above it');
    folder = parent;
  }
}

/** Every CustomResourceDefinition in the folder. Blocks; called once at start. */
export function readDefinitions(folder = findDefinitionFolder()): readonly ResourceDefinition[] {
  const files = readdirSync(folder).filter((file) => file.endsWith('.yaml'));
  return files.sort().map((file) => parse(readFileSync(join(folder, file), 'utf8')) as ResourceDefinition);
}

/** Parsers of both kinds, checking by the very schemas that the cluster enforces. */
export function loadParsers(folder?: string): Parsers {
  const definitions = readDefinitions(folder);
  return {
    volume: createVolumeParser(compile(definitions, VOLUME_KIND)),
    nodeDevice: createNodeDeviceParser(compile(definitions, NODE_DEVICE_KIND)),
  };
}

function compile(definitions: readonly ResourceDefinition[], kind: string): SchemaCheck {
  const definition = definitions.find((entry) => entry.spec.names.kind === kind);
  const schema = definition?.spec.versions[0]?.schema.openAPIV3Schema;
  if (schema === undefined) throw new Error(`reading the schemas: no definition of ${kind} in deploy/crds`);
  const ajv = new Ajv({ strict: true, allErrors: false, allowUnionTypes: false });
  addFormats.default(ajv);
  ajv.addVocabulary(KUBERNETES_WORDS);
  const validate = ajv.compile(schema);
  return (value) => (validate(value) ? undefined : describe(validate.errors?.[0]));
}

function describe(error: ErrorObject | undefined): string {
  if (error === undefined) return 'does not fit its schema';
  const path = error.instancePath.slice(1).replaceAll('/', '.') || 'object';
  const allowed = error.keyword === 'enum' ? ` (${(error.params['allowedValues'] as unknown[]).join(', ')})` : '';
  return `${path}: ${error.message ?? 'invalid'}${allowed}`;
}
