/**
 * Device names move: between a look and an effect a drive can come back under another name, or another namespace can take the
 * name of one that went. What is about to be destroyed, or has just been opened, is therefore checked by its identity.
 */
import { DomainError } from '../api/errors.ts';
import type { Kernel, NvmeNamespace } from '../api/kernel.ts';
import { parseLegTable } from './dm-tables.ts';

async function namespacesAndPartition(kernel: Kernel, devNumberOrPath: string) {
  const namespaces = await kernel.nvmeNamespaces();
  for (const namespace of namespaces) {
    const partition = namespace.partitions.find(
      ({ path, devNumber }) => path === devNumberOrPath || devNumber === devNumberOrPath,
    );
    if (partition !== undefined) return { namespace, partition };
  }
  return undefined;
}

/** Rejects unless the device is now the partition with this PARTUUID, by the table of its own local drive. */
export async function requirePartition(kernel: Kernel, devNumberOrPath: string, partitionUUID: string): Promise<void> {
  const found = await namespacesAndPartition(kernel, devNumberOrPath);
  const wrong = (why: string): DomainError =>
    new DomainError(
      'unavailable',
      `using ${devNumberOrPath} as partition ${partitionUUID}: ${why}; it is looked up again`,
    );
  if (found === undefined) throw wrong('there is no such partition any more');
  const { namespace, partition } = found;
  if (namespace.transport !== 'pcie') throw wrong(`${namespace.path} is no local drive`);
  const entry = (await kernel.readGpt(namespace.path)).partitions.find(
    ({ partitionGuid }) => partitionGuid === partitionUUID,
  );
  if (entry?.startBytes !== partition.startBytes || entry.sizeBytes !== partition.sizeBytes) {
    throw wrong(`the table of ${namespace.path} has it elsewhere`);
  }
}

/** `major:minor` of what lies under a leg now: its open table pins that device. */
async function underOf(kernel: Kernel, legName: string): Promise<string> {
  const device = (await kernel.dmDevices(legName)).find(({ name }) => name === legName);
  const under = device === undefined ? undefined : parseLegTable(device).under;
  if (under === undefined) throw new DomainError('unavailable', `checking the leg ${legName}: it has no live table`);
  return under;
}

/** Takes the leg away again when what it opened is not what it was meant for. */
async function orRemove(kernel: Kernel, legName: string, check: () => Promise<void>): Promise<void> {
  try {
    await check();
  } catch (error) {
    await kernel.removeDm(legName);
    throw error;
  }
}

/** A leg that was just made over a local partition lies over that partition, or is gone again. */
export async function verifyLocalLeg(kernel: Kernel, legName: string, partitionUUID: string): Promise<void> {
  await orRemove(kernel, legName, async () => requirePartition(kernel, await underOf(kernel, legName), partitionUUID));
}

/** A guard that was just made over an imported namespace lies over that namespace, or is gone again. */
export async function verifyRemoteLeg(kernel: Kernel, legName: string, nqn: string, nsid: number): Promise<void> {
  const isMeant = (namespace: NvmeNamespace, under: string): boolean =>
    namespace.devNumber === under && namespace.subsystemNqn === nqn && namespace.nsid === nsid;
  await orRemove(kernel, legName, async () => {
    const under = await underOf(kernel, legName);
    if ((await kernel.nvmeNamespaces()).some((namespace) => isMeant(namespace, under))) return;
    throw new DomainError(
      'unavailable',
      `making the guard ${legName}: device ${under} is not namespace ${nsid} of ${nqn}; it is looked up again`,
    );
  });
}
