import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine } from '../machine.ts';
import { createVolume } from '../kubelet.ts';
import type { PodVolume } from '../kubelet.ts';
import type { Started } from '../process-trace.ts';
import { TRACED_EVENTS, startedBelow } from '../process-trace.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import type { Driver } from '../with-driver.ts';
import { untilUsable, withDriver } from '../with-driver.ts';

const MIB = 1024 * 1024;
const VOLUMES = 10;
/** More than two passes of 10 s and a heartbeat of 15 s. */
const CYCLE_MS = 25_000;
const RSS_LIMIT_MIB = 120;
/** In 100 s: ten passes and seven heartbeats (every 10 s and 15 s). */
const EXPECTED_BURSTS = 17;
/** Beside those the collector of garbage, which comes when it pleases. */
const MOST_BURSTS = 24;
/** A process that polls has none; how long a pass takes depends on the machine. */
const FEWEST_QUIET_SECONDS = 25;
const TRACE = '/sys/kernel/tracing';

/** What was started by the role, and by what it started, while `work` runs: the kernel's own record of every fork and exec. */
async function startedDuring(machine: Machine, role: number, work: () => Promise<void>): Promise<Started> {
  const set = (value: 0 | 1) => TRACED_EVENTS.map((event) => `echo ${value} > events/${event}/enable`).join(' && ');
  await machine.run(`mountpoint -q ${TRACE} || mount -t tracefs none ${TRACE}
    cd ${TRACE} && echo 0 > tracing_on && echo > trace && ${set(1)} && echo 1 > tracing_on`);
  await work();
  const trace = await machine.run(`cd ${TRACE} && echo 0 > tracing_on && ${set(0)} && cat trace`);
  const threads = (await machine.run(`ls /proc/${role}/task`)).trim().split(/\s+/).map(Number);
  if (/LOST \d+ EVENTS/.test(trace)) throw new Error('the trace has lost events');
  return startedBelow(new Set([role, ...threads]), trace.split('\n'));
}

async function ticks(machine: Machine, pid: number): Promise<number> {
  const stat = (await machine.run(`cat /proc/${pid}/stat`)).replace(/^.*\) /, '').split(' ');
  return Number(stat[11]) + Number(stat[12]);
}

async function pidOfRole(machine: Machine): Promise<number> {
  return Number((await machine.run('pgrep -f "meshstor.mjs node"')).trim().split('\n')[0]);
}

/** CPU seconds of a loop that does the same everywhere: what a second of this machine is worth. */
async function calibration(machine: Machine): Promise<number> {
  const loop =
    'let h = 0; for (let i = 0; i < 2e8; i += 1) h = (h * 31 + i) | 0; const u = process.cpuUsage(); console.log((u.user + u.system) / 1e6)';
  return Number(await machine.run([process.execPath, '-e', loop], { timeoutMs: 120_000 }));
}

async function stageAll(context: ScenarioContext, driver: Driver): Promise<PodVolume[]> {
  const volumes: PodVolume[] = [];
  for (let index = 0; index < VOLUMES; index += 1) {
    const volumeId = await createVolume(driver.deployment.controller, {
      name: `idle-${index}`,
      sizeBytes: 512 * MIB,
      consumer: 'node1',
    });
    const volume = await driver.kubelet.attach(volumeId, 'node1');
    if (index > 0) await driver.kubelet.stage(volume);
    else await checkStagePrograms(context, driver, volume);
    volumes.push(volume);
  }
  return volumes;
}

/** The first stage starts mdadm, blkid and mkfs, once each. */
async function checkStagePrograms(context: ScenarioContext, driver: Driver, volume: PodVolume): Promise<void> {
  const node1 = context.cluster.node('node1');
  const role = await pidOfRole(node1);
  await driver.kubelet.makeStagingPath(volume);
  const { programs } = await startedDuring(node1, role, () => driver.kubelet.stageCall(volume));
  context.note(`NodeStage of a new volume started: ${programs.join(', ')}`);
  if ([...programs].sort().join(' ') !== 'blkid mdadm mkfs.xfs')
    throw new Error(`programs started by a stage: ${programs.join(', ')}`);
}

