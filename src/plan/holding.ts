/** What a node does for the partitions of a volume that it holds: makes, serves and removes them (SPEC §5, §7.5, §7.11, §7.13). */
import { partitionLabelFor } from '../api/names.ts';
import { isSameDrive } from '../api/node-device.ts';
import type { PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { planGrant, revokeSteps } from './grant.ts';
import { isHalfGrown, planGrowth, tableStep } from './growth.ts';
import type { HolderStep } from './steps.ts';
import { describeMember, refuse, sortedBy, wait, refuseBehind, whyUnseen } from './view.ts';
import type { DriveTableSeen, HolderWorld, LocalPartitionSeen, Plan } from './world.ts';

/** What one entry needs: steps, or what it waits for, or nothing. */
export interface EntryPlan {
  readonly steps: readonly HolderStep[];
  readonly waits: readonly string[];
}

const NOTHING: EntryPlan = { steps: [], waits: [] };
const doing = (...steps: readonly HolderStep[]): EntryPlan => ({ steps, waits: [] });
const waitingFor = (entry: PartitionStatus, why: string): EntryPlan => ({
  steps: [],
  waits: [`${describeMember(entry)}: ${why}`],
});

/** The smallest free extent that is large enough, the first of equal ones. */
function bestFit(drive: DriveTableSeen, sizeBytes: number): number | undefined {
  const fitting = drive.freeExtents.filter((extent) => extent.sizeBytes >= sizeBytes);
  const ordered = sortedBy(
    sortedBy(fitting, (extent) => extent.startBytes),
    (extent) => extent.sizeBytes,
  );
  return ordered[0]?.startBytes;
}

/** By serial number and namespace id; where the entry has none, of several the one with the name that was chosen. */
function chosenDrive(world: HolderWorld, entry: PartitionStatus): DriveTableSeen | undefined {
  const candidates = world.drives.filter((drive) => isSameDrive(drive, entry));
  return candidates.length === 1 ? candidates[0] : candidates.find(({ device }) => device === entry.device);
}

/** Only on the drive that was chosen: its space is what the placement reserved. */
function planCreation(world: HolderWorld, entry: PartitionStatus, busyDisks: Set<string>): EntryPlan {
  const { partitionUUID, sizeBytes } = entry;
  const impossible = (reason: string): EntryPlan => doing({ kind: 'recordImpossible', partitionUUID, reason });
  const drive = chosenDrive(world, entry);
  if (drive === undefined) return impossible('no drive with this serial number is here');
  if (drive.isUnreadable === true) return waitingFor(entry, `the drive cannot be read: ${drive.unusableReason}`);
  if (!drive.usable) return impossible(`the drive must not be used: ${drive.unusableReason}`);
  if (busyDisks.has(drive.diskPath)) return waitingFor(entry, `another partition is being made on ${drive.diskPath}`);
  if (drive.gptState === 'primary-only' || drive.gptState === 'backup-only') {
    busyDisks.add(drive.diskPath);
    return doing({ kind: 'repairTable', partitionUUID, diskPath: drive.diskPath });
  }
  const startBytes = bestFit(drive, sizeBytes);
  if (startBytes === undefined) {
    const largest = Math.max(0, ...drive.freeExtents.map((extent) => extent.sizeBytes));
    return impossible(`it needs ${sizeBytes} bytes in one piece, the largest free piece has ${largest}`);
  }
  busyDisks.add(drive.diskPath);
  const label = partitionLabelFor(world.volume.spec.volumeUUID);
  return doing({ kind: 'createPartition', partitionUUID, diskPath: drive.diskPath, startBytes, sizeBytes, label });
}

/** `Requested`: made, zeroed, recorded. One that is there already was cut off before its record: it is zeroed again. */
function planRequested(
  world: HolderWorld,
  entry: PartitionStatus,
  partition: LocalPartitionSeen | undefined,
  busyDisks: Set<string>,
): EntryPlan {
  const { partitionUUID } = entry;
  if (partition === undefined) return planCreation(world, entry, busyDisks);
  if (partition.foreignHolders.length > 0) return waitingFor(entry, heldBy(partition));
  if (partition.path === undefined) return doing({ kind: 'repairTable', partitionUUID, diskPath: partition.diskPath });
  if (partition.sizeBytes < entry.sizeBytes) {
    return waitingFor(entry, `the partition has ${partition.sizeBytes} bytes, ${entry.sizeBytes} were asked for`);
  }
  return doing(
    { kind: 'zeroPartition', partitionUUID, path: partition.path, sizeBytes: partition.sizeBytes },
    { kind: 'recordCreated', partitionUUID },
  );
}

export function heldBy(partition: LocalPartitionSeen): string {
  return `the partition is held by ${[...partition.foreignHolders].sort().join(', ')}`;
}

/** Nobody reaches it any more: every export and every leg of it, whatever its epoch. */
function cutOff(world: HolderWorld, entry: PartitionStatus): readonly HolderStep[] {
  const isOf = (seen: { readonly partitionUUID: string }): boolean => seen.partitionUUID === entry.partitionUUID;
  const legs = sortedBy(world.legs.filter(isOf), ({ name }) => name);
  return [
    ...revokeSteps(world.volume, entry, world.exports.filter(isOf)),
    ...legs.map(({ name }): HolderStep => ({ kind: 'removeLeg', name })),
  ];
}

function planRemoval(world: HolderWorld, entry: PartitionStatus, partition: LocalPartitionSeen | undefined): EntryPlan {
  const { partitionUUID } = entry;
  const user = world.array?.members.find((member) => member.partitionUUID === partitionUUID);
  if (user !== undefined) return waitingFor(entry, `array ${world.array?.name ?? ''} still has it as a member`);
  const cut = cutOff(world, entry);
  if (partition === undefined) {
    const unseen = whyUnseen(world.drives, entry);
    if (unseen !== undefined) {
      return { ...waitingFor(entry, `${unseen}: it is not known to be wiped`), steps: cut };
    }
    return doing(...cut, { kind: 'recordRemoved', partitionUUID });
  }
  if (partition.foreignHolders.length > 0) return { ...waitingFor(entry, heldBy(partition)), steps: cut };
  if (partition.path === undefined) return doing(...cut, tableStep(entry, partition));
  return doing(
    ...cut,
    { kind: 'wipePartition', partitionUUID, path: partition.path, sizeBytes: partition.sizeBytes },
    { kind: 'removePartition', partitionUUID, diskPath: partition.diskPath },
    { kind: 'recordRemoved', partitionUUID },
  );
}

function planEntry(
  world: HolderWorld,
  status: VolumeStatus,
  entry: PartitionStatus,
  busyDisks: Set<string>,
): EntryPlan {
  const partition = world.partitions.find(({ partitionUUID }) => partitionUUID === entry.partitionUUID);
  if (entry.state === 'Requested') {
    return status.phase === 'Deleting' ? NOTHING : planRequested(world, entry, partition, busyDisks);
  }
  if (entry.state === 'Deleting') return planRemoval(world, entry, partition);
  if (status.phase === 'Deleting') return NOTHING;
  const grant = planGrant(world, status, entry, partition);
  if (grant.steps.length > 0) return grant;
  if (partition !== undefined && isHalfGrown(entry, partition)) {
    return { steps: [tableStep(entry, partition)], waits: grant.waits };
  }
  const growth = planGrowth(world, status, entry, partition);
  return { steps: growth.steps, waits: [...grant.waits, ...growth.waits] };
}

/** One pass over this node's entries of the volume. Partitions that the object does not list are left alone. */
export function planHolder(world: HolderWorld): Plan<HolderStep> {
  const { volume, me } = world;
  const { status } = volume;
  if (status === undefined) {
    if (volume.spec.activatedAt === undefined) return { kind: 'done' };
    return refuse('precondition', `volume ${volume.metadata.name} has data, but its status is gone`, 'StatusLost');
  }
  const own = status.partitions.filter(({ nodeID }) => nodeID === me.nodeName);
  if (own.length === 0) return { kind: 'done' };
  const behind = refuseBehind(world);
  if (behind !== undefined) return behind;
  const busyDisks = new Set<string>();
  const plans = sortedBy(own, ({ partitionUUID }) => partitionUUID).map((entry) =>
    planEntry(world, status, entry, busyDisks),
  );
  const steps = plans.flatMap((plan) => plan.steps);
  if (steps.length > 0) return { kind: 'steps', steps };
  const waits = plans.flatMap((plan) => plan.waits);
  return waits.length > 0 ? wait(waits.join('; ')) : { kind: 'done' };
}
