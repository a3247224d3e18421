/** Carries out a consumer's steps on the simulated kernels, one at a time; what would hang in the kernel hangs here. */
import { DomainError } from '../../src/api/errors.ts';
import type { MeshStorVolume } from '../../src/api/volume.ts';
import { recordLost, recordReturning, recordStale } from '../../src/plan/mending-records.ts';
import type { Who } from '../../src/plan/owner.ts';
import {
  activated,
  formatted,
  recordBirth,
  recordObserved,
  recordReleased,
  recordStart,
} from '../../src/plan/records.ts';
import type { FenceStep, MendStep, PublishStep, StageStep, StartRecord, UnstageStep } from '../../src/plan/steps.ts';
import type { FilesystemSeen } from '../../src/plan/world.ts';
import type { Record } from './act-holder.ts';
import { writeStatus } from './act-holder.ts';
import type { Cluster } from './cluster.ts';
import { connect, createLeg, importPath, removeLeg } from './kernel-dm.ts';
import {
  addMember,
  assembleArray,
  changed,
  createArray,
  dropMember,
  makeWritable,
  mustPartition,
  openLegs,
  stopArray,
  wouldHang,
} from './kernel-md.ts';
import { pump } from './md-work.ts';
import type { SimArray, SimLeg, SimMachine, SimMember } from './parts.ts';
import { Violation } from './parts.ts';
import type { Actor } from './scheduler.ts';

export type ConsumerStep = StageStep | MendStep | UnstageStep | FenceStep | PublishStep;

/** What one operation remembers between its rounds. */
export interface Memory {
  filesystem: FilesystemSeen;
}

/** Calls that the kernel keeps waiting are given up after this. */
const LIMIT_MS = 4000;

function arrayHere(machine: SimMachine): SimArray {
  if (machine.array === undefined) throw new DomainError('unavailable', 'the array is gone');
  return machine.array;
}

function memberHere(array: SimArray, device: string): SimMember {
  const member = array.members.find(({ kernelName }) => kernelName === device);
  if (member === undefined) throw new DomainError('unavailable', `${device} is no member`);
  return member;
}

/** Waits as a program does that hangs in the kernel; given up after a while. */
function* until(cluster: Cluster, isPossible: () => boolean, what: string): Actor {
  const deadline = cluster.time.now + LIMIT_MS;
  while (!isPossible()) {
    if (cluster.time.now > deadline) throw new DomainError('unavailable', `${what} hangs`);
    yield 200;
  }
}

function* createGuard(cluster: Cluster, machine: SimMachine, step: Extract<StageStep, { kind: 'createGuard' }>): Actor {
  const { over, name, partitionUUID, epoch, sizeBytes } = step;
  const guard = { name, partitionUUID, epoch, kind: 'guard' as const, suspended: false, sizeBytes };
  const queues = !cluster.rules.isOff(2);
  const made = (under: string, namespaceUUID: string): void => {
    createLeg(machine, { ...guard, under, namespaceUUID, queues, pathState: 'active' });
  };
  if ('path' in over) {
    made(over.path, over.namespaceUUID);
    return;
  }
  yield cluster.random.between(5, 150);
  const seen = machine.imports.get(over.nqn);
  if (seen === undefined) throw new DomainError('unavailable', `no namespace of ${over.nqn}`);
  made(importPath(seen), seen.target.namespaceUUID);
}

function* recordTheStart(cluster: Cluster, machine: SimMachine, who: Who, wanted: StartRecord): Actor {
  const record: Record = (current, now) =>
    cluster.rules.onStart(current, (seen) => recordStart(seen, who, wanted, now));
  yield* writeStatus(cluster, machine, record, () => {
    started(cluster, who);
  });
}

function* recordTheBirth(
  cluster: Cluster,
  machine: SimMachine,
  who: Who,
  birth: Extract<StageStep, { kind: 'recordBirth' }>,
): Actor {
  yield* writeStatus(
    cluster,
    machine,
    (current, now) => recordBirth(current, who, birth, now),
    () => {
      started(cluster, who);
    },
  );
  yield* writeSpec(cluster, machine, (current) =>
    activated(current, who, birth.capacityBytes, cluster.nowFor(machine)),
  );
  cluster.tally.thing('array born');
}

/** From here on no consumer of an older epoch may tell anybody that something is written. */
function started(cluster: Cluster, { epoch }: Who): void {
  if (cluster.api.isBehind) throw new Violation('a witness that is behind', `a start of epoch ${epoch} was recorded`);
  cluster.ledger.start(epoch, cluster.time.now);
  cluster.tally.thing('start recorded');
}

