// Compiles the schemas in deploy/crds to code, for the bundle: what src/kube/schema-validators.ts does at run time.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import standaloneCode from 'ajv/dist/standalone/index.js';
import { parse } from 'yaml';
import { root } from './steps.mjs';

const KUBERNETES_WORDS = ['x-kubernetes-validations', 'x-kubernetes-list-type', 'x-kubernetes-list-map-keys'];
const EXPORTS = { volume: 'MeshStorVolume', nodeDevice: 'MeshStorNodeDevice' };

/** Text of a module that exports `loadValidators`, as src/kube/schema-validators.ts does. */
export function compiledSchemas() {
  const folder = join(root, 'deploy', 'crds');
  const files = readdirSync(folder).filter((file) => file.endsWith('.yaml'));
  const definitions = files.map((file) => parse(readFileSync(join(folder, file), 'utf8')));
  const code = { source: true, esm: true };
  const ajv = new Ajv({ strict: true, allErrors: false, allowUnionTypes: false, code });
  addFormats.default(ajv);
  ajv.addVocabulary(KUBERNETES_WORDS);
  for (const { spec } of definitions) ajv.addSchema(spec.versions[0].schema.openAPIV3Schema, spec.names.kind);
  const validators = standaloneCode.default(ajv, EXPORTS);
  const names = Object.keys(EXPORTS).join(', ');
  return `${validators}\nexport function loadValidators() { return { ${names} }; }\n`;
}
