/** Who this node is: name, machine behind it, and the run of its kernel. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DomainError, errnoCode } from '../api/errors.ts';
import { hostIdFor, hostNqnFor } from '../api/names.ts';
import type { NodeIdentity } from '../plan/world.ts';
import { isUuid } from '../support/uuid.ts';

/** SMBIOS system UUID, as kubelet reports it in `status.nodeInfo.systemUUID`; `/etc/machine-id` where there is no SMBIOS, as kubelet does. */
const MACHINE_ID_FILES = ['sys/class/dmi/id/product_uuid', 'sys/devices/virtual/dmi/id/product_uuid', 'etc/machine-id'];

async function readText(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (['ENOENT', 'ENXIO', 'EACCES'].includes(errnoCode(error) ?? '')) return undefined;
    throw error;
  }
}

async function readMachineId(root: string): Promise<string> {
  for (const file of MACHINE_ID_FILES) {
    const text = await readText(join(root, file));
    if (text !== undefined && text !== '') return text.toLowerCase();
  }
  const places = MACHINE_ID_FILES.map((file) => `/${file}`).join(', ');
  throw new DomainError(
    'precondition',
    `reading the machine's identity: none of ${places} can be read; run the node role as root`,
  );
}

/** Reads the identity once at start; neither part changes while the process lives. */
export async function readNodeIdentity(nodeName: string, root = '/'): Promise<NodeIdentity> {
  const bootID = await readText(join(root, 'proc/sys/kernel/random/boot_id'));
  if (bootID === undefined || !isUuid(bootID)) {
    throw new DomainError(
      'precondition',
      'reading /proc/sys/kernel/random/boot_id: no boot id there; is /proc mounted',
    );
  }
  return {
    nodeName,
    machineID: await readMachineId(root),
    bootID,
    hostNqn: hostNqnFor(nodeName),
    hostID: hostIdFor(nodeName),
  };
}
