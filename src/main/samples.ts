/** From objects to the samples that metrics take. */
import { findCondition } from '../api/conditions.ts';
import {
  PVC_NAME_ANNOTATION,
  PVC_NAMESPACE_ANNOTATION,
  PV_NAME_ANNOTATION,
  UNCLAIMED_CONDITION,
} from '../api/names.ts';
import type { MeshStorNodeDevice } from '../api/node-device.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import type { DriveSample, VolumeSample } from '../observability/metrics.ts';

export function volumeSample({ metadata, status }: MeshStorVolume): VolumeSample {
  const { annotations } = metadata;
  const percentage = Number.parseFloat(status?.syncPercentage ?? '');
  return {
    volume: metadata.name,
    pv: annotations[PV_NAME_ANNOTATION] ?? '',
    pvc: annotations[PVC_NAME_ANNOTATION] ?? '',
    namespace: annotations[PVC_NAMESPACE_ANNOTATION] ?? '',
    node: status?.nodeName ?? '',
    phase: status?.phase ?? 'New',
    mdState: status?.mdState ?? '',
    members: {
      total: status?.totalDevices ?? 0,
      active: status?.activeDevices ?? 0,
      failed: status?.failedDevices ?? 0,
      down: status?.downDevices ?? 0,
      degraded: status?.degradedDevices ?? 0,
    },
    syncRatio: Number.isNaN(percentage) ? 1 : percentage / 100,
    partitionStates: (status?.partitions ?? []).map((partition) => partition.state),
    unclaimed: findCondition(status?.conditions ?? [], UNCLAIMED_CONDITION)?.status === 'True',
  };
}

export function driveSample({ spec, status }: MeshStorNodeDevice): DriveSample {
  return {
    node: spec.node,
    device: spec.device,
    model: spec.model,
    serial: spec.serial,
    sizeBytes: spec.sizeBytes,
    freeBytes: status?.freeBytes ?? 0,
    biggestFreeBytes: status?.biggestUsableFreeSpaceBytes ?? 0,
    usable: status?.conditions.some((condition) => condition.type === 'Usable' && condition.status === 'True') ?? false,
    localPartitions: status?.localPartitions ?? 0,
    remotePartitions: status?.remotePartitions ?? 0,
    unknownPartitions: status?.unknownPartitions ?? 0,
    ...(status === undefined ? {} : { heartbeatAtMs: Date.parse(status.updatedAt) }),
  };
}
