import type { Parser, SchemaCheck } from '../api/parse.ts';
import { createNodeDeviceParser, createVolumeParser } from '../api/parse.ts';
import type { MeshStorNodeDevice } from '../api/node-device.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import type { Validator } from './schema-validators.ts';
import { loadValidators } from './schema-validators.ts';

export interface Parsers {
  readonly volume: Parser<MeshStorVolume>;
  readonly nodeDevice: Parser<MeshStorNodeDevice>;
}

let loaded: Parsers | undefined;

/** Parsers of both kinds, checking by the very schemas that the cluster enforces. Loaded once. */
export function loadParsers(): Parsers {
  if (loaded === undefined) {
    const { volume, nodeDevice } = loadValidators();
    loaded = { volume: createVolumeParser(checkOf(volume)), nodeDevice: createNodeDeviceParser(checkOf(nodeDevice)) };
  }
  return loaded;
}

function checkOf(validate: Validator): SchemaCheck {
  return (value) => (validate(value) ? undefined : describe(validate.errors?.[0]));
}

function describe(error: NonNullable<Validator['errors']>[number] | undefined): string {
  if (error === undefined) return 'does not fit its schema';
  const path = error.instancePath.slice(1).replaceAll('/', '.') || 'object';
  const allowed = error.keyword === 'enum' ? ` (${(error.params['allowedValues'] as unknown[]).join(', ')})` : '';
  return `${path}: ${error.message ?? 'invalid'}${allowed}`;
}
