/** One look at the whole node: what the kernel holds now, for all volumes at once. Nothing is kept between looks. */
import { errnoCode } from '../api/errors.ts';
import type {
  DmDevice,
  GptPartition,
  GptTable,
  Kernel,
  KernelPartition,
  MdArray,
  MountEntry,
  NvmeController,
  NvmeNamespace,
  NvmetState,
} from '../api/kernel.ts';
import { LEG_NAME_PREFIX } from '../api/names.ts';

export interface DriveSeen {
  readonly namespace: NvmeNamespace;
  readonly table?: GptTable;
  /** Why there is no table; empty with one. */
  readonly tableError: string;
  /** Signatures of a drive whose table is not a good GPT; empty for the others. */
  readonly signatures: readonly string[];
}

export interface NodeSnapshot {
  /** Every namespace, imported ones too. */
  readonly namespaces: readonly NvmeNamespace[];
  /** Local drives (`pcie`), with their partition tables. */
  readonly drives: readonly DriveSeen[];
  readonly arrays: readonly MdArray[];
  readonly legs: readonly DmDevice[];
  readonly nvmet: NvmetState;
  readonly controllers: readonly NvmeController[];
  readonly mounts: readonly MountEntry[];
}

async function lookAtDrive(kernel: Kernel, namespace: NvmeNamespace): Promise<DriveSeen> {
  try {
    const table = await kernel.readGpt(namespace.path);
    const plain = table.state === 'blank' || table.state === 'foreign' || table.state === 'damaged';
    return { namespace, table, tableError: '', signatures: plain ? await kernel.signatures(namespace.path) : [] };
  } catch (error) {
    const why = errnoCode(error) ?? (error instanceof Error ? error.message : String(error));
    return { namespace, tableError: why, signatures: [] };
  }
}

export async function lookAtDrives(
  kernel: Kernel,
  namespaces: readonly NvmeNamespace[],
): Promise<readonly DriveSeen[]> {
  const local = namespaces.filter((namespace) => namespace.transport === 'pcie');
  return Promise.all(local.map((namespace) => lookAtDrive(kernel, namespace)));
}

const NO_TARGET: NvmetState = { ports: [], subsystems: [], hosts: [] };

/** A kernel without the module has none of it: an empty world, and preflight says what is missing. */
async function orWithoutModule<T>(look: Promise<T>, without: T): Promise<T> {
  try {
    return await look;
  } catch (error) {
    if (['ENOENT', 'ENODEV', 'ENXIO'].includes(errnoCode(error) ?? '')) return without;
    throw error;
  }
}

export async function takeSnapshot(kernel: Kernel): Promise<NodeSnapshot> {
  // Legs before arrays: a member is in sync only if its guard was seen to queue before (SPEC §7.4).
  const legs = await orWithoutModule(kernel.dmDevices(LEG_NAME_PREFIX), []);
  const [namespaces, arrays, nvmet, controllers, mounts] = await Promise.all([
    kernel.nvmeNamespaces(),
    kernel.mdArrays(),
    orWithoutModule(kernel.nvmetState(), NO_TARGET),
    orWithoutModule(kernel.nvmeControllers(), []),
    kernel.mounts(),
  ]);
  return { namespaces, drives: await lookAtDrives(kernel, namespaces), arrays, legs, nvmet, controllers, mounts };
}

/** Guards and arrays alone, the rest empty: for whoever has no time. */
export async function lookAtArrays(kernel: Kernel): Promise<NodeSnapshot> {
  const legs = await orWithoutModule(kernel.dmDevices(LEG_NAME_PREFIX), []);
  const arrays = await kernel.mdArrays();
  return { namespaces: [], drives: [], arrays, legs, nvmet: NO_TARGET, controllers: [], mounts: [] };
}

export interface FoundPartition {
  readonly drive: DriveSeen;
  readonly entry: GptPartition;
  /** Undefined when the kernel does not know the partition. Matched by start: partitions added by BLKPG carry no PARTUUID there. */
  readonly kernelPartition?: KernelPartition;
}

/** Every partition of the local drives' tables, with the kernel's view of it. */
export function partitionsOf(snapshot: NodeSnapshot): readonly FoundPartition[] {
  return snapshot.drives.flatMap((drive) =>
    (drive.table?.partitions ?? []).map((entry) => {
      const known = drive.namespace.partitions.find(
        (partition) => partition.startBytes === entry.startBytes && partition.sizeBytes === entry.sizeBytes,
      );
      return known === undefined ? { drive, entry } : { drive, entry, kernelPartition: known };
    }),
  );
}

/** `/dev` path by `major:minor`, for every device that can be under a leg. */
export function devicePaths(snapshot: NodeSnapshot): ReadonlyMap<string, string> {
  const paths = new Map<string, string>();
  for (const namespace of snapshot.namespaces) {
    paths.set(namespace.devNumber, namespace.path);
    for (const partition of namespace.partitions) paths.set(partition.devNumber, partition.path);
  }
  return paths;
}
