/** Bringing each member to its guard: connection, guard over it, guard over the local partition (SPEC §7.1, §7.2). */
import { RDMA_PORT, TCP_PORT, legNameFor, namespaceUuidFor, subsystemNqnFor } from '../api/names.ts';
import type { NvmeConnectOptions } from '../api/kernel.ts';
import type { PartitionStatus, VolumeStatus } from '../api/volume.ts';
import type { PreparationStep } from './steps.ts';
import { isDropUnrecorded } from './unrecorded-drop.ts';
import { describeMember, isHealthyGuard } from './view.ts';
import type { ConsumerWorld, ImportSeen, LegSeen } from './world.ts';

/** SPEC §8: the kernel notices quickly, the guard keeps MD out of it. */
const CONNECTION = { keepAliveTmoSec: 1, fastIoFailTmoSec: 1, ctrlLossTmoSec: 3, reconnectDelaySec: 1 } as const;
/** One TCP connection per CPU and member would be too many: the kernel makes so many unless it is told otherwise. */
const IO_QUEUES = 4;

/**
 * How far a member is. `steps` with `quick` need nobody else; those without ask another node, which may be gone.
 * `ungranted`: its holder has not confirmed this epoch.
 */
export type MemberWay =
  | { readonly kind: 'ready'; readonly leg: LegSeen }
  | { readonly kind: 'steps'; readonly steps: readonly PreparationStep[]; readonly quick: boolean }
  /** `isLost`: waiting does not help, the holder's kernel is another one: what its drive had acknowledged may be gone (SPEC §7.2). */
  | { readonly kind: 'wait'; readonly reason: string; readonly isLost?: true };

export interface Member {
  readonly entry: PartitionStatus;
  readonly way: MemberWay;
}

const waiting = (entry: PartitionStatus, why: string): Extract<MemberWay, { kind: 'wait' }> => ({
  kind: 'wait',
  reason: `${describeMember(entry)}: ${why}`,
});

const quickly = (...steps: readonly PreparationStep[]): MemberWay => ({ kind: 'steps', steps, quick: true });

type GuardOver = Extract<PreparationStep, { kind: 'createGuard' }>['over'];

function createGuard(entry: PartitionStatus, epoch: number, over: GuardOver): PreparationStep {
  const { partitionUUID, sizeBytes } = entry;
  return { kind: 'createGuard', partitionUUID, epoch, name: legNameFor(partitionUUID, epoch), sizeBytes, over };
}

interface Under {
  readonly path: string;
  readonly namespaceUUID: string;
  /** Of a namespace: its holder may have grown it, unseen here as yet. */
  readonly sizeBytes?: number;
}

/** A guard that is not there. A namespace that has not been seen with its size yet is asked for it first: dm takes no table that is too large. */
function guardSteps(
  entry: PartitionStatus,
  epoch: number,
  over: GuardOver,
  seenBytes: number | undefined,
): readonly PreparationStep[] {
  const create = createGuard(entry, epoch, over);
  const { partitionUUID, sizeBytes } = entry;
  if (!('nqn' in over) || seenBytes === undefined || seenBytes >= sizeBytes) return [create];
  return [{ kind: 'refreshNamespace', partitionUUID, sizeBytes, ...over }, create];
}

/** A guard of this epoch that is there: of use, to be reloaded, or to be made again (only while no array has it). */
function existingGuard(
  world: ConsumerWorld,
  entry: PartitionStatus,
  leg: LegSeen,
  under: Under,
  over: GuardOver,
): MemberWay {
  const again = guardSteps(entry, leg.epoch, over, under.sizeBytes);
  const remove: PreparationStep = { kind: 'removeLeg', name: leg.name };
  const remake: MemberWay = { kind: 'steps', steps: [remove, ...again], quick: again.length === 1 };
  if (leg.kind === 'linear') return waiting(entry, `its holder has not removed the claim ${leg.name} yet`);
  if (leg.kind === 'empty') return remake;
  if (leg.namespaceUUID !== under.namespaceUUID) {
    if (world.array === undefined) return remake;
    return { ...waiting(entry, 'its holder has restarted under a running array'), isLost: true };
  }
  // Made before its partition grew; an array that is created or assembled over it would lack the rest.
  if (world.array === undefined && leg.sizeBytes < entry.sizeBytes) return remake;
  if (leg.suspended && isDropUnrecorded(world)) return waiting(entry, 'its guard holds back until a drop is on record');
  if (isHealthyGuard(leg) && leg.underPath === under.path) return { kind: 'ready', leg };
  const { partitionUUID } = entry;
  const isSeenSmaller = under.sizeBytes !== undefined && under.sizeBytes < entry.sizeBytes;
  const sizeBytes = isSeenSmaller ? leg.sizeBytes : entry.sizeBytes;
  return quickly({ kind: 'reloadGuard', name: leg.name, partitionUUID, sizeBytes, path: under.path });
}

