/** Kinds of volumes, and the objects of Kubernetes that a life makes and watches. */
import { DRIVER_NAME } from '../../../src/api/names.ts';
import { VOLUMES as MESHSTOR_VOLUMES } from '../../kube/contract/server.ts';
import type { Api, WatchEvent } from '../../kube/contract/server.ts';
import type { Moments } from './moments.ts';
import type { Pod } from './pod.ts';

export const CLAIMS = '/api/v1/namespaces/default/persistentvolumeclaims';
export const PODS = '/api/v1/namespaces/default/pods';
export const VOLUMES = '/api/v1/persistentvolumes';
export const ATTACHMENTS = '/apis/storage.k8s.io/v1/volumeattachments';
const CLASSES = '/apis/storage.k8s.io/v1/storageclasses';

/** Of the chart. */
const REPLICATED = 'meshstor-replicated';
const EXT4_IMMEDIATE = 'lab-ext4-immediate';
/** Each node of the lab has one drive with sectors of this size: a volume of it changes what fits. */
export const SECTORS_512 = 'lab-sectors-512';

export interface Kind {
  readonly title: string;
  readonly storageClass: string;
  readonly accessMode: 'ReadWriteOnce' | 'ReadWriteOncePod';
  readonly volumeMode: 'Filesystem' | 'Block';
  readonly sizeMiB: number;
  readonly isImmediate: boolean;
  /** A second pod on another node reads what the first has written. */
  readonly moves: boolean;
  /** Its claim asks for twice as much while the first pod uses it. */
  readonly grows: boolean;
}

const XFS: Kind = {
  title: 'xfs',
  storageClass: REPLICATED,
  accessMode: 'ReadWriteOnce',
  volumeMode: 'Filesystem',
  sizeMiB: 512,
  isImmediate: false,
  moves: true,
  grows: false,
};

/** Of which there can be many: bound, written, deleted. */
export const PLAIN: Kind = { ...XFS, title: 'xfs, not moved', moves: false };

export const ONE_POD: Kind = {
  ...XFS,
  title: 'xfs, ReadWriteOncePod',
  storageClass: SECTORS_512,
  accessMode: 'ReadWriteOncePod',
  sizeMiB: 1024,
};

/** One of each, in the order of their first lives. */
export const KINDS: readonly Kind[] = [
  { ...XFS, title: 'xfs that grows', grows: true },
  { ...XFS, title: 'ext4, bound immediately', storageClass: EXT4_IMMEDIATE, isImmediate: true },
  ONE_POD,
  { ...XFS, title: 'raw block that grows', volumeMode: 'Block', grows: true },
];

/** Classes that the chart does not have. */
export async function createClasses(api: Api): Promise<void> {
  const common = { apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', provisioner: DRIVER_NAME };
  await api.create(CLASSES, {
    ...common,
    metadata: { name: EXT4_IMMEDIATE },
    volumeBindingMode: 'Immediate',
    parameters: { numberOfCopies: '2', 'csi.storage.k8s.io/fstype': 'ext4' },
  });
  await api.create(CLASSES, {
    ...common,
    metadata: { name: SECTORS_512 },
    volumeBindingMode: 'WaitForFirstConsumer',
    parameters: { numberOfCopies: '2', sectorSize: '512' },
  });
}

export function claimObject(name: string, kind: Kind): object {
  const spec = {
    accessModes: [kind.accessMode],
    volumeMode: kind.volumeMode,
    storageClassName: kind.storageClass,
    resources: { requests: { storage: `${kind.sizeMiB}Mi` } },
  };
  return { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name }, spec };
}

export function podObject(name: string, claim: string, kind: Kind, where: object = {}): object {
  const use =
    kind.volumeMode === 'Block'
      ? { volumeDevices: [{ name: 'data', devicePath: '/dev/data' }] }
      : { volumeMounts: [{ name: 'data', mountPath: '/data' }] };
  const spec = {
    containers: [{ name: 'main', image: 'none', ...use }],
    volumes: [{ name: 'data', persistentVolumeClaim: { claimName: claim } }],
    ...where,
  };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec };
}

/** Notes what claims, pods, attachments and volumes go through. */
export function watchAll(api: Api, moments: Moments): void {
  moments.watch(api, CLAIMS, (event) => {
    const { metadata, status } = event.object;
    const isChosen = metadata.annotations?.['volume.kubernetes.io/selected-node'] !== undefined;
    const more = { chosen: isChosen, bound: status?.['phase'] === 'Bound' };
    return momentsOf(`claim ${metadata.name}`, event, more);
  });
  moments.watch(api, PODS, (event) => {
    const { metadata, status } = event.object as Pod;
    const scheduled = status?.conditions?.find(({ type }) => type === 'PodScheduled');
    return momentsOf(`pod ${metadata.name}`, event, {
      scheduled: scheduled?.status === 'True',
      'refused for a second pod': scheduled?.message?.includes('ReadWriteOncePod access mode') ?? false,
      running: status?.phase === 'Running',
    });
  });
  moments.watch(api, VOLUMES, (event) => momentsOf(`PersistentVolume ${event.object.metadata.name}`, event, {}));
  moments.watch(api, MESHSTOR_VOLUMES, (event) => momentsOf(`volume ${event.object.metadata.name}`, event, {}));
  moments.watch(api, ATTACHMENTS, attachmentMoments);
}

function attachmentMoments({ type, object }: WatchEvent): readonly string[] {
  const { source, nodeName } = object.spec as {
    readonly source: { readonly persistentVolumeName: string };
    readonly nodeName: string;
  };
  const found = ['wanted'];
  if (object.status?.['attached'] === true) found.push('attached');
  if (object.metadata.deletionTimestamp !== undefined) found.push('unwanted');
  if (type === 'DELETED') found.push('unwanted', 'detached');
  return found.map((moment) => `${source.persistentVolumeName} on ${nodeName} ${moment}`);
}

function momentsOf(
  what: string,
  { type, object }: WatchEvent,
  more: Readonly<Record<string, boolean>>,
): readonly string[] {
  const held = Object.entries(more).flatMap(([moment, holds]) => (holds ? [moment] : []));
  const isUnwanted = object.metadata.deletionTimestamp !== undefined || type === 'DELETED';
  const end = [...(isUnwanted ? ['unwanted'] : []), ...(type === 'DELETED' ? ['gone'] : [])];
  return ['made', ...held, ...end].map((moment) => `${what} ${moment}`);
}
