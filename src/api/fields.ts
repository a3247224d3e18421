/**
 * The field names of both kinds as values, tied to the types: a name that a type does not have, or one left out, does not
 * compile. A test compares them with the schemas in `deploy/crds`.
 */
import type { MeshStorNodeDevice, NodeDeviceSpec, NodeDeviceStatus } from './node-device.ts';
import type { Condition } from './object.ts';
import type { MeshStorVolume, PartitionStatus, VolumeSpec, VolumeStatus } from './volume.ts';

function keysOf<T>() {
  return <const K extends readonly (keyof T)[]>(
    ...keys: [Exclude<keyof T, K[number]>] extends [never] ? K : never
  ): readonly (keyof T)[] => keys;
}

export const VOLUME_KEYS = keysOf<MeshStorVolume>()('metadata', 'spec', 'status');
export const NODE_DEVICE_KEYS = keysOf<MeshStorNodeDevice>()('metadata', 'spec', 'status');

export const VOLUME_SPEC_KEYS = keysOf<VolumeSpec>()(
  'capacityBytes',
  'expandToBytes',
  'numberOfCopies',
  'drivesPerCopy',
  'memberMissingTimeout',
  'formattedAt',
  'nvmeofNamespaceIDs',
  'volumeUUID',
  'activatedAt',
  'sectorSize',
  'fsType',
  'volumeMode',
  'dataLocality',
  'onWitnessLoss',
  'onLastCopyLoss',
);

export const VOLUME_STATUS_KEYS = keysOf<VolumeStatus>()(
  'phase',
  'nodeName',
  'machineID',
  'attachmentEpoch',
  'attachmentID',
  'releasedEpoch',
  'mdState',
  'totalDevices',
  'activeDevices',
  'failedDevices',
  'downDevices',
  'degradedDevices',
  'syncPercentage',
  'ready',
  'nextGeneration',
  'servedBytes',
  'partitions',
  'conditions',
  'observedGeneration',
);

/** On the wire only, for people: derived at each write, never read. */
export const VOLUME_STATUS_DISPLAY_KEYS = ['partitionNodes'] as const;

export const PARTITION_KEYS = keysOf<PartitionStatus>()(
  'nodeID',
  'partitionUUID',
  'nvmeofNamespaceID',
  'state',
  'sizeBytes',
  'updatedAt',
  'device',
  'serial',
  'nsid',
  'slot',
  'generation',
  'transport',
  'epoch',
  'stale',
  'missingEpoch',
  'failed',
  'growToBytes',
  'growableToBytes',
);

export const NODE_DEVICE_SPEC_KEYS = keysOf<NodeDeviceSpec>()(
  'node',
  'device',
  'usedAlias',
  'model',
  'serial',
  'nsid',
  'size',
  'sizeBytes',
  'multiQueue',
  'sectorSize',
);

export const NODE_DEVICE_STATUS_KEYS = keysOf<NodeDeviceStatus>()(
  'biggestUsableFreeSpace',
  'biggestUsableFreeSpaceBytes',
  'freeBytes',
  'numberOfVolumes',
  'numberOfUnknownVolumes',
  'localPartitions',
  'remotePartitions',
  'unknownPartitions',
  'updatedAt',
  'conditions',
);

export const CONDITION_KEYS = keysOf<Condition>()(
  'type',
  'status',
  'reason',
  'message',
  'lastTransitionTime',
  'observedGeneration',
);
