/**
 * The node of a writing pod is cut off from everything and called off; another node takes over. What was acknowledged is there, nothing
 * is acknowledged behind the successor's back, and the old node cleans up by itself when it is back (SPEC §7.5 to §7.10).
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { untilClean } from '../consumer-remains.ts';
import { createVolume } from '../kubelet.ts';
import type { PodVolume } from '../kubelet.ts';
import type { GuestProcess } from '../machine.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import { untilSynced } from '../volume-state.ts';
import type { Driver } from '../with-driver.ts';
import { untilUsable, withDriver } from '../with-driver.ts';

const MIB = 1024 * 1024;
const OUT_OF_SERVICE = { key: 'node.kubernetes.io/out-of-service', value: 'nodeshutdown', effect: 'NoExecute' };

/**
 * A pod that writes numbered records and keeps its file open; each is printed once it is on disk. After an error it goes on trying, as
 * a database that does not look at its errors would.
 */
const writer = (path: string): string =>
  `exec 3>> ${path}/records
   i=0; while i=$((i + 1)); do
     echo "record $i" >&3 && sync ${path}/records && echo $i || sleep 0.2; done`;

async function acknowledged({ logFile }: GuestProcess): Promise<number> {
  const numbers = (await readFile(logFile, 'utf8')).split('\n').filter((line) => /^[0-9]+$/.test(line));
  return Number(numbers.at(-1) ?? '0');
}

/** Cut off under writes, called off, taken over: gives the volume on the successor. */
async function takeOver(
  { cluster, note }: ScenarioContext,
  driver: Driver,
  volume: PodVolume,
  pod: GuestProcess,
): Promise<PodVolume> {
  const { deployment, kubelet } = driver;
  await cluster.node('node1').cutNetwork();
  await sleep(2000);
  await deployment.setTaints('node1', [OUT_OF_SERVICE]);
  const startedAt = Date.now();
  await kubelet.detach(volume);
  const detachedAt = Date.now();
  const moved = await kubelet.bringUp(volume.volumeId, 'node3');
  const seconds = (ms: number): string => (ms / 1000).toFixed(1);
  note(
    `detach of the lost node took ${seconds(detachedAt - startedAt)} s, node3 serves ${seconds(Date.now() - detachedAt)} s later`,
  );
  const atTakeover = await acknowledged(pod);
  await cluster.node('node3').run(`echo successor >> ${moved.targetPath}/records && sync ${moved.targetPath}/records`);
  await sleep(10_000);
  const later = await acknowledged(pod);
  if (later !== atTakeover) throw new Error(`${later - atTakeover} records were acknowledged behind the successor`);
  const found = await cluster.node('node3').run(`cat ${moved.targetPath}/records`);
  const wanted = Array.from({ length: atTakeover }, (_, index) => `record ${index + 1}`);
  const lines = found.trim().split('\n');
  if (wanted.length < 3 || wanted.some((line, index) => lines[index] !== line))
    throw new Error(`${wanted.length} records were acknowledged; found:\n${found}`);
  note(`${wanted.length} records were acknowledged, all are there`);
  return moved;
}

/** The link is back: nobody lifts a hand on the old node. */
async function comesBack(
  { cluster }: ScenarioContext,
  driver: Driver,
  moved: PodVolume,
  pod: GuestProcess,
): Promise<void> {
  const { deployment } = driver;
  const before = await acknowledged(pod);
  await cluster.node('node1').restoreNetwork();
  await deployment.setTaints('node1', []);
  await untilClean(cluster.node('node1'), String(pod.pid));
  if ((await acknowledged(pod)) !== before) throw new Error('a record was acknowledged after the hand-over');
  await untilSynced(deployment, moved.volumeId);
  const last = (await cluster.node('node3').run(`tail -n 1 ${moved.targetPath}/records`)).trim();
  if (last !== 'successor') throw new Error(`the last record is: ${last}`);
}

async function run(context: ScenarioContext): Promise<void> {
  const { step, cluster } = context;
  await withDriver(context, {}, async (driver) => {
    const { deployment, kubelet } = driver;
    await untilUsable(deployment, cluster.nodes);
    const wanted = { name: 'takeover', sizeBytes: 512 * MIB, consumer: 'node1' };
    const volumeId = await createVolume(deployment.controller, wanted);
    const volume = await step('a volume is up on node1', () => kubelet.bringUp(volumeId, 'node1'));
    const node1 = cluster.node('node1');
    const pod = await node1.start('pod', writer(volume.targetPath));
    pod.ended.catch(() => undefined); // It is killed in the end.
    await sleep(5000);
    const moved = await step('it is cut off under writes, and node3 takes over', () =>
      takeOver(context, driver, volume, pod),
    );
    await step('the old node takes down what it had, and its member is filled anew', () =>
      comesBack(context, driver, moved, pod),
    );
    await step('deleted', async () => {
      await kubelet.takeDown(moved);
      await kubelet.deleteVolume(volumeId);
    });
  });
}

export const driverTakeover: Scenario = {
  name: 'driver-takeover',
  title:
    'a consumer that is cut off and called off is replaced, acknowledges nothing any more, and cleans up by itself',
  nodes: 3,
  run,
};
