import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CsiError } from '../../csi/client.ts';
import type { PodVolume } from '../kubelet.ts';
import { createVolume } from '../kubelet.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import { untilSynced } from '../volume-state.ts';
import type { Driver } from '../with-driver.ts';
import { conditionOf, untilUsable, withDriver } from '../with-driver.ts';

const MIB = 1024 * 1024;
const CALL_LIMIT_MS = 20_000;

/** The answer of a call that must be refused. */
async function refusal(what: string, call: () => Promise<unknown>): Promise<CsiError> {
  try {
    await call();
  } catch (error) {
    if (error instanceof CsiError) return error;
    throw error;
  }
  throw new Error(`${what} was not refused`);
}

/** A second process of the same node ends with a line that says why; the first goes on (SPEC §7.1). */
async function secondProcess({ cluster, note }: ScenarioContext, { deployment }: Driver): Promise<void> {
  const second = await cluster.node('node1').tryRun(deployment.node('node1').command, { timeoutMs: 60_000 });
  if (second.code !== 1 || !second.stderr.includes('another node process'))
    throw new Error(`the second node process ended with ${second.code ?? second.signal}: ${second.stderr}`);
  note(second.stderr.trim().split('\n').at(-1) ?? '');
  await deployment.node('node1').csi.identity.Probe({});
}

/** Power is cut while records are written. The same pod starts again on the same node: every record that was synced is there. */
async function powerCut({ cluster }: ScenarioContext, driver: Driver, volume: PodVolume): Promise<void> {
  const node1 = cluster.node('node1');
  const { targetPath, volumeId } = volume;
  const writer = `i=0; while i=$((i + 1)); do
    echo "record $i" >> ${targetPath}/records && sync ${targetPath}/records && echo $i; done`;
  const written = await node1.start('writer', writer);
  written.ended.catch(() => undefined); // The cut ends it.
  await sleep(5000);
  await node1.reset();
  const acknowledged = Number((await lastLine(written.logFile)) ?? '0');
  if (acknowledged < 3) throw new Error(`only ${acknowledged} records were acknowledged`);
  await driver.deployment.node('node1').start();
  await driver.kubelet.stage(volume);
  await driver.kubelet.publish(volume);
  const found = await node1.run(`grep -c '^record [0-9]*$' ${targetPath}/records`);
  if (Number(found) < acknowledged)
    throw new Error(`${acknowledged} records were acknowledged, ${found.trim()} are there`);
  await untilSynced(driver.deployment, volumeId);
}

async function lastLine(file: string): Promise<string | undefined> {
  return (await readFile(file, 'utf8')).trim().split('\n').at(-1);
}

/** A volume that a program still uses is not taken away under it, and the answer names the program. */
async function usedByProgram({ cluster, note }: ScenarioContext, driver: Driver, volume: PodVolume): Promise<void> {
  const node1 = cluster.node('node1');
  const { volumeId, stagingPath, targetPath, access } = volume;
  await driver.kubelet.unpublish(volume);
  const user = await node1.start('user', `exec sleep 600 < ${stagingPath}/records`);
  const { csi } = driver.deployment.node('node1');
  const call = () =>
    csi.node.NodeUnstageVolume({ volumeId, stagingTargetPath: stagingPath }, { deadlineMs: CALL_LIMIT_MS });
  const { code, message } = await refusal(`unstaging ${volumeId} at ${stagingPath}`, call);
  note(`${code}: ${message}`);
  if (code !== 'UNAVAILABLE' || !message.includes('sleep (')) throw new Error('the answer does not name the program');
  await node1.run(`grep -q record ${stagingPath}/records`);
  await user.kill();
  await driver.kubelet.publish({ ...volume, targetPath, access });
}

/** The object is older than the stamps on the members: nobody acts on it (SPEC §7.11). */
async function olderWitness(
  { note }: ScenarioContext,
  { deployment, kubelet }: Driver,
  volume: PodVolume,
): Promise<void> {
  const { volumeId } = volume;
  await kubelet.takeDown(volume);
  const backup = (await deployment.object('meshstorvolumes', volumeId))?.status;
  await kubelet.takeDown(await kubelet.bringUp(volumeId, 'node1'));
  const present = (await deployment.object('meshstorvolumes', volumeId))?.status;
  await deployment.restoreStatus(volumeId, backup);
  let refused: unknown;
  await kubelet.bringUp(volumeId, 'node1').catch((error: unknown) => (refused = error));
  const cause = refused instanceof Error ? refused.cause : undefined;
  if (!(cause instanceof CsiError) || cause.code !== 'FAILED_PRECONDITION')
    throw new Error('a volume whose object is older than its members was started', { cause: refused });
  note(cause.message);
  const witness = await deployment.object('meshstorvolumes', volumeId);
  if (witness === undefined || conditionOf(witness, 'WitnessBehind')?.status !== 'True')
    throw new Error('the condition WitnessBehind is not set');
  await deployment.restoreStatus(volumeId, present);
  const again = await kubelet.bringUp(volumeId, 'node1');
  await kubelet.takeDown(again);
}

async function run(context: ScenarioContext): Promise<void> {
  const { step, cluster } = context;
  await withDriver(context, {}, async (driver) => {
    const { deployment, kubelet } = driver;
    await untilUsable(deployment, cluster.nodes);
    await step('a second process of the same node is refused', () => secondProcess(context, driver));
    const wanted = { name: 'return', sizeBytes: 512 * MIB, consumer: 'node1' };
    const volumeId = await createVolume(deployment.controller, wanted);
    const volume = await step('a volume is up on node1', () => kubelet.bringUp(volumeId, 'node1'));
    await step('power is cut while records are written, and the pod comes back', () =>
      powerCut(context, driver, volume),
    );
    await step('a volume in use is not taken away', () => usedByProgram(context, driver, volume));
    await step('an object older than its members is not acted on', () => olderWitness(context, driver, volume));
    await step('deleted', () => kubelet.deleteVolume(volumeId));
  });
}

export const driverReturn: Scenario = {
  name: 'driver-return',
  title: 'a volume comes back whole after a power cut; a second process, a user and an old object change nothing',
  nodes: 3,
  run,
};
