/**
 * What the node role can be asked to do for a volume, in the project's own words; `csi` translates the wire to and from it.
 * Every method is idempotent and may be cut off at any point. Failures are `DomainError`s. The per-volume lock is taken by the
 * caller (`csi`), which answers ABORTED when it is busy; the node's own reconcilers share that lock.
 */
import type { FilesystemUsage } from '../api/kernel.ts';
import type { FsType } from '../api/volume.ts';

/** How the pod will use the volume. */
export type VolumeAccess =
  | { readonly kind: 'mount'; readonly fsType: FsType | ''; readonly mountFlags: readonly string[] }
  | { readonly kind: 'block' };

export interface StageRequest {
  readonly volumeId: string;
  readonly stagingPath: string;
  readonly access: VolumeAccess;
  readonly readOnly: boolean;
  /** SINGLE_NODE_SINGLE_WRITER: `publish` at a second path is `precondition`. */
  readonly singleWriter: boolean;
  /** `epoch` and `attachmentID` of the publish context, as text; empty when the CO sent none. */
  readonly publishContext: Readonly<Record<string, string>>;
}

export interface PublishRequest extends StageRequest {
  readonly targetPath: string;
}

export interface ExpandRequest {
  readonly volumeId: string;
  /** Where it is published or staged. */
  readonly volumePath: string;
  /** Bytes; 0 = none asked. */
  readonly requiredBytes: number;
  /** Bytes; 0 = no limit. */
  readonly limitBytes: number;
}

export interface VolumeStats {
  /** Absent for a raw block volume. */
  readonly usage?: FilesystemUsage;
  /** Size of the device, for a raw block volume. */
  readonly deviceBytes: number;
  readonly abnormal: boolean;
  /** Names the failed and the down members. */
  readonly message: string;
}

export interface NodeOperations {
  /** Waits inside the call, until `signal` aborts, for members to be there; then `unavailable` saying what it waits for. */
  stage(request: StageRequest, signal: AbortSignal): Promise<void>;
  /** Success only when the kernel shows mount, array, guards and connections gone. An unknown volume is success. */
  unstage(volumeId: string, stagingPath: string, signal: AbortSignal): Promise<void>;
  publish(request: PublishRequest, signal: AbortSignal): Promise<void>;
  /** Also removes the target path. */
  unpublish(volumeId: string, targetPath: string, signal: AbortSignal): Promise<void>;
  /**
   * Array and filesystem fill the volume's capacity afterwards; returns the size of the device. Waits inside the call as `stage`
   * does. `notFound` as `stats`, `outOfRange` for a size that the controller has not given the volume.
   */
  expand(request: ExpandRequest, signal: AbortSignal): Promise<number>;
  /** `notFound` when the volume is unknown here or is not at that path. */
  stats(volumeId: string, volumePath: string, signal: AbortSignal): Promise<VolumeStats>;
  /** This node's name: the CSI node id and the value of its topology segment. */
  readonly nodeName: string;
}
