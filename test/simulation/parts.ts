/** What drives and kernels hold in the simulator. Data is one number for each block: that of the write that it has. */
import type { Stamp } from '../../src/api/layout.ts';
import type { MountSeen, NodeIdentity } from '../../src/plan/world.ts';
import type { Host } from './scheduler.ts';

/** Blocks of the volume; each is a chunk of the bitmap. */
export const BLOCKS = 6;

/** MD's, in a member. */
export interface Superblock {
  /** Which creation of the array it belongs to. */
  readonly birth: number;
  readonly slot: number;
  readonly events: number;
  readonly eventsCleared: number;
  /** Slots that MD has dropped, or that are empty. */
  readonly out: ReadonlySet<number>;
  /** Written since MD last called the array clean: mirrors may differ where the bitmap says so. */
  readonly dirty: boolean;
  /** MD has not copied all to it yet. */
  readonly recovering: boolean;
}

export interface SimPartition {
  readonly partitionUUID: string;
  readonly node: SimMachine;
  readonly drive: SimDrive;
  sizeBytes: number;
  zeroed: boolean;
  readonly data: number[];
  /** Blocks in the drive's volatile cache, with what is below it. */
  readonly cached: Map<number, number>;
  /** Of the bitmap in front of the data. */
  readonly bits: Set<number>;
  superblock: Superblock | undefined;
  stamp: Stamp | undefined;
}

export interface SimDrive {
  readonly index: number;
  readonly serial: string;
  readonly isVolatile: boolean;
  isOnline: boolean;
  /** So many writes from now on fail with a medium error. */
  mediumErrors: number;
  readonly partitions: Map<string, SimPartition>;
}

/** A dm device of this driver. */
export interface SimLeg {
  readonly name: string;
  readonly partitionUUID: string;
  readonly epoch: number;
  readonly kind: 'linear' | 'guard';
  /** Path of what it is over. */
  under: string;
  readonly namespaceUUID: string;
  queues: boolean;
  pathState: 'active' | 'failed' | 'none';
  suspended: boolean;
  sizeBytes: number;
}

/** A subsystem of the NVMe target with its namespace; a new one each time that it is made. */
export interface SimExport {
  readonly nqn: string;
  readonly partitionUUID: string;
  readonly epoch: number;
  readonly attachmentID: string;
  readonly hostNqn: string;
  readonly namespaceUUID: string;
  readonly devicePath: string;
  readonly nsid: number;
  /** Linked to its ports. */
  isServed: boolean;
}

/** A controller of the NVMe host. */
export interface SimImport {
  readonly nqn: string;
  readonly partitionUUID: string;
  readonly epoch: number;
  readonly attachmentID: string;
  readonly holder: SimMachine;
  /** The export that it is connected to: another one is another connection. */
  target: SimExport;
  state: 'live' | 'connecting';
  /** Virtual time since which nothing is heard. */
  silentSince: number | undefined;
}

export interface SimMember {
  readonly partitionUUID: string;
  readonly epoch: number;
  readonly slot: number;
  readonly kernelName: string;
  writeMostly: boolean;
  faulty: boolean;
  recovering: boolean;
  /** Blocks that MD has yet to copy to it. */
  readonly toCopy: Set<number>;
  /** Its superblock says what the array says. */
  isWritten: boolean;
}

export type Phase = 'bitmap' | 'data' | 'flush';

/** One write of the model client, on its way through MD. */
export interface SimWrite {
  readonly block: number;
  readonly value: number;
  phase: Phase;
  /** By PARTUUID: how far each leg is. */
  readonly legs: Map<string, 'queued' | 'sent' | 'done'>;
  /** By PARTUUID: when its drive flushed it, in ms; the answer may be heard much later. */
  readonly flushedAt: Map<string, number>;
  isTold: boolean;
  /** Told at the end, or when the filesystem is shut down. */
  readonly end: (isAcknowledged: boolean, flushedAt: ReadonlyMap<string, number>) => void;
}

export interface SimArray {
  readonly name: string;
  readonly birth: number;
  readonly epoch: number;
  members: SimMember[];
  isReadOnly: boolean;
  isFrozen: boolean;
  events: number;
  eventsCleared: number;
  dirty: boolean;
  resyncPending: boolean;
  /** MD's bitmap in memory. */
  readonly bits: Set<number>;
  readonly writes: Set<SimWrite>;
  /** When anything was written last. */
  writtenAt: number;
  /** Somebody was handed it. */
  wasWritable: boolean;
  /** Since MD dropped a member after a medium error, until the driver has heard of it (SPEC §7.3). */
  isHeld: boolean;
  /** The superblocks are to say something new. */
  isChanged: boolean;
}

/** Data on its way to a drive of another machine, or to one here. */
export interface Flight {
  readonly target: SimExport | undefined;
  /** It is there now, or lost; once. */
  readonly end: (mayLand: boolean) => void;
}

export interface SimMachine extends Host {
  readonly name: string;
  readonly index: number;
  life: number;
  pausedUntil: number;
  isUp: boolean;
  /** Taken away for ever. */
  isGone: boolean;
  bootCount: number;
  identity: NodeIdentity;
  clockSkewMs: number;
  zeroingMs: number;
  readonly drives: SimDrive[];
  readonly legs: Map<string, SimLeg>;
  readonly exports: Map<string, SimExport>;
  readonly imports: Map<string, SimImport>;
  array: SimArray | undefined;
  mounts: MountSeen[];
  /** The filesystem was shut down: whatever is written fails. */
  isShutDown: boolean;
  /** The pod's process is there and has the volume open. */
  hasClient: boolean;
  /** It was told to end: it writes nothing more. */
  isEnding: boolean;
  /** Virtual time of the next turn of MD's own work. */
  pumpDue: number | undefined;
  /** Something changed of which the process of the node role is told. */
  hasEvent: boolean;
}

/** A rule of SPEC §7 that does not hold in what was simulated. */
export class Violation extends Error {
  readonly rule: string;

  constructor(rule: string, message: string) {
    super(`${rule}: ${message}`);
    this.rule = rule;
  }
}
