/** The drives of the cluster as placement sees them: from the caches, less what is promised but not yet there. */
import { findCondition } from '../api/conditions.ts';
import { RDMA_ADDRESS_ANNOTATION } from '../api/names.ts';
import type { MeshStorNodeDevice } from '../api/node-device.ts';
import { isSameDrive } from '../api/node-device.ts';
import type { NodeInfo } from '../api/object.ts';
import type { PartitionStatus } from '../api/volume.ts';
import { neededBytes } from '../plan/expansion.ts';
import type { DriveSeen } from '../plan/placement.ts';
import { memberEntries } from '../plan/view.ts';
import type { Heartbeats } from './heartbeats.ts';
import type { ControllerParts } from './parts.ts';

/** Partitions that were placed a moment ago: the cache may not show them yet. */
export type RecentlyPlaced = ReadonlyMap<string, readonly PartitionStatus[]>;

export function seeDrives(
  parts: Pick<ControllerParts, 'volumes' | 'devices' | 'nodes'>,
  heartbeats: Heartbeats,
  recent: RecentlyPlaced,
  forVolume: string,
): readonly DriveSeen[] {
  const promised = promisedPartitions(parts, recent, forVolume);
  const growths = wishedGrowths(parts, forVolume);
  return parts.devices.list().flatMap((device) => {
    const node = parts.nodes.get(device.spec.node);
    if (node === undefined) return [];
    const promisedHere = promised.filter((partition) => isPromisedOn(partition, device));
    const bytes = promisedHere.reduce((sum, partition) => sum + partition.sizeBytes, 0);
    const growing = growths.filter(({ partition }) => isOn(partition, device));
    const wishedBytes = growing.reduce((sum, { addedBytes }) => sum + addedBytes, 0);
    return [toDriveSeen(device, node, heartbeats.ageMs(device), bytes + wishedBytes)];
  });
}

function toDriveSeen(device: MeshStorNodeDevice, node: NodeInfo, heartbeatAgeMs: number, promised: number): DriveSeen {
  const { spec, status } = device;
  const usable = findCondition(status?.conditions ?? [], 'Usable');
  const isUsable = status !== undefined && usable?.status === 'True';
  return {
    node: spec.node,
    device: spec.device,
    serial: spec.serial,
    ...(spec.nsid === undefined ? {} : { nsid: spec.nsid }),
    sectorSize: spec.sectorSize,
    // All promised partitions may land in the biggest hole.
    biggestFreeBytes: Math.max(0, (status?.biggestUsableFreeSpaceBytes ?? 0) - promised),
    freeBytes: Math.max(0, (status?.freeBytes ?? 0) - promised),
    heartbeatAgeMs,
    usable: isUsable,
    unusableReason: isUsable ? '' : whyUnusable(usable?.message),
    schedulable: !node.unschedulable,
    rdma: hasRdma(node),
    members: (status?.localPartitions ?? 0) + (status?.remotePartitions ?? 0),
  };
}

function whyUnusable(message: string | undefined): string {
  return message === undefined || message === '' ? 'its node has not said yet that the drive may be used' : message;
}

export function hasRdma(node: NodeInfo | undefined): boolean {
  return (node?.metadata.annotations[RDMA_ADDRESS_ANNOTATION] ?? '') !== '';
}

function promisedPartitions(
  parts: Pick<ControllerParts, 'volumes'>,
  recent: RecentlyPlaced,
  forVolume: string,
): readonly PartitionStatus[] {
  const listed = parts.volumes
    .list()
    .flatMap((volume) => (volume.metadata.name === forVolume ? [] : (volume.status?.partitions ?? [])));
  const known = new Set(listed.map((partition) => partition.partitionUUID));
  const unlisted = [...recent].flatMap(([name, partitions]) => (name === forVolume ? [] : partitions));
  return [...listed, ...unlisted.filter((partition) => !known.has(partition.partitionUUID))];
}

interface WishedGrowth {
  readonly partition: PartitionStatus;
  readonly addedBytes: number;
}

/** What partitions of volumes that expand still lack: the space behind them is spoken for. */
function wishedGrowths(parts: Pick<ControllerParts, 'volumes'>, forVolume: string): readonly WishedGrowth[] {
  return parts.volumes.list().flatMap((volume): readonly WishedGrowth[] => {
    const wish = volume.spec.expandToBytes;
    if (wish === undefined || volume.status === undefined || volume.metadata.name === forVolume) return [];
    const needed = neededBytes(volume, wish);
    return memberEntries(volume.status)
      .map((partition) => ({ partition, addedBytes: needed - partition.sizeBytes }))
      .filter(({ addedBytes }) => addedBytes > 0);
  });
}

function isOn(partition: PartitionStatus, { spec }: MeshStorNodeDevice): boolean {
  return partition.nodeID === spec.node && isSameDrive(partition, spec);
}

/** Whether the drive's free space does not yet lack this partition. Both times are of the holder's own clock. */
function isPromisedOn(partition: PartitionStatus, device: MeshStorNodeDevice): boolean {
  if (!isOn(partition, device)) return false;
  const { status } = device;
  if (partition.state === 'Requested') return true;
  return partition.state === 'Created' && Date.parse(partition.updatedAt) > Date.parse(status?.updatedAt ?? '');
}
