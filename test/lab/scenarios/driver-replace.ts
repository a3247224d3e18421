/**
 * A holder is gone for good under writes, then the drive of the one that took its place fails while the API hangs: each time another one
 * gets the copy, and nobody lifts a hand. When holder and drive are back, what they have of the volume is wiped and goes (SPEC §8).
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { createVolume } from '../kubelet.ts';
import type { PodVolume } from '../kubelet.ts';
import type { GuestProcess, Machine } from '../machine.ts';
import { remainsOn } from '../remains.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import type { Driver } from '../with-driver.ts';
import { untilUsable, withDriver } from '../with-driver.ts';

const MIB = 1024 * 1024;
const LIMIT_MS = 600_000;
/** The least that a volume may ask for. */
const TIMEOUT_S = 60;

/** Each record is printed once it is on disk. */
const writer = (path: string): string =>
  `i=0; while i=$((i + 1)); do echo "record $i" >> ${path}/records && sync ${path}/records && echo $i; sleep 0.1; done`;

async function acknowledged({ logFile }: GuestProcess): Promise<number> {
  const numbers = (await readFile(logFile, 'utf8')).split('\n').filter((line) => /^[0-9]+$/.test(line));
  return Number(numbers.at(-1) ?? '0');
}

interface Member {
  readonly nodeID: string;
  readonly state: string;
  readonly partitionUUID: string;
  readonly serial?: string;
}

interface Seen {
  readonly members: readonly Member[];
  /** `PHASE READY`, as kubectl shows them. */
  readonly shown: string;
}

async function look({ deployment }: Driver, volumeId: string): Promise<Seen> {
  const volume = await deployment.object('meshstorvolumes', volumeId);
  return {
    members: volume?.status?.partitions ?? [],
    shown: `${volume?.status?.phase ?? ''} ${volume?.status?.ready ?? ''}`,
  };
}

/** Waits until it is so; returns what was shown on the way, each change once. */
async function until(
  driver: Driver,
  volumeId: string,
  what: string,
  isSo: (seen: Seen) => boolean,
): Promise<readonly string[]> {
  const shown: string[] = [];
  const deadline = Date.now() + LIMIT_MS;
  for (;;) {
    const seen = await look(driver, volumeId);
    if (shown.at(-1) !== seen.shown) shown.push(seen.shown);
    if (isSo(seen)) return shown;
    if (Date.now() > deadline) throw new Error(`not ${what}: ${shown.join(', ')}\n${JSON.stringify(seen.members)}`);
    await sleep(300);
  }
}

const live = ({ members }: Seen): readonly Member[] => members.filter(({ state }) => state !== 'Deleting');
const isWhole = (seen: Seen): boolean =>
  live(seen).length === 2 && live(seen).every(({ state }) => state === 'Synced') && seen.shown === 'Synced 2/2';

/** What was shown must go from a degraded volume over one that is being repaired to a whole one. */
function checkShown(shown: readonly string[]): void {
  const at = shown.indexOf('Replacing 1/2');
  if (at < 0 || shown.indexOf('Synced 2/2', at) < 0) throw new Error(`kubectl showed: ${shown.join(', ')}`);
}

/** As the node's options say, 200 MiB/s by default; the kernel shows what was set for the array alone as `local`. */
async function checkLimited(consumer: Machine): Promise<void> {
  const shown = (await consumer.run('cat /sys/block/md*/md/sync_speed_max')).trim();
  if (shown !== '204800 (local)') throw new Error(`the copying was not limited: sync_speed_max is ${shown}`);
}

async function holderLost(
  { note, cluster }: ScenarioContext,
  driver: Driver,
  volumeId: string,
  far: Machine,
): Promise<void> {
  const startedAt = Date.now();
  await far.cutNetwork();
  const isMissing = ({ members }: Seen): boolean =>
    members.some(({ nodeID, state }) => nodeID === far.name && state === 'Missing');
  const before = await until(driver, volumeId, 'missing', isMissing);
  const missingAt = Date.now();
  const shown = await until(driver, volumeId, 'whole', (seen) => isWhole(seen) && live(seen).every(isElsewhere(far)));
  checkShown([...before, ...shown]);
  const seconds = (ms: number): string => (ms / 1000).toFixed(1);
  note(
    `recorded Missing after ${seconds(missingAt - startedAt)} s, whole again ${seconds(Date.now() - missingAt)} s later: ${shown.join(', ')}`,
  );
  if (Date.now() - missingAt < TIMEOUT_S * 1000) throw new Error('it was replaced before its time');
  await checkLimited(cluster.node('node1'));
  note((await driver.deployment.kubectl('get', 'msvol', '-o', 'wide')).trim());
}

const isElsewhere =
  ({ name }: Machine) =>
  ({ nodeID }: Member): boolean =>
    nodeID !== name;

/** Index of the drive in the lab: its serial ends with it. */
const driveOf = ({ serial = '' }: Member): number => Number(serial.split('-').at(-1));

/** Long enough for a writer that is not held back to go on, and for one that is to be seen standing. */
const STANDS_MS = 6000;

/**
 * While the API hangs MD drops the member whose drive fails, and nobody can say so: what is acknowledged from then on would be on a copy
 * that no record names as the only one (SPEC §7.3).
 */
