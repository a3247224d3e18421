/**
 * What the array of a staged volume needs while pods use it (SPEC §7.2, §7.3, §7.8, §8). NodeStage has ended by then: nobody calls.
 * In this order: a member recorded as lost is let fail and taken out; a lost path is mended or, after a grace, recorded; a member that
 * is out is brought back. While something is held back (`planHoldBack`) nothing of this is done.
 */
import type { PartitionStatus, VolumeStatus } from '../api/volume.ts';
import type { Member } from './connections.ts';
import { stepsOf, waitsOf, wayOf } from './connections.ts';
import { droppedMembers, inSyncMembers } from './health.ts';
import { planReturn } from './returning.ts';
import { refuseByObject } from './staging.ts';
import { flagSteps } from './start.ts';
import type { MendStep } from './steps.ts';
import { isDropUnrecorded, suspendedGuards } from './unrecorded-drop.ts';
import { columnOfEntry, hasPath, holdsBack, memberEntries, sortedBy, wait } from './view.ts';
import type { ArrayMemberSeen, ArraySeen, ConsumerWorld, LegSeen, MendingWorld, Plan } from './world.ts';

/** Arrays that serve nobody: putting them together, or giving them up, is the business of the call that does it. */
const NOT_SERVING: ReadonlySet<string> = new Set(['inactive', 'clear', 'readonly', 'read-auto']);

/** An array in service, of this node and epoch, and nobody else's to look after. */
interface Serving {
  readonly status: VolumeStatus;
  readonly array: ArraySeen;
}

function serving(world: ConsumerWorld): Serving | undefined {
  const { array, volume } = world;
  const { status } = volume;
  if (array === undefined || status === undefined || NOT_SERVING.has(array.arrayState)) return undefined;
  // Not born: nobody has it. Whoever stages it begins anew, with all members or not at all (SPEC §7.12).
  if (volume.spec.activatedAt === undefined) return undefined;
  // A volume that is fenced, taken away or being deleted belongs to its teardown.
  return refuseByObject(world) === undefined ? { status, array } : undefined;
}

interface ArrayMember {
  readonly entry: PartitionStatus;
  readonly seen: ArrayMemberSeen;
}

function membersOf({ status, array }: Serving): readonly ArrayMember[] {
  const entries = sortedBy(status.partitions, ({ partitionUUID }) => partitionUUID);
  return sortedBy(entries, ({ slot }) => slot).flatMap((entry) => {
    const seen = array.members.find(({ partitionUUID }) => partitionUUID === entry.partitionUUID);
    return seen === undefined ? [] : [{ entry, seen }];
  });
}

/** Recorded as lost; another one may have been asked to take its place before MD was told. */
const isOut = ({ state }: PartitionStatus): boolean =>
  state === 'Missing' || state === 'Faulty' || state === 'Replacing' || state === 'Deleting';

/** Members that MD still uses, and how to get to them. */
function waysOf(world: ConsumerWorld, found: Serving): readonly Member[] {
  return membersOf(found)
    .filter(({ entry, seen }) => !seen.faulty && !isOut(entry))
    .map(({ entry }) => ({ entry, way: wayOf(world, found.status, entry) }));
}

export interface WithoutPath {
  readonly partitionUUID: string;
  /** Its drive, or the connection to it, is there: only the guard has given the path up. */
  readonly isConnected: boolean;
}

/** Members of the array that have no path now. Whoever mends remembers since when. */
export function membersWithoutPath(world: ConsumerWorld): readonly WithoutPath[] {
  const found = serving(world);
  if (found === undefined) return [];
  return waysOf(world, found).flatMap(({ entry, way }) => {
    if (way.kind === 'ready') return [];
    const isConnected = way.kind === 'steps' && way.steps.some(({ kind }) => kind === 'reloadGuard');
    return [{ partitionUUID: entry.partitionUUID, isConnected }];
  });
}

function legOf(world: ConsumerWorld, { attachmentEpoch }: VolumeStatus, partitionUUID: string): LegSeen | undefined {
  return world.legs.find((leg) => leg.partitionUUID === partitionUUID && leg.epoch === attachmentEpoch);
}

/** Whether a guard of another member of the array holds I/O back, or would: no md write may be made then. */
function isAnotherStuck(world: ConsumerWorld, { status, array }: Serving, except: string | undefined): boolean {
  return array.members.some(({ partitionUUID, faulty }) => {
    if (partitionUUID === undefined || partitionUUID === except || faulty) return false;
    const leg = legOf(world, status, partitionUUID);
    return leg === undefined || holdsBack(world, leg);
  });
}

function letFail(world: ConsumerWorld, found: Serving, { entry, seen }: ArrayMember): readonly MendStep[] {
  const leg = legOf(world, found.status, entry.partitionUUID);
  const fail: readonly MendStep[] = leg?.queues === true ? [{ kind: 'failGuard', name: leg.name }] : [];
  // MD finds it out by the next I/O; without any it has to be told.
  if (isAnotherStuck(world, found, entry.partitionUUID)) return fail;
  return [...fail, { kind: 'failMember', array: found.array.name, member: seen.device }];
}

