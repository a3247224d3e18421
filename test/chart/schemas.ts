/**
 * JSON schemas of Kubernetes' own kinds for kubeconform, made of the OpenAPI document in the module that the API server is built
 * from: nothing has to be fetched from elsewhere.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPO_ROOT } from './helm.ts';

type Schema = Readonly<Record<string, unknown>>;

interface KindName {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

const DOWNLOAD_LIMIT_MS = 600_000;
const PREFIX = '#/definitions/';

/** The document of the pinned Kubernetes. */
function openApiDocument(): { readonly definitions: Readonly<Record<string, Schema>> } {
  const cwd = join(REPO_ROOT, 'test', 'kube', 'tools', 'kubernetes');
  const env = { ...process.env, GOTOOLCHAIN: 'local', GOWORK: 'off' };
  const options = { cwd, env, encoding: 'utf8', timeout: DOWNLOAD_LIMIT_MS } as const;
  const { status, stdout, stderr } = spawnSync('go', ['mod', 'download', '-json', 'k8s.io/kubernetes'], options);
  if (status !== 0) throw new Error(`go mod download: ${stderr}${stdout}`);
  const { Dir } = JSON.parse(stdout) as { readonly Dir: string };
  return JSON.parse(readFileSync(join(Dir, 'api', 'openapi-spec', 'swagger.json'), 'utf8')) as ReturnType<
    typeof openApiDocument
  >;
}

function referencesOf(schema: unknown): readonly string[] {
  return [...JSON.stringify(schema).matchAll(/"\$ref":"#\/definitions\/([^"]+)"/g)].map(([, name = '']) => name);
}

/** What Kubernetes takes but a strict JSON schema of it does not say. */
function adapted(name: string, schema: Schema): Schema {
  if (name.endsWith('.IntOrString')) return { type: ['string', 'integer'] };
  if (name.endsWith('.Quantity')) return { type: ['string', 'number'] };
  // A typo in a field is what this is for.
  const isClosed = schema['properties'] !== undefined && schema['additionalProperties'] === undefined;
  return isClosed ? { ...schema, additionalProperties: false } : schema;
}

/** One schema with all that it refers to. */
function standalone(root: string, definitions: Readonly<Record<string, Schema>>): Schema {
  const found = new Map<string, Schema>();
  const waiting = [root];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const schema = definitions[name];
    if (schema === undefined || found.has(name)) continue;
    found.set(name, adapted(name, schema));
    waiting.push(...referencesOf(schema));
  }
  return { $ref: `${PREFIX}${root}`, definitions: Object.fromEntries(found) };
}

/** Writes a schema for every kind into the folder, once, as kubeconform looks for them: `KIND-GROUP-VERSION.json`. */
export function writeSchemas(folder: string): void {
  if (existsSync(join(folder, 'complete'))) return;
  mkdirSync(folder, { recursive: true });
  const { definitions } = openApiDocument();
  for (const [name, schema] of Object.entries(definitions)) {
    const kinds = (schema['x-kubernetes-group-version-kind'] ?? []) as readonly KindName[];
    const [only] = kinds;
    if (only === undefined || kinds.length !== 1) continue;
    const { group, version, kind } = only;
    const parts = [kind, ...(group === '' ? [] : [group.split('.', 1)[0]]), version].join('-').toLowerCase();
    writeFileSync(join(folder, `${parts}.json`), JSON.stringify(standalone(name, definitions)));
  }
  writeFileSync(join(folder, 'complete'), '');
}

/** Where kubeconform finds them. */
export function schemaLocation(folder: string): string {
  return join(folder, '{{ .ResourceKind }}{{ .KindSuffix }}.json');
}
