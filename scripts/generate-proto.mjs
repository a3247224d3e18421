#!/usr/bin/env node
// Writes src/csi/generated from proto/csi.proto: types for the messages and services, the descriptor of the services that
// are served, and the table of secret fields.
// With --check nothing is written: exit 1 and a list of files when what is there is stale. --out DIR for another place.
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { format, resolveConfig } from 'prettier';
import protobuf from 'protobufjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const proto = join(root, 'proto', 'csi.proto');
const require = createRequire(import.meta.url);

/** The same as `CONVERSION` in src/csi/proto.ts: types and run time must agree. */
const FLAGS = [
  '--longs=String',
  '--enums=String',
  '--defaults',
  '--oneofs',
  '--grpcLib=@grpc/grpc-js',
  '--importFileExtension=.ts',
];

async function generateTypes(outDir) {
  const tool = join(dirname(require.resolve('@grpc/proto-loader/package.json')), 'build/bin/proto-loader-gen-types.js');
  await promisify(execFile)(process.execPath, [tool, ...FLAGS, `--outDir=${outDir}`, proto]);
}

/** Request messages and those of their fields that carry `csi_secret`. */
async function secretFields() {
  const parsed = protobuf.parse(await readFile(proto, 'utf8')).root.lookup('csi.v1');
  const requests = new Set();
  for (const service of parsed.nestedArray) {
    for (const method of service.methodsArray ?? []) requests.add(method.requestType);
  }
  const table = {};
  const visit = (scope, path) => {
    for (const type of scope.nestedArray.filter((nested) => nested instanceof protobuf.Type)) {
      const name = [...path, type.name].join('.');
      const fields = type.fieldsArray.filter((field) => field.options?.['(csi_secret)'] === true);
      if (fields.length > 0 && !requests.has(name)) {
        throw new Error(`${name} has a secret and is no request: redaction looks at the top level of requests only`);
      }
      if (fields.length > 0) table[name] = fields.map((field) => field.name);
      visit(type, [...path, type.name]);
    }
  };
  visit(parsed, []);
  return [
    '/** Fields marked `csi_secret`, by request message: never logged. Made from proto/csi.proto. */',
    `export const SECRET_FIELDS: Readonly<Record<string, readonly string[]>> = ${JSON.stringify(table)};`,
    '',
  ].join('\n');
}

/** The services of which this driver serves methods. */
const SERVED = ['Identity', 'Controller', 'Node'];

function parsedProto() {
  const parsed = new protobuf.Root();
  const bundled = dirname(require.resolve('protobufjs/package.json'));
  parsed.resolvePath = (_origin, target) => (target.startsWith('google/') ? join(bundled, target) : target);
  parsed.loadSync(proto);
  parsed.resolveAll();
  return parsed;
}

/** Leaves CSI's own options out: they are read at build time, below. */
function withoutCsiOptions(name, value) {
  if (name === 'parsedOptions' || name === 'valuesOptions') return undefined;
  const isOptions = name === 'options' && Object.keys(value).every((option) => option.startsWith('('));
  return isOptions ? undefined : value;
}

/** Those services and every message and enum that they reach, in the JSON form of protobufjs (INamespace). */
function servedDescriptor() {
  const parsed = parsedProto();
  const kept = new Map();
  const keep = (object) => {
    if (object === null || kept.has(object)) return;
    if (object.parent instanceof protobuf.Type) return keep(object.parent); // it comes with the message around it
    kept.set(object, object.toJSON());
    for (const method of object.methodsArray ?? []) {
      keep(method.resolvedRequestType);
      keep(method.resolvedResponseType);
    }
    keepFieldsOf(object);
  };
  const keepFieldsOf = (type) => {
    for (const field of type.fieldsArray ?? []) keep(field.resolvedType);
    for (const nested of type.nestedArray ?? []) keepFieldsOf(nested);
  };
  for (const name of SERVED) keep(parsed.lookupService(`csi.v1.${name}`));
  const top = {};
  for (const [object, json] of [...kept].sort(([a], [b]) => a.fullName.localeCompare(b.fullName))) {
    const path = object.fullName.slice(1).split('.');
    const name = path.pop();
    const scope = path.reduce((into, part) => ((into[part] ??= { nested: {} }), into[part].nested), top);
    scope[name] = json;
  }
  return [
    '/** What src/csi/proto.ts builds messages and services from: parsed here and not at every start. */',
    `export const CSI_DESCRIPTOR: object = ${JSON.stringify({ nested: top }, withoutCsiOptions)};`,
    '',
  ].join('\n');
}

async function filesUnder(directory) {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return paths.map((path) => relative(directory, path)).sort();
}

async function generate() {
  const scratch = await mkdtemp(join(tmpdir(), 'csi-types-'));
  try {
    await generateTypes(scratch);
    await writeFile(join(scratch, 'secret-fields.ts'), await secretFields());
    await writeFile(join(scratch, 'descriptor.ts'), servedDescriptor());
    const config = await resolveConfig(join(root, 'package.json'));
    const made = new Map();
    for (const path of await filesUnder(scratch)) {
      const text = await readFile(join(scratch, path), 'utf8');
      // The tool writes the proto's absolute path above every declaration.
      const portable = text.replace(/^\/\/ Original file: .*\n/gm, '');
      made.set(path, await format(`// Made from proto/csi.proto.\n${portable}`, { ...config, parser: 'typescript' }));
    }
    return made;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function main(args) {
  const outAt = args.indexOf('--out');
  const out = outAt >= 0 ? args[outAt + 1] : join(root, 'src', 'csi', 'generated');
  const made = await generate();
  const there = await filesUnder(out).catch(() => []);
  const stale = there.filter((path) => !made.has(path));
  for (const [path, text] of made) {
    const now = await readFile(join(out, path), 'utf8').catch(() => undefined);
    if (now !== text) stale.push(path);
  }
  if (args.includes('--check')) {
    if (stale.length === 0) return 0;
    process.stderr.write(
      `stale, run "node scripts/generate-proto.mjs":\n${stale.map((path) => `  ${path}\n`).join('')}`,
    );
    return 1;
  }
  for (const path of stale.filter((name) => !made.has(name))) await rm(join(out, path));
  for (const [path, text] of made) {
    await mkdir(dirname(join(out, path)), { recursive: true });
    await writeFile(join(out, path), text);
  }
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
