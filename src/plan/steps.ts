/**
 * The steps that planners hand to `node/act*.ts`. Each is one effect, idempotent, and says all that is needed to carry it out.
 * A record is a status (or spec) write by compare and swap, refused when the epoch is not ours any more.
 */
import type { NvmeConnectOptions } from '../api/kernel.ts';
import type { FsType } from '../api/volume.ts';
import type { ConsumerObservation } from './health.ts';

/** Every step concerns the partition of one member: steps of different members may be carried out side by side. */
export type HolderStep =
  /** GPT entry and kernel partition. Only for an entry in `Requested`; `zeroPartition` follows when its device node is seen. */
  | {
      readonly kind: 'createPartition';
      readonly partitionUUID: string;
      readonly diskPath: string;
      readonly startBytes: number;
      readonly sizeBytes: number;
      readonly label: string;
    }
  | {
      readonly kind: 'zeroPartition';
      readonly partitionUUID: string;
      readonly path: string;
      readonly sizeBytes: number;
    }
  | { readonly kind: 'recordCreated'; readonly partitionUUID: string }
  /** The partition cannot be made here; the entry goes and the controller places it again. */
  | { readonly kind: 'recordImpossible'; readonly partitionUUID: string; readonly reason: string }
  | { readonly kind: 'repairTable'; readonly partitionUUID: string; readonly diskPath: string }
  /** `fenceExport`: the same effect on an export whose consumer never said that it let go. Only these count as fences. */
  | { readonly kind: 'revokeExport' | 'fenceExport'; readonly nqn: string }
  | { readonly kind: 'removeLeg'; readonly name: string }
  /** Linear claim of the partition for one epoch. */
  | {
      readonly kind: 'createClaim';
      readonly partitionUUID: string;
      readonly epoch: number;
      readonly name: string;
      readonly dmUuid: string;
      readonly path: string;
      readonly sizeBytes: number;
    }
  | {
      readonly kind: 'export';
      readonly nqn: string;
      readonly nsid: number;
      readonly devicePath: string;
      readonly namespaceUUID: string;
      readonly hostNqn: string;
      readonly portIds: readonly number[];
    }
  | {
      readonly kind: 'recordGranted';
      readonly partitionUUID: string;
      readonly epoch: number;
      readonly attachmentID: string;
    }
  | {
      readonly kind: 'wipePartition';
      readonly partitionUUID: string;
      readonly path: string;
      readonly sizeBytes: number;
    }
  | { readonly kind: 'removePartition'; readonly partitionUUID: string; readonly diskPath: string }
  | { readonly kind: 'recordRemoved'; readonly partitionUUID: string }
  /** The answer to a wish: how large the partition could be in place. */
  | {
      readonly kind: 'recordGrowable';
      readonly partitionUUID: string;
      readonly expandToBytes: number;
      readonly growableToBytes: number;
    }
  /** GPT entry, then the kernel's partition. */
  | {
      readonly kind: 'growPartition';
      readonly partitionUUID: string;
      readonly diskPath: string;
      readonly sizeBytes: number;
    }
  /** Only what was added: in front of it is data. One turn of it, as far as time allows. */
  | {
      readonly kind: 'zeroGrowth';
      readonly partitionUUID: string;
      readonly path: string;
      readonly startBytes: number;
      readonly sizeBytes: number;
    }
  | {
      readonly kind: 'growClaim';
      readonly partitionUUID: string;
      readonly name: string;
      readonly path: string;
      readonly sizeBytes: number;
    }
  /** The partition has this size, and all of it that was added reads as zero. */
  | { readonly kind: 'recordGrown'; readonly partitionUUID: string; readonly sizeBytes: number };

/** What the start write says of each member. */
export interface StartRecord {
  readonly synced: readonly string[];
  readonly syncing: readonly string[];
  /** Left out of this start. */
  readonly missing: readonly string[];
  /** The missing ones come back only wiped (the hand-over was not clean). */
  readonly missingAreStale: boolean;
}