async function checkHeldBack(
  { cluster, note }: ScenarioContext,
  { deployment }: Driver,
  pod: GuestProcess,
  fail: () => Promise<void>,
): Promise<void> {
  const node1 = cluster.node('node1');
  deployment.api.faults.pause();
  try {
    await fail();
    const deadline = Date.now() + LIMIT_MS;
    while (!(await node1.run('cat /proc/mdstat')).includes('(F)')) {
      if (Date.now() > deadline) throw new Error('MD did not drop the member whose drive fails');
      await sleep(100);
    }
    const dropped = await acknowledged(pod);
    await sleep(STANDS_MS);
    const held = await acknowledged(pod);
    await sleep(STANDS_MS);
    const later = await acknowledged(pod);
    note(
      `${held - dropped} writes ended between MD's drop and its being heard of, ${later - held} in the ${STANDS_MS / 1000} s after`,
    );
    if (later !== held) throw new Error('writes went on though the drop was not on record');
  } finally {
    deployment.api.faults.resume();
  }
}

async function driveFails(
  context: ScenarioContext,
  driver: Driver,
  volumeId: string,
  pod: GuestProcess,
): Promise<{ readonly machine: Machine; readonly drive: number; readonly partitionUUID: string }> {
  const failed = live(await look(driver, volumeId)).find(({ nodeID }) => nodeID !== 'node1');
  if (failed === undefined) throw new Error('the volume has no remote member');
  const machine = context.cluster.node(failed.nodeID);
  const drive = driveOf(failed);
  await checkHeldBack(context, driver, pod, () => machine.failDrive(drive, 'write'));
  const startedAt = Date.now();
  await until(driver, volumeId, 'being replaced', ({ shown }) => shown.startsWith('Replacing'));
  const askedMs = Date.now() - startedAt;
  const isReplaced = (seen: Seen): boolean =>
    isWhole(seen) && !live(seen).some(({ partitionUUID }) => partitionUUID === failed.partitionUUID);
  const shown = await until(driver, volumeId, 'whole', isReplaced);
  const seconds = (ms: number): string => (ms / 1000).toFixed(1);
  context.note(
    `another drive asked for ${seconds(askedMs)} s after the API was back, in sync after ${seconds(Date.now() - startedAt)} s: ${shown.join(', ')}`,
  );
  return { machine, drive, partitionUUID: failed.partitionUUID };
}

/** Partitions of it, as the node has them. */
async function partitionsOn(machine: Machine): Promise<number> {
  return (await remainsOn(machine)).filter((line) => line.includes('partition on')).length;
}

/** Every record that was acknowledged is on the member that was copied to. */
async function checkData(
  { cluster, note }: ScenarioContext,
  { kubelet }: Driver,
  volume: PodVolume,
  node: string,
  records: number,
): Promise<void> {
  await kubelet.takeDown(volume);
  const moved = await kubelet.bringUp(volume.volumeId, node);
  const found = (await cluster.node(node).run(`cat ${moved.targetPath}/records`)).trim().split('\n');
  const isThere = Array.from({ length: records }, (_, index) => found[index] === `record ${index + 1}`);
  if (records < 20 || !isThere.every(Boolean)) throw new Error(`${records} records, found ${found.length}`);
  note(`${records} records were acknowledged, all are there`);
  await kubelet.takeDown(moved);
}

async function run(context: ScenarioContext): Promise<void> {
  const { step, cluster, note } = context;
  await withDriver(context, {}, async (driver) => {
    const { deployment, kubelet } = driver;
    await untilUsable(deployment, cluster.nodes);
    const parameters = { memberMissingTimeout: String(TIMEOUT_S) };
    const wanted = { name: 'replace', sizeBytes: 512 * MIB, consumer: 'node1', parameters };
    const volumeId = await createVolume(deployment.controller, wanted);
    const volume = await step('a volume is up on node1', () => kubelet.bringUp(volumeId, 'node1'));
    const far = cluster.node(live(await look(driver, volumeId)).find(({ nodeID }) => nodeID !== 'node1')?.nodeID ?? '');
    const pod = await cluster.node('node1').start('pod', writer(volume.targetPath));
    pod.ended.catch(() => undefined); // It is killed in the end.
    await step('its holder is gone for good, and another node gets the copy', () =>
      holderLost(context, driver, volumeId, far),
    );
    const bad = await step("that one's drive fails, and another drive gets it at once", () =>
      driveFails(context, driver, volumeId, pod),
    );
    await step('the holder is back: what it has is wiped and goes', async () => {
      await far.restoreNetwork();
      await until(driver, volumeId, 'released by the old holder', ({ members }) => members.every(isElsewhere(far)));
      const left = await remainsOn(far);
      if (left.length > 0) throw new Error(`left over:\n${left.join('\n')}`);
    });
    await step('the drive is back: so it does there', async () => {
      await bad.machine.failDrive(bad.drive, undefined);
      await until(driver, volumeId, 'wiped', ({ members }) => members.length === 2);
      if ((await partitionsOn(bad.machine)) !== 1) throw new Error('one partition should be there');
    });
    const records = await acknowledged(pod);
    await pod.kill();
    await step('every record is there', () => checkData(context, driver, volume, bad.machine.name, records));
    note((await deployment.kubectl('get', 'msvol', '-o', 'wide')).trim());
    await step('deleted', () => kubelet.deleteVolume(volumeId));
  });
}

export const driverReplace: Scenario = {
  name: 'driver-replace',
  title: 'a holder that is gone for good and a drive that fails are replaced, and leave nothing behind',
  nodes: 3,
  run,
};
