/** Carries out a holder's steps on the simulated kernels, one at a time; each may take a while. */
import { DomainError } from '../../src/api/errors.ts';
import { namespaceUuidFor } from '../../src/api/names.ts';
import type { MeshStorVolume, VolumeStatus } from '../../src/api/volume.ts';
import { recordCreated, recordGranted, recordImpossible, recordRemoved } from '../../src/plan/records.ts';
import type { HolderStep } from '../../src/plan/steps.ts';
import type { Cluster } from './cluster.ts';
import { newPartition } from './cluster.ts';
import { createLeg, removeLeg, revoke, serve } from './kernel-dm.ts';
import type { SimDrive, SimMachine, SimPartition } from './parts.ts';
import { Violation } from './parts.ts';
import type { Actor } from './scheduler.ts';

export type Record = (current: MeshStorVolume, now: string) => VolumeStatus | undefined;

/** A write of status by compare and swap; `onWritten` in the moment in which it counts, whether its writer hears of it or not. */
export function* writeStatus(cluster: Cluster, machine: SimMachine, record: Record, onWritten?: () => void): Actor {
  const change = (current: MeshStorVolume): MeshStorVolume | undefined => {
    const status = record(current, cluster.nowFor(machine));
    return status === undefined ? undefined : { ...current, status };
  };
  yield* cluster.api.write(machine.name, change, onWritten);
}

function driveAt(machine: SimMachine, diskPath: string): SimDrive {
  const drive = machine.drives.find(({ index }) => diskPath === `/dev/nvme${index}n1`);
  if (drive?.isOnline !== true) throw new DomainError('unavailable', `${diskPath} is not there`);
  return drive;
}

function localPartition(machine: SimMachine, partitionUUID: string): SimPartition {
  const found = machine.drives.map((drive) => drive.partitions.get(partitionUUID)).find((each) => each !== undefined);
  if (found?.drive.isOnline !== true) throw new DomainError('unavailable', `partition ${partitionUUID} is not there`);
  return found;
}

/** Nothing of a volume is written over while somebody uses it, or it was not asked for (SPEC §7.13). */
function requireUnused(cluster: Cluster, machine: SimMachine, partitionUUID: string): void {
  const isExported = [...machine.exports.values()].some((seen) => seen.partitionUUID === partitionUUID);
  if (isExported) throw new Violation('nothing in use is wiped', `${partitionUUID} is still exported`);
  const isListed = cluster.api.truth?.status?.partitions.some(
    (entry) => entry.partitionUUID === partitionUUID && entry.state !== 'Deleting' && entry.state !== 'Requested',
  );
  if (isListed === true && !cluster.rules.isOff(13)) {
    throw new Violation('nothing is removed unasked', `${partitionUUID} is neither Deleting nor Requested`);
  }
}

function* zero(cluster: Cluster, machine: SimMachine, partitionUUID: string): Actor {
  const partition = localPartition(machine, partitionUUID);
  yield machine.zeroingMs;
  localPartition(machine, partitionUUID);
  // Made by somebody who woke up with an old plan: it is a member by now.
  const entry = cluster.api.truth?.status?.partitions.find((each) => each.partitionUUID === partitionUUID);
  if (partition.superblock !== undefined && entry?.state === 'Synced') {
    throw new Violation('no member is zeroed', `${partitionUUID} is Synced`);
  }
  if (!cluster.rules.isOff(12)) partition.data.fill(0);
  cluster.revision += 1;
  partition.zeroed = true;
}

function makeClaim(machine: SimMachine, step: Extract<HolderStep, { kind: 'createClaim' }>): void {
  const { name, partitionUUID, epoch, path, sizeBytes } = step;
  createLeg(machine, {
    name,
    partitionUUID,
    epoch,
    kind: 'linear',
    under: path,
    namespaceUUID: namespaceUuidFor(partitionUUID, epoch, machine.identity.bootID),
    queues: false,
    pathState: 'none',
    suspended: false,
    sizeBytes,
  });
}

function makeExport(machine: SimMachine, step: Extract<HolderStep, { kind: 'export' }>): void {
  const { nqn, hostNqn, namespaceUUID, devicePath, nsid } = step;
  const leg = machine.legs.get(devicePath.replace('/dev/mapper/', ''));
  if (leg === undefined) throw new DomainError('unavailable', `${devicePath} is not there`);
  const { partitionUUID, epoch } = leg;
  const attachmentID = nqn.slice(nqn.indexOf(`:${epoch}-`) + `:${epoch}-`.length);
  serve(machine, { nqn, hostNqn, namespaceUUID, devicePath, nsid, partitionUUID, epoch, attachmentID });
}

export function* actHolderStep(cluster: Cluster, machine: SimMachine, step: HolderStep): Actor {
  const write = (record: Record): Actor => writeStatus(cluster, machine, record);
  const me = machine.name;
  switch (step.kind) {
    case 'createPartition': {
      const drive = driveAt(machine, step.diskPath);
      if (drive.partitions.has(step.partitionUUID)) throw new DomainError('internal', 'it is there already');
      drive.partitions.set(step.partitionUUID, newPartition(machine, drive, step.partitionUUID, step.sizeBytes));
      return;
    }
    case 'zeroPartition':
      return yield* zero(cluster, machine, step.partitionUUID);
    case 'recordCreated':
      return yield* write((current, now) => recordCreated(current, me, step.partitionUUID, now));
    case 'recordImpossible':
      return yield* write((current, now) => recordImpossible(current, me, step.partitionUUID, step.reason, now));
    case 'revokeExport':
    case 'fenceExport':
      cluster.tally.thing(step.kind === 'fenceExport' ? 'consumer fenced at a holder' : 'export revoked');
      if (!cluster.rules.isOff(5)) revoke(cluster, machine, step.nqn);
      yield cluster.random.between(1, 60);
      return;
    case 'removeLeg':
      removeLeg(machine, step.name);
      return;
    case 'createClaim':
      localPartition(machine, step.partitionUUID);
      makeClaim(machine, step);
      return;
    case 'export':
      makeExport(machine, step);
      return;
    case 'recordGranted': {
      const { partitionUUID, epoch, attachmentID } = step;
      return yield* write((current, now) => recordGranted(current, me, partitionUUID, epoch, attachmentID, now));
    }
    case 'wipePartition': {
      const partition = localPartition(machine, step.partitionUUID);
      requireUnused(cluster, machine, step.partitionUUID);
      partition.superblock = undefined;
      partition.stamp = undefined;
      partition.data.fill(-1);
      cluster.revision += 1;
      return;
    }
    case 'removePartition':
      requireUnused(cluster, machine, step.partitionUUID);
      driveAt(machine, step.diskPath).partitions.delete(step.partitionUUID);
      cluster.revision += 1;
      return;
    case 'recordRemoved':
      return yield* write((current, now) => recordRemoved(current, me, step.partitionUUID, now));
    case 'repairTable':
    case 'recordGrowable':
    case 'growPartition':
    case 'zeroGrowth':
    case 'growClaim':
    case 'recordGrown':
      throw new DomainError('internal', `${step.kind} is not part of the simulation`);
  }
}
