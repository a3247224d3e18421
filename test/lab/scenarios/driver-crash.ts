import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KILL_FILE, STEPS_FILE } from '../crash-files.ts';
import type { NodeRole } from '../deployment.ts';
import type { PodVolume } from '../kubelet.ts';
import { createVolume } from '../kubelet.ts';
import { REPO_ROOT } from '../paths.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import type { Driver } from '../with-driver.ts';
import { untilUsable, withDriver } from '../with-driver.ts';

const MIB = 1024 * 1024;
const ENTRY = join(REPO_ROOT, 'build', 'crash-entry', 'entry.mjs');
const VICTIMS = ['node1', 'node2'] as const;
/** Deaths in one phase are so many steps apart: as many lives are needed for a death after every step. */
const STRIDE = 3;
type Phase = 'birth' | 'release' | 'return' | 'deletion';
const PHASES: readonly Phase[] = ['birth', 'release', 'return', 'deletion'];

/** Starts a role again whenever it has died, as kubelet does with a container. */
class Supervisor {
  deaths = 0;
  #stopped = false;
  readonly #running: Promise<void>;
  readonly #role: NodeRole;

  constructor(role: NodeRole) {
    this.#role = role;
    this.#running = this.#supervise();
  }

  async #supervise(): Promise<void> {
    while (!this.#stopped) {
      await Promise.race([this.#role.process.ended, sleep(200)]);
      const ended = await Promise.race([this.#role.process.ended.then(() => true), sleep(0).then(() => false)]);
      if (this.#stopped || !ended) continue;
      this.deaths += 1;
      await this.#role.start();
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }
}

interface Life {
  readonly context: ScenarioContext;
  readonly driver: Driver;
  /** Steps after which each victim dies first in every phase; 0: never. Then it dies again every `STRIDE` steps. */
  readonly deathAfter: number;
}

async function phase<T>(
  { driver, deathAfter }: Life,
  counts: Map<string, number>,
  name: Phase,
  work: () => Promise<T>,
): Promise<T> {
  const machines = VICTIMS.map((victim) => driver.deployment.node(victim).machine);
  const arm = deathAfter > 0 ? `echo ${deathAfter} ${STRIDE} > ${KILL_FILE}` : `rm -f ${KILL_FILE}`;
  await Promise.all(machines.map((machine) => machine.run(`: > ${STEPS_FILE}; ${arm}`)));
  const result = await work();
  for (const machine of machines) {
    const steps = (await machine.run(`rm -f ${KILL_FILE}; cat ${STEPS_FILE}`))
      .split('\n')
      .filter((line) => line !== '');
    counts.set(`${machine.name} ${name}`, steps.length);
  }
  return result;
}

/** Born, written, released, back with its data, deleted. Returns the steps of each victim and phase. */
async function live(life: Life): Promise<ReadonlyMap<string, number>> {
  const { driver, context } = life;
  const { kubelet, deployment } = driver;
  const node1 = context.cluster.node('node1');
  const counts = new Map<string, number>();
  let volumeId = '';
  const first = await phase(life, counts, 'birth', async (): Promise<PodVolume> => {
    volumeId = await createVolume(deployment.controller, {
      name: `crash-${life.deathAfter}`,
      sizeBytes: 512 * MIB,
      consumer: 'node1',
    });
    return kubelet.bringUp(volumeId, 'node1');
  });
  const written = await node1.run(
    `head -c 4M /dev/urandom > ${first.targetPath}/data && sync && sha256sum < ${first.targetPath}/data`,
    { timeoutMs: 60_000 },
  );
  await phase(life, counts, 'release', () => kubelet.takeDown(first));
  const second = await phase(life, counts, 'return', () => kubelet.bringUp(volumeId, 'node1'));
  const read = await node1.run(`sha256sum < ${second.targetPath}/data`, { timeoutMs: 60_000 });
  if (read !== written) throw new Error(`the data is ${read.trim()}, ${written.trim()} was written`);
  const volume = await deployment.object('meshstorvolumes', volumeId);
  const states = (volume?.status?.partitions ?? []).map(({ state }) => state).join(' ');
  if (states !== 'Synced Synced') throw new Error(`the members are ${states}`);
  await phase(life, counts, 'deletion', async () => {
    await kubelet.takeDown(second);
    await kubelet.deleteVolume(volumeId);
  });
  return counts;
}

async function run(context: ScenarioContext): Promise<void> {
  const built = spawnSync(
    process.execPath,
    ['scripts/build.mjs', '--entry', 'test/lab/crash-entry.ts', '--out', 'build/crash-entry/entry.mjs'],
    { cwd: REPO_ROOT, encoding: 'utf8' },
  );
  if (built.status !== 0) throw new Error(`bundling the entry that dies: ${built.stderr}`);
  const options = { nodeEntry: [process.execPath, ENTRY], nodeEnv: { UV_THREADPOOL_SIZE: '16' } };
  await withDriver(context, options, async (driver) => {
    await untilUsable(driver.deployment, context.cluster.nodes);
    // Two nodes, so that the second copy has one place to go.
    await driver.deployment.node('node3').kill();
    await cordon(driver, 'node3');
    const counts = await context.step('one life without a death', () => live({ context, driver, deathAfter: 0 }));
    context.note([...counts].map(([what, steps]) => `${what}: ${steps} steps`).join(', '));
    if (PHASES.some((name) => VICTIMS.every((victim) => counts.get(`${victim} ${name}`) === 0)))
      throw new Error('a phase has no step');
    const supervisors = VICTIMS.map((victim) => new Supervisor(driver.deployment.node(victim)));
    try {
      for (let deathAfter = 1; deathAfter <= STRIDE; deathAfter += 1) {
        const title = `a life with deaths after step ${deathAfter}, ${deathAfter + STRIDE}, … of every phase, on both nodes`;
        await context.step(title, () => live({ context, driver, deathAfter }));
      }
    } finally {
      await Promise.all(supervisors.map((supervisor) => supervisor.stop()));
    }
    const deaths = supervisors.reduce((sum, supervisor) => sum + supervisor.deaths, 0);
    const steps = [...counts.values()].reduce((sum, count) => sum + count, 0);
    context.note(`${deaths} deaths for ${steps} steps: every volume came back with its data, nothing was left over`);
    if (deaths < steps) throw new Error(`only ${deaths} deaths for ${steps} steps`);
    await driver.deployment.node('node3').start();
  });
}

async function cordon({ deployment }: Driver, node: string): Promise<void> {
  await deployment.kubectl(
    'patch',
    'node',
    node,
    '--type=merge',
    '-p',
    JSON.stringify({ spec: { unschedulable: true } }),
  );
}

export const driverCrash: Scenario = {
  name: 'driver-crash',
  title: 'a node process that is killed after any step of a volume’s life comes back and finishes it',
  nodes: 3,
  run,
};