/** Bring one member to its guard. A plan with one of these has nothing else: one member that fails fails alone. */
export type PreparationStep =
  | { readonly kind: 'connect'; readonly partitionUUID: string; readonly options: NvmeConnectOptions }
  /** Guard over a remote namespace (found by NQN and nsid, waited for) or over the local partition. */
  | {
      readonly kind: 'createGuard';
      readonly partitionUUID: string;
      readonly epoch: number;
      readonly name: string;
      readonly sizeBytes: number;
      readonly over:
        { readonly nqn: string; readonly nsid: number } | { readonly path: string; readonly namespaceUUID: string };
    }
  /** A guard whose table was never live, or of no use any more. */
  | { readonly kind: 'removeLeg'; readonly name: string }
  /** Loads a table that queues, over the device that is there now. */
  | {
      readonly kind: 'reloadGuard';
      readonly name: string;
      readonly partitionUUID: string;
      readonly sizeBytes: number;
      readonly path: string;
    }
  /** Its holder has enlarged it: asked for its size, the target looks again and tells all its hosts. Waits until the size is seen. */
  | {
      readonly kind: 'refreshNamespace';
      readonly partitionUUID: string;
      readonly nqn: string;
      readonly nsid: number;
      readonly sizeBytes: number;
    };

/** Of a running array. */
export interface FlagStep {
  readonly kind: 'setWriteMostly';
  readonly array: string;
  readonly member: string;
  readonly value: boolean;
}

export type StageStep =
  | PreparationStep
  | FlagStep
  /** The first MiB of each leg is zeroed: before the birth, and of a member that comes back stale. */
  | { readonly kind: 'wipeSuperblocks'; readonly legs: readonly string[] }
  | {
      readonly kind: 'createArray';
      readonly arrayUUID: string;
      readonly name: string;
      readonly level: 1 | 10;
      readonly layoutCopies: number;
      /** A device in each slot, or `missing`. */
      readonly members: readonly string[];
      readonly writeMostly: readonly string[];
      readonly memberDataBytes: number;
      readonly bitmapChunkBytes: number;
    }
  /** Read-only, by explicit members. */
  | {
      readonly kind: 'assembleArray';
      readonly arrayUUID: string;
      readonly name: string;
      readonly members: readonly string[];
    }
  | {
      readonly kind: 'writeStamps';
      readonly legs: readonly string[];
      readonly volumeUUID: string;
      readonly epoch: number;
      readonly attachmentID: string;
    }
  /** Status: all members Synced, then spec.activatedAt. `capacityBytes`: what the array was created for. */
  | { readonly kind: 'recordBirth'; readonly partitionUUIDs: readonly string[]; readonly capacityBytes: number }
  | { readonly kind: 'recordStart'; readonly record: StartRecord }
  | { readonly kind: 'makeWritable'; readonly array: string }
  | { readonly kind: 'probeFilesystem'; readonly array: string }
  | {
      readonly kind: 'makeFilesystem';
      readonly array: string;
      readonly fsType: FsType;
      readonly uuid: string;
      readonly sectorSize: number;
      readonly label: string;
    }
  | { readonly kind: 'recordFormatted' }
  | {
      readonly kind: 'mount';
      readonly array: string;
      readonly target: string;
      readonly fsType: FsType;
      readonly options: readonly string[];
    }
  | { readonly kind: 'unmount'; readonly target: string }
  /** What was added is taken as equal on all members: their holders have zeroed it. */
  | { readonly kind: 'growArray'; readonly array: string; readonly memberDataBytes: number }
  /** `frozen`, as an mdadm leaves it that was killed while it added a member or grew the array, becomes `idle`: MD goes on. */
  | { readonly kind: 'thawArray'; readonly array: string }
  /** Online, to all that the array has. */
  | {
      readonly kind: 'growFilesystem';
      readonly array: string;
      readonly mountPoint: string;
      readonly fsType: FsType;
    }
  /** Array and filesystem fill this capacity. */
  | { readonly kind: 'recordExpanded'; readonly capacityBytes: number }
  /** Only of an array that nobody has been handed: lets it be stopped while a path is lost. */
  | { readonly kind: 'failGuard'; readonly name: string }
  | { readonly kind: 'stopArray'; readonly array: string };

