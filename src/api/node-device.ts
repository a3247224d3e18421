/** The kind MeshStorNodeDevice (SPEC §2): one NVMe drive of one node. */
import type { Condition, ObjectMeta } from './object.ts';

export interface NodeDeviceSpec {
  readonly node: string;
  /** Kernel name now, e.g. `nvme0n1`. */
  readonly device: string;
  /** Kernel name it had before it was renamed; empty. */
  readonly usedAlias: string;
  readonly model: string;
  readonly serial: string;
  /** Namespace id: a controller can have several under one serial number. Absent in objects of older versions. */
  readonly nsid?: number;
  /** For people, e.g. `931.5Gi`. */
  readonly size: string;
  readonly sizeBytes: number;
  readonly multiQueue: number;
  readonly sectorSize: number;
}

export interface NodeDeviceStatus {
  readonly biggestUsableFreeSpace: string;
  readonly biggestUsableFreeSpaceBytes: number;
  readonly freeBytes: number;
  readonly numberOfVolumes: number;
  readonly numberOfUnknownVolumes: number;
  /** Their consumer is this node. */
  readonly localPartitions: number;
  /** They back a volume mounted elsewhere. */
  readonly remotePartitions: number;
  /** Our label, but no volume lists them. */
  readonly unknownPartitions: number;
  /** Heartbeat, RFC 3339. */
  readonly updatedAt: string;
  /** `Usable` (with the reason when False), and others. */
  readonly conditions: readonly Condition[];
}

export interface MeshStorNodeDevice {
  readonly metadata: ObjectMeta;
  readonly spec: NodeDeviceSpec;
  readonly status?: NodeDeviceStatus;
}

interface DriveIdentity {
  readonly serial: string;
  readonly nsid?: number;
}

/** Whether two records mean one namespace of one drive. One without a namespace id is of an older version: its serial number counts. */
export function isSameDrive(a: DriveIdentity, b: DriveIdentity): boolean {
  return a.serial === b.serial && (a.nsid === undefined || b.nsid === undefined || a.nsid === b.nsid);
}
