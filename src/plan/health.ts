/** What the consumer's kernel says of the volume, in the words of its status (SPEC §2). */
import type { MdState, PartitionStatus } from '../api/volume.ts';
import { describeMember, fencedReason, isHealthyGuard, memberEntries } from './view.ts';
import type { ArraySeen, ConsumerWorld } from './world.ts';

export interface ConsumerObservation {
  /** Empty when no array is expected: before birth, and after this attachment's consumer stopped it. */
  readonly mdState: MdState | '';
  /** `45.2%`; empty when nothing is being synchronised. */
  readonly syncPercentage: string;
  /** Neither `active` nor `clean`. */
  readonly abnormal: boolean;
  /** For people; names the failed and the down members. */
  readonly message: string;
  /** MD reports them in sync, no resync is under way or pending, and their guard's table queues: `Syncing` becomes `Synced` (SPEC §7.4). */
  readonly inSync: readonly string[];
  /** MD has dropped them already; recorded while their column keeps a member that is `Synced` and in sync. */
  readonly dropped: readonly DroppedMember[];
}

export interface DroppedMember {
  readonly partitionUUID: string;
  /** MD marked it so; else it is in the array no more. */
  readonly faulty: boolean;
}

const SYNC_STATES: Readonly<Record<string, MdState>> = {
  recover: 'recovering',
  resync: 'resyncing',
  reshape: 'reshaping',
};
const CLEAN_STATES: ReadonlySet<string> = new Set(['clean', 'readonly', 'read-auto']);
const DOWN_STATES: ReadonlySet<string> = new Set(['inactive', 'clear']);

/** PARTUUIDs of the members that MD reports in sync. */
export function inSyncMembers(array: ArraySeen): ReadonlySet<string> {
  const members = array.members.filter((member) => member.inSync && !member.faulty);
  return new Set(members.flatMap(({ partitionUUID }) => (partitionUUID === undefined ? [] : [partitionUUID])));
}

function foldState(world: ConsumerWorld, array: ArraySeen): MdState {
  if (DOWN_STATES.has(array.arrayState)) return 'missing';
  const syncing = SYNC_STATES[array.syncAction];
  if (syncing !== undefined) return syncing;
  const { numberOfCopies, drivesPerCopy } = world.volume.spec;
  if (inSyncMembers(array).size < numberOfCopies * drivesPerCopy) return 'degraded';
  return CLEAN_STATES.has(array.arrayState) ? 'clean' : 'active';
}

/**
 * Members that MD has dropped: marked faulty, or (of the `Synced` ones) in its array no more. Only of an array that may be
 * written: of a read-only one the start says it.
 */
export function droppedMembers(world: ConsumerWorld): readonly DroppedMember[] {
  const { array, volume } = world;
  if (array === undefined || volume.status === undefined) return [];
  if (array.isReadOnly || DOWN_STATES.has(array.arrayState) || fencedReason(world) !== undefined) return [];
  return memberEntries(volume.status).flatMap((entry) => {
    const member = array.members.find(({ partitionUUID }) => partitionUUID === entry.partitionUUID);
    if (entry.state !== 'Synced' && entry.state !== 'Syncing') return [];
    const isDropped = member === undefined ? entry.state === 'Synced' : member.faulty;
    if (!isDropped) return [];
    // MD marks a member faulty, too, whose guard was told to let it fail: its path is gone, not its drive.
    const leg = world.legs.find(
      (seen) => seen.partitionUUID === entry.partitionUUID && seen.epoch === volume.status?.attachmentEpoch,
    );
    const isPathLost = leg?.kind === 'guard' && leg.pathState === 'failed';
    return [{ partitionUUID: entry.partitionUUID, faulty: member?.faulty === true && !isPathLost }];
  });
}

/** Nothing is being copied. What cannot be read is not taken for it. */
const QUIET_ACTIONS: ReadonlySet<string> = new Set(['idle', 'check', 'repair', 'frozen']);

function promotable(world: ConsumerWorld): readonly string[] {
  const { array, volume } = world;
  if (array === undefined || volume.status === undefined) return [];
  if (array.isReadOnly || array.resyncPending === true || fencedReason(world) !== undefined) return [];
  if (!QUIET_ACTIONS.has(array.syncAction)) return [];
  const inSync = inSyncMembers(array);
  const epoch = volume.status.attachmentEpoch;
  return memberEntries(volume.status)
    .filter((entry) => inSync.has(entry.partitionUUID))
    .filter((entry) =>
      world.legs.some((leg) => leg.partitionUUID === entry.partitionUUID && leg.epoch === epoch && isHealthyGuard(leg)),
    )
    .map((entry) => entry.partitionUUID);
}

function stateOf(world: ConsumerWorld): MdState | '' {
  const { array, volume } = world;
  if (volume.spec.activatedAt === undefined || volume.status === undefined) return '';
  if (array !== undefined) return fencedReason(world) === undefined ? foldState(world, array) : 'missing';
  const { releasedEpoch, attachmentEpoch } = volume.status;
  return releasedEpoch > 0 && releasedEpoch === attachmentEpoch ? '' : 'missing';
}

function namesOf(label: string, entries: readonly PartitionStatus[]): readonly string[] {
  return entries.length === 0 ? [] : [`${label}: ${entries.map(describeMember).join(', ')}`];
}

function messageOf(
  world: ConsumerWorld,
  mdState: MdState | '',
  syncPercentage: string,
  dropped: readonly DroppedMember[],
): string {
  const entries = world.volume.status === undefined ? [] : memberEntries(world.volume.status);
  const failed = new Set(dropped.filter(({ faulty }) => faulty).map(({ partitionUUID }) => partitionUUID));
  const down = new Set(dropped.filter(({ faulty }) => !faulty).map(({ partitionUUID }) => partitionUUID));
  const isFailed = (entry: PartitionStatus): boolean => entry.state === 'Faulty' || failed.has(entry.partitionUUID);
  const isDown = (entry: PartitionStatus): boolean =>
    entry.state === 'Missing' || entry.state === 'Unknown' || down.has(entry.partitionUUID);
  const head = mdState === '' ? 'no array is expected here' : `array is ${mdState}`;
  const parts = [
    syncPercentage === '' ? head : `${head}, ${syncPercentage} done`,
    ...namesOf('failed', entries.filter(isFailed)),
    ...namesOf(
      'down',
      entries.filter((entry) => !isFailed(entry) && isDown(entry)),
    ),
    ...namesOf(
      'being replaced',
      entries.filter(({ state }) => state === 'Replacing'),
    ),
  ];
  return parts.join('; ');
}

/**
 * Folds one look at the kernel. The world's legs must have been read before its array: a member counts as in sync only when MD
 * says so after its guard was seen to queue.
 */
export function observeConsumer(world: ConsumerWorld): ConsumerObservation {
  const mdState = stateOf(world);
  const fraction = world.array?.syncFraction;
  const isSyncing = mdState === 'recovering' || mdState === 'resyncing' || mdState === 'reshaping';
  const syncPercentage = isSyncing && fraction !== undefined ? `${(Math.floor(fraction * 1000) / 10).toFixed(1)}%` : '';
  const dropped = droppedMembers(world);
  return {
    mdState,
    syncPercentage,
    abnormal: mdState !== 'active' && mdState !== 'clean',
    message: messageOf(world, mdState, syncPercentage, dropped),
    inSync: promotable(world),
    dropped,
  };
}
