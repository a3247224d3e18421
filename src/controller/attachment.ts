/** The rules of attaching and detaching (SPEC §7), as functions from what is recorded to what is recorded next. */
import { DomainError } from '../api/errors.ts';
import type { NodeInfo } from '../api/object.ts';
import type { MeshStorVolume, PartitionState, VolumeStatus } from '../api/volume.ts';
import { isOutOfService } from '../api/out-of-service.ts';
import { EMPTY_STATUS } from '../api/volume.ts';
import { deriveStatus } from '../plan/lifecycle.ts';
import { isBeingDeleted, isStatusLost, noSuchVolume, STATUS_LOST_MESSAGE } from './parts.ts';
import { isWitnessBehind } from '../plan/view.ts';

export interface AttachmentWanted {
  readonly nodeName: string;
  readonly machineID: string;
  /** Fresh, for the case that it is needed. */
  readonly attachmentID: string;
  readonly transportFrom: (holder: string) => 'tcp' | 'rdma';
}

/** The status that attaches; undefined when the volume is attached there already: then nothing changes. */
export function attach(volume: MeshStorVolume, wanted: AttachmentWanted): VolumeStatus | undefined {
  const { name } = volume.metadata;
  requireAttachable(volume);
  const status = volume.status ?? EMPTY_STATUS;
  if (status.nodeName === wanted.nodeName && status.machineID === wanted.machineID) return undefined;
  if (status.nodeName === wanted.nodeName) {
    const why = `it is attached to another machine (${status.machineID}) under that name; detach it first`;
    throw new DomainError('precondition', `attach volume ${name} to node ${wanted.nodeName}: ${why}`);
  }
  if (status.nodeName !== '') {
    const why = `it is attached to node ${status.nodeName}`;
    throw new DomainError('precondition', `attach volume ${name} to node ${wanted.nodeName}: ${why}`);
  }
  if (status.partitions.length === 0) {
    throw new DomainError('unavailable', `attach volume ${name}: it was not placed yet; try again`);
  }
  return deriveStatus(volume, {
    ...status,
    nodeName: wanted.nodeName,
    machineID: wanted.machineID,
    attachmentEpoch: status.attachmentEpoch + 1,
    attachmentID: wanted.attachmentID,
    // What the last consumer reported is not this one's.
    mdState: '',
    partitions: status.partitions.map((entry) => ({ ...entry, transport: wanted.transportFrom(entry.nodeID) })),
  });
}

export function requireAttachable(volume: MeshStorVolume): void {
  const { name } = volume.metadata;
  if (isBeingDeleted(volume)) throw noSuchVolume('attach', name);
  if (isStatusLost(volume)) {
    throw new DomainError('precondition', `attach volume ${name}: StatusLost: ${STATUS_LOST_MESSAGE}`);
  }
  if (isWitnessBehind(volume)) {
    const why = 'its object is older than its disks; restore its status from the backup that the condition asks for';
    throw new DomainError('precondition', `attach volume ${name}: WitnessBehind: ${why}`);
  }
}

/** What the consumer last said: an array runs. */
export function isReportedInUse(status: VolumeStatus): boolean {
  if (status.mdState === '' || status.mdState === 'missing') return false;
  return status.releasedEpoch !== status.attachmentEpoch;
}

export interface ConsumerSeen {
  /** By a linearizable read; undefined when there is no such node. */
  readonly node: NodeInfo | undefined;
  readonly heartbeatFresh: boolean;
}

/** Live, healthy and untainted: such a consumer is asked to let go, it is not cut off. */
export function isConsumerAlive(status: VolumeStatus, seen: ConsumerSeen): boolean {
  if (seen.node === undefined || seen.node.machineID !== status.machineID) return false;
  if (isOutOfService(seen.node)) return false;
  return seen.heartbeatFresh || seen.node.ready;
}

/** The status of no consumer: every holder revokes, those that come back later first of all. */
export function detach(volume: MeshStorVolume, status: VolumeStatus): VolumeStatus {
  return deriveStatus(volume, {
    ...status,
    nodeName: '',
    machineID: '',
    attachmentEpoch: status.attachmentEpoch + 1,
    attachmentID: '',
    mdState: '',
    syncPercentage: '',
  });
}

/** Never exported, or no source of data any more: nobody waits for their holders. */
const NOT_SERVED: ReadonlySet<PartitionState> = new Set(['Requested', 'Deleting']);

/** Holders that can be reached and have not yet confirmed that the old consumer is cut off. */
export function unconfirmedHolders(status: VolumeStatus, isReachable: (node: string) => boolean): readonly string[] {
  const waiting = status.partitions.filter(
    (entry) => !NOT_SERVED.has(entry.state) && entry.epoch !== status.attachmentEpoch && isReachable(entry.nodeID),
  );
  return [...new Set(waiting.map((entry) => entry.nodeID))].sort();
}
