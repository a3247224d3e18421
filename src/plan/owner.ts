/** Whose writes to a volume's status count: those of the node, machine and attachment that the object names (SPEC §7.1). */
import { DomainError } from '../api/errors.ts';
import type { MeshStorVolume, VolumeStatus } from '../api/volume.ts';
import type { NodeIdentity } from './world.ts';

/** A consumer as it must stand in the object for its writes to count (SPEC §7.1). */
export interface Who {
  readonly nodeName: string;
  readonly machineID: string;
  readonly epoch: number;
  readonly attachmentID: string;
}

/** This node as the consumer of the epoch that the object says now. */
export function whoOf(me: NodeIdentity, { status }: MeshStorVolume): Who {
  return {
    nodeName: me.nodeName,
    machineID: me.machineID,
    epoch: status?.attachmentEpoch ?? 0,
    attachmentID: status?.attachmentID ?? '',
  };
}

export function refusal(volume: MeshStorVolume, why: string): DomainError {
  return new DomainError('precondition', `recording the state of volume ${volume.metadata.name}: ${why}`);
}

export function requireStatus(volume: MeshStorVolume): VolumeStatus {
  if (volume.status === undefined) throw refusal(volume, 'its status is gone');
  return volume.status;
}

export function requireOwner(volume: MeshStorVolume, who: Who): VolumeStatus {
  const status = requireStatus(volume);
  const isOurs =
    status.nodeName === who.nodeName &&
    status.machineID === who.machineID &&
    status.attachmentEpoch === who.epoch &&
    status.attachmentID === who.attachmentID;
  if (isOurs) return status;
  const now = status.nodeName === '' ? 'no node' : `node ${status.nodeName}, machine ${status.machineID}`;
  throw refusal(
    volume,
    `it is attached to ${now} at epoch ${status.attachmentEpoch}, not to ${who.nodeName} at ${who.epoch} any more`,
  );
}
