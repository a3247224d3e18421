/**
 * A measurement of the trade-off between blips and stalls (SPEC §7.2, §8): how often a holder whose path is gone for 3 s costs its member,
 * and how long writes wait for a holder that stays away. `MESHSTOR_LAB_BLIPS`: how many blips, 20 if not told.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createVolume } from '../kubelet.ts';
import type { Machine } from '../machine.ts';
import { buildChecker, startChecker } from '../nemesis/checker.ts';
import { quantile } from '../kubernetes/times.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import { memberStates, untilStates, untilSynced } from '../volume-state.ts';
import type { Driver } from '../with-driver.ts';
import { untilUsable, withDriver } from '../with-driver.ts';

const MIB = 1024 * 1024;
const BLIP_MS = 3000;
const CUT_OFFS = 5;
const WATCH_MS = 12_000;

/** The longest time between two records since it was last asked. */
class Stall {
  #longest = 0;
  #last = Date.now();

  written(): void {
    this.#longest = Math.max(this.#longest, Date.now() - this.#last);
    this.#last = Date.now();
  }

  begin(): void {
    this.#longest = 0;
  }

  get seconds(): number {
    return Math.max(this.#longest, Date.now() - this.#last) / 1000;
  }
}

interface Measured {
  readonly driver: Driver;
  readonly volumeId: string;
  readonly far: Machine;
  readonly stall: Stall;
}

function inWords(seconds: readonly number[]): string {
  const sorted = [...seconds].sort((a, b) => a - b);
  return `median ${quantile(sorted, 0.5).toFixed(1)} s, longest ${(sorted.at(-1) ?? 0).toFixed(1)} s of ${sorted.map((each) => each.toFixed(1)).join(' ')}`;
}

async function blip({ driver, volumeId, far, stall }: Measured): Promise<boolean> {
  stall.begin();
  await far.cutNetwork();
  await sleep(BLIP_MS);
  await far.restoreNetwork();
  const until = Date.now() + WATCH_MS;
  let isDropped = false;
  while (Date.now() < until && !isDropped) {
    isDropped = (await memberStates(driver.deployment, volumeId))[far.name] !== 'Synced';
    await sleep(200);
  }
  return isDropped;
}

async function blips(measured: Measured, count: number): Promise<string> {
  const stalls: number[] = [];
  let drops = 0;
  for (let index = 0; index < count; index++) {
    if (await blip(measured)) drops += 1;
    await untilSynced(measured.driver.deployment, measured.volumeId);
    stalls.push(measured.stall.seconds);
    await sleep(2000);
  }
  return `${count} blips of ${BLIP_MS / 1000} s: ${drops} drops; writes stalled ${inWords(stalls)}`;
}

async function cutOffs({ driver, volumeId, far, stall }: Measured): Promise<string> {
  const stalls: number[] = [];
  for (let index = 0; index < CUT_OFFS; index++) {
    stall.begin();
    await far.cutNetwork();
    await untilStates(driver.deployment, volumeId, (states) => states[far.name] === 'Missing');
    await sleep(3000);
    stalls.push(stall.seconds);
    await far.restoreNetwork();
    await untilSynced(driver.deployment, volumeId);
    await sleep(2000);
  }
  return `${CUT_OFFS} times a holder was cut off: writes stalled ${inWords(stalls)}`;
}

async function run(context: ScenarioContext): Promise<void> {
  const { step, cluster, note } = context;
  const count = Number(process.env.MESHSTOR_LAB_BLIPS ?? '20');
  await withDriver(context, {}, async (driver) => {
    const { deployment, kubelet } = driver;
    await untilUsable(deployment, cluster.nodes);
    const wanted = { name: 'blip', sizeBytes: 512 * MIB, consumer: 'node1' };
    const volumeId = await createVolume(deployment.controller, wanted);
    const volume = await step('a volume is up on node1', () => kubelet.bringUp(volumeId, 'node1'));
    const states = await memberStates(deployment, volumeId);
    const far = cluster.node(Object.keys(states).find((node) => node !== 'node1') ?? 'none');
    const stall = new Stall();
    const onWritten = (): void => stall.written();
    const checker = { checker: buildChecker(), volume, writer: 'node1', pauseMs: 20, onWritten };
    const { program } = await startChecker(cluster.node('node1'), 'pod-blip', checker);
    program.ended.catch(() => undefined);
    await sleep(5000);
    const measured = { driver, volumeId, far, stall };
    note(await step('its holder is away for a moment, again and again', () => blips(measured, count)));
    note(await step('its holder is cut off, again and again', () => cutOffs(measured)));
    await program.kill();
    await kubelet.takeDown(volume);
    await kubelet.deleteVolume(volumeId);
  });
}

export const driverBlip: Scenario = {
  name: 'driver-blip',
  title: 'how often a blip costs a member, and how long writes wait for a holder that stays away',
  nodes: 3,
  run,
};
