/**
 * Which members of a born volume get a replacement, and which of those that stand for one slot go (SPEC §8). A slot's entries are told
 * apart by their generation: the youngest is the newcomer, those before it are `Replacing`. Who comes into the array is decided where the
 * array is (returning.ts); here is what follows from it:
 *
 * 1. A `Synced` member of a slot ends the contest: all others of the slot go (SPEC §7.4: not one before).
 * 2. An older member that is being copied to again has come back in time: a newcomer that never was in the array goes.
 * 3. A newcomer that its holder does not make goes, and another one is placed.
 *
 * Never touched: a `Synced` member, and any member of a column that has none.
 */
import { copyOf } from '../api/layout.ts';
import type { MeshStorVolume, PartitionState, PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { isLegalTransition, nextGeneration, wantedMembers } from './lifecycle.ts';
import { refusal, requireStatus } from './owner.ts';
import type { Avoided } from './placement.ts';
import { finish, withEntries } from './recording.ts';
import { columnOfEntry, memberEntries } from './view.ts';

/** What the observer knows of members that are out; all times on its own clock. */
export interface OutSeen {
  /** How long a `Missing` member has counted as such. */
  readonly outMs: (partitionUUID: string) => number;
  /** How long nothing was heard of a node. */
  readonly silenceMs: (node: string) => number;
  /** The node was heard of, and does not list the drive any more. */
  readonly isDriveGone: (entry: PartitionStatus) => boolean;
}

export type SurplusReason = 'replaced' | 'returned' | 'silent';

export interface Surplus {
  readonly entry: PartitionStatus;
  readonly why: SurplusReason;
}

/** One copy of which members are to be placed: on one node, all at once. */
export interface OpenCopy {
  readonly slots: readonly number[];
  /** `Missing` or `Faulty` by now: each is `Replacing` with the write that lists its replacement. */
  readonly replaced: readonly PartitionStatus[];
  /** Members that stay, at most one for a slot. */
  readonly keep: readonly PartitionStatus[];
  readonly avoid: readonly Avoided[];
}

const COMING: ReadonlySet<PartitionState> = new Set(['Requested', 'Created']);

const limitMsOf = ({ spec }: MeshStorVolume): number => spec.memberMissingTimeout * 1000;

function mayReplace(volume: MeshStorVolume): boolean {
  return volume.spec.activatedAt !== undefined && volume.status !== undefined && volume.status.phase !== 'Deleting';
}

/**
 * Whether the time that a member is `Missing` counts. Only a consumer brings a member back: without one that runs the array, being
 * `Missing` says nothing of now, but for a holder that nothing is heard of.
 */
export function isOutCounted(status: VolumeStatus, entry: PartitionStatus, isSilent: boolean): boolean {
  if (entry.state !== 'Missing') return false;
  const isServed = status.nodeName !== '' && status.mdState !== '' && status.mdState !== 'missing';
  return isSilent || isServed;
}

function surplusReason(
  volume: MeshStorVolume,
  entry: PartitionStatus,
  entries: readonly PartitionStatus[],
  silenceMs: OutSeen['silenceMs'],
): SurplusReason | undefined {
  if (entry.state === 'Synced') return undefined;
  const others = entries.filter((other) => other !== entry && other.slot === entry.slot);
  const winner = others.find(({ state }) => state === 'Synced');
  if (winner !== undefined) return winner.generation > entry.generation ? 'replaced' : 'returned';
  if (!COMING.has(entry.state)) return undefined;
  const isOlder = (other: PartitionStatus): boolean => other.generation < entry.generation;
  if (others.some((other) => other.state === 'Syncing' && isOlder(other))) return 'returned';
  return silenceMs(entry.nodeID) > limitMsOf(volume) ? 'silent' : undefined;
}

/** Entries that are not needed any more. */
export function surplusMembers(volume: MeshStorVolume, silenceMs: OutSeen['silenceMs']): readonly Surplus[] {
  const { status } = volume;
  if (!mayReplace(volume) || status === undefined) return [];
  const entries = memberEntries(status);
  return entries.flatMap((entry) => {
    const why = surplusReason(volume, entry, entries, silenceMs);
    return why === undefined ? [] : [{ entry, why }];
  });
}

/** They become `Deleting`, as far as they are still not needed; undefined when none is. */
export function recordSurplus(
  volume: MeshStorVolume,
  silenceMs: OutSeen['silenceMs'],
  now: string,
): VolumeStatus | undefined {
  const surplus = new Set(surplusMembers(volume, silenceMs).map(({ entry }) => entry));
  if (surplus.size === 0) return undefined;
  return finish(
    volume,
    withEntries(requireStatus(volume), (entry) =>
      surplus.has(entry) ? { ...entry, state: 'Deleting', updatedAt: now } : entry,
    ),
  );
}

/** Out for so long, or in such a way, that another one takes its place. */
function isDue(volume: MeshStorVolume, entry: PartitionStatus, seen: OutSeen): boolean {
  if (entry.state === 'Faulty') return true;
  return entry.state === 'Missing' && seen.outMs(entry.partitionUUID) > limitMsOf(volume);
}

/** Columns with a member to copy from. */
function servedColumns(volume: MeshStorVolume, entries: readonly PartitionStatus[]): ReadonlySet<number> {
  const synced = entries.filter(({ state }) => state === 'Synced');
  return new Set(synced.map((entry) => columnOfEntry(volume, entry)));
}

/** Where the members of a copy were, and may not come again. */
function avoidedBy(
  gone: readonly PartitionStatus[],
  keep: readonly PartitionStatus[],
  seen: OutSeen,
): readonly Avoided[] {
  return gone.flatMap((entry): readonly Avoided[] => {
    const { nodeID: node, serial } = entry;
    if (entry.state === 'Faulty' || entry.failed === true) {
      return [{ node, serial, reason: 'a member of this volume failed on it' }];
    }
    // The rest of the copy is there and stays: the node can be reached, and no other one will do.
    if (keep.some(({ nodeID }) => nodeID === node) || seen.isDriveGone(entry)) {
      return [{ node, serial, reason: 'a member of this volume is missing on it' }];
    }
    return [{ node, reason: 'its member of this volume is missing' }];
  });
}

/** Copies of which members have to be placed. */
export function openCopies(volume: MeshStorVolume, seen: OutSeen): readonly OpenCopy[] {
  const { status } = volume;
  if (!mayReplace(volume) || status === undefined) return [];
  const { numberOfCopies } = volume.spec;
  const entries = memberEntries(status);
  const served = servedColumns(volume, entries);
  const surplus = new Set(surplusMembers(volume, seen.silenceMs).map(({ entry }) => entry));
  const isReplaced = (entry: PartitionStatus): boolean =>
    isDue(volume, entry, seen) && served.has(columnOfEntry(volume, entry));
  const stays = entries.filter((entry) => entry.state !== 'Replacing' && !surplus.has(entry) && !isReplaced(entry));
  const keep = stays.filter((entry, index) => stays.findIndex(({ slot }) => slot === entry.slot) === index);
  const slots = Array.from({ length: wantedMembers(volume) }, (_, slot) => slot).filter(
    (slot) => served.has(Math.floor(slot / numberOfCopies)) && !keep.some((entry) => entry.slot === slot),
  );
  // Whoever may still come back to its node has it.
  const mayReturn = (entry: PartitionStatus): boolean => entry.failed !== true && entry.state !== 'Faulty';
  const taken = entries.filter((entry) => !keep.includes(entry) && !surplus.has(entry) && mayReturn(entry));
  const copies = [...new Set(slots.map((slot) => copyOf(slot, numberOfCopies)))];
  return copies.map((copy) => {
    const isOfCopy = ({ slot }: { readonly slot: number }): boolean => copyOf(slot, numberOfCopies) === copy;
    const open = slots.filter((slot) => isOfCopy({ slot }));
    const gone = entries.filter((entry) => open.includes(entry.slot));
    const replaced = gone.filter((entry) => isReplaced(entry) && !surplus.has(entry));
    const elsewhere = taken.filter((entry) => !isOfCopy(entry));
    const avoid = [
      ...avoidedBy(gone, keep.filter(isOfCopy), seen),
      ...elsewhere.map(({ nodeID }) => ({ node: nodeID, reason: 'another copy of this volume may come back on it' })),
    ];
    return { slots: open, replaced, keep, avoid };
  });
}

/** The old one as it stands while another one takes its place. What a faulty drive holds is never believed again. */
function asReplacing(volume: MeshStorVolume, entry: PartitionStatus, now: string): PartitionStatus {
  if (!isLegalTransition(entry.state, 'Replacing', 'controller')) {
    throw refusal(volume, `partition ${entry.partitionUUID} is ${entry.state}: it is not replaced`);
  }
  const isFailed = entry.state === 'Faulty';
  return { ...entry, state: 'Replacing', updatedAt: now, ...(isFailed ? { failed: true, stale: true } : {}) };
}

/** New entries and the old ones' `Replacing`, in one write; undefined when the volume is not any more as it was when that was planned. */
export function recordReplacement(
  volume: MeshStorVolume,
  { slots, replaced }: OpenCopy,
  newcomers: readonly PartitionStatus[],
  now: string,
): VolumeStatus | undefined {
  const { status } = volume;
  if (!mayReplace(volume) || status === undefined) return undefined;
  const states = new Map(replaced.map(({ partitionUUID, state }) => [partitionUUID, state]));
  const isReplaced = (entry: PartitionStatus): boolean => states.get(entry.partitionUUID) === entry.state;
  const entries = memberEntries(status);
  const isTaken = entries.some(
    (entry) => slots.includes(entry.slot) && entry.state !== 'Replacing' && !isReplaced(entry),
  );
  const served = servedColumns(volume, entries);
  const isServed = newcomers.every((entry) => served.has(columnOfEntry(volume, entry)));
  const isNew = newcomers.every(({ generation }) => generation >= nextGeneration(status));
  const isWhole = newcomers.length === slots.length && newcomers.every(({ slot }) => slots.includes(slot));
  if (isTaken || !isServed || !isNew || !isWhole) return undefined;
  if (entries.filter(isReplaced).length < replaced.length) return undefined;
  const next = withEntries(status, (entry) => (isReplaced(entry) ? asReplacing(volume, entry, now) : entry));
  return finish(volume, { ...next, partitions: [...next.partitions, ...newcomers] });
}
