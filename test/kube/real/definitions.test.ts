import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse } from 'yaml';
import type { Wire } from '../contract/server.ts';
import { failure } from '../contract/server.ts';
import type { ControlPlane } from './control-plane.ts';
import { conditionsOf } from './control-plane.ts';
import { sharedControlPlane } from './shared.ts';

const FOLDER = join(import.meta.dirname, '..', '..', '..', 'deploy', 'crds');
const COLLECTION = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

/** The part of a definition that the test changes. */
interface Definition {
  readonly metadata: { name: string };
  readonly spec: {
    readonly names: { kind: string; listKind: string; plural: string; singular: string; shortNames: string[] };
    readonly versions: readonly { readonly schema: { readonly openAPIV3Schema: Schema } }[];
  };
}

interface Schema {
  type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
}

function read(file: string): Definition {
  return parse(readFileSync(join(FOLDER, file), 'utf8')) as Definition;
}

/** The same definition under names that nothing else has. */
function renamed(definition: Definition, word: string): Definition {
  const names = { kind: `${word}Kind`, listKind: `${word}KindList`, plural: `${word}s`.toLowerCase() };
  Object.assign(definition.spec.names, names, { singular: word.toLowerCase(), shortNames: [] });
  definition.metadata.name = `${names.plural}.csi.meshstor.io`;
  return definition;
}

describe('definitions of the kinds on a real API server', function () {
  this.timeout(300_000);
  let plane: ControlPlane;

  before(async () => {
    plane = await sharedControlPlane();
  });

  for (const file of readdirSync(FOLDER)) {
    it(`${file}: structural, established, its names accepted`, async () => {
      const { metadata } = read(file);
      const { status }: Wire = await plane.api.get(`${COLLECTION}/${metadata.name}`);
      const holding = conditionsOf(status).filter(({ status: holds }) => holds === 'True');
      expect(holding.map(({ type }) => type).sort()).to.deep.equal(['Established', 'NamesAccepted']);
    });

    it(`${file}: refused as soon as one field has no type`, async () => {
      const definition = renamed(read(file), 'Loose');
      delete definition.spec.versions[0]?.schema.openAPIV3Schema.properties?.['spec']?.type;
      const error = await failure(plane.api.create(COLLECTION, definition));
      expect(error.status).to.equal(422);
      expect(error.message).to.contain('spec].type: Required value');
    });
  }
});
