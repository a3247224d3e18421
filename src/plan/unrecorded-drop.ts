/**
 * What MD has dropped by itself while the record still calls it a copy that a start may go by (SPEC §7.3): until that is on record the
 * guards of the other members hold back, or they alone would take writes that are acknowledged.
 */
import type { PartitionStatus } from '../api/volume.ts';
import { observeConsumer } from './health.ts';
import type { HoldBackStep } from './steps.ts';
import { columnOfEntry, memberEntries, sortedBy } from './view.ts';
import type { ConsumerWorld, LegSeen } from './world.ts';

/**
 * A member that is still being filled is no copy that a start goes by. What cannot be recorded is not waited for: as long as no other
 * member of its column is recorded `Synced`, or could be in the same write (see `recordObserved`).
 */
export function isDropUnrecorded(world: ConsumerWorld): boolean {
  const { volume } = world;
  if (volume.status === undefined || volume.status.phase === 'Deleting') return false;
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

function guardsOf({ legs, volume }: ConsumerWorld): readonly LegSeen[] {
  const guards = legs.filter(({ kind, epoch }) => kind === 'guard' && epoch === volume.status?.attachmentEpoch);
  return sortedBy(guards, ({ name }) => name);
}

/** Guards of the volume that hold everything back. */
export function suspendedGuards(world: ConsumerWorld): readonly LegSeen[] {
  return guardsOf(world).filter(({ suspended }) => suspended);
}

/**
 * What is to be held back, or let go, now. MD's own record of the drop goes through the same guards, and MD ends the write that failed
 * only after it (`drivers/md/raid1.c`, `bio_end_io_list`). What was in flight beside that one may end before (docs/limits.md).
 */
export function planHoldBack(world: ConsumerWorld): readonly HoldBackStep[] {
  const { array } = world;
  const isUsed = ({ partitionUUID }: LegSeen): boolean =>
    array?.members.some((member) => member.partitionUUID === partitionUUID && !member.faulty) === true;
  const mustHold = array !== undefined && isDropUnrecorded(world);
  return guardsOf(world).flatMap((leg): readonly HoldBackStep[] => {
    const mustBeHeld = mustHold && isUsed(leg);
    if (mustBeHeld === leg.suspended) return [];
    return [{ kind: mustBeHeld ? 'suspendGuard' : 'resumeGuard', name: leg.name }];
  });
}
