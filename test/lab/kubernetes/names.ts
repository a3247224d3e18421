import { createHash } from 'node:crypto';
import { DRIVER_NAME } from '../../../src/api/names.ts';

/** Name that Kubernetes gives to the VolumeAttachment of a volume on a node. */
export function attachmentName(volumeHandle: string, node: string): string {
  return `csi-${createHash('sha256').update(`${volumeHandle}${DRIVER_NAME}${node}`).digest('hex')}`;
}

/** Folder of a volume below the driver's, where kubelet has it staged. */
export function stagingFolder(volumeHandle: string): string {
  return createHash('sha256').update(volumeHandle).digest('hex');
}
