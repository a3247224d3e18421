/** What befalls a cluster: drawn from the seed as a list, each with its time, so that one can be left out and the rest stay. */
import { identityOf } from './cluster.ts';
import type { Cluster } from './cluster.ts';
import { API } from './api-server.ts';
import { pump } from './md-work.ts';
import type { SimMachine } from './parts.ts';
import { Random } from './random.ts';
import type { Simulation } from './simulation.ts';

export const FAULTS = [
  'crash',
  'process restart',
  'pause',
  'partition',
  'one-way partition',
  'API cut off from a node',
  'answers of the API lost',
  'API outage',
  'watch lost',
  'drive lost',
  'medium error',
  'slow zeroing',
  'wrong clock',
  'kubelet gives up calls',
  'force-detach',
  'out-of-service taint',
  'node gone for ever',
  'API restored from a backup',
  'API backed up',
] as const;
export type FaultKind = (typeof FAULTS)[number];
/** What people do all day: no fault. */
export type MoveKind = 'pod moves' | 'pod starts anew' | 'volume deleted';

export interface Happening {
  readonly atMs: number;
  readonly kind: FaultKind | MoveKind;
  /** Machines by their number. */
  readonly node: number;
  readonly other: number;
  readonly lastsMs: number;
  readonly flag: boolean;
}

const WEIGHTS: readonly (readonly [Happening['kind'], number])[] = [
  ['crash', 16],
  ['process restart', 12],
  ['pause', 8],
  ['partition', 10],
  ['one-way partition', 7],
  ['API cut off from a node', 9],
  ['answers of the API lost', 4],
  ['API outage', 4],
  ['watch lost', 4],
  ['drive lost', 5],
  ['medium error', 5],
  ['slow zeroing', 3],
  ['wrong clock', 2],
  ['kubelet gives up calls', 4],
  ['force-detach', 9],
  ['out-of-service taint', 12],
  ['node gone for ever', 2],
  ['API restored from a backup', 2],
  ['pod moves', 12],
  ['pod starts anew', 5],
  ['volume deleted', 1],
];

/** When the last one begins, at the latest. */
export const FAULTS_MS = 30_000;

export function drawHappenings(seed: number, nodes: number): readonly Happening[] {
  const random = new Random(seed, 'faults');
  const count = random.between(3, 9);
  const happenings = Array.from({ length: count }, (): Happening => {
    const kind = random.weighed(WEIGHTS);
    const node = random.between(0, nodes - 1);
    return {
      atMs: random.chance(0.1) ? random.between(0, 4000) : random.between(4000, FAULTS_MS),
      kind,
      node,
      other: (node + random.between(1, nodes - 1)) % nodes,
      lastsMs: random.weighed([
        [random.between(100, 1500), 2],
        [random.between(1500, 6000), 3],
        [random.between(6000, 20_000), 2],
      ]),
      flag: random.chance(0.5),
    };
  });
  const restored = happenings.filter(({ kind }) => kind === 'API restored from a backup');
  const backups = restored.map((each): Happening => ({ ...each, kind: 'API backed up', atMs: each.atMs / 3 }));
  return [...happenings, ...backups].sort((a, b) => a.atMs - b.atMs);
}

/** Power cut: the kernel forgets, the drives keep what was not in a volatile cache. */
export function crash(simulation: Simulation, machine: SimMachine): void {
  const { cluster } = simulation;
  machine.life += 1;
  machine.isUp = false;
  machine.pausedUntil = 0;
  simulation.processes.get(machine.name)?.kill();
  for (const drive of machine.drives) {
    for (const { cached, data } of drive.partitions.values()) {
      for (const [block, below] of cached) if (cluster.random.chance(0.6)) data[block] = below;
      cached.clear();
    }
  }
  machine.legs.clear();
  machine.exports.clear();
  machine.imports.clear();
  Object.assign(machine, { array: undefined, mounts: [], isShutDown: false, hasClient: false, isEnding: false });
  machine.pumpDue = undefined;
  cluster.revision += 1;
  // Nothing that is on the wire is called back; what was to land here does not.
}

