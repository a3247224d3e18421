/** What the faults need to know and to do: nodes, volumes, who holds what. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../cluster.ts';
import type { ApiObject, Deployment } from '../deployment.ts';
import type { Machine } from '../machine.ts';
import type { RoleKeeper } from './role-keeper.ts';
import type { Workload } from './workload.ts';

/** A neighbour's address that nobody has: what is sent there vanishes. */
const NOWHERE = '02:00:00:00:00:fe';
const OUT_OF_SERVICE = { key: 'node.kubernetes.io/out-of-service', value: 'nodeshutdown', effect: 'NoExecute' };
const ASK_LIMIT_MS = 3000;
const AGAIN_MS = 500;

export interface Member {
  readonly node: string;
  readonly partitionUUID: string;
  readonly state: string;
}

export interface Arena {
  readonly cluster: Cluster;
  readonly deployment: Deployment;
  readonly keepers: ReadonlyMap<string, RoleKeeper>;
  readonly workloads: readonly Workload[];
  readonly say: (text: string) => void;
}

export function keeperOf({ keepers }: Arena, node: string): RoleKeeper {
  const keeper = keepers.get(node);
  if (keeper === undefined) throw new Error(`nobody keeps the role of ${node}`);
  return keeper;
}

/** Until it succeeds: a machine stands still or the API is away for a while. */
export async function patiently(what: string, limitMs: number, work: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    try {
      await work();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`${what}: not within ${limitMs / 1000} s`, { cause: error });
      await sleep(AGAIN_MS);
    }
  }
}

/** Waits for something; says whether it came in time. */
export async function within(limitMs: number, isSo: () => boolean | Promise<boolean>): Promise<boolean> {
  const deadline = Date.now() + limitMs;
  while (!(await isSo())) {
    if (Date.now() > deadline) return false;
    await sleep(200);
  }
  return true;
}

/** Undefined while the API does not answer. */
export async function volumeOf({ deployment }: Arena, volumeId: string): Promise<ApiObject | undefined> {
  const none = sleep(ASK_LIMIT_MS, undefined, { ref: false });
  return Promise.race([deployment.object('meshstorvolumes', volumeId).catch(() => undefined), none]);
}

/** Undefined while the API does not answer. */
export async function membersOf(arena: Arena, volumeId: string): Promise<readonly Member[] | undefined> {
  const volume = await volumeOf(arena, volumeId);
  return volume?.status?.partitions?.map(({ nodeID, partitionUUID, state }) => ({
    node: nodeID,
    partitionUUID,
    state,
  }));
}

export async function isWhole(arena: Arena, workload: Workload): Promise<boolean> {
  const volume = await volumeOf(arena, workload.parts.volumeId);
  const states = volume?.status?.partitions?.map(({ state }) => state) ?? [];
  return volume?.status?.ready === '2/2' && states.length === 2 && states.every((state) => state === 'Synced');
}

export async function areAllWhole(arena: Arena): Promise<boolean> {
  const whole = await Promise.all(arena.workloads.map((workload) => isWhole(arena, workload)));
  return whole.every(Boolean);
}

/** A copy of the volume that holds every write is on another node. */
export async function hasCopyBeside(arena: Arena, { parts }: Workload, node: string): Promise<boolean> {
  const members = await membersOf(arena, parts.volumeId);
  return members?.some((member) => member.node !== node && member.state === 'Synced') ?? false;
}

/** What the node sends to the address vanishes. What comes from there arrives. */
export async function block(machine: Machine, address: string): Promise<void> {
  await machine.run(`ip neigh replace ${address} lladdr ${NOWHERE} dev eth0 nud permanent`);
}

/** Idempotent; also after a reset of the machine. */
export async function unblock(machine: Machine, address: string): Promise<void> {
  await machine.run(
    `ip neigh show ${address} nud permanent | grep -q . && ip neigh del ${address} dev eth0; ! ip neigh show ${address} nud permanent | grep -q .`,
  );
}

export function callOff({ deployment }: Arena, node: string): Promise<void> {
  return patiently(`${node} is called off`, 120_000, () => deployment.setTaints(node, [OUT_OF_SERVICE]));
}

export function callBack({ deployment }: Arena, node: string): Promise<void> {
  return patiently(`${node} is in service again`, 120_000, () => deployment.setTaints(node, []));
}

/** PARTUUIDs of the members on each of a node's drives, by the drive's index in the machine. */
export async function partitionsByDrive(machine: Machine): Promise<ReadonlyMap<number, readonly string[]>> {
  const found = await machine.run(
    `for part in /sys/class/block/nvme*n1p*; do
       [ -e "$part" ] || continue
       echo "$(cat "$part/../device/serial") $(blkid -p -o value -s PART_ENTRY_UUID /dev/$(basename "$part"))"
     done`,
  );
  const byDrive = new Map<number, string[]>();
  for (const line of found.split('\n')) {
    const [serial = '', partitionUUID = ''] = line.trim().split(/\s+/);
    const index = machine.spec.drives.findIndex((drive) => drive.serial === serial);
    if (index < 0 || partitionUUID === '') continue;
    byDrive.set(index, [...(byDrive.get(index) ?? []), partitionUUID]);
  }
  return byDrive;
}
