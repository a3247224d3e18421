/** What the chart says of a role's container, from the rendered chart that test/chart/golden.test.ts keeps in step with it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Container } from '../../chart/helm.ts';
import { containerOf, named, objectsIn, podOf } from '../../chart/helm.ts';
import { REPO_ROOT } from '../paths.ts';

export type Propagation = 'None' | 'HostToContainer' | 'Bidirectional';

export interface Mount {
  readonly target: string;
  /** On the node; undefined: an empty folder of the pod's own. */
  readonly source: string | undefined;
  readonly isFile: boolean;
  readonly isReadOnly: boolean;
  readonly propagation: Propagation;
}

export interface RoleContainer {
  readonly args: readonly string[];
  /** Names of variables that kubelet sets. */
  readonly env: readonly string[];
  readonly mounts: readonly Mount[];
  readonly uid: number;
  readonly gid: number;
  readonly isPrivileged: boolean;
  readonly isRootReadOnly: boolean;
  readonly seesHostProcesses: boolean;
}

type Role = 'controller' | 'node';
type HostPath = { readonly path: string; readonly type?: string } | undefined;

const RENDERED = join(REPO_ROOT, 'test', 'fixtures', 'chart', 'defaults.yaml');
const WORKLOADS: Readonly<Record<Role, string>> = { controller: 'Deployment', node: 'DaemonSet' };

function mountsOf(container: Container, hostPaths: ReadonlyMap<string, HostPath>): readonly Mount[] {
  return container.volumeMounts.map((mount) => {
    const { name, mountPath, readOnly, mountPropagation } = mount as typeof mount & { readonly readOnly?: boolean };
    const hostPath = hostPaths.get(name);
    return {
      target: mountPath,
      source: hostPath?.path,
      isFile: hostPath?.type === 'File',
      isReadOnly: readOnly === true,
      propagation: (mountPropagation ?? 'None') as Propagation,
    };
  });
}

/** The container `meshstor` of a role's pods, with the chart's default values. */
export function roleContainer(role: Role): RoleContainer {
  const workload = named(objectsIn(readFileSync(RENDERED, 'utf8')), WORKLOADS[role], `release-meshstor-${role}`);
  const pod = podOf(workload);
  const container = containerOf(workload, 'meshstor');
  const user = pod['securityContext'] as { readonly runAsUser: number; readonly runAsGroup: number };
  const hostPaths = new Map(pod.volumes.map(({ name, hostPath }) => [name, hostPath as HostPath]));
  return {
    args: container.args,
    env: (container.env ?? []).map(({ name }) => name),
    mounts: mountsOf(container, hostPaths),
    uid: user.runAsUser,
    gid: user.runAsGroup,
    isPrivileged: container.securityContext['privileged'] === true,
    isRootReadOnly: container.securityContext['readOnlyRootFilesystem'] === true,
    seesHostProcesses: pod['hostPID'] === true,
  };
}
