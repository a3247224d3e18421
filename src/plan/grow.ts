/**
 * What the consumer does once the capacity has moved on: guards, array, filesystem, record (SPEC §9). Nothing is written to MD
 * while a guard of the array holds I/O back (SPEC §7.10).
 */
import { memberDataBytes } from '../api/layout.ts';
import { subsystemNqnFor } from '../api/names.ts';
import type { PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { inSyncMembers } from './health.ts';
import { neededBytes } from './expansion.ts';
import { NOT_RUNNING, refuseByObject } from './staging.ts';
import type { StageStep } from './steps.ts';
import { describeMember, hasPath, memberEntries, sortedBy, wait } from './view.ts';
import type { ArraySeen, ConsumerWorld, LegSeen, Plan } from './world.ts';

function guardOf(world: ConsumerWorld, status: VolumeStatus, entry: PartitionStatus): LegSeen | undefined {
  return world.legs.find(
    (leg) => leg.partitionUUID === entry.partitionUUID && leg.epoch === status.attachmentEpoch && leg.kind === 'guard',
  );
}

/** Why the array cannot grow on account of this member; undefined when it can. */
function unfit(
  world: ConsumerWorld,
  status: VolumeStatus,
  array: ArraySeen,
  entry: PartitionStatus,
): string | undefined {
  const what = describeMember(entry);
  if (entry.state !== 'Synced') return `${what} is ${entry.state}`;
  if (!inSyncMembers(array).has(entry.partitionUUID)) return `${what} is not in sync in array ${array.name}`;
  const guard = guardOf(world, status, entry);
  if (guard === undefined || !hasPath(world, guard)) return `${what}: its path is lost`;
  const needed = neededBytes(world.volume, world.volume.spec.capacityBytes);
  return entry.sizeBytes < needed ? `${what} has ${entry.sizeBytes} bytes, ${needed} are needed` : undefined;
}

/** The guard with the size that its entry has; first what is under it has to be seen with it. */
function guardSteps(world: ConsumerWorld, status: VolumeStatus, entry: PartitionStatus): readonly StageStep[] {
  const guard = guardOf(world, status, entry);
  const { partitionUUID, sizeBytes, nodeID, nvmeofNamespaceID: nsid } = entry;
  if (guard?.underPath === undefined || guard.sizeBytes >= sizeBytes) return [];
  const reload: StageStep = {
    kind: 'reloadGuard',
    name: guard.name,
    partitionUUID,
    sizeBytes,
    path: guard.underPath,
  };
  if (nodeID === world.me.nodeName) return [reload];
  const nqn = subsystemNqnFor(partitionUUID, status.attachmentEpoch, status.attachmentID);
  const seen = world.imports.find((candidate) => candidate.nqn === nqn);
  if ((seen?.namespaceSizeBytes ?? 0) >= sizeBytes) return [reload];
  return [{ kind: 'refreshNamespace', partitionUUID, nqn, nsid, sizeBytes }, reload];
}

const QUIET: ReadonlySet<string> = new Set(['idle', 'frozen']);

function busyReason(array: ArraySeen): string | undefined {
  if (!QUIET.has(array.syncAction)) return `array ${array.name} is busy: ${array.syncAction}`;
  return array.resyncPending === true ? `array ${array.name} has a resync to do` : undefined;
}

/** Where the filesystem can be grown: a mount that may be written. */
function writableMount(world: ConsumerWorld): string | undefined {
  const mounts = world.mounts.filter(({ isOurs, readOnly, fsType }) => isOurs && !readOnly && fsType !== 'devtmpfs');
  return sortedBy(mounts, ({ mountPoint }) => mountPoint)[0]?.mountPoint;
}

/** The filesystem, if there is one to be grown by hand, and the record that all is done. */
function endSteps(world: ConsumerWorld, array: ArraySeen): readonly StageStep[] {
  const { volumeMode, formattedAt, fsType, capacityBytes } = world.volume.spec;
  const record: StageStep = { kind: 'recordExpanded', capacityBytes };
  if (volumeMode === 'Block') return [record];
  // One that is not on record may have been made, by whoever was killed then, when there was less.
  if (formattedAt === undefined) return [];
  const mountPoint = writableMount(world);
  if (mountPoint === undefined) return [];
  return [{ kind: 'growFilesystem', array: array.path, mountPoint, fsType }, record];
}

/** Guards of the array that hold I/O back, or would not. */
function lostPaths(world: ConsumerWorld, status: VolumeStatus, array: ArraySeen): readonly string[] {
  const inSync = inSyncMembers(array);
  return memberEntries(status)
    .filter((entry) => inSync.has(entry.partitionUUID))
    .filter((entry) => {
      const guard = guardOf(world, status, entry);
      return guard === undefined || !hasPath(world, guard);
    })
    .map((entry) => `${describeMember(entry)}: its path is lost`);
}

function planArray(world: ConsumerWorld, status: VolumeStatus, array: ArraySeen): Plan<StageStep> {
  const entries = memberEntries(status);
  const waits = entries.flatMap((entry) => unfit(world, status, array, entry) ?? []);
  if (waits.length > 0) return wait(waits.join('; '));
  const preparation = entries.flatMap((entry) => guardSteps(world, status, entry));
  if (preparation.length > 0) return { kind: 'steps', steps: preparation };
  const busy = busyReason(array);
  if (busy !== undefined) return wait(busy);
  const { capacityBytes, drivesPerCopy } = world.volume.spec;
  const grow: StageStep = {
    kind: 'growArray',
    array: array.path,
    memberDataBytes: memberDataBytes(capacityBytes, drivesPerCopy),
  };
  return { kind: 'steps', steps: [...thawSteps(array), grow, ...endSteps(world, array)] };
}

/** mdadm freezes what it grows; killed in the middle, it leaves it so. */
const thawSteps = (array: ArraySeen): readonly StageStep[] =>
  array.syncAction === 'frozen' ? [{ kind: 'thawArray', array: array.name }] : [];

/** Empty when the array is not up here: whoever brings it up comes back. */
export function planGrow(world: ConsumerWorld): Plan<StageStep> {
  const refusal = refuseByObject(world);
  if (refusal !== undefined) return refusal;
  const { array, volume } = world;
  const { status, spec } = volume;
  if (status === undefined || spec.activatedAt === undefined || array === undefined) return { kind: 'done' };
  if (array.isReadOnly || NOT_RUNNING.has(array.arrayState)) return { kind: 'done' };
  if (array.sizeBytes < spec.capacityBytes) return planArray(world, status, array);
  if (status.servedBytes === undefined) return { kind: 'done' };
  // Whether array and filesystem are done is recorded when the capacity stays as it is.
  if (spec.expandToBytes !== undefined) return wait('a further expansion is under way');
  const end = endSteps(world, array);
  if (end.length === 0) return { kind: 'done' };
  const lost = lostPaths(world, status, array);
  if (lost.length > 0) return wait(lost.join('; '));
  return { kind: 'steps', steps: [...thawSteps(array), ...end] };
}
