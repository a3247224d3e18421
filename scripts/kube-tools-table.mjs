// The components of a real Kubernetes that the tests run, and how each is built. Versions are pinned in
// test/kube/tools/<folder>/go.mod and nowhere else.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseGoMod } from './go-modules.mjs';
import { keyOf } from './native-cache.mjs';
import { root } from './steps.mjs';

const FOLDER = 'test/kube/tools';

/** Where the Kubernetes binaries look for the version that they report; helm and others check it. */
const kubernetes = (name, ask = ['--version']) => ({
  folder: 'kubernetes',
  package: `k8s.io/kubernetes/cmd/${name}`,
  module: 'k8s.io/kubernetes',
  ask,
  set: (version) => {
    const [major, minor] = version.slice(1).split('.');
    const facts = { gitVersion: version, gitMajor: major, gitMinor: minor, gitTreeState: 'clean' };
    const packages = ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version'];
    return packages.flatMap((path) => Object.entries(facts).map(([key, value]) => `${path}.${key}=${value}`));
  },
});

const sidecar = (name, module) => ({
  folder: name,
  package: `${module}/cmd/${name}`,
  module,
  ask: ['--version'],
  set: (version) => [`main.version=${version}`],
});

/**
 * Name → how it is built: its package, the module whose version it has, what `set` makes the linker put into variables, and
 * how it is asked for its version.
 */
export const TOOLS = {
  etcd: {
    folder: 'etcd',
    package: 'go.etcd.io/etcd/server/v3',
    module: 'go.etcd.io/etcd/server/v3',
    ask: ['--version'],
    set: () => [],
  },
  'kube-apiserver': kubernetes('kube-apiserver'),
  'kube-controller-manager': kubernetes('kube-controller-manager'),
  'kube-scheduler': kubernetes('kube-scheduler'),
  kubectl: kubernetes('kubectl', ['version', '--client']),
  'csi-provisioner': sidecar('csi-provisioner', 'github.com/kubernetes-csi/external-provisioner/v6'),
  'csi-attacher': sidecar('csi-attacher', 'github.com/kubernetes-csi/external-attacher/v4'),
  'csi-resizer': sidecar('csi-resizer', 'github.com/kubernetes-csi/external-resizer/v2'),
  'csi-sanity': {
    folder: 'csi-sanity',
    package: 'github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity',
    module: 'github.com/kubernetes-csi/csi-test/v5',
    ask: ['--version'],
    set: (version) => [`main.VERSION=${version}`],
  },
  helm: {
    folder: 'helm',
    package: 'helm.sh/helm/v3/cmd/helm',
    module: 'helm.sh/helm/v3',
    ask: ['version', '--short'],
    // Without the release of the cluster `helm template` and `helm lint` take it for 1.20.
    set: (version, requires) => {
      const minor = requires.get('k8s.io/client-go').split('.')[1];
      const packages = ['helm.sh/helm/v3/pkg/lint/rules', 'helm.sh/helm/v3/pkg/chartutil'];
      const cluster = packages.flatMap((path) => [`${path}.k8sVersionMajor=1`, `${path}.k8sVersionMinor=${minor}`]);
      return [`helm.sh/helm/v3/internal/version.version=${version}`, ...cluster];
    },
  },
  kubeconform: {
    folder: 'kubeconform',
    package: 'github.com/yannh/kubeconform/cmd/kubeconform',
    module: 'github.com/yannh/kubeconform',
    ask: ['-v'],
    set: (version) => [`main.version=${version}`],
  },
};

/** First version in what a program says of itself, with its `v`; undefined when there is none. */
export function versionIn(text) {
  const found = /\bv?(\d+\.\d+\.\d+(?:-[0-9a-z.]+)?)/.exec(text)?.[1];
  return found === undefined ? undefined : `v${found}`;
}

/**
 * All that decides what a tool's binary is: pinned version, files, arguments of the linker, and the key of it in the cache.
 * `goRelease` is the Go that builds it.
 */
export function recipeOf(name, goRelease) {
  const tool = TOOLS[name];
  const folder = join(FOLDER, tool.folder);
  const files = ['go.mod', 'go.sum'].map((file) => join(folder, file));
  const { go, requires } = parseGoMod(readFileSync(join(root, files[0]), 'utf8'));
  const version = requires.get(tool.module);
  const variables = tool.set(version, requires).map((entry) => `-X=${entry}`);
  const ldflags = ['-s', '-w', ...variables].join(' ');
  return {
    name,
    folder: join(root, folder),
    package: tool.package,
    version,
    goLeast: go,
    ldflags,
    key: keyOf(files, goRelease, name, ldflags),
  };
}