export function boot(simulation: Simulation, machine: SimMachine): void {
  if (machine.isUp || machine.isGone) return;
  machine.isUp = true;
  machine.bootCount += 1;
  machine.identity = identityOf(machine.name, machine.bootCount);
  simulation.kubelets.get(machine.name)?.forget();
  simulation.startMachine(machine);
}

function cut(cluster: Cluster, from: string, to: string, lastsMs: number): void {
  const direction = `${from}>${to}`;
  cluster.cuts.add(direction);
  cluster.time.after(lastsMs, () => cluster.cuts.delete(direction));
}

function goneForEver(simulation: Simulation, machine: SimMachine): boolean {
  const { cluster } = simulation;
  const left = cluster.machines.filter(({ isGone }) => !isGone);
  // Of a volume that is not born yet the placement is begun anew, which is not simulated.
  if (left.length < cluster.machines.length || cluster.api.truth?.spec.activatedAt === undefined) return false;
  crash(simulation, machine);
  machine.isGone = true;
  cluster.api.deleteNode(machine.name);
  if (cluster.podOn === machine) {
    cluster.podOn = cluster.machines.find((other) => other !== machine);
    cluster.isForced = true;
  }
  return true;
}

function loseDrive(cluster: Cluster, machine: SimMachine, { other, lastsMs }: Happening): boolean {
  const drive = machine.drives[other % machine.drives.length];
  if (drive?.isOnline !== true || cluster.api.truth?.spec.activatedAt === undefined) return false;
  drive.isOnline = false;
  machine.hasEvent = true;
  cluster.time.after(lastsMs, () => {
    drive.isOnline = true;
    machine.hasEvent = true;
    if (machine.array !== undefined) pump(cluster, machine);
  });
  return true;
}

/** Only where MD has another member to go on with: it never gives up the one that it reads from during a resync. */
function mediumError(cluster: Cluster, machine: SimMachine): boolean {
  const consumer = cluster.machines.find(({ array }) => array !== undefined && !array.isReadOnly);
  const array = consumer?.array;
  const isQuiet = array?.resyncPending === false && array.members.every(({ recovering }) => !recovering);
  const drive = machine.drives[0];
  if (!isQuiet || drive === undefined) return false;
  drive.mediumErrors = 1;
  return true;
}

function movePod(simulation: Simulation, { node, lastsMs }: Happening, isForced: boolean): boolean {
  const { cluster } = simulation;
  const to = cluster.machines[node];
  if (to === undefined || to.isGone || simulation.controller.isDeletionWished) return false;
  if (isForced && to === cluster.podOn) return false;
  cluster.podOn = to;
  cluster.isForced = isForced;
  if (isForced) cluster.time.after(lastsMs + 20_000, () => (cluster.isForced = false));
  return true;
}

function restartPod({ cluster, controller }: Simulation, { lastsMs }: Happening): boolean {
  const was = cluster.podOn;
  if (was === undefined) return false;
  cluster.podOn = undefined;
  cluster.time.after(lastsMs, () => {
    if (!controller.isDeletionWished && !was.isGone) cluster.podOn ??= was;
  });
  return true;
}

/** How long a node is out of service beyond what is drawn: a start without it has its grace to wait. */
export const OUT_OF_SERVICE_MS = 14_000;

/** With `flag` the node is off indeed; without, somebody erred. */
function taint(simulation: Simulation, machine: SimMachine, { other, lastsMs, flag }: Happening): boolean {
  const { cluster } = simulation;
  const outMs = lastsMs + OUT_OF_SERVICE_MS;
  if (flag) powerCut(simulation, machine, outMs);
  cluster.api.taint(machine.name, true);
  cluster.time.after(outMs, () => {
    cluster.api.taint(machine.name, false);
  });
  if (cluster.podOn !== machine) return true;
  cluster.podOn = cluster.machines[other];
  if (cluster.podOn?.isGone === true) cluster.podOn = machine;
  cluster.isForced = true;
  return true;
}

