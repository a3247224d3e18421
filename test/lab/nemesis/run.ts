/**
 * The nemesis: a checker on each of several volumes, faults of all kinds at random, and at the end everything that was acknowledged
 * must be there, whole volumes and nothing left over (docs/lab.md).
 */
import { createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../cluster.ts';
import type { Deployment } from '../deployment.ts';
import { deploy } from '../deployment.ts';
import { Kubelet, createVolume } from '../kubelet.ts';
import { remainsAnywhere } from '../remains.ts';
import { untilUsable } from '../with-driver.ts';
import type { Arena } from './arena.ts';
import { isWhole, volumeOf, within } from './arena.ts';
import { MachineFaults } from './machine-faults.ts';
import { buildChecker, readOnce } from './checker.ts';
import { PathFaults, ProcessFaults } from './other-faults.ts';
import { RoleKeeper } from './role-keeper.ts';
import type { Strike, Track } from './schedule.ts';
import { strikes } from './schedule.ts';
import { Struck } from './struck.ts';
import type { Verdict } from './verdict.ts';
import { Workload } from './workload.ts';

const MIB = 1024 * 1024;
const FIRST_LIMIT_MS = 600_000;
/** After the last fault: paths, roles, resyncs under emulation. */
const BACK_LIMIT_MS = 300_000;
const STOP_LIMIT_MS = 180_000;
const CLEAN_LIMIT_MS = 90_000;

export interface NemesisOptions {
  readonly cluster: Cluster;
  readonly minutes: number;
  readonly volumes: number;
  readonly seed: number;
  readonly print: (line: string) => void;
}

/** Prints and keeps a line with the time since the start. */
function timeline({ cluster, print }: NemesisOptions): (text: string) => void {
  const startedAt = Date.now();
  const file = createWriteStream(join(cluster.results, 'timeline.log'), { flags: 'a' });
  return (text) => {
    const line = `${((Date.now() - startedAt) / 1000).toFixed(1).padStart(7)} s  ${text}`;
    file.write(`${new Date().toISOString()} ${line}\n`);
    print(line);
  };
}

async function makeWorkloads(
  {
    deployment,
    cluster,
    workloads,
  }: { readonly deployment: Deployment; readonly cluster: Cluster; readonly workloads: Workload[] },
  volumes: number,
  say: (text: string) => void,
): Promise<void> {
  const checker = buildChecker();
  for (let index = 0; index < volumes; index++) {
    const name = `nemesis-${index + 1}`;
    const node = cluster.nodes[index % cluster.nodes.length]?.name ?? '';
    const volumeId = await createVolume(deployment.controller, { name, sizeBytes: 512 * MIB, consumer: node });
    workloads.push(new Workload({ volumeId, name, deployment, checker, say }, node));
  }
  for (const workload of workloads) workload.start();
  if (!(await within(FIRST_LIMIT_MS, () => workloads.every(({ isServed }) => isServed))))
    throw new Error('the volumes are not served, though nothing was done to them');
}

interface Strikes {
  readonly seed: number;
  readonly endsAt: number;
  readonly say: (text: string) => void;
  count: number;
}

/** One track of faults until the time is over; each is healed before the next. */
async function runTrack<T extends Track>(
  run: Strikes,
  track: T,
  strike: (strike: Strike<T>, tell: (text: string) => void) => Promise<boolean>,
): Promise<void> {
  for (const next of strikes(run.seed, track)) {
    if (Date.now() + next.afterMs >= run.endsAt) return;
    await sleep(next.afterMs);
    const tell = (text: string): void => {
      run.count += 1;
      run.say(`fault ${run.count}: ${text}`);
    };
    try {
      if (!(await strike(next, tell))) run.say(`(nothing to strike by ${next.kind})`);
    } catch (error) {
      run.say(`(${next.kind} was not carried out: ${error instanceof Error ? error.message : String(error)})`);
    }
  }
}

/** Whatever is not there again, in words. */
async function untilBack(arena: Arena): Promise<readonly string[]> {
  const deadline = Date.now() + BACK_LIMIT_MS;
  const trouble: string[] = [];
  for (const workload of arena.workloads) {
    const isBack = async (): Promise<boolean> => workload.isServed && (await isWhole(arena, workload));
    if (await within(Math.max(0, deadline - Date.now()), isBack)) continue;
    const { status } = (await volumeOf(arena, workload.parts.volumeId)) ?? {};
    const members = (status?.partitions ?? []).map(({ nodeID, state }) => `${nodeID} ${state}`).join(', ');
    trouble.push(
      `${workload.name} (${workload.parts.volumeId}) did not come back: ${workload.isServed ? 'served' : 'not served'} at ${workload.node}, ${status?.phase ?? 'no phase'}, ${status?.mdState ?? ''}, ${status?.ready ?? ''}, ${members}`,
    );
  }
  return trouble;
}

/** Reads the file of records from each of the volume's nodes: reads are answered by the local copy. */
async function readCopies({ deployment }: Arena, { parts, ledger }: Workload): Promise<void> {
  const kubelet = new Kubelet(deployment);
  const holders = (await deployment.object('meshstorvolumes', parts.volumeId))?.status?.partitions ?? [];
  for (const { nodeID } of holders) {
    const volume = await kubelet.bringUp(parts.volumeId, nodeID);
    const found = await readOnce(deployment.node(nodeID).machine, parts.checker, volume);
    ledger.found(`reader at ${nodeID}`, found);
    await kubelet.takeDown(volume);
  }
}

/** Stopped, read from every copy, deleted; nothing is left over. */
async function finish(arena: Arena): Promise<readonly string[]> {
  const { workloads, deployment, cluster, say } = arena;
  const trouble: string[] = [];
  for (const workload of workloads) {
    try {
      await workload.stop(STOP_LIMIT_MS);
      await readCopies(arena, workload);
      say(`${workload.name} was read from each of its copies`);
      await new Kubelet(deployment).deleteVolume(workload.parts.volumeId);
    } catch (error) {
      trouble.push(`${workload.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (trouble.length > 0) return trouble;
  let remains: readonly string[] = [];
  const isClean = async (): Promise<boolean> => {
    remains = await remainsAnywhere(cluster.nodes);
    return remains.length === 0;
  };
  return (await within(CLEAN_LIMIT_MS, isClean)) ? [] : remains.map((line) => `left over: ${line}`);
}

/** What the kernels and the API say, for whoever looks for the cause. */
async function saveState({ cluster, deployment }: Arena): Promise<void> {
  const objects = await deployment.kubectl('get', 'msvol,msnd,node', '-o', 'yaml').catch(String);
  await writeFile(join(cluster.results, 'objects.yaml'), objects);
  const look = `cat /proc/mdstat; dmsetup table; dmsetup status; grep kubelet /proc/mounts; ps -eo pid,stat,wchan:30,args | grep -v '\\]$'
    for pid in $(ps -eo pid,stat | awk '$2 ~ /^D/ { print $1 }'); do echo "$pid $(cat /proc/$pid/comm)"; cat /proc/$pid/stack; done
    grep . /sys/class/nvme/*/state /sys/class/nvme/*/subsysnqn /sys/class/nvme/*/address; find /sys/kernel/config/nvmet -name enable | xargs grep .; true`;
  for (const machine of cluster.nodes) {
    const text = await machine.run(look, { timeoutMs: 90_000 }).catch(String);
    await writeFile(join(cluster.results, `${machine.name}-state.txt`), text);
  }
}

async function strikeAll(arena: Arena, { minutes, seed }: NemesisOptions): Promise<number> {
  const run: Strikes = { seed, endsAt: Date.now() + minutes * 60_000, say: arena.say, count: 0 };
  const struck = new Struck();
  const machines = new MachineFaults(arena, struck);
  const paths = new PathFaults(arena, struck);
  const processes = new ProcessFaults(arena, struck);
  await Promise.all([
    runTrack(run, 'machine', (strike, tell) => machines.strike(strike, tell)),
    runTrack(run, 'path', (strike, tell) => paths.strike(strike, tell)),
    runTrack(run, 'process', (strike, tell) => processes.strike(strike, tell)),
  ]);
  return run.count;
}

export async function runNemesis(options: NemesisOptions): Promise<Verdict> {
  const { cluster, minutes, seed } = options;
  const say = timeline(options);
  say(`seed ${seed}, ${minutes} minutes of faults, kernel ${cluster.kernel.release}`);
  const deployment = await deploy(cluster);
  await untilUsable(deployment, cluster.nodes);
  const keepers = new Map([...deployment.nodes].map(([name, role]) => [name, new RoleKeeper(role, say)]));
  const workloads: Workload[] = [];
  const keeping = [...keepers.values()].map((keeper) => keeper.keep());
  try {
    await makeWorkloads({ deployment, cluster, workloads }, options.volumes, say);
    const arena: Arena = { cluster, deployment, keepers, workloads, say };
    const faults = await strikeAll(arena, options);
    say('no more faults');
    const trouble = [...(await untilBack(arena))];
    if (trouble.length === 0) trouble.push(...(await finish(arena)));
    for (const { name, ledger } of workloads) {
      for (const line of ledger.lost.slice(0, 20)) say(`LOST: ${name}: ${line}`);
      for (const line of ledger.doubles.slice(0, 20)) say(`DOUBLE WRITER: ${name}: ${line}`);
      say(`${name}: ${ledger.acknowledged} records acknowledged, read ${ledger.reads} times`);
    }
    const ended = [...keepers.values()].reduce((sum, { ownEnds }) => sum + ownEnds, 0);
    if (ended > 0) trouble.push(`node roles have ended by themselves: ${ended} times`);
    for (const line of trouble) say(`TROUBLE: ${line}`);
    const sum = (count: (workload: Workload) => number): number =>
      workloads.reduce((total, workload) => total + count(workload), 0);
    const verdict = {
      acknowledged: sum(({ ledger }) => ledger.acknowledged),
      lost: sum(({ ledger }) => ledger.lost.length),
      doubles: sum(({ ledger }) => ledger.doubles.length),
      faults,
      takeovers: sum(({ takeovers }) => takeovers),
      trouble,
    };
    if (verdict.lost + verdict.doubles + trouble.length > 0) await saveState(arena);
    return verdict;
  } finally {
    for (const workload of workloads) workload.abandon();
    for (const keeper of keepers.values()) keeper.stop();
    await deployment.stop();
    await Promise.race([Promise.all(keeping), sleep(5000)]);
  }
}