function* writeSpec(
  cluster: Cluster,
  machine: SimMachine,
  change: (current: MeshStorVolume) => MeshStorVolume | undefined,
): Actor {
  yield* cluster.api.write(machine.name, change);
}

function* makeFilesystem(cluster: Cluster, machine: SimMachine, memory: Memory, step: FormatStep): Actor {
  yield* until(cluster, () => !wouldHang(cluster, machine, arrayHere(machine)), 'mkfs');
  cluster.filesystem = 'unfinished';
  yield cluster.random.between(10, 200);
  arrayHere(machine);
  cluster.filesystem = 'complete';
  memory.filesystem = { kind: 'filesystem', fsType: step.fsType, uuid: step.uuid };
}

type FormatStep = Extract<StageStep, { kind: 'makeFilesystem' }>;

/** By what is on the array, which every start finds again. */
function probe(cluster: Cluster, uuid: string): FilesystemSeen {
  if (cluster.filesystem === 'none') return { kind: 'none' };
  if (cluster.filesystem === 'unfinished') return { kind: 'unfinished' };
  return { kind: 'filesystem', fsType: 'xfs', uuid };
}

function* actOnArray(cluster: Cluster, machine: SimMachine, step: ConsumerStep): Actor {
  const array = machine.array;
  switch (step.kind) {
    case 'setWriteMostly':
      memberHere(arrayHere(machine), step.member).writeMostly = step.value;
      return;
    case 'makeWritable':
      makeWritable(cluster, machine, arrayHere(machine));
      return;
    case 'thawArray':
      arrayHere(machine).isFrozen = false;
      return;
    case 'failMember': {
      const member = memberHere(arrayHere(machine), step.member);
      yield* until(cluster, () => !wouldHang(cluster, machine, arrayHere(machine), member), 'mdadm --fail');
      dropMember(cluster, machine, arrayHere(machine), member);
      return;
    }
    case 'removeMember': {
      const member = memberHere(arrayHere(machine), step.member);
      yield* until(cluster, () => !wouldHang(cluster, machine, arrayHere(machine)), 'mdadm --remove');
      if (!member.faulty) throw new DomainError('unavailable', `${step.member} is in use`);
      const now = arrayHere(machine);
      now.members = now.members.filter((other) => other !== member);
      changed(cluster, machine, now);
      return;
    }
    case 'addMember':
      yield* until(cluster, () => !wouldHang(cluster, machine, arrayHere(machine)), 'mdadm --add');
      addMember(cluster, machine, arrayHere(machine), step.leg);
      return;
    case 'stopArray':
      if (array === undefined) return;
      yield* until(
        cluster,
        () => machine.array === undefined || array.isReadOnly || !wouldHang(cluster, machine, array),
        'stopping',
      );
      if (machine.array === array) stopArray(cluster, machine, array);
      return;
    default:
      throw new DomainError('internal', `${step.kind} is not part of the simulation`);
  }
}

function mustLeg(machine: SimMachine, name: string): SimLeg {
  const leg = machine.legs.get(name);
  if (leg === undefined) throw new DomainError('unavailable', `${name} is not there`);
  return leg;
}

function failGuard(cluster: Cluster, machine: SimMachine, name: string): void {
  Object.assign(mustLeg(machine, name), { queues: false, suspended: false });
  // Whoever lets guards fail knows of the array what there is to know.
  if (machine.array !== undefined) machine.array.isHeld = false;
  pump(cluster, machine, 1);
}

function reload(cluster: Cluster, machine: SimMachine, step: Extract<StageStep, { kind: 'reloadGuard' }>): void {
  Object.assign(mustLeg(machine, step.name), {
    under: step.path,
    pathState: 'active',
    suspended: false,
    queues: !cluster.rules.isOff(2),
  });
  cluster.tally.thing('guard reloaded');
  pump(cluster, machine, 1);
}

/** A program has the mount in use, or its I/O hangs. */
function* unmount(cluster: Cluster, machine: SimMachine, target: string): Actor {
  const mount = machine.mounts.find(({ mountPoint }) => mountPoint === target);
  if (mount === undefined) return;
  const isLast = machine.mounts.length === 1;
  const isFree = (): boolean => {
    const { array } = machine;
    if (array === undefined || !isLast) return true;
    if (machine.hasClient) return false;
    return machine.isShutDown || (array.writes.size === 0 && !wouldHang(cluster, machine, array));
  };
  yield* until(cluster, isFree, 'unmounting');
  machine.mounts = machine.mounts.filter((each) => each !== mount);
}

