/** Device mapper, the NVMe target and the NVMe host of a machine, as far as members go through them. */
import { DomainError } from '../../src/api/errors.ts';
import type { Cluster } from './cluster.ts';
import type { SimExport, SimImport, SimLeg, SimMachine, SimPartition } from './parts.ts';

export const partitionPath = ({ partitionUUID }: Pick<SimPartition, 'partitionUUID'>): string =>
  `/dev/part-${partitionUUID}`;
/** Another export is another namespace: the kernel gives it another name. */
export const importPath = ({ target }: SimImport): string => `/dev/nvme-${target.nqn}-${target.namespaceUUID}`;

/** How I/O through a leg fares: it gets there, its path is lost, or it waits until the kernel has found out. */
export type Reach = 'ok' | 'lost' | 'silent';

function isConnected(cluster: Cluster, machine: SimMachine, seen: SimImport): boolean {
  const { holder, target } = seen;
  return (
    target.isServed &&
    holder.exports.get(target.nqn) === target &&
    cluster.isRunning(holder) &&
    cluster.hears(machine.name, holder.name) &&
    cluster.hears(holder.name, machine.name)
  );
}

export function legOf(machine: SimMachine, partitionUUID: string, epoch: number): SimLeg | undefined {
  for (const leg of machine.legs.values()) {
    if (leg.partitionUUID === partitionUUID && leg.epoch === epoch) return leg;
  }
  return undefined;
}

export function importOf(machine: SimMachine, leg: SimLeg): SimImport | undefined {
  for (const seen of machine.imports.values()) if (importPath(seen) === leg.under) return seen;
  return undefined;
}

export function reachOf(cluster: Cluster, machine: SimMachine, leg: SimLeg): Reach {
  const local = cluster.partition(leg.partitionUUID);
  if (local !== undefined && leg.under === partitionPath(local) && local.node === machine) {
    return local.drive.isOnline ? 'ok' : 'lost';
  }
  const seen = importOf(machine, leg);
  if (seen?.state !== 'live') return 'lost';
  if (!isConnected(cluster, machine, seen)) return 'silent';
  // The holder's drive is gone under a living connection: nvmet answers with an error that counts as one of the path.
  return cluster.partition(seen.partitionUUID)?.drive.isOnline === true ? 'ok' : 'lost';
}

/** I/O that is sent now gets there. */
export function isOpen(cluster: Cluster, machine: SimMachine, leg: SimLeg): boolean {
  return leg.pathState === 'active' && !leg.suspended && reachOf(cluster, machine, leg) === 'ok';
}

/** I/O waits in a guard: it has no path and queues, or does not know yet that it has none. */
export function isStuck(cluster: Cluster, machine: SimMachine, leg: SimLeg): boolean {
  if (leg.suspended) return true;
  if (leg.pathState === 'failed') return leg.queues;
  const reach = reachOf(cluster, machine, leg);
  return reach === 'silent' || (reach === 'lost' && leg.queues);
}

const KEEP_ALIVE_MS = 1500;
/** From there until the controller is given up. */
const GIVE_UP_MS = 6000;

/** What the NVMe host finds out by its keep-alive, and by reconnecting. */
export function tickConnections(cluster: Cluster, machine: SimMachine): void {
  for (const seen of machine.imports.values()) {
    const before = seen.state;
    const isLeft = tickConnection(cluster, machine, seen);
    if (!isLeft) machine.imports.delete(seen.nqn);
    if (!isLeft || seen.state !== before) machine.hasEvent = true;
  }
}

/** False when the kernel gives it up. */
function tickConnection(cluster: Cluster, machine: SimMachine, seen: SimImport): boolean {
  const { now } = cluster.time;
  if (isConnected(cluster, machine, seen)) {
    seen.silentSince = undefined;
    seen.state = 'live';
    return true;
  }
  if (reconnect(cluster, machine, seen)) return true;
  seen.silentSince ??= now;
  // An export that was taken away says so at once.
  const isRefused = !seen.target.isServed && cluster.hears(seen.holder.name, machine.name);
  if (isRefused || now - seen.silentSince > KEEP_ALIVE_MS) seen.state = 'connecting';
  return now - seen.silentSince <= GIVE_UP_MS;
}

/** The same subsystem was made again, as by a holder that restarted: another connection, another namespace. */
function reconnect(cluster: Cluster, machine: SimMachine, seen: SimImport): boolean {
  if (seen.state !== 'connecting') return false;
  const target = seen.holder.exports.get(seen.nqn);
  if (target === undefined || target === seen.target || target.hostNqn !== machine.identity.hostNqn) return false;
  const was = seen.target;
  seen.target = target;
  if (isConnected(cluster, machine, seen)) {
    seen.state = 'live';
    seen.silentSince = undefined;
    return true;
  }
  seen.target = was;
  return false;
}

export function connect(cluster: Cluster, machine: SimMachine, nqn: string, holderName: string): void {
  if (machine.imports.has(nqn)) return;
  const holder = cluster.machine(holderName);
  const target = holder.exports.get(nqn);
  if (target === undefined || target.hostNqn !== machine.identity.hostNqn) throw away(holderName);
  const { partitionUUID, epoch, attachmentID } = target;
  const seen: SimImport = {
    nqn,
    partitionUUID,
    epoch,
    attachmentID,
    holder,
    target,
    state: 'live',
    silentSince: undefined,
  };
  if (!isConnected(cluster, machine, seen)) throw away(holderName);
  machine.imports.set(nqn, seen);
}

const away = (name: string): DomainError => new DomainError('unavailable', `node ${name} does not answer`);

/** `EBUSY` while an array or an export has it. */
export function removeLeg(machine: SimMachine, name: string): void {
  const leg = machine.legs.get(name);
  if (leg === undefined) return;
  const isMember = machine.array?.members.some(
    (member) => member.partitionUUID === leg.partitionUUID && member.epoch === leg.epoch,
  );
  const isExported = [...machine.exports.values()].some(({ devicePath }) => devicePath === `/dev/mapper/${name}`);
  if (isMember === true || isExported) throw new DomainError('unavailable', `removing the leg ${name}: it is open`);
  machine.legs.delete(name);
}

export function createLeg(machine: SimMachine, leg: SimLeg): void {
  if (!machine.legs.has(leg.name)) machine.legs.set(leg.name, leg);
}

/** Cuts the connections, then waits for what was in flight: it lands before this returns, or never (SPEC §7.5). */
export function revoke(cluster: Cluster, machine: SimMachine, nqn: string): void {
  const found = machine.exports.get(nqn);
  if (found === undefined) return;
  for (const flight of [...cluster.flights]) if (flight.target === found) flight.end(cluster.random.chance(0.5));
  found.isServed = false;
  machine.exports.delete(nqn);
}

export function serve(machine: SimMachine, wanted: Omit<SimExport, 'isServed'>): void {
  const known = machine.exports.get(wanted.nqn);
  if (known?.namespaceUUID === wanted.namespaceUUID && known.isServed) return;
  machine.exports.set(wanted.nqn, { ...wanted, isServed: true });
}
