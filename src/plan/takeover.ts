/**
 * A volume whose members that hold every write cannot be reached waits for them (SPEC §7.7). Here a person decides otherwise: an older
 * copy becomes the truth, and what was acknowledged after it was left out is given up.
 */
import { setCondition } from '../api/conditions.ts';
import { DomainError } from '../api/errors.ts';
import { copyOf } from '../api/layout.ts';
import type { MeshStorVolume, PartitionState, PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { isLegalTransition } from './lifecycle.ts';
import { finish, withEntries } from './recording.ts';
import { describeMember, emptyColumns, isWitnessBehind, memberEntries } from './view.ts';

/** `True` from a takeover on: what had been acknowledged may be missing. Stays, so that nobody wonders later. */
export const TAKEN_OVER_CONDITION = 'TakenOver';

export interface TakeoverWish {
  /** PARTUUIDs of the copy to go on with; none: the only one there is. */
  readonly members: readonly string[];
  /** Nodes that are heard of now. */
  readonly freshNodes: ReadonlySet<string>;
}

export interface Takeover {
  readonly status: VolumeStatus;
  /** Go on with these. */
  readonly chosen: readonly PartitionStatus[];
  /** Held every write, and come back only wiped. */
  readonly givenUp: readonly PartitionStatus[];
}

function refuse({ metadata }: MeshStorVolume, why: string): DomainError {
  return new DomainError('precondition', `taking over volume ${metadata.name}: ${why}`);
}

/** A running array would go on with what it has, and the copy that is chosen here would overwrite it. */
function requireUnused(volume: MeshStorVolume): VolumeStatus {
  const { status, spec } = volume;
  if (status === undefined) throw refuse(volume, 'its status is gone: restore the object first');
  if (status.phase === 'Deleting') throw refuse(volume, 'it is being deleted');
  if (spec.activatedAt === undefined) throw refuse(volume, 'nothing was ever written to it');
  if (isWitnessBehind(volume))
    throw refuse(volume, 'WitnessBehind: its object is older than its disks, restore its status');
  const { nodeName, mdState } = status;
  if (nodeName !== '' && mdState !== '' && mdState !== 'missing') {
    throw refuse(
      volume,
      `node ${nodeName} has it, its array is ${mdState} there: delete the pod and wait until it is detached; if the node is dead, give it the taint node.kubernetes.io/out-of-service`,
    );
  }
  return status;
}

function describe(entry: PartitionStatus): string {
  const since = entry.state === 'Synced' ? '' : ` since ${entry.updatedAt}`;
  return `${describeMember(entry)}: ${entry.state}${since}`;
}

const listed = (entries: readonly PartitionStatus[]): string => entries.map(describe).join('; ');

/** Whether somebody who holds every write is heard of, for every part of the data. */
function isServable(volume: MeshStorVolume, entries: readonly PartitionStatus[], wish: TakeoverWish): boolean {
  const there = entries.filter(({ state, nodeID }) => state === 'Synced' && wish.freshNodes.has(nodeID));
  return emptyColumns(volume, there).length === 0;
}

/** A copy is taken whole: columns of different times make no filesystem. */
function copiesOf(
  volume: MeshStorVolume,
  entries: readonly PartitionStatus[],
): readonly (readonly PartitionStatus[])[] {
  const { numberOfCopies, drivesPerCopy } = volume.spec;
  // Who stands in for one that is being replaced was never whole: with its first `Synced` the old one goes.
  const isNewcomer = ({ slot, generation }: PartitionStatus): boolean =>
    entries.some((other) => other.state === 'Replacing' && other.slot === slot && other.generation < generation);
  const isUsable = (entry: PartitionStatus): boolean =>
    entry.state === 'Synced' || (isLegalTransition(entry.state, 'Synced', 'person') && !isNewcomer(entry));
  return Array.from({ length: numberOfCopies }, (_, copy) =>
    entries.filter((entry) => copyOf(entry.slot, numberOfCopies) === copy && isUsable(entry)),
  ).filter((copy) => emptyColumns(volume, copy).length === 0 && copy.length === drivesPerCopy);
}

function chooseNamed(
  volume: MeshStorVolume,
  entries: readonly PartitionStatus[],
  members: readonly string[],
): readonly PartitionStatus[] {
  const unknown = members.find((uuid) => !entries.some(({ partitionUUID }) => partitionUUID === uuid));
  if (unknown !== undefined) throw refuse(volume, `it has no member ${unknown}: ${listed(entries)}`);
  const named = copiesOf(volume, entries).filter((copy) =>
    members.every((uuid) => copy.some(({ partitionUUID }) => partitionUUID === uuid)),
  );
  const [only] = named;
  if (only === undefined) throw refuse(volume, `what is named is no whole copy: ${listed(entries)}`);
  if (only.every(({ state }) => state === 'Synced')) {
    throw refuse(volume, `what is named holds every write, nothing has to be given up: ${listed(entries)}`);
  }
  return only;
}

/** The copy to go on with. */
function choose(
  volume: MeshStorVolume,
  entries: readonly PartitionStatus[],
  wish: TakeoverWish,
): readonly PartitionStatus[] {
  if (wish.members.length > 0) return chooseNamed(volume, entries, wish.members);
  if (isServable(volume, entries, wish)) {
    throw refuse(
      volume,
      `what holds every write is on nodes that are heard of, nothing is lost: ${listed(entries)}; if a drive there is dead, name the member to go on with by --member`,
    );
  }
  const candidates = copiesOf(volume, entries).filter((copy) =>
    copy.every(({ nodeID }) => wish.freshNodes.has(nodeID)),
  );
  const [only] = candidates;
  if (only === undefined)
    throw refuse(volume, `no copy that was whole once is on nodes that are heard of: ${listed(entries)}`);
  if (candidates.length > 1)
    throw refuse(volume, `several copies could be used, name one by --member: ${listed(entries)}`);
  return only;
}

/**
 * The status with an older copy as the truth. Throws a `precondition` when the volume is in use, when nothing is lost, or when it is not
 * clear which copy is meant.
 */
export function takeOver(volume: MeshStorVolume, wish: TakeoverWish, now: string): Takeover {
  const status = requireUnused(volume);
  const entries = memberEntries(status);
  const chosen = choose(volume, entries, wish);
  const givenUp = entries.filter((entry) => entry.state === 'Synced' && !chosen.includes(entry));
  const changed = (entry: PartitionStatus): PartitionStatus => {
    if (chosen.includes(entry)) return asTruth(entry, now);
    return entries.includes(entry) ? asStale(entry, now) : entry;
  };
  const names = (members: readonly PartitionStatus[]): string => members.map(describeMember).join(', ');
  const lost = givenUp.length === 0 ? '' : `, with ${names(givenUp)}`;
  const condition = {
    type: TAKEN_OVER_CONDITION,
    status: 'True' as const,
    reason: 'DataLossAccepted',
    message: `a person decided at ${now} to go on with ${names(chosen)}; what was written after it was left out is given up${lost}`,
  };
  // Not released: what was in flight when it was left out is on one mirror or another.
  const more = { releasedEpoch: 0, conditions: setCondition(status.conditions, condition, now) };
  return { status: finish(volume, withEntries(status, changed, more)) ?? status, chosen, givenUp };
}

function asTruth(entry: PartitionStatus, now: string): PartitionStatus {
  const { stale: _stale, missingEpoch: _missingEpoch, failed: _failed, ...rest } = entry;
  return { ...rest, state: 'Synced', updatedAt: now };
}

/** Nothing was copied to them yet. */
const NEW: ReadonlySet<PartitionState> = new Set(['Requested', 'Created', 'Spare']);

/** Comes back only wiped (SPEC §7.8): it may hold more than the truth of now. */
function asStale(entry: PartitionStatus, now: string): PartitionStatus {
  if (NEW.has(entry.state)) return entry;
  const isUsed = entry.state === 'Synced' || entry.state === 'Syncing';
  return isUsed ? { ...entry, state: 'Missing', stale: true, updatedAt: now } : { ...entry, stale: true };
}
