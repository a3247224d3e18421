/**
 * What MD has dropped by itself while the record still calls it a copy that a start may go by (SPEC §7.3): until that is on record the
 * guards of the other members hold back, or they alone would take writes that are acknowledged.
 */
import type { PartitionStatus } from '../api/volume.ts';
import { observeConsumer } from './health.ts';
import type { MendStep } from './steps.ts';
import { columnOfEntry, memberEntries, sortedBy, wait } from './view.ts';
import type { ArraySeen, ConsumerWorld, LegSeen, Plan } from './world.ts';

/**
 * A member that is still being filled is no copy that a start goes by. What will not be recorded is not waited for: the last copy of its
 * column that everything is on (see `recordObserved`).
 */
export function isDropUnrecorded(world: ConsumerWorld): boolean {
  const { volume } = world;
  if (volume.status === undefined) return false;
  const { dropped, inSync } = observeConsumer(world);
  const isDropped = ({ partitionUUID }: PartitionStatus): boolean =>
    dropped.some((member) => member.partitionUUID === partitionUUID);
  const isWhole = ({ state, partitionUUID }: PartitionStatus): boolean =>
    state === 'Synced' || (state === 'Syncing' && inSync.includes(partitionUUID));
  const entries = memberEntries(volume.status);
  const kept = new Set(
    entries.filter((entry) => isWhole(entry) && !isDropped(entry)).map((entry) => columnOfEntry(volume, entry)),
  );
  return entries.some(
    (entry) => entry.state === 'Synced' && isDropped(entry) && kept.has(columnOfEntry(volume, entry)),
  );
}

function guardsInUse({ legs, volume }: ConsumerWorld, { members }: ArraySeen): readonly LegSeen[] {
  const isInUse = (leg: LegSeen): boolean =>
    members.some(({ partitionUUID, faulty }) => partitionUUID === leg.partitionUUID && !faulty);
  const guards = legs.filter((leg) => leg.kind === 'guard' && leg.epoch === volume.status?.attachmentEpoch);
  return sortedBy(guards.filter(isInUse), ({ name }) => name);
}

/**
 * Of an array in service. Undefined when there is nothing to hold back and nothing held. MD's own record of the drop goes through the
 * same guards, and MD ends the write that failed only after it (`drivers/md/raid1.c`, `bio_end_io_list`). What was in flight beside that
 * one may end before the guards are held (docs/limits.md).
 */
export function planHoldBack(world: ConsumerWorld, array: ArraySeen): Plan<MendStep> | undefined {
  const guards = guardsInUse(world, array);
  const isHeld = ({ suspended }: LegSeen): boolean => suspended;
  if (!isDropUnrecorded(world)) {
    const held = guards.filter(isHeld);
    if (held.length === 0) return undefined;
    return { kind: 'steps', steps: held.map(({ name }) => ({ kind: 'resumeGuard', name })) };
  }
  const open = guards.filter((leg) => !isHeld(leg));
  if (open.length === 0)
    return wait('MD has dropped a member by itself: the others are held back until it is on record');
  return { kind: 'steps', steps: open.map(({ name }) => ({ kind: 'suspendGuard', name })) };
}
