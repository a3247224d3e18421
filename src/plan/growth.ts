/**
 * What a holder does for a wish to grow: it says how far its partition can grow in place, and once all members can, grows it,
 * zeroes what came in, and records the new size (SPEC §7.12, §9). Until that record the range counts as somebody's old data, but
 * for what this very process has zeroed: much is zeroed in turns, so that fencing and mending get theirs in between.
 */
import { legNameFor } from '../api/names.ts';
import type { PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { answerOf, isReadyToGrow, mayGrow, neededBytes } from './expansion.ts';
import type { HolderStep } from './steps.ts';
import { describeMember, whyUnseen } from './view.ts';
import type { HolderWorld, LocalPartitionSeen } from './world.ts';

interface GrowthPlan {
  readonly steps: readonly HolderStep[];
  readonly waits: readonly string[];
}

const NOTHING: GrowthPlan = { steps: [], waits: [] };
const waitingFor = (entry: PartitionStatus, why: string): GrowthPlan => ({
  steps: [],
  waits: [`${describeMember(entry)}: ${why}`],
});

/** The table has the new size, the kernel still the old one: cut off in between. */
export function isHalfGrown(entry: PartitionStatus, { path, sizeBytes }: LocalPartitionSeen): boolean {
  return path === undefined && sizeBytes > entry.sizeBytes;
}

/** The kernel does not know a partition as the table has it. Of one that is half grown, the same resize tells it. */
export function tableStep(entry: PartitionStatus, partition: LocalPartitionSeen): HolderStep {
  const { partitionUUID, diskPath, sizeBytes } = partition;
  if (!isHalfGrown(entry, partition)) return { kind: 'repairTable', partitionUUID, diskPath };
  return { kind: 'growPartition', partitionUUID, diskPath, sizeBytes };
}

/** The claim follows the partition; who exports it sees the new size when it is asked for it. */
export function claimGrowth(
  world: HolderWorld,
  status: VolumeStatus,
  partition: LocalPartitionSeen,
  sizeBytes: number,
): readonly HolderStep[] {
  if (status.attachmentEpoch === 0) return [];
  const name = legNameFor(partition.partitionUUID, status.attachmentEpoch);
  const claim = world.legs.find((leg) => leg.name === name && leg.kind === 'linear');
  if (claim === undefined || partition.path === undefined || claim.sizeBytes >= sizeBytes) return [];
  return [{ kind: 'growClaim', partitionUUID: partition.partitionUUID, name, path: partition.path, sizeBytes }];
}

/** Undefined when it cannot be known now. */
function growableBytes(world: HolderWorld, partition: LocalPartitionSeen): number | undefined {
  const drive = world.drives.find(({ diskPath }) => diskPath === partition.diskPath);
  if (drive === undefined || drive.isUnreadable === true) return undefined;
  if (!drive.usable) return partition.sizeBytes;
  const end = partition.startBytes + partition.sizeBytes;
  const behind = drive.freeExtents.find(({ startBytes }) => startBytes === end);
  return partition.sizeBytes + (behind?.sizeBytes ?? 0);
}

function growSteps(
  world: HolderWorld,
  status: VolumeStatus,
  entry: PartitionStatus,
  partition: LocalPartitionSeen & { readonly path: string },
  sizeBytes: number,
): readonly HolderStep[] {
  const { partitionUUID, diskPath, path } = partition;
  const resize: readonly HolderStep[] =
    partition.sizeBytes < sizeBytes ? [{ kind: 'growPartition', partitionUUID, diskPath, sizeBytes }] : [];
  const startBytes = Math.max(entry.sizeBytes, world.zeroedTo?.[partitionUUID] ?? 0);
  if (startBytes < sizeBytes) {
    return [...resize, { kind: 'zeroGrowth', partitionUUID, path, startBytes, sizeBytes: sizeBytes - startBytes }];
  }
  return [
    ...resize,
    ...claimGrowth(world, status, partition, sizeBytes),
    { kind: 'recordGrown', partitionUUID, sizeBytes },
  ];
}

export function planGrowth(
  world: HolderWorld,
  status: VolumeStatus,
  entry: PartitionStatus,
  partition: LocalPartitionSeen | undefined,
): GrowthPlan {
  const { volume } = world;
  const wish = volume.spec.expandToBytes;
  if (wish === undefined || entry.sizeBytes >= neededBytes(volume, wish)) return NOTHING;
  if (!isReadyToGrow(entry)) return waitingFor(entry, `it is ${entry.state} and does not grow now`);
  if (partition === undefined) {
    return waitingFor(entry, whyUnseen(world.drives, entry) ?? 'the partition is not here');
  }
  const { path, partitionUUID } = partition;
  if (path === undefined) {
    return { steps: [tableStep(entry, partition)], waits: [] };
  }
  if (partition.foreignHolders.length > 0) {
    return waitingFor(entry, `the partition is held by ${[...partition.foreignHolders].sort().join(', ')}`);
  }
  const growableToBytes = growableBytes(world, partition);
  if (growableToBytes === undefined) return waitingFor(entry, 'its drive cannot be read');
  const sizeBytes = neededBytes(volume, wish);
  const answer = growableToBytes >= sizeBytes ? 'yes' : 'no';
  if (answerOf(volume, entry) !== answer) {
    return {
      steps: [{ kind: 'recordGrowable', partitionUUID, expandToBytes: wish, growableToBytes }],
      waits: [],
    };
  }
  if (answer === 'no') return waitingFor(entry, `it cannot grow to ${sizeBytes} bytes, ${growableToBytes} at most`);
  if (!mayGrow(volume)) return waitingFor(entry, 'it grows when all members can');
  return { steps: growSteps(world, status, entry, { ...partition, path }, sizeBytes), waits: [] };
}
