/** What the kernel and the drives of a node hold in the model. */
import type { Stamp } from '../../src/api/layout.ts';
import type { ExportSeen, LegSeen, MountSeen } from '../../src/plan/world.ts';

export interface ModelPartition {
  readonly partitionUUID: string;
  sizeBytes: number;
  zeroed: boolean;
  /** Up to here everything that no array has is zero. */
  zeroedBytes: number;
  stamp?: Stamp;
  /** Superblock: which birth of the array it belongs to; undefined when wiped. */
  birth?: number;
  data: number;
  /** MD's event count: grows on the members that stay when MD drops another one. The freshest win at an assembly. */
  events: number;
  /** The driver stopped an array that had dropped it: whatever is recorded, no start may use it again. */
  lost?: boolean;
  /** Its drive has writes in its cache that no clean stop has flushed. */
  unflushed?: boolean;
  /** Another one of its slot was copied to: the bitmap of the array says nothing of what this one lacks. */
  forgotten?: boolean;
  /** Its node rebooted with such writes: what it holds equals no other member for certain. */
  shaky?: boolean;
}

export interface ModelArray {
  readonly name: string;
  members: {
    readonly partitionUUID: string;
    readonly epoch: number;
    writeMostly: boolean;
    faulty: boolean;
    /** MD is copying to it. */
    recovering?: boolean;
  }[];
  readOnly: boolean;
  resyncPending: boolean;
  /** The start write of this assembly was made. */
  recorded: boolean;
  everWritable: boolean;
}

export interface ModelNode {
  readonly name: string;
  bootCount: number;
  up: boolean;
  readonly partitions: Map<string, ModelPartition>;
  legs: LegSeen[];
  exports: ExportSeen[];
  /** NQN to holder. */
  imports: {
    readonly nqn: string;
    readonly partitionUUID: string;
    readonly epoch: number;
    readonly attachmentID: string;
    readonly holder: string;
  }[];
  array: ModelArray | undefined;
  mounts: MountSeen[];
  shutDown: boolean;
  /** The largest size that a partition of this node can have in its place. */
  roomBytes: number;
  /** What its process remembers of what it has zeroed for an expansion. */
  readonly zeroedTo: Map<string, number>;
}
