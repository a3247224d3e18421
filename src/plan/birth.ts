/** The first start of a volume: the array is created, once (SPEC §7.12). */
import { bitmapChunkBytes, memberDataBytes } from '../api/layout.ts';
import { arrayUuidFor, shortIdFor } from '../api/names.ts';
import type { PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { readyLegs, stepsOf, waitsOf, wayOf } from './connections.ts';
import type { Member } from './connections.ts';
import { wantedMembers } from './lifecycle.ts';
import { abandonSteps } from './start.ts';
import type { StageStep } from './steps.ts';
import { describeMember, mdCopies, mdSlotOf, memberEntries, refuse, wait } from './view.ts';
import type { ConsumerWorld, LegSeen, Plan } from './world.ts';

/** Why a member is not ready to be born with; undefined when it is. `Synced` is left by a birth that did not end. */
function unbornReason(entry: PartitionStatus): string | undefined {
  if (entry.state === 'Created' || entry.state === 'Synced') return undefined;
  if (entry.state === 'Requested')
    return `${describeMember(entry)}: node ${entry.nodeID} has not made the partition yet`;
  return `${describeMember(entry)}: it is ${entry.state}, though the array was never created`;
}

function missingSlots(world: ConsumerWorld, entries: readonly PartitionStatus[]): readonly string[] {
  const slots = new Set(entries.map(({ slot }) => slot));
  return Array.from({ length: wantedMembers(world.volume) }, (_, slot) => slot)
    .filter((slot) => !slots.has(slot))
    .map((slot) => `member ${slot}: it is not placed yet`);
}

type ReadyMember = ReturnType<typeof readyLegs>[number];

function createArray(world: ConsumerWorld, ready: readonly ReadyMember[]): StageStep {
  const { volume, me } = world;
  const { capacityBytes, drivesPerCopy, volumeUUID } = volume.spec;
  const slots = mdCopies(volume) * drivesPerCopy;
  const bySlot = new Map<number, LegSeen>(ready.map(({ entry, leg }) => [mdSlotOf(volume, entry), leg]));
  const remote = ready.filter(({ entry }) => entry.nodeID !== me.nodeName).map(({ leg }) => leg.path);
  const level = drivesPerCopy === 1 ? 1 : 10;
  return {
    kind: 'createArray',
    arrayUUID: arrayUuidFor(volumeUUID),
    name: shortIdFor(volumeUUID),
    level,
    layoutCopies: mdCopies(volume),
    members: Array.from({ length: slots }, (_, slot) => bySlot.get(slot)?.path ?? 'missing'),
    writeMostly: level === 1 ? remote : [],
    memberDataBytes: memberDataBytes(capacityBytes, drivesPerCopy),
    bitmapChunkBytes: bitmapChunkBytes(capacityBytes),
  };
}

/**
 * Superblocks wiped, created, stamped and recorded in one plan: an array seen while `activatedAt` is absent has an unknown part
 * of that behind it and is made again. Nothing but MD's metadata is on it by then.
 */
function birthSteps(world: ConsumerWorld, status: VolumeStatus, ready: readonly ReadyMember[]): readonly StageStep[] {
  const legs = ready.map(({ leg }) => leg.path);
  const { volumeUUID, capacityBytes } = world.volume.spec;
  return [
    { kind: 'wipeSuperblocks', legs },
    createArray(world, ready),
    { kind: 'writeStamps', legs, volumeUUID, epoch: status.attachmentEpoch, attachmentID: status.attachmentID },
    { kind: 'recordBirth', partitionUUIDs: ready.map(({ entry }) => entry.partitionUUID), capacityBytes },
  ];
}

export function planBirth(world: ConsumerWorld, status: VolumeStatus): Plan<StageStep> {
  const { array } = world;
  if (array !== undefined && array.mountPoints.length > 0) {
    return refuse(
      'internal',
      `array ${array.name} is mounted at ${array.mountPoints.join(', ')} though it was never recorded as created`,
    );
  }
  if (array !== undefined) return { kind: 'steps', steps: abandonSteps(world, array) };
  const entries = memberEntries(status);
  const twice = entries.find((entry, index) => entries[index + 1]?.slot === entry.slot);
  if (twice !== undefined) return wait(`member ${twice.slot}: two partitions are listed for it`);
  const unborn = entries.flatMap((entry) => unbornReason(entry) ?? []);
  const born = entries.filter((entry) => unbornReason(entry) === undefined);
  const members: readonly Member[] = born.map((entry) => ({ entry, way: wayOf(world, status, entry) }));
  const preparation = stepsOf(members);
  if (preparation.length > 0) return { kind: 'steps', steps: preparation };
  const waits = [...missingSlots(world, entries), ...unborn, ...waitsOf(members)];
  if (waits.length > 0) return wait(waits.join('; '));
  return { kind: 'steps', steps: birthSteps(world, status, readyLegs(members)) };
}
