/** proto/csi.proto against a table of the published descriptor of CSI 1.12, and what is generated from it against it. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import protobuf from 'protobufjs';
import { SECRET_FIELDS } from '../../src/csi/generated/secret-fields.ts';
import { packageRoot } from '../../src/support/package-root.ts';

type Options = Readonly<Record<string, unknown>> | undefined;

/** The parts of protobufjs' reflection that are read here. */
interface Reflection {
  readonly name: string;
  readonly options?: Options;
  readonly nestedArray?: readonly Reflection[];
  readonly methodsArray?: readonly {
    readonly name: string;
    readonly requestType: string;
    readonly responseType: string;
    readonly requestStream?: boolean;
    readonly responseStream?: boolean;
    readonly options?: Options;
  }[];
  readonly fieldsArray?: readonly {
    readonly name: string;
    readonly id: number;
    readonly type: string;
    readonly keyType?: string;
    readonly repeated: boolean;
    readonly partOf: { readonly name: string } | null;
    readonly options?: Options;
  }[];
  readonly values?: Readonly<Record<string, number>>;
  readonly valuesOptions?: Readonly<Record<string, Options>>;
  readonly id?: number;
  readonly extend?: string;
}

const root = packageRoot(import.meta.url);
const generator = join(root, 'scripts', 'generate-proto.mjs');

function parseProto(text: string): Reflection {
  return protobuf.parse(text, { keepCase: true }).root.lookup('csi.v1') as unknown as Reflection;
}

const setOptions = (options: Options): readonly string[] =>
  Object.entries(options ?? {})
    .filter(([key, value]) => key.startsWith('(') && value === true)
    .map(([key]) => key.slice(1, -1))
    .sort();
const withOptions = (options: Options): object =>
  setOptions(options).length === 0 ? {} : { options: setOptions(options) };
const shortName = (type: string): string => type.replace(/^\.?csi\.v1\./, '').replace(/^\./, '');

interface Table {
  readonly spec: string;
  readonly package: string;
  readonly extensions: Record<string, unknown>;
  readonly services: Record<string, unknown>;
  readonly messages: Record<string, { readonly fields: Readonly<Record<string, readonly unknown[]>> }>;
  readonly enums: Record<string, unknown>;
}

function tableOf(reflection: Reflection): Table {
  const table: Table = { spec: '1.12.0', package: 'csi.v1', extensions: {}, services: {}, messages: {}, enums: {} };
  const visit = (scope: Reflection, path: readonly string[]): void => {
    for (const nested of scope.nestedArray ?? []) {
      const name = [...path, nested.name].join('.');
      if (nested.methodsArray !== undefined) table.services[name] = serviceOf(nested);
      else if (nested.values !== undefined) table.enums[name] = enumOf(nested);
      else if (nested.fieldsArray !== undefined) {
        table.messages[name] = messageOf(nested);
        visit(nested, [...path, nested.name]);
      } else table.extensions[name] = [nested.id, nested.extend?.replace(/^\.?google\.protobuf\./, '')];
    }
  };
  visit(reflection, []);
  return table;
}

function serviceOf(service: Reflection): object {
  const methods = (service.methodsArray ?? []).map((method) => [
    method.name,
    {
      request: shortName(method.requestType),
      response: shortName(method.responseType),
      ...(method.responseStream === true ? { stream: true } : {}),
      ...withOptions(method.options),
    },
  ]);
  return { ...withOptions(service.options), methods: Object.fromEntries(methods) as object };
}

function enumOf(type: Reflection): object {
  const values = Object.entries(type.values ?? {}).map(([name, value]) => {
    const options = setOptions(type.valuesOptions?.[name]);
    return [name, options.length === 0 ? value : [value, ...options]];
  });
  return Object.fromEntries(values) as object;
}