async function measureIdle(context: ScenarioContext): Promise<void> {
  const node1 = context.cluster.node('node1');
  const pid = await pidOfRole(node1);
  const { programs, copies } = await startedDuring(node1, pid, () => sleep(CYCLE_MS));
  if (programs.length > 0) throw new Error(`an idle cycle of ${CYCLE_MS / 1000} s started ${programs.join(', ')}`);
  if (copies.length > 0) throw new Error(`an idle cycle of ${CYCLE_MS / 1000} s forked ${copies.length} processes`);
  context.note(`${CYCLE_MS / 1000} s with ${VOLUMES} staged volumes: 0 programs started, 0 processes forked`);
  const before = await ticks(node1, pid);
  const perSecond = await wakeUps(node1, pid, 100);
  const cpuSeconds = ((await ticks(node1, pid)) - before) / 100;
  const loopSeconds = await calibration(node1);
  const rss = Number((await node1.run(`awk '/VmRSS/ {print $2}' /proc/${pid}/status`)).trim()) / 1024;
  context.note(
    `node process: ${rss.toFixed(0)} MiB RSS; ${cpuSeconds.toFixed(2)} CPU s in 100 idle s beside ${loopSeconds.toFixed(2)} s of the calibration loop (ratio ${(cpuSeconds / loopSeconds).toFixed(2)})`,
  );
  const bursts = burstsOf(perSecond);
  context.note(`wake-ups of its main thread in each second: ${perSecond.join(' ')}`);
  const quiet = perSecond.filter((count) => count === 0).length;
  context.note(`in ${bursts} bursts (passes and heartbeats: ${EXPECTED_BURSTS}); ${quiet} seconds without any`);
  if (rss > RSS_LIMIT_MIB)
    throw new Error(`the node process takes ${rss.toFixed(0)} MiB, the limit is ${RSS_LIMIT_MIB}`);
  if (bursts > MOST_BURSTS) throw new Error(`the node process woke in ${bursts} bursts in 100 idle seconds`);
  if (quiet < FEWEST_QUIET_SECONDS) throw new Error(`the node process slept through ${quiet} of 100 idle seconds only`);
}

/** Seconds with wake-ups that follow one without: work on a slow machine goes on for more than a second. */
function burstsOf(perSecond: readonly number[]): number {
  return perSecond.filter((count, at) => count > 0 && (perSecond[at - 1] ?? 0) === 0).length;
}

/** How often the main thread of the process was woken in each of so many seconds. */
async function wakeUps(machine: Machine, pid: number, seconds: number): Promise<readonly number[]> {
  const look = `switches() { awk '/^voluntary/ {print $2}' /proc/${pid}/task/${pid}/status; }; before=$(switches)
    for i in $(seq ${seconds}); do sleep 1; now=$(switches); echo $((now - before)); before=$now; done`;
  const counts = await machine.run(look, { timeoutMs: (seconds + 120) * 1000 });
  return counts.trim().split('\n').map(Number);
}

async function run(context: ScenarioContext): Promise<void> {
  await withDriver(context, {}, async (driver) => {
    await untilUsable(driver.deployment, context.cluster.nodes);
    const volumes = await context.step(`${VOLUMES} volumes are staged on node1`, () => stageAll(context, driver));
    await sleep(5000);
    await context.step('idle cycles are measured', () => measureIdle(context));
    await context.step('all are taken down and deleted', async () => {
      for (const volume of volumes) {
        await driver.kubelet.unstage(volume);
        await driver.kubelet.detach(volume);
        await driver.kubelet.deleteVolume(volume.volumeId);
      }
    });
  });
}

export const driverIdle: Scenario = {
  name: 'driver-idle',
  title: 'a node with ten staged volumes starts no program, is small and sleeps',
  nodes: 2,
  run,
};
