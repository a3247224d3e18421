/** What several planners ask of a world, and the shapes of their answers. */
import { findCondition } from '../api/conditions.ts';
import type { GptState } from '../api/kernel.ts';
import { isSameDrive } from '../api/node-device.ts';
import type { MeshStorVolume, PartitionStatus, VolumeStatus } from '../api/volume.ts';
import type {
  ArraySeen,
  DriveTableSeen,
  ExportSeen,
  ImportSeen,
  LegSeen,
  LocalPartitionSeen,
  NodeIdentity,
  Plan,
} from './world.ts';

type Refusal = Extract<Plan<never>, { kind: 'refuse' }>;

export function refuse(error: Refusal['error'], message: string, condition?: Refusal['condition']): Refusal {
  return condition === undefined ? { kind: 'refuse', error, message } : { kind: 'refuse', error, message, condition };
}

export function wait(reason: string): { readonly kind: 'wait'; readonly reason: string } {
  return { kind: 'wait', reason };
}

/** Steps, or `done` when there are none. */
export function stepsOrDone<S>(steps: readonly S[]): Plan<S> {
  return steps.length === 0 ? { kind: 'done' } : { kind: 'steps', steps };
}

/** A sorted copy, by a text or a number: no plan depends on the order in which the world was listed. */
export function sortedBy<T>(items: readonly T[], key: (item: T) => string | number): readonly T[] {
  return [...items].sort((a, b) => {
    const x = key(a);
    const y = key(b);
    return x < y ? -1 : x > y ? 1 : 0;
  });
}

/** Entries that are, or will be, members: `Deleting` ones are not. By slot, then by PARTUUID. */
export function memberEntries(status: VolumeStatus): readonly PartitionStatus[] {
  const entries = status.partitions.filter((entry) => entry.state !== 'Deleting');
  return sortedBy(
    sortedBy(entries, (entry) => entry.partitionUUID),
    (entry) => entry.slot,
  );
}

export function describeMember(entry: PartitionStatus): string {
  return `member ${entry.slot} on ${entry.nodeID} (drive ${entry.device}, partition ${entry.partitionUUID})`;
}

/** Copies of a column that MD counts: a one-copy volume has an empty second slot in each column. */
export function mdCopies(volume: MeshStorVolume): number {
  return Math.max(2, volume.spec.numberOfCopies);
}

export function columnOfEntry(volume: MeshStorVolume, entry: PartitionStatus): number {
  return Math.floor(entry.slot / volume.spec.numberOfCopies);
}

/** MD's slot of a member. */
export function mdSlotOf(volume: MeshStorVolume, entry: PartitionStatus): number {
  return columnOfEntry(volume, entry) * mdCopies(volume) + (entry.slot % volume.spec.numberOfCopies);
}

/** Columns in which none of these members is. */
export function emptyColumns(volume: MeshStorVolume, members: readonly PartitionStatus[]): readonly number[] {
  const filled = new Set(members.map((entry) => columnOfEntry(volume, entry)));
  return Array.from({ length: volume.spec.drivesPerCopy }, (_, column) => column).filter(
    (column) => !filled.has(column),
  );
}

interface Traces {
  readonly volume: MeshStorVolume;
  readonly partitions: readonly LocalPartitionSeen[];
  readonly legs: readonly LegSeen[];
  readonly exports?: readonly ExportSeen[];
  readonly imports?: readonly ImportSeen[];
  readonly array?: ArraySeen;
}

interface Trace {
  readonly what: string;
  readonly epoch: number;
  readonly attachmentID?: string;
}

function tracesOf(world: Traces): readonly Trace[] {
  return [
    // Another volume's stamp is what was on the drive before: it says nothing of this one.
    ...world.partitions.flatMap(({ stamp, partitionUUID }) =>
      stamp?.volumeUUID !== world.volume.spec.volumeUUID
        ? []
        : [{ what: `the stamp in partition ${partitionUUID}`, ...stamp }],
    ),
    ...world.legs.map(({ name, epoch }) => ({ what: `the leg ${name}`, epoch })),
    ...(world.exports ?? []).map(({ nqn, epoch, attachmentID }) => ({
      what: `the export ${nqn}`,
      epoch,
      attachmentID,
    })),
    ...(world.imports ?? []).map(({ nqn, epoch, attachmentID }) => ({
      what: `the connection to ${nqn}`,
      epoch,
      attachmentID,
    })),
    ...(world.array?.members ?? []).flatMap(({ epoch, device }) =>
      epoch === undefined ? [] : [{ what: `member ${device} of array ${world.array?.name ?? ''}`, epoch }],
    ),
  ];
}

/** Some node has told that the object is older than the disks (SPEC §7.11). */
export function isWitnessBehind({ status }: MeshStorVolume): boolean {
  return findCondition(status?.conditions ?? [], 'WitnessBehind')?.status === 'True';
}