function messageOf(type: Reflection): Table['messages'][string] {
  const fields = (type.fieldsArray ?? []).map((field): [string, readonly unknown[]] => {
    const plain =
      field.keyType === undefined ? shortName(field.type) : `map<${field.keyType},${shortName(field.type)}>`;
    const repeated = field.repeated ? `repeated ${plain}` : plain;
    const typeText = field.partOf === null ? repeated : `oneof ${field.partOf.name} ${repeated}`;
    return [field.name, [field.id, typeText, ...setOptions(field.options)]];
  });
  return { ...withOptions(type.options), fields: Object.fromEntries(fields) };
}

describe('proto/csi.proto', () => {
  let published: Table;
  let text: string;

  before(async () => {
    published = JSON.parse(await readFile(join(root, 'test/fixtures/csi-1.12-descriptor.json'), 'utf8')) as Table;
    text = await readFile(join(root, 'proto/csi.proto'), 'utf8');
  });

  it('has every service, message, field number, type, enum value and option of CSI 1.12, and no other', () => {
    const ours = tableOf(parseProto(text));
    for (const part of ['extensions', 'services', 'enums'] as const) expect(ours[part]).to.deep.equal(published[part]);
    expect(Object.keys(ours.messages).sort()).to.deep.equal(Object.keys(published.messages).sort());
    for (const [name, message] of Object.entries(published.messages)) {
      expect(ours.messages[name], name).to.deep.equal(message);
    }
  });

  it('is found to differ when one number, one option or one enum value does', () => {
    for (const [from, to] of [
      ['string node_id = 2;', 'string node_id = 9;'],
      ['secrets = 5 [(csi_secret) = true];', 'secrets = 5;'],
      ['GET_CAPACITY = 4;', 'GET_CAPACITY = 40;'],
    ] as const) {
      expect(text).to.include(from);
      expect(tableOf(parseProto(text.replace(from, to))), from).not.to.deep.equal(tableOf(parseProto(text)));
    }
  });

  it('names the same secrets to the log as to the wire', () => {
    const secrets = Object.entries(published.messages).flatMap(([name, { fields }]) => {
      const marked = Object.entries(fields).filter(([, field]) => field.includes('csi_secret'));
      return marked.length === 0 ? [] : [[name, marked.map(([field]) => field)] as const];
    });
    expect(SECRET_FIELDS).to.deep.equal(Object.fromEntries(secrets));
  });
});

describe('scripts/generate-proto.mjs', () => {
  const run = (...args: readonly string[]): Promise<{ code: number; stderr: string }> =>
    promisify(execFile)(process.execPath, [generator, ...args]).then(
      () => ({ code: 0, stderr: '' }),
      (error: unknown) => error as { code: number; stderr: string },
    );

  it('finds the committed types fresh', async () => {
    expect(await run('--check')).to.include({ code: 0 });
  }).timeout(60_000);

  it('fails with --check on a stale, a missing and a surplus file, writes none, and repairs all without it', async () => {
    const copy = await mkdtemp(join(tmpdir(), 'csi-generated-'));
    try {
      await cp(join(root, 'src/csi/generated'), copy, { recursive: true });
      await writeFile(join(copy, 'csi/v1/Volume.ts'), 'export type Volume = never;\n');
      await rm(join(copy, 'csi/v1/Topology.ts'));
      await writeFile(join(copy, 'csi/v1/Left.ts'), '');
      const checked = await run('--check', '--out', copy);
      expect(checked.code).to.equal(1);
      for (const name of ['Volume.ts', 'Topology.ts', 'Left.ts']) expect(checked.stderr).to.include(name);
      expect(await readFile(join(copy, 'csi/v1/Volume.ts'), 'utf8')).to.include('never');
      expect((await run('--out', copy)).code).to.equal(0);
      for (const name of ['Volume.ts', 'Topology.ts']) {
        const committed = await readFile(join(root, 'src/csi/generated/csi/v1', name), 'utf8');
        expect(await readFile(join(copy, 'csi/v1', name), 'utf8')).to.equal(committed);
      }
      expect(existsSync(join(copy, 'csi/v1/Left.ts'))).to.be.false;
    } finally {
      await rm(copy, { recursive: true, force: true });
    }
  }).timeout(120_000);
});
