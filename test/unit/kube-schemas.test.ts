import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse } from 'yaml';
import {
  CONDITION_KEYS,
  NODE_DEVICE_KEYS,
  NODE_DEVICE_SPEC_KEYS,
  NODE_DEVICE_STATUS_KEYS,
  PARTITION_KEYS,
  VOLUME_KEYS,
  VOLUME_SPEC_KEYS,
  VOLUME_STATUS_DISPLAY_KEYS,
  VOLUME_STATUS_KEYS,
} from '../../src/api/fields.ts';
import { findDefinitionFolder } from '../../src/kube/schema-validators.ts';
import { createApiServer } from '../lab/api-server/index.ts';

interface Node {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly items?: Node;
}

interface Definition {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly group: string;
    readonly scope: string;
    readonly names: { kind: string; plural: string; shortNames: string[]; categories: string[] };
    readonly versions: readonly {
      readonly name: string;
      readonly subresources: { readonly status?: object };
      readonly schema: { readonly openAPIV3Schema: Node };
      readonly additionalPrinterColumns: readonly { name: string; priority?: number; jsonPath: string; type: string }[];
    }[];
  };
}

const folder = findDefinitionFolder();
const definitions = readdirSync(folder).map((file) => parse(readFileSync(join(folder, file), 'utf8')) as Definition);

function definitionOf(kind: string): Definition {
  const found = definitions.find((definition) => definition.spec.names.kind === kind);
  if (found === undefined) throw new Error(`no definition of ${kind}`);
  return found;
}

function at(kind: string, ...path: string[]): Node {
  let node = definitionOf(kind).spec.versions[0]?.schema.openAPIV3Schema;
  for (const name of path) node = name === '[]' ? node?.items : node?.properties?.[name];
  return node ?? {};
}

const fields = (node: Node) => Object.keys(node.properties ?? {}).sort();
const sorted = (...keys: readonly PropertyKey[]) => keys.map(String).sort();

describe('resource definitions', () => {
  it('have the fields of the types, no more and no fewer', () => {
    const head = ['apiVersion', 'kind'];
    expect(fields(at('MeshStorVolume'))).to.deep.equal(sorted(...VOLUME_KEYS, ...head));
    expect(fields(at('MeshStorVolume', 'spec'))).to.deep.equal(sorted(...VOLUME_SPEC_KEYS));
    const status = sorted(...VOLUME_STATUS_KEYS, ...VOLUME_STATUS_DISPLAY_KEYS);
    expect(fields(at('MeshStorVolume', 'status'))).to.deep.equal(status);
    expect(fields(at('MeshStorVolume', 'status', 'partitions', '[]'))).to.deep.equal(sorted(...PARTITION_KEYS));
    expect(fields(at('MeshStorNodeDevice'))).to.deep.equal(sorted(...NODE_DEVICE_KEYS, ...head));
    expect(fields(at('MeshStorNodeDevice', 'spec'))).to.deep.equal(sorted(...NODE_DEVICE_SPEC_KEYS));
    expect(fields(at('MeshStorNodeDevice', 'status'))).to.deep.equal(sorted(...NODE_DEVICE_STATUS_KEYS));
    for (const kind of ['MeshStorVolume', 'MeshStorNodeDevice']) {
      expect(fields(at(kind, 'status', 'conditions', '[]'))).to.deep.equal(sorted(...CONDITION_KEYS));
    }
  });

  it('describe every field', () => {
    const without: string[] = [];
    const visit = (node: Node, path: string): void => {
      if (node.description === undefined && !/(\[\]|\.metadata)$/.test(path)) without.push(path);
      for (const [name, member] of Object.entries(node.properties ?? {})) visit(member, `${path}.${name}`);
      if (node.items !== undefined) visit(node.items, `${path}[]`);
    };
    for (const { spec } of definitions) visit(spec.versions[0]?.schema.openAPIV3Schema ?? {}, spec.names.kind);
    expect(without).to.deep.equal([]);
  });

  it('are cluster-scoped, in one category, with a status of its own and short names', () => {
    for (const [kind, short] of [
      ['MeshStorVolume', 'msvol'],
      ['MeshStorNodeDevice', 'msnd'],
    ] as const) {
      const { metadata, spec } = definitionOf(kind);
      expect(metadata.name).to.equal(`${spec.names.plural}.${spec.group}`);
      expect([spec.group, spec.scope, spec.versions[0]?.name]).to.deep.equal([
        'csi.meshstor.io',
        'Cluster',
        'v1alpha1',
      ]);
      expect([spec.names.shortNames, spec.names.categories]).to.deep.equal([[short], ['meshstor']]);
      expect(spec.versions[0]?.subresources).to.deep.equal({ status: {} });
    }
  });

  it('have the columns that users know', () => {
    const columns = (kind: string, priority: number) =>
      (definitionOf(kind).spec.versions[0]?.additionalPrinterColumns ?? [])
        .filter((column) => (column.priority ?? 0) === priority)
        .map((column) => column.name)
        .join(' ');
    expect(columns('MeshStorVolume', 0)).to.equal('PHASE MDSTATE READY DEGRADED SYNC NODE AGE');
    expect(columns('MeshStorVolume', 1)).to.equal('TOTAL ACTIVE FAILED MISSING PARTITIONS');
    expect(columns('MeshStorNodeDevice', 0)).to.equal(
      'MODEL SERIAL LOCALPARTITIONS REMOTEPARTITIONS UNKNOWNPARTITIONS MULTIQUEUE BIGGESTUSABLEFREESPACE SIZE SECTORSIZE UPDATEDAT',
    );
  });

  it('print only fields that there are, with their own types', () => {
    for (const { spec } of definitions) {
      for (const column of spec.versions[0]?.additionalPrinterColumns ?? []) {
        if (column.jsonPath === '.metadata.creationTimestamp') continue;
        const type = at(spec.names.kind, ...column.jsonPath.slice(1).split('.')).type;
        expect(type, column.name).to.equal(column.type === 'date' ? 'string' : column.type);
      }
    }
  });

  it('are refused by the stand-in when it could not enforce them', async () => {
    const copy = mkdtempSync(join(tmpdir(), 'meshstor-crds-'));
    try {
      for (const [from, to, why] of [
        [
          'self % 1048576 == 0',
          'self.matches("x")',
          /rule "self.matches\("x"\)" cannot be evaluated here: the method "matches"/,
        ],
        ['multipleNothing: 1', '', undefined],
        ['format: date-time', 'format: hostname', /the format "hostname" is not known here/],
        ['minimum: 60', 'minimun: 60', /the word "minimun" is not known here/],
      ] as const) {
        cpSync(folder, copy, { recursive: true });
        const file = join(copy, 'csi.meshstor.io_meshstorvolumes.yaml');
        writeFileSync(file, readFileSync(file, 'utf8').replace(from, to));
        const outcome = await createApiServer({ definitions: copy }).then(
          (server) => server.close(),
          (error: unknown) => String(error),
        );
        if (why === undefined) expect(outcome).to.equal(undefined);
        else expect(outcome).to.match(why);
      }
    } finally {
      rmSync(copy, { recursive: true });
    }
  });
});
