/** What is left here of a volume whose object is gone, made into one that planners understand. */
import type { MdArray } from '../api/kernel.ts';
import { parseLegName, parseVolumeMark } from '../api/names.ts';
import type { MeshStorVolume, VolumeStatus } from '../api/volume.ts';
import { EMPTY_STATUS } from '../api/volume.ts';
import { arrayOf } from './observe-volume.ts';
import type { NodeSnapshot } from './snapshot.ts';

interface OrphanLeg {
  readonly partitionUUID: string;
  readonly epoch: number;
}

/**
 * The members that a volume without an object has here. Its guards say by their dm uuid whose they are: that holds for a raw block
 * volume, of which nothing is mounted at the staging path, and for guards that are in no array (any more). No other thing in the
 * kernel knows the volume id: array name, superblock, stamps and NQNs derive from `spec.volumeUUID` alone, which went with the
 * object. Guards of older versions lack the mark; of those, the array under the mount at the staging path leads to its legs.
 * A connection without a guard is not found: it ends by itself once its holder revokes the export, as it does before the object goes.
 */
function orphanLegs(mark: string, array: MdArray | undefined, snapshot: NodeSnapshot): readonly OrphanLeg[] {
  const marked = snapshot.legs
    .filter(({ uuid }) => parseVolumeMark(uuid) === mark)
    .flatMap(({ name }) => parseLegName(name) ?? []);
  const underMount = array === undefined ? [] : arrayOf(array, snapshot).members;
  const legs = new Map<string, OrphanLeg>();
  for (const { partitionUUID, epoch = 0 } of [...underMount, ...marked]) {
    if (partitionUUID !== undefined) legs.set(partitionUUID, { partitionUUID, epoch });
  }
  return [...legs.values()];
}

export interface Orphan {
  /** For messages and the log. */
  readonly name: string;
  /** See `volumeMarkFor`. */
  readonly mark: string;
  /** Where it is mounted, if that is known. */
  readonly stagingPath?: string;
}

/** A volume's shape from kernel facts alone, enough for its teardown. Undefined when nothing of it is here. */
export function volumeFromKernel(orphan: Orphan, snapshot: NodeSnapshot): MeshStorVolume | undefined {
  const mount = snapshot.mounts.find((candidate) => candidate.mountPoint === orphan.stagingPath);
  const array = snapshot.arrays.find((candidate) => candidate.devNumber === mount?.devNumber);
  const legs = orphanLegs(orphan.mark, array, snapshot);
  if (legs.length === 0) return undefined;
  const status: VolumeStatus = {
    ...EMPTY_STATUS,
    phase: 'Deleting',
    partitions: legs.map((leg, index) => ({
      nodeID: '',
      partitionUUID: leg.partitionUUID,
      nvmeofNamespaceID: index + 1,
      state: 'Unknown',
      sizeBytes: 0,
      updatedAt: '',
      device: '',
      serial: '',
      slot: index,
      generation: 0,
      transport: 'tcp',
      epoch: leg.epoch,
    })),
  };
  return {
    metadata: {
      name: orphan.name,
      uid: '',
      resourceVersion: '',
      generation: 0,
      creationTimestamp: '',
      finalizers: [],
      annotations: {},
      labels: {},
    },
    spec: {
      capacityBytes: array?.sizeBytes ?? 0,
      numberOfCopies: legs.length,
      drivesPerCopy: 1,
      memberMissingTimeout: 900,
      nvmeofNamespaceIDs: [],
      volumeUUID: '00000000-0000-0000-0000-000000000000',
      fsType: 'xfs',
      volumeMode: 'Filesystem',
      dataLocality: 'disabled',
      onWitnessLoss: 'suspend',
      onLastCopyLoss: 'hold',
    },
    status,
  };
}
