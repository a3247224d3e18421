/**
 * What a node sees of one volume: the input of the planners. Plain data, made by `node/observe*.ts`; nothing here is cached
 * between passes. Only things of this volume are in it (its PARTUUIDs, its array UUID), whatever their epoch.
 */
import type { Extent, GptState } from '../api/kernel.ts';
import type { Stamp } from '../api/layout.ts';
import type { FsType, MeshStorVolume } from '../api/volume.ts';

export interface NodeIdentity {
  readonly nodeName: string;
  /** SMBIOS system UUID, lower case. */
  readonly machineID: string;
  /** `/proc/sys/kernel/random/boot_id`. */
  readonly bootID: string;
  readonly hostNqn: string;
  readonly hostID: string;
}

/** A dm device named `meshstor-<partitionUUID>-<epoch>` on this node. */
export interface LegSeen {
  readonly name: string;
  /** `/dev/mapper/<name>`. */
  readonly path: string;
  /** `dm-N`. */
  readonly kernelName: string;
  readonly partitionUUID: string;
  readonly epoch: number;
  /** `linear`: a holder's claim that is exported. `guard`: leg of an array. `empty`: killed before its table was live. */
  readonly kind: 'linear' | 'guard' | 'empty';
  /** Path of the device under it now; undefined when that device is gone. */
  readonly underPath?: string;
  /** Namespace UUID in its dm uuid: of the namespace it was made for. */
  readonly namespaceUUID: string;
  /** The live table has `queue_if_no_path` (guards only). */
  readonly queues: boolean;
  /** Path state of a guard. */
  readonly pathState: 'active' | 'failed' | 'none';
  readonly suspended: boolean;
  readonly openCount: number;
  /** By its live table; 0 without one. */
  readonly sizeBytes: number;
}

export interface ExportSeen {
  readonly nqn: string;
  readonly partitionUUID: string;
  readonly epoch: number;
  readonly attachmentID: string;
  readonly allowedHosts: readonly string[];
  readonly portIds: readonly number[];
  readonly namespaces: readonly {
    readonly nsid: number;
    readonly devicePath: string;
    readonly enabled: boolean;
    readonly uuid: string;
  }[];
}

/** A member's partition on a local drive. */
export interface LocalPartitionSeen {
  readonly partitionUUID: string;
  readonly diskPath: string;
  /** Device node; undefined when the kernel does not (yet) know the partition. */
  readonly path?: string;
  readonly startBytes: number;
  readonly sizeBytes: number;
  readonly label: string;
  /** From the partition's reserved area; undefined when there is none. */
  readonly stamp?: Stamp;
  /** Kernel names of devices that hold it, other than legs of this volume. */
  readonly foreignHolders: readonly string[];
}

/** A namespace of another node, connected here. */
export interface ImportSeen {
  readonly nqn: string;
  readonly partitionUUID: string;
  readonly epoch: number;
  readonly attachmentID: string;
  readonly controllers: readonly { readonly name: string; readonly state: string; readonly traddr: string }[];
  /** Block device, when there is one. */
  readonly namespacePath?: string;
  readonly namespaceUUID?: string;
  /** Of the block device, as this node's kernel knows it. */
  readonly namespaceSizeBytes?: number;
}

export interface ArrayMemberSeen {
  /** Undefined when the member is not one of our legs (a partition or an imported namespace used directly): never adopted. */
  readonly partitionUUID?: string;
  readonly epoch?: number;
  readonly device: string;
  readonly slot?: number;
  readonly inSync: boolean;
  readonly faulty: boolean;
  readonly writeMostly: boolean;
  readonly stateWords: readonly string[];
}

export interface ArraySeen {
  readonly name: string;
  readonly path: string;
  readonly arrayState: string;
  /** `readonly` or `read-auto`. */
  readonly isReadOnly: boolean;
  readonly raidDisks: number;
  readonly degraded: number;
  readonly syncAction: string;
  /** 0…1 while something is being synchronised. */
  readonly syncFraction?: number;
  readonly sizeBytes: number;
  readonly members: readonly ArrayMemberSeen[];
  readonly mountPoints: readonly string[];
  readonly holders: readonly string[];
  /** `md/resync_start` is not `none`: MD has a resync to do, even while `sync_action` still (or again) reads `idle`. */
  readonly resyncPending?: boolean;
  /** Programs that have it, or a file on it, open (`name (pid)`); absent when nobody looked. */
  readonly openers?: readonly string[];
}

