/** NodeStage: from an attached volume to a mounted one (SPEC §4, §7). Each round plans what is certain from what is seen. */
import { filesystemUuidFor, shortIdFor } from '../api/names.ts';
import type { FsType, VolumeStatus } from '../api/volume.ts';
import { planBirth } from './birth.ts';
import { stepsOf, waitsOf } from './connections.ts';
import { brokenMembers, flagSteps, planAssembly, planStart } from './start.ts';
import type { StageStep } from './steps.ts';
import { fencedReason, isWitnessBehind, notConsumerReason, refuse, sortedBy, wait, refuseBehind } from './view.ts';
import type { ArraySeen, ConsumerWorld, LegSeen, MountSeen, Plan, StagingWanted } from './world.ts';

const MOUNT_OPTIONS: Readonly<Record<FsType, readonly string[]>> = {
  xfs: ['noatime', 'nodiratime', 'logbufs=8', 'logbsize=256k', 'inode64', 'noquota'],
  ext4: ['noatime', 'nodiratime'],
};

type Refusal = Extract<Plan<never>, { kind: 'refuse' }>;

/** Refusals that need nothing but the object and who we are. */
export function refuseByObject(world: ConsumerWorld): Refusal | undefined {
  const { volume, me } = world;
  const { name } = volume.metadata;
  if (volume.status?.phase === 'Deleting' || volume.metadata.deletionTimestamp !== undefined) {
    return refuse('notFound', `volume ${name} is being deleted`);
  }
  const isEmpty = volume.status === undefined || volume.status.partitions.length === 0;
  if (isEmpty && volume.spec.activatedAt !== undefined) {
    return refuse(
      'precondition',
      `volume ${name} has data, but its status is gone: its members are not known`,
      'StatusLost',
    );
  }
  const notOurs = notConsumerReason(volume, me);
  if (notOurs !== undefined) return refuse('precondition', `volume ${name} cannot be used here: ${notOurs}`);
  const behind = refuseBehind(world);
  if (behind !== undefined) return behind;
  const fenced = fencedReason(world);
  if (fenced !== undefined) {
    return refuse('precondition', `volume ${name} is fenced here and must be torn down first: ${fenced}`);
  }
  return undefined;
}

function refuseAccess(world: ConsumerWorld, wanted: StagingWanted): Refusal | undefined {
  const { spec, metadata } = world.volume;
  const mode = wanted.access.kind === 'block' ? 'Block' : 'Filesystem';
  if (mode !== spec.volumeMode) {
    return refuse(
      'invalid',
      `volume ${metadata.name} was created with volume mode ${spec.volumeMode}, it cannot be used as ${mode}`,
    );
  }
  if (wanted.access.kind === 'mount' && wanted.access.fsType !== spec.fsType) {
    return refuse(
      'precondition',
      `volume ${metadata.name} is of filesystem ${spec.fsType}, ${wanted.access.fsType} was asked for`,
    );
  }
  return undefined;
}

/** Guards that an older epoch left, with no array on them. A holder's claims are the holder's. */
function oldGuards(world: ConsumerWorld, epoch: number): readonly LegSeen[] {
  const old = world.legs.filter((leg) => leg.epoch < epoch && leg.kind !== 'linear');
  return sortedBy(old, ({ name }) => name);
}

/** What is on top at a path. */
export function mountAt(world: ConsumerWorld, path: string): MountSeen | undefined {
  return world.mounts.filter(({ mountPoint }) => mountPoint === path).at(-1);
}

function mountStep(world: ConsumerWorld, array: ArraySeen, wanted: StagingWanted): StageStep {
  const { fsType } = world.volume.spec;
  const flags = wanted.access.kind === 'mount' ? wanted.access.mountFlags : [];
  const options = [...MOUNT_OPTIONS[fsType], ...flags, ...(wanted.readOnly ? ['ro'] : [])];
  return { kind: 'mount', array: array.path, target: wanted.stagingPath, fsType, options: [...new Set(options)] };
}

