/**
 * Starts a container of the image in a guest as kubelet and a runtime do: its root directory under a layer of its own and then
 * read-only, the pod's mounts with their propagation, the image's environment, entry point and user, in a mount namespace that
 * ends with it.
 */
import type { Machine } from '../machine.ts';
import type { Mount, RoleContainer } from './pod.ts';
import type { BuiltImage } from './rootfs.ts';

/** A tmpfs that nothing is propagated from. */
const CONTAINERS = '/run/containers';
const KUBECONFIG = '/kubeconfig';

/** As systemd leaves a machine: every mount is shared. */
export async function prepareForContainers(machine: Machine): Promise<void> {
  await machine.run(`mount --make-rshared / && mkdir -p ${CONTAINERS}
    mount -t tmpfs -o mode=755 tmpfs ${CONTAINERS} && mount --make-private ${CONTAINERS}`);
}

/** Undoes it. */
export async function forgetContainers(machine: Machine): Promise<void> {
  await machine.run(`umount ${CONTAINERS} && rmdir ${CONTAINERS} && mount --make-rprivate /`);
}

export interface ContainerWanted {
  /** Unique in a guest. */
  readonly name: string;
  readonly image: BuiltImage;
  readonly container: RoleContainer;
  readonly env: Readonly<Record<string, string>>;
  /** In place of a service account: the lab's API server has none. */
  readonly kubeconfig: string;
  /** Instead of the entry point and its arguments. */
  readonly command?: readonly string[];
  /** In place of the chart's. */
  readonly args?: readonly string[];
}

function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
}

function mountLines({ target, source, isFile, isReadOnly, propagation }: Mount, folder: string, gid: number): string {
  const at = `${folder}/root${target}`;
  const from = source ?? `${folder}/empty${target}`;
  const make = isFile ? `mkdir -p $(dirname ${at}) && touch ${at}` : `mkdir -p ${at}`;
  // An empty folder of a pod that has an fsGroup.
  const prepare = source === undefined ? `install -d -m 2777 -g ${gid} ${from}` : isFile ? 'true' : `mkdir -p ${from}`;
  const spread = { None: 'rprivate', HostToContainer: 'rslave', Bidirectional: 'rshared' }[propagation];
  return [
    prepare,
    make,
    `mount --rbind ${from} ${at}`,
    `mount --make-${spread} ${at}`,
    ...(isReadOnly ? [`mount -o remount,bind,ro ${at}`] : []),
  ].join('\n');
}

/** Privileged, or with nothing but what its user may. */
function asUser({ isPrivileged, uid, gid }: RoleContainer): readonly string[] {
  if (isPrivileged) return [];
  const ids = [`--reuid=${uid}`, `--regid=${gid}`, `--groups=${gid}`];
  return ['/usr/bin/setpriv', ...ids, '--no-new-privs', '--bounding-set=-all', '--inh-caps=-all'];
}

/** For `Machine.run` and `Machine.start`; the process that it starts becomes the container's. */
export function containerCommand(wanted: ContainerWanted): readonly string[] {
  const { name, image, container, env, kubeconfig, command, args = container.args } = wanted;
  const folder = `${CONTAINERS}/${name}`;
  const root = `${folder}/root`;
  const missing = container.env.filter((variable) => !(variable in env));
  if (missing.length > 0) throw new Error(`container ${name}: the chart sets ${missing.join(', ')}`);
  const given = Object.entries(env).map(([variable, value]) => `${variable}=${value}`);
  const started = command ?? [...image.config.Entrypoint, ...args, `--kubeconfig=${KUBECONFIG}`];
  const kubeconfigMount: Mount = {
    target: KUBECONFIG,
    source: `${folder}${KUBECONFIG}`,
    isFile: true,
    isReadOnly: true,
    propagation: 'None',
  };
  const script = [
    'set -eu',
    `mkdir -p ${folder}/upper ${folder}/work ${root}`,
    `mount -t overlay -o lowerdir=${image.root},upperdir=${folder}/upper,workdir=${folder}/work overlay ${root}`,
    `install -m 400 -o ${container.uid} -g ${container.gid} ${kubeconfig} ${folder}${KUBECONFIG}`,
    // A pod without the node's processes has a process namespace of its own, which does not matter to what is shown here.
    `mount -t proc proc ${root}/proc`,
    ...[...container.mounts, kubeconfigMount].map((mount) => mountLines(mount, folder, container.gid)),
    ...(container.isRootReadOnly ? [`mount -o remount,bind,ro ${root}`] : []),
    `exec env -i ${quoted([...image.config.Env, ...given])} ${quoted(['/usr/sbin/chroot', root, ...asUser(container), ...started])}`,
  ];
  return ['unshare', '--mount', '--propagation', 'unchanged', '--', 'sh', '-c', script.join('\n')];
}