function* actOnMount(cluster: Cluster, machine: SimMachine, memory: Memory, step: ConsumerStep): Actor {
  switch (step.kind) {
    case 'probeFilesystem':
      yield* until(cluster, () => !wouldHang(cluster, machine, arrayHere(machine)), 'reading');
      memory.filesystem = probe(cluster, cluster.rules.filesystemUuid);
      return;
    case 'makeFilesystem':
      return yield* makeFilesystem(cluster, machine, memory, step);
    case 'mount':
      yield* until(cluster, () => !wouldHang(cluster, machine, arrayHere(machine)), 'mounting');
      machine.isShutDown = false;
      addMount(machine, step.target, step.options.includes('ro'), 'xfs');
      return;
    case 'bind':
      addMount(machine, step.target, step.readOnly, cluster.shape.mode === 'Block' ? 'devtmpfs' : 'xfs');
      return;
    case 'unmount':
      return yield* unmount(cluster, machine, step.target);
    case 'shutdownFilesystem':
      if (cluster.rules.isOff(10)) return;
      machine.isShutDown = true;
      pump(cluster, machine, 1);
      return;
    case 'killUsers':
      machine.hasClient = false;
      return;
    default:
      return yield* actOnArray(cluster, machine, step);
  }
}

function addMount(machine: SimMachine, mountPoint: string, readOnly: boolean, fsType: string): void {
  machine.mounts = [...machine.mounts, { mountPoint, devNumber: '9:127', isOurs: true, fsType, readOnly }];
}

function* actOnRecord(cluster: Cluster, machine: SimMachine, who: Who, step: ConsumerStep): Actor {
  const write = (record: Record): Actor => writeStatus(cluster, machine, record);
  switch (step.kind) {
    case 'recordBirth':
      return yield* recordTheBirth(cluster, machine, who, step);
    case 'recordStart':
      return yield* recordTheStart(cluster, machine, who, step.record);
    case 'recordFormatted':
      return yield* writeSpec(cluster, machine, (current) => formatted(current, who, cluster.nowFor(machine)));
    case 'recordLost':
      return yield* write((current, now) => recordLost(current, who, step.partitionUUID, step, now));
    case 'recordStale':
      return yield* write((current) => recordStale(current, who, step.partitionUUID));
    case 'recordReturning':
      return yield* write((current, now) => recordReturning(current, who, step.partitionUUID, now));
    case 'recordDropped': {
      const { epoch, attachmentID, seen } = step;
      return yield* write((current, now) => recordObserved(current, { ...who, epoch, attachmentID }, seen, now));
    }
    case 'recordReleased': {
      const { epoch, attachmentID, dropped } = step;
      return yield* write((current, now) => recordReleased(current, { ...who, epoch, attachmentID }, now, dropped));
    }
    default:
      throw new DomainError('internal', `${step.kind} is not part of the simulation`);
  }
}

export function* actConsumerStep(
  cluster: Cluster,
  machine: SimMachine,
  who: Who,
  memory: Memory,
  step: ConsumerStep,
): Actor {
  if (step.kind.startsWith('record')) return yield* actOnRecord(cluster, machine, who, step);
  switch (step.kind) {
    case 'connect':
      yield cluster.random.between(5, 80);
      connect(cluster, machine, step.options.nqn, step.options.traddr);
      return;
    case 'createGuard':
      return yield* createGuard(cluster, machine, step);
    case 'removeLeg':
      removeLeg(machine, step.name);
      return;
    case 'disconnect':
      machine.imports.delete(step.nqn);
      return;
    case 'reloadGuard':
      reload(cluster, machine, step);
      return;
    case 'failGuard':
      failGuard(cluster, machine, step.name);
      return;
    case 'wipeSuperblocks':
      for (const { partitionUUID } of openLegs(cluster, machine, step.legs)) {
        mustPartition(cluster, partitionUUID).superblock = undefined;
      }
      return;
    case 'createArray':
      createArray(cluster, machine, step.members, step.writeMostly);
      return;
    case 'assembleArray':
      assembleArray(cluster, machine, step.members);
      return;
    case 'writeStamps':
      for (const { partitionUUID } of openLegs(cluster, machine, step.legs)) {
        const { volumeUUID, epoch, attachmentID } = step;
        mustPartition(cluster, partitionUUID).stamp = { volumeUUID, epoch, attachmentID };
      }
      return;
    case 'removePath':
      return;
    default:
      return yield* actOnMount(cluster, machine, memory, step);
  }
}
