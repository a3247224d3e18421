/**
 * The rules of SPEC §7, each of which can be taken away: not in the driver, but in what its planners see and in what becomes of
 * their steps. A simulator that finds nothing then finds nothing at all.
 */
import { filesystemUuidFor, namespaceUuidFor } from '../../src/api/names.ts';
import type { MeshStorVolume, PartitionStatus, VolumeStatus } from '../../src/api/volume.ts';
import type { ConsumerObservation } from '../../src/plan/health.ts';
import type { ConsumerWorld, HolderWorld, LegSeen } from '../../src/plan/world.ts';
import { VOLUME_UUID } from '../support/model-volume.ts';

type AnyWorld = ConsumerWorld | HolderWorld;

const epochOf = ({ volume }: Pick<AnyWorld, 'volume'>): number => volume.status?.attachmentEpoch ?? 0;

function withEntries(volume: MeshStorVolume, change: (entry: PartitionStatus) => PartitionStatus): MeshStorVolume {
  if (volume.status === undefined) return volume;
  return { ...volume, status: { ...volume.status, partitions: volume.status.partitions.map(change) } };
}

/** Rule 1 gone: nothing in the kernel says of which epoch it is. */
function withoutEpochs<W extends AnyWorld>(world: W): W {
  const epoch = epochOf(world);
  const imports = 'imports' in world ? world.imports : [];
  const legs = world.legs.map((leg): LegSeen => {
    const under = imports.find((seen) => seen.partitionUUID === leg.partitionUUID && seen.epoch === epoch);
    const local = namespaceUuidFor(leg.partitionUUID, epoch, world.me.bootID);
    const isLocal = world.partitions.some(({ partitionUUID }) => partitionUUID === leg.partitionUUID);
    return { ...leg, epoch, namespaceUUID: isLocal ? local : (under?.namespaceUUID ?? leg.namespaceUUID) };
  });
  if (world.array === undefined) return { ...world, legs };
  const members = world.array.members.map((member) => ({ ...member, epoch }));
  return { ...world, legs, array: { ...world.array, members } };
}

/** Rule 11 gone: what is ahead of the object is not looked at. */
function withoutTraces<W extends AnyWorld>(world: W): W {
  const epoch = epochOf(world);
  const attachmentID = world.volume.status?.attachmentID;
  const isKnown = (seen: { readonly epoch?: number; readonly attachmentID?: string }): boolean =>
    (seen.epoch ?? 0) < epoch || (seen.epoch === epoch && (seen.attachmentID ?? attachmentID) === attachmentID);
  const { array, ...rest } = world;
  const partitions = world.partitions.map(({ stamp: _stamp, ...partition }) => partition);
  const exports = 'exports' in world ? { exports: world.exports.filter(isKnown) } : {};
  const imports = 'imports' in world ? { imports: world.imports.filter(isKnown) } : {};
  const seen = array?.members.every(isKnown) === true ? { array } : {};
  return { ...rest, ...exports, ...imports, ...seen, partitions, legs: world.legs.filter(isKnown) } as unknown as W;
}

/** Rule 5 gone: what was granted before is left, and not seen any more. */
function withoutOldGrants(world: HolderWorld): HolderWorld {
  const epoch = epochOf(world);
  const { array, ...rest } = world;
  const isOld = array?.members.some((member) => member.epoch !== epoch) ?? false;
  return {
    ...rest,
    ...(array === undefined || isOld ? {} : { array }),
    exports: world.exports.filter((seen) => seen.epoch === epoch),
    legs: world.legs.filter((leg) => leg.epoch === epoch),
  };
}

/** Rule 7 gone: without a member that holds everything, one that may not do. */
function withAnySource(volume: MeshStorVolume): MeshStorVolume {
  const { status } = volume;
  if (status === undefined || volume.spec.activatedAt === undefined) return volume;
  const isThere = (entry: PartitionStatus): boolean => entry.epoch === status.attachmentEpoch;
  if (status.partitions.some((entry) => entry.state === 'Synced' && isThere(entry))) return volume;
  return withEntries(volume, (entry) => {
    const isOut = entry.state === 'Missing' || entry.state === 'Syncing' || entry.state === 'Faulty';
    return isOut && isThere(entry) ? { ...entry, state: 'Synced' } : entry;
  });
}

export class Rules {
  readonly #off: ReadonlySet<number>;
  readonly filesystemUuid = filesystemUuidFor(VOLUME_UUID);

  constructor(off: readonly number[] = []) {
    this.#off = new Set(off);
  }

  isOff(rule: number): boolean {
    return this.#off.has(rule);
  }

  #common<W extends AnyWorld>(world: W): W {
    let seen = world;
    if (this.isOff(1)) seen = withoutEpochs(seen);
    if (this.isOff(11)) seen = withoutTraces(seen);
    return seen;
  }

  holder(world: HolderWorld): HolderWorld {
    if (this.#off.size === 0) return world;
    const seen = this.#common(world);
    if (this.isOff(5)) return withoutOldGrants(seen);
    if (!this.isOff(13)) return seen;
    const gone = (entry: PartitionStatus): PartitionStatus =>
      entry.state === 'Missing' ? { ...entry, state: 'Deleting' } : entry;
    return { ...seen, volume: withEntries(seen.volume, gone) };
  }

  consumer<W extends ConsumerWorld>(world: W): W {
    return this.#off.size === 0 ? world : this.#common(world);
  }

  staging(world: ConsumerWorld): ConsumerWorld {
    const seen = this.consumer(world);
    return this.isOff(7) ? { ...seen, volume: withAnySource(seen.volume) } : seen;
  }

  mending<W extends ConsumerWorld>(world: W): W {
    const seen = this.consumer(world);
    if (!this.isOff(8)) return seen;
    const forgiven = ({ stale: _stale, missingEpoch: _missing, ...entry }: PartitionStatus): PartitionStatus => entry;
    return { ...seen, volume: withEntries(seen.volume, forgiven) };
  }

  observation(world: ConsumerWorld, seen: ConsumerObservation): ConsumerObservation {
    if (!this.isOff(4)) return seen;
    const members = world.array?.members.filter(({ faulty }) => !faulty) ?? [];
    return { ...seen, inSync: members.flatMap(({ partitionUUID }) => partitionUUID ?? []) };
  }

  /** Rules 6 and 7 gone: the start records nothing of those it left out, or begins from what may not be begun from. */
  onStart(
    current: MeshStorVolume,
    record: (seen: MeshStorVolume) => VolumeStatus | undefined,
  ): VolumeStatus | undefined {
    const next = record(this.isOff(7) ? withAnySource(current) : current);
    if (!this.isOff(6) || next === undefined) return next;
    const was = new Map(current.status?.partitions.map((entry) => [entry.partitionUUID, entry]));
    const partitions = next.partitions.map((entry) => {
      const before = was.get(entry.partitionUUID);
      return before?.state === 'Synced' ? before : entry;
    });
    return { ...next, partitions };
  }
}
