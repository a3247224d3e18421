import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { REPO_ROOT } from '../paths.ts';

const BUILD_LIMIT_MS = 45 * 60_000;

/** What a lab with a real Kubernetes starts. */
const NEEDED = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kubectl',
  'csi-provisioner',
  'csi-attacher',
  'csi-resizer',
  'helm',
] as const;

/**
 * Finds or builds the programs and tells this process and those that it starts where they are. A machine that has none of them
 * builds for twenty to forty minutes on two cores and needs the network: call it outside the lab's namespace.
 */
export async function provideTools(print: (line: string) => void): Promise<void> {
  print('the programs of a real Kubernetes: looking, and building what is missing');
  const script = join(REPO_ROOT, 'scripts', 'kube-tools.mjs');
  const options = { cwd: REPO_ROOT, timeout: BUILD_LIMIT_MS };
  const { stdout } = await promisify(execFile)(process.execPath, [script, ...NEEDED], options);
  const lines = stdout.matchAll(/^(\S+) +(v\S+) +\S+ +(\/.*)$/gm);
  const found = [...lines].map(([, name = '', version = '', path = '']) => ({ name, version, path }));
  const missing = NEEDED.filter((name) => !found.some((tool) => tool.name === name));
  if (missing.length > 0) throw new Error(`there is no ${missing.join(', ')}:\n${stdout}`);
  print(found.map(({ name, version }) => `${name} ${version}`).join(', '));
  process.env['MESHSTOR_KUBE_TOOLS'] = JSON.stringify(Object.fromEntries(found.map(({ name, path }) => [name, path])));
}
