/** The state table of partitions, the phases of volumes, and what is derived from both (SPEC §2). */
import type { MeshStorVolume, PartitionState, PartitionStatus, VolumePhase, VolumeStatus } from '../api/volume.ts';

/** Who may write a transition: the partition's node, the node that uses the volume, the controller, or a person by the command line. */
export type Actor = 'holder' | 'consumer' | 'controller' | 'person';

export interface Transition {
  readonly from: PartitionState;
  readonly to: PartitionState;
  readonly by: Actor;
  readonly why: string;
}

const row = (from: PartitionState, to: PartitionState, by: Actor, why: string): Transition => ({ from, to, by, why });

/** Every legal transition. An entry begins in `Requested` and ends by being taken out, from `Requested` (it cannot be made) or `Deleting`. */
export const PARTITION_TRANSITIONS: readonly Transition[] = [
  row('Requested', 'Created', 'holder', 'the partition is there, zeroed and read back'),
  row('Created', 'Synced', 'consumer', 'the array was born with it: all members are equal'),
  row('Created', 'Spare', 'consumer', 'it stands by as a replacement'),
  row('Created', 'Syncing', 'consumer', 'it was added to a slot that was empty'),
  row('Spare', 'Syncing', 'consumer', 'data is being copied to it'),
  row('Spare', 'Missing', 'consumer', 'its holder is gone'),
  row('Spare', 'Faulty', 'consumer', 'MD marked it faulty'),
  row('Syncing', 'Synced', 'consumer', 'its guard queues and MD reports it in sync'),
  row('Syncing', 'Missing', 'consumer', 'its path was lost, or a start left it out'),
  row('Syncing', 'Faulty', 'consumer', 'MD marked it faulty'),
  row('Synced', 'Syncing', 'consumer', 'the last consumer ended without saying so: equal only after a resync'),
  row('Synced', 'Missing', 'consumer', 'its path was lost, or a start left it out'),
  row('Synced', 'Faulty', 'consumer', 'an error on a live path'),
  row('Synced', 'Replacing', 'consumer', 'its replacement has all but the last chunk'),
  row('Missing', 'Syncing', 'consumer', 'it is back and was added again'),
  row('Missing', 'Faulty', 'consumer', 'MD marked it faulty'),
  row('Missing', 'Replacing', 'controller', 'missing for too long: another one takes its place'),
  row('Faulty', 'Syncing', 'consumer', 'it was wiped and added again'),
  row('Faulty', 'Replacing', 'controller', 'another one takes its place'),
  row('Replacing', 'Syncing', 'consumer', 'it is back and further than its replacement'),
  ...(['Requested', 'Created', 'Spare', 'Syncing', 'Synced', 'Missing', 'Faulty', 'Replacing', 'Unknown'] as const).map(
    (from) => row(from, 'Deleting', 'controller', 'the volume goes, or the member is not needed any more'),
  ),
  ...(['Requested', 'Created', 'Spare', 'Syncing', 'Missing', 'Faulty', 'Replacing'] as const).map((from) =>
    row(from, 'Unknown', 'controller', 'its node is gone for good'),
  ),
  row('Unknown', 'Missing', 'controller', 'its node is back'),
  ...(['Missing', 'Faulty', 'Replacing', 'Unknown'] as const).map((from) =>
    row(from, 'Synced', 'person', 'what was written after it was left out is given up'),
  ),
];

const legal = new Map(PARTITION_TRANSITIONS.map((transition) => [`${transition.from}>${transition.to}`, transition]));

export function findTransition(from: PartitionState, to: PartitionState): Transition | undefined {
  return legal.get(`${from}>${to}`);
}

/** Staying is no transition and always allowed. */
export function isLegalTransition(from: PartitionState, to: PartitionState, by: Actor): boolean {
  return from === to || findTransition(from, to)?.by === by;
}

/** Members that the volume should have. */
export function wantedMembers(volume: MeshStorVolume): number {
  return volume.spec.numberOfCopies * volume.spec.drivesPerCopy;
}

