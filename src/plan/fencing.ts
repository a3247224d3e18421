/**
 * What a node does by itself with what it has left of a volume that is another's now (SPEC §7.10): nobody may call NodeUnstage there any
 * more, and as a holder it cannot serve its own partition before its array is gone (SPEC §7.5).
 */
import type { FenceStep } from './steps.ts';
import { arrayGuards, fencedHere, openersOf, ourMounts, ownGuards } from './teardown.ts';
import { notConsumerReason, refuseBehind, sortedBy, stepsOrDone, wait } from './view.ts';
import type { ArraySeen, ConsumerWorld, Plan } from './world.ts';

/** Guards and connections of attachments that are over: all of them where this node is not the consumer. */
function leftovers(world: ConsumerWorld): readonly FenceStep[] {
  const { me, volume, imports } = world;
  const isOver = (epoch: number): boolean =>
    notConsumerReason(volume, me) !== undefined || epoch !== volume.status?.attachmentEpoch;
  const guards = ownGuards(world).filter(({ epoch }) => isOver(epoch));
  const nqns = imports.filter(({ epoch }) => isOver(epoch)).map(({ nqn }) => nqn);
  return [
    ...guards.map(({ name }): FenceStep => ({ kind: 'removeLeg', name })),
    ...sortedBy([...new Set(nqns)], (nqn) => nqn).map((nqn): FenceStep => ({ kind: 'disconnect', nqn })),
  ];
}

const unmountsOf = (targets: readonly string[]): readonly FenceStep[] =>
  targets.map((target) => ({ kind: 'unmount', target }));

/** Once nobody can take for written what only the member here has. */
function openGuardsAndStop(world: ConsumerWorld, array: ArraySeen, between: readonly FenceStep[]): Plan<FenceStep> {
  return {
    kind: 'steps',
    steps: [
      ...arrayGuards(world, array).map(({ name }): FenceStep => ({ kind: 'failGuard', name })),
      ...between,
      { kind: 'stopArray', array: array.name },
      ...leftovers(world),
    ],
  };
}

/** XFS: shut down first, so that writes in flight return errors; only then may a guard fail. */
function planXfs(world: ConsumerWorld, array: ArraySeen, mounts: readonly string[]): Plan<FenceStep> {
  const [mountPoint] = sortedBy(mounts, (path) => path);
  const plan = openGuardsAndStop(world, array, [{ kind: 'killUsers', array: array.name }, ...unmountsOf(mounts)]);
  if (plan.kind !== 'steps' || mountPoint === undefined) return plan;
  return { kind: 'steps', steps: [{ kind: 'shutdownFilesystem', mountPoint }, ...plan.steps] };
}

function planArray(world: ConsumerWorld, array: ArraySeen, why: string): Plan<FenceStep> {
  if (array.members.some(({ partitionUUID, epoch }) => partitionUUID === undefined || epoch === undefined)) {
    return wait(`${why}: what is not this driver's is left alone`);
  }
  const mounts = ourMounts(world, '');
  const typeOf = new Map(world.mounts.map(({ mountPoint, fsType }) => [mountPoint, fsType]));
  // A raw block volume is published as a bind of its device node, which nobody has open by that alone.
  const binds = mounts.filter((path) => typeOf.get(path) === 'devtmpfs');
  const filesystems = mounts.filter((path) => !binds.includes(path));
  if (filesystems.length > 0 && filesystems.every((path) => typeOf.get(path) === 'xfs')) {
    return planXfs(world, array, mounts);
  }
  // A journal of ext4 would acknowledge what the surviving leg takes, also after a shutdown.
  if (filesystems.length > 0) {
    return wait(`${why}; it stays closed until it is unmounted or the node restarts: ${filesystems.join(', ')}`);
  }
  if (array.openers === undefined) return wait(`${why}; who has ${array.path} open is not known`);
  if ((array.users ?? []).length > 0) {
    return { kind: 'steps', steps: [...unmountsOf(binds), { kind: 'killUsers', array: array.name }] };
  }
  const openers = openersOf(array);
  if (openers === undefined) return openGuardsAndStop(world, array, unmountsOf(binds));
  return wait(`${why}; it stays closed until its openers are gone: ${openers}`);
}

/**
 * `array.openers` are those that could still take an answer: a process with a fatal signal pending does not count. `array.users` of
 * them have the device or a file open; the others merely see a mount of it somewhere. `done` for whatever is this node's to use, for volumes without an object (nothing says whose they are) and for one whose status is gone.
 */
export function planFencing(world: ConsumerWorld): Plan<FenceStep> {
  const { array, volume, me } = world;
  if (volume.metadata.uid === '' || volume.status === undefined) return { kind: 'done' };
  const behind = refuseBehind(world);
  if (behind !== undefined) return behind;
  const why = fencedHere(world);
  if (why === undefined) return { kind: 'done' };
  if (array !== undefined) return planArray(world, array, why);
  return notConsumerReason(volume, me) === undefined ? { kind: 'done' } : stepsOrDone(leftovers(world));
}