/** What shows that the CR is older than the kernel or the disks (SPEC §7.11); undefined when nothing does. */
export function witnessBehind(world: Traces): string | undefined {
  const { status } = world.volume;
  if (status === undefined) return undefined;
  const { attachmentEpoch: epoch, attachmentID } = status;
  const ahead = sortedBy(tracesOf(world), (trace) => trace.what).find(
    (trace) =>
      trace.epoch > epoch ||
      (trace.epoch === epoch && trace.attachmentID !== undefined && trace.attachmentID !== attachmentID),
  );
  if (ahead === undefined) return undefined;
  const seen = `epoch ${ahead.epoch}${ahead.attachmentID === undefined ? '' : `, attachment ${ahead.attachmentID}`}`;
  const recorded = `epoch ${epoch}, attachment ${attachmentID === '' ? 'none' : attachmentID}`;
  return `${ahead.what} carries ${seen}, the volume's object says ${recorded}: it is older than the data and nothing is done; restore its status from a backup of ${seen} or later`;
}

/** The refusal of whoever finds the CR older than the kernel or the disks; undefined when nothing shows that. */
export function refuseBehind(world: Traces): Refusal | undefined {
  const behind = witnessBehind(world);
  const { status, metadata } = world.volume;
  if (behind === undefined || status === undefined) return undefined;
  const judged = { epoch: status.attachmentEpoch, attachmentID: status.attachmentID };
  return { ...refuse('precondition', `volume ${metadata.name}: ${behind}`, 'WitnessBehind'), judged };
}

/** Why the array in the kernel may not be used: it, or a member of it, is not of the CR's epoch (SPEC §7.1). */
export function fencedReason(world: {
  readonly volume: MeshStorVolume;
  readonly array?: ArraySeen;
}): string | undefined {
  const { array, volume } = world;
  if (array === undefined) return undefined;
  const epoch = volume.status?.attachmentEpoch ?? 0;
  for (const member of sortedBy(array.members, ({ device }) => device)) {
    if (member.partitionUUID === undefined || member.epoch === undefined) {
      return `array ${array.name} has ${member.device} as a member, which is no leg of this volume`;
    }
    if (member.epoch !== epoch) return `array ${array.name} is of epoch ${member.epoch}, now is epoch ${epoch}`;
  }
  return undefined;
}

/** Why this node and machine is not the consumer; undefined when it is. */
export function notConsumerReason(volume: MeshStorVolume, me: NodeIdentity): string | undefined {
  const { status } = volume;
  if (status === undefined || status.nodeName === '') return 'it is attached to no node';
  if (status.nodeName !== me.nodeName) return `it is attached to node ${status.nodeName}, this is ${me.nodeName}`;
  if (status.machineID === '' || status.machineID !== me.machineID) {
    return `it is attached to node ${status.nodeName} on machine ${status.machineID === '' ? 'unknown' : status.machineID}, this is machine ${me.machineID}`;
  }
  return undefined;
}

/** A guard that holds I/O back when its path goes, and has a path (SPEC §7.2). */
export function isHealthyGuard(leg: LegSeen): boolean {
  return leg.kind === 'guard' && leg.queues && leg.pathState === 'active' && !leg.suspended;
}

/**
 * Whether I/O through a guard gets somewhere, as far as can be seen without sending any: a guard learns that its path is lost only
 * from an I/O that fails.
 */
export function hasPath(world: Traces, leg: LegSeen): boolean {
  if (!isHealthyGuard(leg) || leg.underPath === undefined) return false;
  const { partitionUUID, epoch } = leg;
  const seen = (world.imports ?? []).find((each) => each.partitionUUID === partitionUUID && each.epoch === epoch);
  return seen === undefined || seen.controllers.some(({ state }) => state === 'live');
}

/**
 * Whether I/O waits in a guard, or would. A suspended one lets nothing through, whatever its table says: the kernel takes
 * `queue_if_no_path` out of it until it is resumed (`drivers/md/dm-mpath.c`, `multipath_presuspend`).
 */
export function holdsBack(world: Traces, leg: LegSeen): boolean {
  return leg.suspended || (leg.queues && !hasPath(world, leg));
}

const READABLE: ReadonlySet<GptState> = new Set(['valid', 'primary-only', 'backup-only', 'differ', 'blank']);

/**
 * Why a partition that was not seen may be there all the same; undefined when it is gone. Only tables that were read say so: those
 * of every namespace that may be meant, since an entry of an older version names none.
 */
export function whyUnseen(drives: readonly DriveTableSeen[], entry: PartitionStatus): string | undefined {
  const meant = drives.filter((drive) => isSameDrive(drive, entry));
  if (meant.length === 0) return `its drive (serial ${entry.serial}) is not here`;
  const unread = sortedBy(
    meant.filter(({ isUnreadable, gptState }) => isUnreadable === true || !READABLE.has(gptState)),
    ({ diskPath }) => diskPath,
  );
  if (unread.length === 0) return undefined;
  return `the partition table of ${unread.map(({ diskPath }) => diskPath).join(', ')} cannot be read`;
}
