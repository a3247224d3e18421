import { createHash } from 'node:crypto';
import { DRIVER_NAME } from '../../../src/api/names.ts';

const KUBELET = '/var/lib/kubelet';
const PLUGIN = `${KUBELET}/plugins/kubernetes.io/csi`;

/** Name that Kubernetes gives to the VolumeAttachment of a volume on a node. */
export function attachmentName(volumeHandle: string, node: string): string {
  return `csi-${createHash('sha256').update(`${volumeHandle}${DRIVER_NAME}${node}`).digest('hex')}`;
}

/** What a Node's status calls a volume. */
export function uniqueVolumeName(volumeHandle: string): string {
  return `kubernetes.io/csi/${DRIVER_NAME}^${volumeHandle}`;
}

/** Where kubelet has one volume of one pod. */
export interface VolumePaths {
  readonly stagingPath: string;
  /** The target of NodePublishVolume. */
  readonly targetPath: string;
  /** Raw block only: what kubelet itself makes of the target. */
  readonly mapped?: {
    /** Bind mount of the target, which a loop device keeps open. */
    readonly globalPath: string;
    /** Symbolic link to the target, where the container runtime finds it. */
    readonly podPath: string;
  };
}

export function mountPaths(volumeHandle: string, pv: string, podUid: string): VolumePaths {
  const folder = createHash('sha256').update(volumeHandle).digest('hex');
  return {
    stagingPath: `${PLUGIN}/${DRIVER_NAME}/${folder}/globalmount`,
    targetPath: `${KUBELET}/pods/${podUid}/volumes/kubernetes.io~csi/${pv}/mount`,
  };
}

export function blockPaths(pv: string, podUid: string): VolumePaths {
  const devices = `${PLUGIN}/volumeDevices`;
  return {
    stagingPath: `${devices}/staging/${pv}`,
    targetPath: `${devices}/publish/${pv}/${podUid}`,
    mapped: {
      globalPath: `${devices}/${pv}/dev/${podUid}`,
      podPath: `${KUBELET}/pods/${podUid}/volumeDevices/kubernetes.io~csi/${pv}`,
    },
  };
}