/** What a probe of the array found; `unprobed` until a `probeFilesystem` step ran in this operation. */
export type FilesystemSeen =
  | { readonly kind: 'unprobed' }
  | { readonly kind: 'none' }
  | { readonly kind: 'unfinished' } // XFS with sb_inprogress
  | { readonly kind: 'filesystem'; readonly fsType: string; readonly uuid: string };

/** A local drive as the holder's planner needs it. */
export interface DriveTableSeen {
  readonly diskPath: string;
  readonly device: string;
  readonly serial: string;
  readonly nsid?: number;
  readonly sectorSize: number;
  /** Allowed by selector or annotation, with a good table (SPEC §7.15). */
  readonly usable: boolean;
  readonly unusableReason: string;
  readonly gptState: GptState;
  /** Its partition table could not be read just now: what is on it is not known. */
  readonly isUnreadable?: boolean;
  readonly freeExtents: readonly Extent[];
}

/** Everything a holder must know to serve its partitions of one volume. */
export interface HolderWorld {
  readonly me: NodeIdentity;
  /** By a linearizable read. */
  readonly volume: MeshStorVolume;
  readonly drives: readonly DriveTableSeen[];
  readonly partitions: readonly LocalPartitionSeen[];
  readonly legs: readonly LegSeen[];
  readonly exports: readonly ExportSeen[];
  readonly array?: ArraySeen;
  /** Port ids by transport that this node listens on. */
  readonly portIds: { readonly tcp: number; readonly rdma?: number };
  /** By PARTUUID: up to which byte of the partition this process has zeroed what an expansion adds. Lost with it. */
  readonly zeroedTo?: Readonly<Record<string, number>>;
}

export interface StagingWanted {
  readonly stagingPath: string;
  readonly access:
    | { readonly kind: 'mount'; readonly fsType: FsType; readonly mountFlags: readonly string[] }
    | { readonly kind: 'block' };
  readonly readOnly: boolean;
}

export interface MountSeen {
  readonly mountPoint: string;
  readonly devNumber: string;
  /** The mount is of this volume's array (by device number, or a bind of its device node). */
  readonly isOurs: boolean;
  readonly fsType: string;
  readonly readOnly: boolean;
}

/** Everything the consumer must know to bring the volume up or take it down. */
export interface ConsumerWorld {
  readonly me: NodeIdentity;
  /** By a linearizable read. Without a uid: made up from the kernel, for the teardown of a volume whose object is gone. */
  readonly volume: MeshStorVolume;
  readonly partitions: readonly LocalPartitionSeen[];
  readonly legs: readonly LegSeen[];
  readonly imports: readonly ImportSeen[];
  readonly array?: ArraySeen;
  readonly filesystem: FilesystemSeen;
  /** Mounts of this volume's array, and whatever is mounted at the wanted paths. */
  readonly mounts: readonly MountSeen[];
  /** Those of the wanted paths that exist, mounted on or not; absent when nobody looked. */
  readonly existingPaths?: readonly string[];
  /** NVMe-oF address of each holder, by node name; absent when unknown. */
  readonly addresses: Readonly<Record<string, { readonly tcp: string; readonly rdma?: string }>>;
  /** Holders that nobody waits for: without a Node object, or called off by an administrator. */
  readonly offNodes: readonly string[];
  /** How long this operation has been waiting for members, milliseconds on its own clock. */
  readonly waitedMs: number;
  /** How long a member's holder may stay silent before the volume starts without it. */
  readonly startGraceMs: number;
}

/** What whoever mends a staged volume remembers beside what it sees. Lists are of PARTUUIDs. */
export interface MendingWorld extends ConsumerWorld {
  /** How long a member of the array has had no path, milliseconds on the mender's own clock. */
  readonly lostMs: Readonly<Record<string, number>>;
  /** For so long a member that lost its path is waited for, milliseconds. */
  readonly dropGraceMs: number;
  /** Their path failed again, right after it was mended, with a connection that lives: the drive behind it is bad (SPEC §7.3). */
  readonly failing: readonly string[];
  /** Members that are out and could not be reached a moment ago. */
  readonly resting: readonly string[];
}

/** The outcome of planning: steps in order, or nothing to do, or waiting, or a refusal that is a `DomainError` in the making. */
export type Plan<S> =
  | { readonly kind: 'steps'; readonly steps: readonly S[] }
  | { readonly kind: 'done' }
  | { readonly kind: 'wait'; readonly reason: string }
  | {
      readonly kind: 'refuse';
      readonly error: 'precondition' | 'invalid' | 'notFound' | 'internal';
      readonly condition?: 'WitnessBehind' | 'StatusLost';
      /** The attachment of the object that was judged. */
      readonly judged?: { readonly epoch: number; readonly attachmentID: string };
      readonly message: string;
    };