function restartProcess(simulation: Simulation, machine: SimMachine, lastsMs: number): boolean {
  if (!machine.isUp) return false;
  simulation.processes.get(machine.name)?.kill();
  const { life } = machine;
  simulation.cluster.time.after(Math.min(lastsMs, 5000), () => {
    if (machine.life === life && machine.isUp) simulation.startProcess(machine);
  });
  return true;
}

function cutApi(cluster: Cluster, { name }: SimMachine, happening: Happening): boolean {
  if (happening.kind === 'API cut off from a node') cut(cluster, name, API, happening.lastsMs);
  cut(cluster, API, name, happening.lastsMs);
  return true;
}

function partition(cluster: Cluster, machine: SimMachine, happening: Happening): boolean {
  const other = cluster.machines[happening.other];
  if (other === undefined) return false;
  const { kind, flag, lastsMs } = happening;
  const names: readonly [string, string] = flag ? [machine.name, other.name] : [other.name, machine.name];
  cut(cluster, names[0], names[1], lastsMs);
  if (kind === 'partition') cut(cluster, names[1], names[0], lastsMs);
  return true;
}

function pause(cluster: Cluster, machine: SimMachine, lastsMs: number): boolean {
  if (!machine.isUp) return false;
  machine.pausedUntil = Math.max(machine.pausedUntil, cluster.time.now + lastsMs);
  return true;
}

function powerCut(simulation: Simulation, machine: SimMachine, lastsMs: number): boolean {
  if (!machine.isUp) return false;
  crash(simulation, machine);
  simulation.cluster.time.after(lastsMs, () => {
    boot(simulation, machine);
  });
  return true;
}

function outage(cluster: Cluster, lastsMs: number): boolean {
  cluster.api.isAway = true;
  cluster.time.after(lastsMs, () => (cluster.api.isAway = false));
  return true;
}

export function describeHappening({ atMs, kind, node, other, lastsMs }: Happening): string {
  return `at ${Math.round(atMs)} ms: ${kind}, node-${node}, other node-${other}, ${lastsMs} ms`;
}

/** Says whether it happened: some need something to happen to. */
export function happen(simulation: Simulation, happening: Happening): boolean {
  const { cluster } = simulation;
  const machine = cluster.machines[happening.node];
  if (machine === undefined || machine.isGone) return false;
  const { kind, lastsMs } = happening;
  switch (kind) {
    case 'crash':
      return powerCut(simulation, machine, lastsMs);
    case 'process restart':
      return restartProcess(simulation, machine, lastsMs);
    case 'pause':
      return pause(cluster, machine, lastsMs);
    case 'partition':
    case 'one-way partition':
      return partition(cluster, machine, happening);
    case 'API cut off from a node':
    case 'answers of the API lost':
      return cutApi(cluster, machine, happening);
    case 'API outage':
      return outage(cluster, lastsMs);
    case 'watch lost':
      cluster.api.loseWatch(machine.name, lastsMs);
      return true;
    case 'drive lost':
      return loseDrive(cluster, machine, happening);
    case 'medium error':
      return mediumError(cluster, machine);
    case 'slow zeroing':
      machine.zeroingMs = lastsMs;
      return cluster.api.truth?.spec.activatedAt === undefined;
    case 'wrong clock':
      machine.clockSkewMs = (happening.flag ? 1 : -1) * lastsMs * 1000;
      return true;
    case 'kubelet gives up calls':
      simulation.kubelets.get(machine.name)!.callLimitMs = Math.min(lastsMs, 3000);
      return true;
    case 'force-detach':
      return movePod(simulation, happening, true);
    case 'out-of-service taint':
      return taint(simulation, machine, happening);
    case 'node gone for ever':
      return goneForEver(simulation, machine);
    case 'API backed up':
      cluster.api.takeBackup();
      return true;
    case 'API restored from a backup':
      return cluster.api.restore();
    case 'pod moves':
      return movePod(simulation, happening, false);
    case 'pod starts anew':
      return restartPod(simulation, happening);
    case 'volume deleted':
      simulation.controller.isDeletionWished = true;
      cluster.podOn = undefined;
      return true;
  }
}