const UNBORN: ReadonlySet<PartitionState> = new Set(['Requested', 'Created']);
const COMING: ReadonlySet<PartitionState> = new Set(['Requested', 'Created', 'Spare']);

/** A wish stands, or its consumer has not made use of what was added yet. Without a consumer nothing is under way. */
export function isExpanding({ spec }: MeshStorVolume, { servedBytes, nodeName }: VolumeStatus): boolean {
  if (spec.expandToBytes !== undefined) return true;
  return nodeName !== '' && servedBytes !== undefined && servedBytes < spec.capacityBytes;
}

/** `Deleting` is final. A volume that expands says so whatever else it does. */
export function derivePhase(volume: MeshStorVolume, status: VolumeStatus): VolumePhase {
  if (status.phase === 'Deleting') return status.phase;
  if (isExpanding(volume, status)) return 'Expanding';
  const states = status.partitions.map((partition) => partition.state).filter((state) => state !== 'Deleting');
  if (states.length === 0) return volume.spec.activatedAt === undefined ? 'New' : status.phase;
  if (volume.spec.activatedAt === undefined && states.some((state) => UNBORN.has(state))) return 'Requested';
  if (states.some((state) => state === 'Replacing' || COMING.has(state))) return 'Replacing';
  return states.includes('Syncing') ? 'Syncing' : 'Synced';
}

function slotsIn(partitions: readonly PartitionStatus[], isCounted: (entry: PartitionStatus) => boolean): number {
  return new Set(partitions.filter(isCounted).map(({ slot }) => slot)).size;
}

const FILLING: ReadonlySet<PartitionState> = new Set(['Syncing', 'Synced']);

/** Members that are out, by what put them out, in slots that nothing fills: one that waits for its replacement counts as before. */
function countOut(partitions: readonly PartitionStatus[]): { readonly failed: number; readonly down: number } {
  const filled = new Set(partitions.filter(({ state }) => FILLING.has(state)).map(({ slot }) => slot));
  const isOpen = ({ slot }: PartitionStatus): boolean => !filled.has(slot);
  const isFailed = ({ state, failed }: PartitionStatus): boolean =>
    state === 'Faulty' || (state === 'Replacing' && failed === true);
  const isDown = (entry: PartitionStatus): boolean =>
    entry.state === 'Missing' ||
    entry.state === 'Unknown' ||
    (entry.state === 'Replacing' && entry.failed !== true && entry.missingEpoch !== undefined);
  return {
    failed: slotsIn(partitions, (entry) => isOpen(entry) && isFailed(entry)),
    down: slotsIn(partitions, (entry) => isOpen(entry) && isDown(entry)),
  };
}

/** The generation that no partition of the volume ever had, listed now or before (SPEC §1: no PARTUUID is used twice). */
export function nextGeneration(status: VolumeStatus): number {
  return Math.max(status.nextGeneration, ...status.partitions.map(({ generation }) => generation + 1));
}

/** Counters are relative to what the volume should have, never to MD's slots. Detached, nothing is said about the array. */
export function deriveStatus(volume: MeshStorVolume, status: VolumeStatus): VolumeStatus {
  const total = wantedMembers(volume);
  const active = Math.min(
    total,
    slotsIn(status.partitions, ({ state }) => state === 'Synced'),
  );
  const out = countOut(status.partitions);
  const isBorn = volume.spec.activatedAt !== undefined;
  const isAttached = status.nodeName !== '';
  return {
    ...status,
    phase: derivePhase(volume, status),
    mdState: isAttached ? status.mdState : '',
    syncPercentage: isAttached ? status.syncPercentage : '',
    totalDevices: total,
    activeDevices: active,
    failedDevices: out.failed,
    downDevices: out.down,
    degradedDevices: isBorn && status.phase !== 'Deleting' ? total - active : 0,
    ready: `${active}/${total}`,
    nextGeneration: nextGeneration(status),
    observedGeneration: volume.metadata.generation,
  };
}
