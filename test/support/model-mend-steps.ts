/** Carries out the mender's steps on the model, and throws `Broken` at the first one that breaks a safety rule of SPEC §7. */
import { recordLost, recordReturning, recordStale } from '../../src/plan/mending-records.ts';
import type { MendStep } from '../../src/plan/steps.ts';
import type { ModelArray, ModelCluster, ModelNode } from './model-cluster.ts';
import { NOW, deviceOf } from './model-cluster.ts';
import { must, record, whoOf } from './model-rules.ts';
import { applyStageStep, applyUnstageStep } from './model-steps.ts';

function runningArray(node: ModelNode): ModelArray {
  const { array } = node;
  must(array !== undefined && !array.readOnly, 'only a running array is mended');
  return array;
}

/** A guard of the array that holds I/O back, of another member than this one. */
function isStuck(node: ModelNode, array: ModelArray, except: string): boolean {
  return array.members.some(({ partitionUUID, epoch, faulty }) => {
    if (faulty || partitionUUID === except) return false;
    const leg = node.legs.find((seen) => seen.partitionUUID === partitionUUID && seen.epoch === epoch);
    return leg?.pathState === 'failed' && leg.queues;
  });
}

function memberOf(cluster: ModelCluster, array: ModelArray, device: string): ModelArray['members'][number] {
  const found = array.members.find(({ partitionUUID }) => deviceOf(partitionUUID) === device);
  must(found !== undefined, 'a member that is told something is in the array');
  return found;
}

function isOut(cluster: ModelCluster, partitionUUID: string): boolean {
  const state = cluster.entry(partitionUUID)?.state;
  return state === 'Missing' || state === 'Faulty' || state === 'Replacing' || state === 'Deleting';
}

/** MD drops it: the others' superblocks say so from now on. */
function failMember(cluster: ModelCluster, node: ModelNode, device: string): void {
  const array = runningArray(node);
  const member = memberOf(cluster, array, device);
  must(isOut(cluster, member.partitionUUID), 'a member is dropped only after that is recorded');
  must(!isStuck(node, array, member.partitionUUID), 'MD is told nothing while a guard holds I/O back');
  if (member.faulty) return;
  const others = cluster.columns(array)[cluster.columnOf(member.partitionUUID)]?.filter((other) => other !== member);
  must((others?.length ?? 0) > 0, 'the last member of a column is never dropped');
  member.faulty = true;
  for (const { partitionUUID, faulty } of array.members) {
    if (!faulty && cluster.reaches(node, partitionUUID)) cluster.mustPartition(partitionUUID).events += 1;
  }
}

function removeMember(cluster: ModelCluster, node: ModelNode, device: string): void {
  const array = runningArray(node);
  const member = memberOf(cluster, array, device);
  must(member.faulty, 'only a faulty member is taken out');
  must(!isStuck(node, array, member.partitionUUID), 'MD is told nothing while a guard holds I/O back');
  cluster.mustPartition(member.partitionUUID).lost = true;
  array.members = array.members.filter((other) => other !== member);
}

function addMember(cluster: ModelCluster, node: ModelNode, path: string): void {
  const array = runningArray(node);
  const leg = node.legs.find((seen) => seen.path === path);
  must(
    leg?.kind === 'guard' && leg.queues && leg.pathState === 'active',
    'a member is added through a guard that queues',
  );
  must(leg.epoch === cluster.status.attachmentEpoch, 'a member is added under the epoch of now');
  const { partitionUUID, epoch } = leg;
  must(!array.members.some((member) => member.partitionUUID === partitionUUID), 'a member is added once');
  const entry = cluster.entry(partitionUUID);
  must(
    entry?.state === 'Syncing' && entry.epoch === epoch,
    'a member is recorded Syncing, and granted, before it is added',
  );
  must(!isStuck(node, array, partitionUUID), 'MD is told nothing while a guard holds I/O back');
  const others = array.members.flatMap((member) => cluster.entry(member.partitionUUID) ?? []);
  must(!others.some(({ slot }) => slot === entry.slot), 'no spare is ever left in an array');
  const isNext = Array.from({ length: entry.slot }, (_, slot) => slot).every((slot) =>
    others.some((other) => other.slot === slot),
  );
  must(cluster.shape.drives === 1 || isNext, 'in RAID10 a member is added when the slots below its own are filled');
  const partition = cluster.mustPartition(partitionUUID);
  const isByBitmap = partition.birth === cluster.births;
  must(!isByBitmap || entry.stale !== true, 'a stale member comes back only wiped');
  must(!isByBitmap || partition.shaky !== true, 'a member whose drive may have lost writes comes back only wiped');
  must(!isByBitmap || partition.forgotten !== true, 'the bitmap is about the last one of a slot that was copied to');
  partition.birth = cluster.births;
  for (const mate of cluster.status.partitions.filter(({ slot }) => slot === entry.slot)) {
    const held = cluster.partition(mate.partitionUUID);
    if (held !== undefined) held.forgotten = mate !== entry;
  }
  array.members = [...array.members, { partitionUUID, epoch, writeMostly: false, faulty: false, recovering: true }];
}

function letGuardFail(cluster: ModelCluster, node: ModelNode, name: string): void {
  node.legs = node.legs.map((leg) => {
    if (leg.name !== name) return leg;
    must(isOut(cluster, leg.partitionUUID), 'a guard in use fails only after its member is recorded as lost');
    return { ...leg, queues: false };
  });
}

export function applyMendStep(cluster: ModelCluster, node: ModelNode, step: MendStep): void {
  const who = whoOf(cluster, node);
  switch (step.kind) {
    case 'recordLost':
      record(cluster, recordLost(cluster.volume, who, step.partitionUUID, step, NOW));
      return;
    case 'recordStale':
      record(cluster, recordStale(cluster.volume, who, step.partitionUUID));
      return;
    case 'recordReturning':
      record(cluster, recordReturning(cluster.volume, who, step.partitionUUID, NOW));
      return;
    case 'failGuard': {
      letGuardFail(cluster, node, step.name);
      return;
    }
    case 'failMember': {
      failMember(cluster, node, step.member);
      return;
    }
    case 'removeMember': {
      removeMember(cluster, node, step.member);
      return;
    }
    case 'wipeSuperblocks':
      for (const leg of node.legs.filter(({ path }) => step.legs.includes(path))) {
        must(cluster.entry(leg.partitionUUID)?.stale === true, 'only a stale member is wiped');
        delete cluster.mustPartition(leg.partitionUUID).birth;
      }
      return;
    case 'addMember': {
      addMember(cluster, node, step.leg);
      return;
    }
    case 'disconnect':
      applyUnstageStep(cluster, node, step);
      return;
    default: {
      applyStageStep(cluster, node, step);
    }
  }
}
