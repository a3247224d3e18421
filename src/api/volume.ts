/** The kind MeshStorVolume (SPEC §2). Field names are the wire's. Objects are read-only once parsed. */
import type { Condition, ObjectMeta } from './object.ts';

export type VolumePhase = 'New' | 'Requested' | 'Syncing' | 'Synced' | 'Expanding' | 'Replacing' | 'Deleting';

export type PartitionState =
  | 'Requested'
  | 'Created'
  | 'Spare'
  | 'Syncing'
  | 'Synced'
  | 'Missing'
  | 'Faulty'
  | 'Replacing'
  | 'Deleting'
  | 'Unknown';

export type MdState = 'missing' | 'recovering' | 'resyncing' | 'reshaping' | 'degraded' | 'active' | 'clean';

export type FsType = 'xfs' | 'ext4';
export type VolumeMode = 'Filesystem' | 'Block';
export type SectorSize = 512 | 4096;

export interface VolumeSpec {
  readonly capacityBytes: number;
  /** What the volume shall have; it becomes the capacity when every member's partition is large enough. Absent: nothing is wished. */
  readonly expandToBytes?: number;
  readonly numberOfCopies: number;
  readonly drivesPerCopy: number;
  /** Seconds. */
  readonly memberMissingTimeout: number;
  /** RFC 3339; absent until mkfs finished. */
  readonly formattedAt?: string;
  readonly nvmeofNamespaceIDs: readonly number[];
  /** Random, immutable: every name on disk derives from it. */
  readonly volumeUUID: string;
  /** RFC 3339; set with the record that all members are in sync at birth. Nobody creates the array after it. */
  readonly activatedAt?: string;
  /** Absent until placed (`auto`), then immutable. */
  readonly sectorSize?: SectorSize;
  readonly fsType: FsType;
  readonly volumeMode: VolumeMode;
  readonly dataLocality: 'best-effort' | 'disabled';
  readonly onWitnessLoss: 'suspend' | 'continue';
  readonly onLastCopyLoss: 'hold' | 'fail';
}

export interface PartitionStatus {
  /** Node that holds it. */
  readonly nodeID: string;
  readonly partitionUUID: string;
  readonly nvmeofNamespaceID: number;
  readonly state: PartitionState;
  /** Size of the partition: the array's size and the data offset. */
  readonly sizeBytes: number;
  readonly updatedAt: string;
  /** Kernel name of the drive when it was chosen; never an identity. */
  readonly device: string;
  /** Serial number of that drive: with the namespace id, its identity within the node. */
  readonly serial: string;
  /** Namespace id of that drive; absent in entries of older versions. */
  readonly nsid?: number;
  /** RAID slot it is meant for. */
  readonly slot: number;
  /** Counts the partitions that stood in for this slot. */
  readonly generation: number;
  readonly transport: 'tcp' | 'rdma';
  /** The attachment epoch that its holder granted last; 0 before the first. */
  readonly epoch: number;
  /** Left out of an unclean hand-over: comes back only wiped, by a full sync (SPEC §7.8). */
  readonly stale?: boolean;
  /** The epoch under which its consumer recorded it `Missing`. */
  readonly missingEpoch?: number;
  /** It was `Faulty` when another one was asked to take its place: it never comes back. */
  readonly failed?: boolean;
  /** The wish (`spec.expandToBytes`) that `growableToBytes` answers. For any other wish it says nothing. */
  readonly growToBytes?: number;
  /** The largest size that the partition could have in place, as its holder saw it. */
  readonly growableToBytes?: number;
}

export interface VolumeStatus {
  readonly phase: VolumePhase;
  /** The consumer; empty when attached nowhere. */
  readonly nodeName: string;
  /** Machine behind `nodeName` (SMBIOS system UUID). */
  readonly machineID: string;
  readonly attachmentEpoch: number;
  /** Random for each attachment; empty before the first. */
  readonly attachmentID: string;
  /** The epoch whose consumer recorded that it stopped the array; 0 while one runs or ended without saying so. */
  readonly releasedEpoch: number;
  readonly mdState: MdState | '';
  readonly totalDevices: number;
  readonly activeDevices: number;
  readonly failedDevices: number;
  readonly downDevices: number;
  readonly degradedDevices: number;
  /** `45.2%`; empty when in sync. */
  readonly syncPercentage: string;
  /** `2/2`. */
  readonly ready: string;
  /**
   * Above every generation that was ever listed, of entries that are gone too: the next partitions get it. Without it a PARTUUID
   * would be derived a second time once the entries of an unborn volume were taken back, while a node that is silent still has
   * the first partition of that name.
   */
  readonly nextGeneration: number;
  /** What array and filesystem are known to fill, while that is less than `spec.capacityBytes`: the consumer has to grow them. */
  readonly servedBytes?: number;
  readonly partitions: readonly PartitionStatus[];
  readonly conditions: readonly Condition[];
  readonly observedGeneration: number;
}

export interface MeshStorVolume {
  readonly metadata: ObjectMeta;
  readonly spec: VolumeSpec;
  /** Absent when the object was restored without it: then it is never placed once `spec.activatedAt` is set (`StatusLost`). */
  readonly status?: VolumeStatus;
}

/** Status of a volume for which nothing was requested yet. */
export const EMPTY_STATUS: VolumeStatus = {
  phase: 'New',
  nodeName: '',
  machineID: '',
  attachmentEpoch: 0,
  attachmentID: '',
  releasedEpoch: 0,
  mdState: '',
  totalDevices: 0,
  activeDevices: 0,
  failedDevices: 0,
  downDevices: 0,
  degradedDevices: 0,
  syncPercentage: '',
  ready: '',
  nextGeneration: 0,
  partitions: [],
  conditions: [],
  observedGeneration: 0,
};