/**
 * Of the array of a staged volume, between calls. As in a stage, a plan with steps of preparation has nothing else. No step of MD is
 * planned while a guard of the array holds I/O back: it would hang (SPEC §7.10).
 */
export type MendStep =
  | PreparationStep
  | FlagStep
  | Extract<StageStep, { kind: 'wipeSuperblocks' | 'writeStamps' | 'failGuard' | 'thawArray' }>
  /** Before its guard may fail: `Missing`, or `Faulty`. `stale`: its drive may have lost what it had acknowledged. */
  | {
      readonly kind: 'recordLost';
      readonly partitionUUID: string;
      readonly state: 'Missing' | 'Faulty';
      readonly stale: boolean;
    }
  /** A member that is out comes back only wiped. */
  | { readonly kind: 'recordStale'; readonly partitionUUID: string }
  /** Before it is added: it becomes `Syncing`, and the others that stand for its slot come back, if ever, only wiped. */
  | { readonly kind: 'recordReturning'; readonly partitionUUID: string }
  /** From a partition that is a member no more. */
  | { readonly kind: 'disconnect'; readonly nqn: string }
  | { readonly kind: 'failMember' | 'removeMember'; readonly array: string; readonly member: string }
  /** By the bitmap if it still has the array's superblock, else in full. */
  | { readonly kind: 'addMember'; readonly partitionUUID: string; readonly array: string; readonly leg: string };

/** What MD dropped by itself is not on record: no other member takes a write, until it is. */
export interface HoldBackStep {
  readonly kind: 'suspendGuard' | 'resumeGuard';
  readonly name: string;
}

export type UnstageStep =
  | { readonly kind: 'unmount'; readonly target: string }
  /** A fenced XFS: shut down without flushing its log, before its guards are failed (SPEC §7.10). */
  | { readonly kind: 'shutdownFilesystem'; readonly mountPoint: string }
  | { readonly kind: 'failGuard'; readonly name: string }
  | { readonly kind: 'stopArray'; readonly array: string }
  /** Members that MD has dropped already, while the array that shows it is still there. */
  | {
      readonly kind: 'recordDropped';
      readonly epoch: number;
      readonly attachmentID: string;
      readonly seen: ConsumerObservation;
    }
  /** Final member states and `releasedEpoch`, on condition of the epoch. Only right after this epoch's array, which may have been written, was stopped. */
  | {
      readonly kind: 'recordReleased';
      readonly epoch: number;
      readonly attachmentID: string;
      /** Members that MD had dropped by then. */
      readonly dropped: readonly { readonly partitionUUID: string; readonly faulty: boolean }[];
    }
  | { readonly kind: 'removeLeg'; readonly name: string }
  | { readonly kind: 'disconnect'; readonly nqn: string }
  | { readonly kind: 'removePath'; readonly path: string };

/** Of a consumer that was cut off, by itself (SPEC §7.10). */
export type FenceStep =
  | Extract<
      UnstageStep,
      { kind: 'unmount' | 'shutdownFilesystem' | 'failGuard' | 'stopArray' | 'removeLeg' | 'disconnect' }
    >
  /** SIGKILL for every process that has the array, or a file on its filesystem, open. */
  | { readonly kind: 'killUsers'; readonly array: string };

export type PublishStep =
  | {
      readonly kind: 'bind';
      readonly source: string;
      readonly target: string;
      readonly readOnly: boolean;
      readonly node: 'directory' | 'file';
    }
  | { readonly kind: 'unmount'; readonly target: string }
  | { readonly kind: 'removePath'; readonly path: string };

export type Step = HolderStep | StageStep | MendStep | UnstageStep | FenceStep | PublishStep;