/** `formattedAt` absent: what the probe found decides, and nothing complete is ever formatted again (SPEC §7.12). */
function planFormat(world: ConsumerWorld, array: ArraySeen, mount: StageStep): Plan<StageStep> {
  const { filesystem, volume } = world;
  const { fsType, volumeUUID, sectorSize } = volume.spec;
  const uuid = filesystemUuidFor(volumeUUID);
  switch (filesystem.kind) {
    case 'unprobed':
      return { kind: 'steps', steps: [{ kind: 'probeFilesystem', array: array.path }] };
    case 'none':
    case 'unfinished': {
      const label = `ms-${shortIdFor(volumeUUID).slice(0, 9)}`;
      const make: StageStep = {
        kind: 'makeFilesystem',
        array: array.path,
        fsType,
        uuid,
        sectorSize: sectorSize ?? 512,
        label,
      };
      return { kind: 'steps', steps: [make, { kind: 'recordFormatted' }, mount] };
    }
    case 'filesystem':
      if (filesystem.fsType === fsType && filesystem.uuid === uuid) {
        return { kind: 'steps', steps: [{ kind: 'recordFormatted' }, mount] };
      }
      return refuse(
        'precondition',
        `volume ${volume.metadata.name} was never formatted by this driver, but ${array.path} holds ${filesystem.fsType} with UUID ${filesystem.uuid === '' ? 'none' : filesystem.uuid}: it is left alone`,
      );
  }
}

function planAccess(world: ConsumerWorld, array: ArraySeen, wanted: StagingWanted): Plan<StageStep> {
  if (wanted.access.kind === 'block') return { kind: 'done' };
  const there = mountAt(world, wanted.stagingPath);
  if (there !== undefined && !there.isOurs) {
    return refuse(
      'precondition',
      `${wanted.stagingPath} has something else mounted (${there.fsType}, device ${there.devNumber})`,
    );
  }
  if (there !== undefined && there.readOnly !== wanted.readOnly) {
    const how = there.readOnly ? 'read-only' : 'read-write';
    return refuse('precondition', `${wanted.stagingPath} has the volume mounted ${how}: unstage it first`);
  }
  if (there !== undefined) return { kind: 'done' };
  const mount = mountStep(world, array, wanted);
  if (world.volume.spec.formattedAt === undefined) return planFormat(world, array, mount);
  return { kind: 'steps', steps: [mount] };
}

/** An array that was started: nothing is read or written through a guard that holds I/O back. */
function planRunning(
  world: ConsumerWorld,
  status: VolumeStatus,
  array: ArraySeen,
  wanted: StagingWanted,
): Plan<StageStep> {
  const flags = flagSteps(world, status, array);
  if (flags.length > 0) return { kind: 'steps', steps: flags };
  const access = planAccess(world, array, wanted);
  if (access.kind !== 'steps') return access;
  const broken = brokenMembers(world, status, array);
  const repairs = stepsOf(broken);
  if (repairs.length > 0) return { kind: 'steps', steps: repairs };
  return broken.length > 0 ? wait(waitsOf(broken).join('; ')) : access;
}

/** States of an array that was put together and not started: nothing can be read from it. */
export const NOT_RUNNING: ReadonlySet<string> = new Set(['inactive', 'clear']);

export function planStage(world: ConsumerWorld, wanted: StagingWanted): Plan<StageStep> {
  const refusal = refuseByObject(world) ?? refuseAccess(world, wanted);
  if (refusal !== undefined) return refusal;
  const { status, spec } = world.volume;
  if (status === undefined) return wait('it is not placed yet');
  const { array } = world;
  if (array === undefined) {
    const old = oldGuards(world, status.attachmentEpoch);
    const held = old.find(({ openCount }) => openCount > 0);
    if (held !== undefined) return wait(`the leg ${held.name} of an older epoch is still open`);
    if (old.length > 0) return { kind: 'steps', steps: old.map(({ name }) => ({ kind: 'removeLeg', name })) };
  }
  if (spec.activatedAt === undefined) return planBirth(world, status);
  // The member that knows better is not among those that could be reached here, or it would have been seen above.
  if ((array === undefined || array.isReadOnly) && isWitnessBehind(world.volume)) {
    const { name } = world.volume.metadata;
    return refuse(
      'precondition',
      `volume ${name}: WitnessBehind: one of its nodes says that it is older than the disks`,
    );
  }
  if (array === undefined) return planAssembly(world, status);
  if (NOT_RUNNING.has(array.arrayState)) return { kind: 'steps', steps: [{ kind: 'stopArray', array: array.name }] };
  if (array.isReadOnly) return planStart(world, status, array);
  return planRunning(world, status, array, wanted);
}