/** Members that are recorded as lost and still in the array, as far as MD can be spoken to. */
function planRemoval(world: ConsumerWorld, found: Serving): readonly MendStep[] {
  const lost = membersOf(found).filter(({ entry }) => isOut(entry));
  const failing = lost.filter(({ seen }) => !seen.faulty).flatMap((member) => letFail(world, found, member));
  if (failing.length > 0) return failing;
  if (isAnotherStuck(world, found, undefined)) return [];
  return lost.map(({ seen }) => ({ kind: 'removeMember', array: found.array.name, member: seen.device }));
}

/** Another member of its column holds everything and can be reached. */
function isDispensable(world: ConsumerWorld, found: Serving, entry: PartitionStatus): boolean {
  const inSync = inSyncMembers(found.array);
  return membersOf(found).some(({ entry: other }) => {
    if (other === entry || other.state !== 'Synced' || !inSync.has(other.partitionUUID)) return false;
    const leg = legOf(world, found.status, other.partitionUUID);
    return (
      columnOfEntry(world.volume, other) === columnOfEntry(world.volume, entry) &&
      leg !== undefined &&
      hasPath(world, leg)
    );
  });
}

/** One at a time: what is dispensable depends on who else is. */
function planLoss(world: MendingWorld, found: Serving, members: readonly Member[]): readonly MendStep[] {
  for (const { entry, way } of members) {
    if (way.kind === 'ready' || !isDispensable(world, found, entry)) continue;
    const { partitionUUID } = entry;
    const hasRestarted = way.kind === 'wait' && way.isLost === true;
    const isFailing = world.failing.includes(partitionUUID);
    const isLate = (world.lostMs[partitionUUID] ?? 0) >= world.dropGraceMs;
    if (!hasRestarted && !isFailing && !isLate) continue;
    const member = membersOf(found).find((candidate) => candidate.entry === entry);
    // A local drive that went away may have lost what it had in its cache, as that of a holder that restarted.
    const stale = hasRestarted || entry.nodeID === world.me.nodeName;
    return [
      { kind: 'recordLost', partitionUUID, state: isFailing ? 'Faulty' : 'Missing', stale },
      ...(member === undefined ? [] : letFail(world, found, member)),
    ];
  }
  return [];
}

const stepsOrNothing = (steps: readonly MendStep[]): Plan<MendStep> | undefined =>
  steps.length === 0 ? undefined : { kind: 'steps', steps };

/** What was tried in vain a moment ago rests. */
function repairs(world: MendingWorld, members: readonly Member[]): readonly MendStep[] {
  return stepsOf(members.filter(({ entry }) => !world.resting.includes(entry.partitionUUID)));
}

/** Losses: only when all that MD has dropped by itself is on record, else a start could take for the truth what lacks a write. */
function planLosses(world: MendingWorld, found: Serving, members: readonly Member[]): readonly MendStep[] {
  if (droppedMembers(world).length > 0) return [];
  const removal = planRemoval(world, found);
  return removal.length > 0 ? removal : planLoss(world, found, members);
}

/** Guards and connections of partitions that are members no more. */
function surplusSteps({ legs, imports }: ConsumerWorld, { status, array }: Serving): readonly MendStep[] {
  const listed = new Set(memberEntries(status).map(({ partitionUUID }) => partitionUUID));
  const isLeft = (seen: { readonly partitionUUID: string; readonly epoch: number }): boolean =>
    seen.epoch === status.attachmentEpoch &&
    !listed.has(seen.partitionUUID) &&
    !array.members.some(({ partitionUUID }) => partitionUUID === seen.partitionUUID);
  const guards = sortedBy(
    legs.filter((leg) => leg.kind !== 'linear' && isLeft(leg)),
    ({ name }) => name,
  );
  const nqns = sortedBy(
    imports.filter((seen) => isLeft(seen)).map(({ nqn }) => nqn),
    (nqn) => nqn,
  );
  return [
    ...guards.map(({ name }): MendStep => ({ kind: 'removeLeg', name })),
    ...nqns.map((nqn): MendStep => ({ kind: 'disconnect', nqn })),
  ];
}

/** `done` for whatever is not this node's to mend. */
export function planMending(world: MendingWorld): Plan<MendStep> {
  const found = serving(world);
  if (found === undefined) return { kind: 'done' };
  const { status, array } = found;
  if (isDropUnrecorded(world)) return wait('what MD has dropped by itself is not on record yet');
  if (suspendedGuards(world).length > 0) return wait('guards of the array are held back');
  const members = waysOf(world, found);
  const first = stepsOrNothing(planLosses(world, found, members)) ?? stepsOrNothing(repairs(world, members));
  if (first !== undefined) return first;
  const waits = sortedBy(waitsOf(members), (reason) => reason);
  if (waits.length > 0) return wait(waits.join('; '));
  if (isAnotherStuck(world, found, undefined)) return wait('a guard of the array holds I/O back');
  if (droppedMembers(world).length > 0) return wait('what MD has dropped is not on record yet');
  if (array.syncAction === 'frozen') return { kind: 'steps', steps: [{ kind: 'thawArray', array: array.name }] };
  const last = stepsOrNothing(flagSteps(world, status, array)) ?? stepsOrNothing(surplusSteps(world, found));
  return last ?? planReturn(world, status, array);
}
