import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEATHS_FILE, STEPS_FILE } from '../crash-files.ts';
import type { NodeRole } from '../deployment.ts';
import type { PodVolume } from '../kubelet.ts';
import { createVolume } from '../kubelet.ts';
import type { Machine } from '../machine.ts';
import { REPO_ROOT } from '../paths.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import type { Driver } from '../with-driver.ts';
import { untilUsable, withDriver } from '../with-driver.ts';

const MIB = 1024 * 1024;
const ENTRY = join(REPO_ROOT, 'build', 'crash-entry', 'entry.mjs');
const VICTIMS = ['node1', 'node2'] as const;
const DEATHS_LIMIT_MS = 10_000;
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

/** Steps of each victim in each phase, in the order of their end, by `node1 birth` and so on. */
type Steps = ReadonlyMap<string, readonly string[]>;

interface Life {
  readonly context: ScenarioContext;
  readonly driver: Driver;
  readonly volumeName: string;
  /** Steps after each of which its victim dies once. */
  readonly deaths: Steps;
}

/** What a life was like. */
interface LifeRecord {
  readonly steps: Map<string, readonly string[]>;
  /** Steps after which a victim should have died and that did not come. */
  readonly spared: Map<string, readonly string[]>;
}

const linesOf = (text: string): string[] => text.split('\n').filter((line) => line !== '');

async function phase<T>({ driver, deaths }: Life, record: LifeRecord, name: Phase, work: () => Promise<T>): Promise<T> {
  const machines = VICTIMS.map((victim) => driver.deployment.node(victim).machine);
  await Promise.all(
    machines.map(async (machine) => {
      await machine.run(`: > ${STEPS_FILE}`);
      await machine.writeFile(DEATHS_FILE, (deaths.get(`${machine.name} ${name}`) ?? []).join('\n'));
    }),
  );
  const result = await work();
  for (const machine of machines) {
    const spared = await sparedBy(machine);
    if (spared.length > 0) record.spared.set(`${machine.name} ${name}`, spared);
    record.steps.set(`${machine.name} ${name}`, linesOf(await machine.readFile(STEPS_FILE)));
  }
  return result;
}

/** Deaths that have not come. A step ends a little after its effect, which is what the callers wait for. */
async function sparedBy(machine: Machine): Promise<readonly string[]> {
  const deadline = Date.now() + DEATHS_LIMIT_MS;
  for (;;) {
    await sleep(1000);
    const spared = linesOf(await machine.readFile(DEATHS_FILE));
    if (spared.length === 0 || Date.now() > deadline) return spared;
  }
}

/** Born, written, released, back with its data, deleted. */
async function live(life: Life): Promise<LifeRecord> {
  const { driver, context } = life;
  const { kubelet, deployment } = driver;
  const node1 = context.cluster.node('node1');
  const record: LifeRecord = { steps: new Map(), spared: new Map() };
  let volumeId = '';
  const first = await phase(life, record, 'birth', async (): Promise<PodVolume> => {
    volumeId = await createVolume(deployment.controller, {
      name: life.volumeName,
      sizeBytes: 512 * MIB,
      consumer: 'node1',
    });
    return kubelet.bringUp(volumeId, 'node1');
  });
  const written = await node1.run(
    `head -c 4M /dev/urandom > ${first.targetPath}/data && sync && sha256sum < ${first.targetPath}/data`,
    { timeoutMs: 60_000 },
  );
  await phase(life, record, 'release', () => kubelet.takeDown(first));
  const second = await phase(life, record, 'return', () => kubelet.bringUp(volumeId, 'node1'));
  const read = await node1.run(`sha256sum < ${second.targetPath}/data`, { timeoutMs: 60_000 });
  if (read !== written) throw new Error(`the data is ${read.trim()}, ${written.trim()} was written`);
  const volume = await deployment.object('meshstorvolumes', volumeId);
  const states = (volume?.status?.partitions ?? []).map(({ state }) => state).join(' ');
  if (states !== 'Synced Synced') throw new Error(`the members are ${states}`);
  await phase(life, record, 'deletion', async () => {
    await kubelet.takeDown(second);
    await kubelet.deleteVolume(volumeId);
  });
  return record;
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
    const { steps } = await context.step('a life without a death', () =>
      live({ context, driver, volumeName: 'crash-undisturbed', deaths: new Map() }),
    );
    context.note([...steps].map(([what, lines]) => `${what}: ${lines.length} steps`).join(', '));
    if (PHASES.some((name) => VICTIMS.every((victim) => steps.get(`${victim} ${name}`)?.length === 0)))
      throw new Error('a phase has no step');
    const supervisors = VICTIMS.map((victim) => new Supervisor(driver.deployment.node(victim)));
    try {
      await dieAfterEvery(context, driver, steps);
    } finally {
      await Promise.all(supervisors.map((supervisor) => supervisor.stop()));
    }
    const deaths = supervisors.reduce((sum, supervisor) => sum + supervisor.deaths, 0);
    context.note(`${deaths} deaths: the volume came back with its data every time, and nothing was left over`);
    await driver.deployment.node('node3').start();
  });
}

/**
 * Lives until there was a death after every step. One life is not enough: a death after the stop of the array means that the record
 * of a clean hand-over is never written in that life.
 */
async function dieAfterEvery(context: ScenarioContext, driver: Driver, steps: Steps): Promise<void> {
  let deaths = steps;
  for (let count = 1; deaths.size > 0; count += 1) {
    const left = [...deaths.values()].flat();
    const { spared } = await context.step(`life ${count}, with ${left.length} deaths, one after every step`, () =>
      live({ context, driver, volumeName: `crash-${count}`, deaths }),
    );
    const still = [...spared].map(([where, lines]) => `${where}: ${lines.join(', ')}`).join('; ');
    if ([...spared.values()].flat().length === left.length) throw new Error(`nobody died after ${still}`);
    if (still !== '') context.note(`did not come after earlier deaths: ${still}`);
    deaths = spared;
  }
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
