/**
 * The schemas that the cluster enforces, compiled. The build puts the compiled code in place of this file
 * (scripts/compile-schemas.mjs): reading and compiling them costs more than everything else at a start.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ErrorObject } from 'ajv';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';
import { NODE_DEVICE_KIND, VOLUME_KIND } from '../api/names.ts';

/** Words of Kubernetes in a schema that say nothing about the value by itself. */
const KUBERNETES_WORDS = ['x-kubernetes-validations', 'x-kubernetes-list-type', 'x-kubernetes-list-map-keys'];

/** What is read of a CustomResourceDefinition. */
interface ResourceDefinition {
  readonly spec: {
    readonly names: { readonly kind: string };
    readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: object } }[];
  };
}

/** Says whether a value fits; after a no, `errors` says why. */
export interface Validator {
  (value: unknown): boolean;
  errors?: readonly ErrorObject[] | null;
}

export interface Validators {
  readonly volume: Validator;
  readonly nodeDevice: Validator;
}

/** Folder `deploy/crds` of the installation that this file belongs to. */
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

function readDefinitions(folder: string): readonly ResourceDefinition[] {
  const files = readdirSync(folder).filter((file) => file.endsWith('.yaml'));
  return files.sort().map((file) => parse(readFileSync(join(folder, file), 'utf8')) as ResourceDefinition);
}

/** Blocks: reads files and compiles. */
export function loadValidators(): Validators {
  const definitions = readDefinitions(findDefinitionFolder());
  return { volume: compile(definitions, VOLUME_KIND), nodeDevice: compile(definitions, NODE_DEVICE_KIND) };
}

function compile(definitions: readonly ResourceDefinition[], kind: string): Validator {
  const definition = definitions.find((entry) => entry.spec.names.kind === kind);
  const schema = definition?.spec.versions[0]?.schema.openAPIV3Schema;
  if (schema === undefined) throw new Error(`reading the schemas: no definition of ${kind} in deploy/crds`);
  const ajv = new Ajv({ strict: true, allErrors: false, allowUnionTypes: false });
  addFormats.default(ajv);
  ajv.addVocabulary(KUBERNETES_WORDS);
  return ajv.compile(schema);
}
