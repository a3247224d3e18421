/** The chart as Helm renders it. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { ToolName } from '../kube/real/tools.ts';

export const REPO_ROOT = join(import.meta.dirname, '..', '..');
export const CHART = join(REPO_ROOT, 'deploy', 'chart');
/** What has no default; nothing is fetched from there. */
export const REGISTRIES = ['--set', 'image.registry=registry.example.org,sidecars.registry=mirror.example.org:5000'];
export const MONITORING_APIS = ['PodMonitor', 'PrometheusRule'].flatMap((kind) => [
  '--api-versions',
  `monitoring.coreos.com/v1/${kind}`,
]);

/** What the tests read of any object. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

export interface Outcome {
  readonly ok: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Building a tool on a machine that has none of it yet. */
export const BUILD_LIMIT_MS = 45 * 60_000;
const paths = new Map<string, string>();

/** Where a tool is; it is built first if need be, so call it once in a hook with `BUILD_LIMIT_MS`. */
export function toolPath(name: ToolName): string {
  const known = paths.get(name);
  if (known !== undefined) return known;
  const options = { cwd: REPO_ROOT, encoding: 'utf8', timeout: BUILD_LIMIT_MS } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/kube-tools.mjs', name], options);
  const path = /^\S+ +v\S+ +\S+ +(\/.*)$/m.exec(stdout)?.[1];
  if (status !== 0 || path === undefined) throw new Error(`there is no ${name}: ${stdout}${stderr}`);
  paths.set(name, path);
  return path;
}

export function helm(...args: readonly string[]): Outcome {
  return helmOn('', ...args);
}

/** Helm on the cluster of a kubeconfig. */
export function helmOn(kubeconfig: string, ...args: readonly string[]): Outcome {
  // Settings and credentials of whoever runs the tests do not count.
  const own = { HELM_CONFIG_HOME: '/nonexistent', HELM_CACHE_HOME: '/nonexistent', KUBECONFIG: kubeconfig };
  const options = { encoding: 'utf8', timeout: 120_000, env: { ...process.env, ...own } } as const;
  const { status, stdout, stderr } = spawnSync(toolPath('helm'), args, options);
  return { ok: status === 0, stdout, stderr };
}

/** The rendered text. Throws with Helm's complaint. */
export function render(...args: readonly string[]): string {
  const { ok, stdout, stderr } = helm('template', 'release', CHART, '--namespace', 'storage', ...args);
  if (!ok) throw new Error(stderr);
  return stdout;
}

export function objectsIn(text: string): readonly Manifest[] {
  const documents = parseAllDocuments(text);
  if (!Array.isArray(documents)) return [];
  return documents.map((document) => document.toJS() as Manifest | null).filter((object) => object !== null);
}

export function objects(...args: readonly string[]): readonly Manifest[] {
  return objectsIn(render(...REGISTRIES, ...args));
}

export function named(all: readonly Manifest[], kind: string, name: string): Manifest {
  const found = all.find((object) => object.kind === kind && object.metadata.name === name);
  if (found === undefined) throw new Error(`no ${kind} ${name}`);
  return found;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly resources?: { readonly limits?: Readonly<Record<string, string>> };
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly env?: readonly { readonly name: string; readonly valueFrom?: unknown }[];
  readonly volumeMounts: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly mountPropagation?: string;
  }[];
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly volumes: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[];
  readonly [field: string]: unknown;
}

export function podOf(workload: Manifest): PodSpec {
  return (workload['spec'] as { readonly template: { readonly spec: PodSpec } }).template.spec;
}

export function containerOf(workload: Manifest, name: string): Container {
  const found = podOf(workload).containers.find((container) => container.name === name);
  if (found === undefined) throw new Error(`${workload.metadata.name} has no container ${name}`);
  return found;
}
