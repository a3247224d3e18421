/**
 * What the controller role can be asked to do, in the project's own words; `csi` translates the wire to and from it.
 * Every method is idempotent, may be cut off at any point and may run in any replica at any moment: correctness comes from
 * resourceVersion alone. Failures are `DomainError`s.
 */
import type { FsType, MeshStorVolume, SectorSize, VolumeMode } from '../api/volume.ts';

/** Parameters of a StorageClass, parsed (SPEC §3). */
export interface ClassParameters {
  readonly numberOfCopies: number;
  readonly drivesPerCopy: number;
  readonly memberMissingTimeout: number;
  readonly sectorSize: SectorSize | 'auto';
  readonly onWitnessLoss: 'suspend' | 'continue';
  readonly onLastCopyLoss: 'hold' | 'fail';
  readonly dataLocality: 'best-effort' | 'disabled';
  /** From `csi.storage.k8s.io/fstype`; the capability's fs_type counts first. */
  readonly fsType: FsType;
  /** From the provisioner's extra-create-metadata; absent otherwise. */
  readonly pvcName?: string;
  readonly pvcNamespace?: string;
  readonly pvName?: string;
}

export interface CreateVolumeRequest {
  readonly name: string;
  /** Bytes; 0 = none asked. */
  readonly requiredBytes: number;
  /** Bytes; 0 = no limit. */
  readonly limitBytes: number;
  readonly parameters: ClassParameters;
  readonly volumeMode: VolumeMode;
  readonly fsType: FsType;
  /** Values of our topology key among the requisite terms; empty = anywhere. */
  readonly requisiteNodes: readonly string[];
  /** Values among the preferred terms, in order. Exactly one: the consumer's node (WaitForFirstConsumer). */
  readonly preferredNodes: readonly string[];
}

export interface SizeRange {
  /** Bytes; 0 = none asked. */
  readonly requiredBytes: number;
  /** Bytes; 0 = no limit. */
  readonly limitBytes: number;
}

export interface PublishedVolume {
  readonly epoch: number;
  readonly attachmentID: string;
}

export interface ControllerOperations {
  /** Finds it again by name, or creates it; places it at once when there is exactly one preferred node. */
  createVolume(request: CreateVolumeRequest): Promise<MeshStorVolume>;
  /** Records `Deleting`; unknown or deleting already is success; `precondition` while attached. */
  deleteVolume(volumeId: string): Promise<void>;
  /** Attaches: places a `New` volume, sets `nodeName` and the machine, a new epoch and attachment id. The same node and machine: nothing changes. */
  publishVolume(volumeId: string, nodeName: string): Promise<PublishedVolume>;
  /** Detaches: `unavailable` until every reachable holder has confirmed that the old consumer is cut off. An empty node name means any. */
  unpublishVolume(volumeId: string, nodeName: string): Promise<void>;
  /**
   * Has every holder grow its partition, and returns the volume with its new capacity; array and filesystem follow on the
   * consumer. Waits inside the call until `signal` aborts, then `unavailable` saying for which node. `exhausted` naming the node that
   * cannot grow: no size has changed then. A volume that has that much already: nothing changes.
   */
  expandVolume(volumeId: string, range: SizeRange, signal: AbortSignal): Promise<MeshStorVolume>;
  /** From the cache, deleting ones left out, sorted by name. */
  listVolumes(): readonly MeshStorVolume[];
  /** Undefined when there is none, or when it is being deleted. */
  getVolume(volumeId: string): Promise<MeshStorVolume | undefined>;
  /** Largest volume of that class that could be created with its consumer on that node (any node when absent). */
  capacity(parameters: ClassParameters, nodeName: string | undefined): number;
  knowsNode(nodeName: string): boolean;
}
