/** NodePublish and NodeUnpublish: the staged volume under a pod's path (SPEC §4). */
import { mountAt, refuseByObject } from './staging.ts';
import type { PublishStep } from './steps.ts';
import { refuse, stepsOrDone } from './view.ts';
import type { ConsumerWorld, Plan } from './world.ts';

export interface PublishWanted {
  readonly stagingPath: string;
  readonly targetPath: string;
  readonly access: 'mount' | 'block';
  readonly readOnly: boolean;
}

type Source = { readonly path: string; readonly readOnly: boolean } | { readonly lacks: string };

function sourceOf(world: ConsumerWorld, wanted: PublishWanted): Source {
  const { array } = world;
  if (array === undefined) return { lacks: 'its array is not running here' };
  if (array.isReadOnly) return { lacks: `array ${array.name} is not started yet` };
  if (wanted.access === 'block') return { path: array.path, readOnly: false };
  const staged = mountAt(world, wanted.stagingPath);
  if (staged?.isOurs !== true) return { lacks: `it is not mounted at ${wanted.stagingPath}` };
  return { path: wanted.stagingPath, readOnly: staged.readOnly };
}

export function planPublish(world: ConsumerWorld, wanted: PublishWanted): Plan<PublishStep> {
  const refusal = refuseByObject(world);
  if (refusal !== undefined) return refusal;
  const { name } = world.volume.metadata;
  const mode = wanted.access === 'block' ? 'Block' : 'Filesystem';
  if (mode !== world.volume.spec.volumeMode) {
    return refuse(
      'invalid',
      `volume ${name} was created with volume mode ${world.volume.spec.volumeMode}, it cannot be used as ${mode}`,
    );
  }
  if (wanted.access === 'block' && wanted.readOnly) {
    return refuse(
      'invalid',
      `volume ${name} is a raw block volume: a read-only mount of its device node would not keep anybody from writing`,
    );
  }
  const source = sourceOf(world, wanted);
  if ('lacks' in source) return refuse('precondition', `volume ${name} is not staged: ${source.lacks}`);
  const there = mountAt(world, wanted.targetPath);
  const readOnly = wanted.readOnly || source.readOnly;
  if (there === undefined) {
    const node = wanted.access === 'block' ? 'file' : 'directory';
    return { kind: 'steps', steps: [{ kind: 'bind', source: source.path, target: wanted.targetPath, readOnly, node }] };
  }
  if (!there.isOurs) {
    return refuse(
      'precondition',
      `${wanted.targetPath} has something else mounted (${there.fsType}, device ${there.devNumber})`,
    );
  }
  if (there.readOnly !== readOnly) {
    // Cut off between the bind and its remount, or asked for otherwise before.
    const how = there.readOnly ? 'read-only' : 'read-write';
    if (!readOnly)
      return refuse('precondition', `${wanted.targetPath} has the volume bound ${how}: unpublish it first`);
    return { kind: 'steps', steps: [{ kind: 'unmount', target: wanted.targetPath }] };
  }
  return { kind: 'done' };
}

/** The path is the pod's and only of this volume: whatever is mounted there goes, then the path. Needs nothing of the volume. */
export function planUnpublish(
  world: Pick<ConsumerWorld, 'mounts' | 'existingPaths'>,
  targetPath: string,
): Plan<PublishStep> {
  const mounted = world.mounts.filter(({ mountPoint }) => mountPoint === targetPath);
  const unmounts = mounted.map((): PublishStep => ({ kind: 'unmount', target: targetPath }));
  const exists = world.existingPaths?.includes(targetPath) ?? mounted.length > 0;
  const remove: readonly PublishStep[] = exists ? [{ kind: 'removePath', path: targetPath }] : [];
  return stepsOrDone([...unmounts, ...remove]);
}
