/** Programs of a real Kubernetes by name, as `scripts/test-kube.mjs` found or built them. */
export type ToolName =
  | 'etcd'
  | 'kube-apiserver'
  | 'kube-controller-manager'
  | 'kube-scheduler'
  | 'kubectl'
  | 'csi-provisioner'
  | 'csi-attacher'
  | 'csi-resizer'
  | 'csi-sanity'
  | 'helm'
  | 'kubeconform';

/** Path of a program; throws what to run where the tests were started without the tools. */
export function toolPath(name: ToolName, env: NodeJS.ProcessEnv = process.env): string {
  const given = JSON.parse(env['MESHSTOR_KUBE_TOOLS'] ?? '{}') as Record<string, string>;
  const path = given[name];
  if (path === undefined) throw new Error(`${name} is needed: start these tests with \`npm run test:kube\``);
  return path;
}
