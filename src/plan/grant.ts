/** Serving one partition to the consumer of one epoch, and to nobody else (SPEC §7.1, §7.5). */
import { hostNqnFor, legDmUuidFor, legNameFor, namespaceUuidFor, subsystemNqnFor } from '../api/names.ts';
import type { MeshStorVolume, PartitionState, PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { claimGrowth, tableStep } from './growth.ts';
import type { HolderStep } from './steps.ts';
import { describeMember, fencedReason, sortedBy, whyUnseen } from './view.ts';
import type { ExportSeen, HolderWorld, LegSeen, LocalPartitionSeen } from './world.ts';

interface GrantPlan {
  readonly steps: readonly HolderStep[];
  readonly waits: readonly string[];
}

/** Members, and what becomes one. */
const SERVED: ReadonlySet<PartitionState> = new Set([
  'Created',
  'Spare',
  'Syncing',
  'Synced',
  'Missing',
  'Faulty',
  'Replacing',
]);

/** Where the consumer is. `stranger`: another machine under this node's name (SPEC §7.1), which is served nothing. */
type Consumer = 'none' | 'here' | 'elsewhere' | 'stranger';

function consumerOf(world: HolderWorld, status: VolumeStatus): Consumer {
  if (status.nodeName === '') return 'none';
  if (status.nodeName !== world.me.nodeName) return 'elsewhere';
  return status.machineID === world.me.machineID ? 'here' : 'stranger';
}

function wantedNqn(status: VolumeStatus, entry: PartitionStatus): string {
  return subsystemNqnFor(entry.partitionUUID, status.attachmentEpoch, status.attachmentID);
}

function portsOf(world: HolderWorld): readonly number[] {
  const { tcp, rdma } = world.portIds;
  return rdma === undefined ? [tcp] : [tcp, rdma];
}

interface ExportWanted {
  readonly step: Extract<HolderStep, { kind: 'export' }>;
  readonly claimName: string;
}

function exportWanted(world: HolderWorld, status: VolumeStatus, entry: PartitionStatus): ExportWanted {
  const { partitionUUID } = entry;
  const claimName = legNameFor(partitionUUID, status.attachmentEpoch);
  return {
    claimName,
    step: {
      kind: 'export',
      nqn: wantedNqn(status, entry),
      nsid: entry.nvmeofNamespaceID,
      devicePath: `/dev/mapper/${claimName}`,
      namespaceUUID: namespaceUuidFor(partitionUUID, status.attachmentEpoch, world.me.bootID),
      hostNqn: hostNqnFor(status.nodeName),
      portIds: portsOf(world),
    },
  };
}

/** Whom and what it lets in is right; links to ports or the enabling may be missing still. */
function isUsable(seen: ExportSeen, wanted: ExportWanted['step']): boolean {
  return (
    seen.allowedHosts.every((host) => host === wanted.hostNqn) &&
    seen.namespaces.every(
      ({ nsid, devicePath, uuid }) =>
        nsid === wanted.nsid && devicePath === wanted.devicePath && uuid === wanted.namespaceUUID,
    )
  );
}

function isComplete(seen: ExportSeen, wanted: ExportWanted['step']): boolean {
  return (
    isUsable(seen, wanted) &&
    seen.allowedHosts.includes(wanted.hostNqn) &&
    seen.namespaces.some(({ enabled }) => enabled) &&
    wanted.portIds.every((id) => seen.portIds.includes(id))
  );
}

/** What must go before anything is granted: exports first, then legs. */
interface Leftovers {
  readonly exports: readonly ExportSeen[];
  readonly legs: readonly LegSeen[];
}

function leftovers(world: HolderWorld, status: VolumeStatus, entry: PartitionStatus, consumer: Consumer): Leftovers {
  const epoch = status.attachmentEpoch;
  const isOf = (seen: { readonly partitionUUID: string }): boolean => seen.partitionUUID === entry.partitionUUID;
  const ownLegs = world.legs.filter(isOf);
  const wanted = exportWanted(world, status, entry);
  const claim = ownLegs.find((leg) => leg.epoch === epoch && leg.kind === 'linear');
  const stays = (seen: ExportSeen): boolean =>
    consumer === 'elsewhere' && claim !== undefined && seen.nqn === wanted.step.nqn && isUsable(seen, wanted.step);
  const isLegStale = (leg: LegSeen): boolean => {
    if (leg.epoch !== epoch) return true;
    if (consumer === 'elsewhere') return leg.kind !== 'linear';
    // Guards of this epoch, half-made ones too, are the business of staging on this node.
    return consumer !== 'here' || leg.kind === 'linear';
  };
  return {
    exports: world.exports.filter((seen) => isOf(seen) && !stays(seen)),
    legs: sortedBy(ownLegs.filter(isLegStale), ({ name }) => name),
  };
}

/**
 * Whether the consumer that an export was made for is cut off by taking it away: its attachment is over, it may have written, and
 * it never recorded that it stopped its array. `releasedEpoch` says so until the next start sets it to 0; a member that this
 * start left out, because its holder was away, says by `stale` how the hand-over was.
 */
function cutsOffConsumer({ status, spec }: MeshStorVolume, entry: PartitionStatus, seen: ExportSeen): boolean {
  if (status === undefined || spec.activatedAt === undefined || seen.epoch >= status.attachmentEpoch) return false;
  if ((entry.missingEpoch ?? 0) > seen.epoch) return entry.stale === true;
  // Above 0, it is of this consumer, or of one before it: then this one never started the array.
  return status.releasedEpoch === 0;
}

/** Takes exports away, in an order that does not depend on how they were listed. */
export function revokeSteps(
  volume: MeshStorVolume,
  entry: PartitionStatus,
  exports: readonly ExportSeen[],
): readonly HolderStep[] {
  return sortedBy(exports, ({ nqn }) => nqn).map((seen): HolderStep => ({
    kind: cutsOffConsumer(volume, entry, seen) ? 'fenceExport' : 'revokeExport',
    nqn: seen.nqn,
  }));
}

/** Who still uses what must go: this node's own array of an older epoch first of all; the exports revoked before do not count. */
function userOf(world: HolderWorld, legs: readonly LegSeen[]): string | undefined {
  const fenced = fencedReason(world);
  if (fenced !== undefined) return `it is not granted before this node's own array is gone: ${fenced}`;
  const { array } = world;
  const member = legs.find((leg) =>
    array?.members.some(({ partitionUUID, epoch }) => partitionUUID === leg.partitionUUID && epoch === leg.epoch),
  );
  if (member !== undefined) return `array ${array?.name ?? ''} still has its leg ${member.name}`;
  const open = legs.find((leg) => leg.kind === 'guard' && leg.openCount > 0);
  return open === undefined ? undefined : `the leg ${open.name} of epoch ${open.epoch} is still open`;
}

/** Makes the claim and the export of this epoch where they are missing: at the grant, and again after a restart of the machine. */
function serve(
  world: HolderWorld,
  status: VolumeStatus,
  entry: PartitionStatus,
  partition: LocalPartitionSeen,
): readonly HolderStep[] {
  const { partitionUUID } = entry;
  const epoch = status.attachmentEpoch;
  const { claimName, step } = exportWanted(world, status, entry);
  const claim = world.legs.find(
    (leg) => leg.partitionUUID === partitionUUID && leg.epoch === epoch && leg.kind === 'linear',
  );
  const steps: HolderStep[] = [];
  if (claim === undefined && partition.path !== undefined) {
    const dmUuid = legDmUuidFor(partitionUUID, epoch, step.namespaceUUID);
    const { path, sizeBytes } = partition;
    steps.push({ kind: 'createClaim', partitionUUID, epoch, name: claimName, dmUuid, path, sizeBytes });
  }
  steps.push(...claimGrowth(world, status, partition, entry.sizeBytes));
  const seen = world.exports.find(({ nqn }) => nqn === step.nqn);
  if (claim === undefined || seen === undefined || !isComplete(seen, step)) steps.push(step);
  return steps;
}

function whyNotServable(
  { drives }: HolderWorld,
  partition: LocalPartitionSeen | undefined,
  entry: PartitionStatus,
): string | undefined {
  if (partition === undefined) {
    const lost = `the partition is not here, though it is ${entry.state}: it is never made again`;
    return whyUnseen(drives, entry) ?? lost;
  }
  if (partition.foreignHolders.length > 0) {
    return `the partition is held by ${[...partition.foreignHolders].sort().join(', ')}`;
  }
  if (partition.sizeBytes < entry.sizeBytes) {
    return `the partition has ${partition.sizeBytes} bytes, it should have ${entry.sizeBytes}`;
  }
  return undefined;
}

/** Revokes every other epoch, serves this one, records it: in that order. */
export function planGrant(
  world: HolderWorld,
  status: VolumeStatus,
  entry: PartitionStatus,
  partition: LocalPartitionSeen | undefined,
): GrantPlan {
  const { attachmentEpoch: epoch, attachmentID } = status;
  if (epoch === 0 || !SERVED.has(entry.state)) return { steps: [], waits: [] };
  const waiting = (why: string): readonly string[] => [`${describeMember(entry)}: ${why}`];
  const consumer = consumerOf(world, status);
  const old = leftovers(world, status, entry, consumer);
  const revokes = revokeSteps(world.volume, entry, old.exports);
  const user = userOf(world, old.legs);
  if (user !== undefined) return { steps: revokes, waits: waiting(user) };
  const removals = old.legs.map(({ name }): HolderStep => ({ kind: 'removeLeg', name }));
  const record: readonly HolderStep[] =
    entry.epoch === epoch ? [] : [{ kind: 'recordGranted', partitionUUID: entry.partitionUUID, epoch, attachmentID }];
  if (consumer === 'none') return { steps: [...revokes, ...removals, ...record], waits: [] };
  const why =
    consumer === 'stranger'
      ? `its consumer is another machine (${status.machineID}) under this node's name`
      : whyNotServable(world, partition, entry);
  if (why !== undefined || partition === undefined) {
    return { steps: [...revokes, ...removals], waits: waiting(why ?? 'the partition is not here') };
  }
  if (partition.path === undefined) {
    return { steps: [...revokes, ...removals, tableStep(entry, partition)], waits: [] };
  }
  const serving = consumer === 'here' ? [] : serve(world, status, entry, partition);
  return { steps: [...revokes, ...removals, ...serving, ...record], waits: [] };
}