function localWay(
  world: ConsumerWorld,
  entry: PartitionStatus,
  status: VolumeStatus,
  leg: LegSeen | undefined,
): MemberWay {
  const partition = world.partitions.find(({ partitionUUID }) => partitionUUID === entry.partitionUUID);
  if (partition === undefined) return waiting(entry, 'the partition is not on this node');
  const epoch = status.attachmentEpoch;
  const namespaceUUID = namespaceUuidFor(entry.partitionUUID, epoch, world.me.bootID);
  if (partition.path === undefined) {
    // Half grown: the table has another size than the kernel, which serves the guard as before.
    if (leg !== undefined && isHealthyGuard(leg) && leg.namespaceUUID === namespaceUUID) return { kind: 'ready', leg };
    return waiting(entry, 'the kernel does not know the partition');
  }
  if (partition.foreignHolders.length > 0) {
    return waiting(entry, `the partition is held by ${[...partition.foreignHolders].sort().join(', ')}`);
  }
  const under = { path: partition.path, namespaceUUID };
  if (leg === undefined) return quickly(createGuard(entry, epoch, under));
  return existingGuard(world, entry, leg, under, under);
}

function connectStep(world: ConsumerWorld, entry: PartitionStatus, nqn: string): PreparationStep | undefined {
  const address = world.addresses[entry.nodeID];
  if (address === undefined) return undefined;
  const overRdma = entry.transport === 'rdma' && address.rdma !== undefined;
  const options: NvmeConnectOptions = {
    transport: overRdma ? 'rdma' : 'tcp',
    traddr: overRdma ? (address.rdma ?? address.tcp) : address.tcp,
    trsvcid: String(overRdma ? RDMA_PORT : TCP_PORT),
    nqn,
    hostNqn: world.me.hostNqn,
    hostId: world.me.hostID,
    ...CONNECTION,
    nrIoQueues: IO_QUEUES,
  };
  return { kind: 'connect', partitionUUID: entry.partitionUUID, options };
}

function isConnected(seen: ImportSeen): boolean {
  return seen.controllers.some(({ state }) => state === 'live');
}

function remoteWay(
  world: ConsumerWorld,
  entry: PartitionStatus,
  status: VolumeStatus,
  leg: LegSeen | undefined,
): MemberWay {
  const epoch = status.attachmentEpoch;
  const nqn = subsystemNqnFor(entry.partitionUUID, epoch, status.attachmentID);
  const over = { nqn, nsid: entry.nvmeofNamespaceID };
  const seen = world.imports.find((candidate) => candidate.nqn === nqn);
  if (seen === undefined || seen.controllers.length === 0) {
    const connect = connectStep(world, entry, nqn);
    if (connect === undefined) return waiting(entry, `the address of node ${entry.nodeID} is not known`);
    return {
      kind: 'steps',
      steps: leg === undefined ? [connect, createGuard(entry, epoch, over)] : [connect],
      quick: false,
    };
  }
  if (!isConnected(seen)) return waiting(entry, `the connection to node ${entry.nodeID} is being made again`);
  if (leg === undefined) {
    const steps = guardSteps(entry, epoch, over, seen.namespaceSizeBytes);
    return { kind: 'steps', steps, quick: seen.namespacePath !== undefined && steps.length === 1 };
  }
  if (seen.namespacePath === undefined || seen.namespaceUUID === undefined) {
    return waiting(entry, `node ${entry.nodeID} is connected, its namespace is not there yet`);
  }
  const { namespacePath: path, namespaceUUID, namespaceSizeBytes } = seen;
  const size = namespaceSizeBytes === undefined ? {} : { sizeBytes: namespaceSizeBytes };
  return existingGuard(world, entry, leg, { path, namespaceUUID, ...size }, over);
}

/** What one member needs next. */
export function wayOf(world: ConsumerWorld, status: VolumeStatus, entry: PartitionStatus): MemberWay {
  const epoch = status.attachmentEpoch;
  if (entry.epoch !== epoch) return waiting(entry, `node ${entry.nodeID} has not confirmed epoch ${epoch} yet`);
  const leg = world.legs.find((seen) => seen.partitionUUID === entry.partitionUUID && seen.epoch === epoch);
  return entry.nodeID === world.me.nodeName
    ? localWay(world, entry, status, leg)
    : remoteWay(world, entry, status, leg);
}

/** Steps of those members that have some. */
export function stepsOf(members: readonly Member[]): readonly PreparationStep[] {
  return members.flatMap(({ way }) => (way.kind === 'steps' ? way.steps : []));
}

export function waitsOf(members: readonly Member[]): readonly string[] {
  return members.flatMap(({ way }) => (way.kind === 'wait' ? [way.reason] : []));
}

/** Legs of members that are ready, in the order given. */
export function readyLegs(members: readonly Member[]): readonly { entry: PartitionStatus; leg: LegSeen }[] {
  return members.flatMap(({ entry, way }) => (way.kind === 'ready' ? [{ entry, leg: way.leg }] : []));
}
