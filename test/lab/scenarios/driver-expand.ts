import { createVolume, expandVolume } from '../kubelet.ts';
import type { PodVolume, VolumeWanted } from '../kubelet.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import type { Driver } from '../with-driver.ts';
import { conditionOf, untilUsable, withDriver } from '../with-driver.ts';

const MIB = 1024 * 1024;
const SIZE = 512 * MIB;
const GROWN = 768 * MIB;
const DETACHED = 1024 * MIB;
/** Some of it is the log of the filesystem, its tables, and blocks that are kept back. */
const LEAST_SHARE = 0.8;

const CASES: readonly VolumeWanted[] = [
  { name: 'grow-xfs', sizeBytes: SIZE, consumer: 'node1' },
  { name: 'grow-ext4', sizeBytes: SIZE, consumer: 'node2', fsType: 'ext4' },
  { name: 'grow-block', sizeBytes: SIZE, consumer: 'node1', access: 'block' },
  { name: 'grow-one-copy', sizeBytes: SIZE, consumer: 'node1', parameters: { numberOfCopies: '1' } },
];

type Parts = readonly [context: ScenarioContext, driver: Driver];

const pathIn = ({ access, targetPath }: PodVolume): string => (access === 'block' ? targetPath : `${targetPath}/data`);

async function sumOf([{ cluster }]: Parts, volume: PodVolume): Promise<string> {
  return cluster.node(volume.node).run(`head -c 8M ${pathIn(volume)} | sha256sum`, { timeoutMs: 120_000 });
}

/** Size of the device as its user sees it, and for a filesystem what df says. */
async function checkSize([{ cluster }]: Parts, volume: PodVolume, bytes: number): Promise<void> {
  const node = cluster.node(volume.node);
  const device =
    volume.access === 'block' ? volume.targetPath : `$(findmnt -no SOURCE ${volume.targetPath} | head -n 1)`;
  const size = Number((await node.run(`blockdev --getsize64 ${device}`)).trim());
  if (size !== bytes) throw new Error(`${volume.volumeId}: the device has ${size} bytes, not ${bytes}`);
  if (volume.access === 'block') return;
  const shown = Number((await node.run(`df -B1 --output=size ${volume.targetPath} | tail -n 1`)).trim());
  if (shown < bytes * LEAST_SHARE || shown > bytes) {
    throw new Error(`${volume.volumeId}: df shows ${shown} bytes of ${bytes}`);
  }
}

/** What was added reads as zero, whatever was on the drive before. */
async function checkZero([{ cluster }]: Parts, volume: PodVolume, from: number, to: number): Promise<void> {
  if (volume.access !== 'block') return;
  const range = `dd if=${volume.targetPath} bs=1M skip=${from / MIB} count=${(to - from) / MIB} status=none`;
  const command = `${range} | tr -d '\\0' | head -c 1 | wc -c`;
  const left = (await cluster.node(volume.node).run(command, { timeoutMs: 120_000 })).trim();
  if (left !== '0') throw new Error(`${volume.volumeId}: what was added is not zero`);
}

/** MD compares the members, all of them: what is read through the array comes from one. */
async function checkMirrors([{ cluster }]: Parts, volume: PodVolume): Promise<void> {
  const command = `cd /sys/block/md*/md && echo check > sync_action
    while [ "$(cat sync_action)" != idle ]; do sleep 0.3; done; cat mismatch_cnt`;
  const differing = (await cluster.node(volume.node).run(command, { timeoutMs: 300_000 })).trim();
  if (differing !== '0') throw new Error(`${volume.volumeId}: ${differing} sectors differ between its members`);
}

async function untilDone([, { deployment }]: Parts, volumeId: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const volume = await deployment.object('meshstorvolumes', volumeId);
    if (volume?.status?.phase === 'Synced' && !('servedBytes' in volume.status)) return;
    if (Date.now() > deadline) throw new Error(`${volumeId}: its phase is ${volume?.status?.phase}, not Synced`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Garbage behind the volume's partitions, the only ones of their drives: what both expansions have to zero. */
async function dirtyBehind([{ cluster }, { deployment }]: Parts, volumeId: string): Promise<void> {
  const object = await deployment.object('meshstorvolumes', volumeId);
  for (const { nodeID, partitionUUID } of object?.status?.partitions ?? []) {
    const find = `part=$(basename $(blkid -c /dev/null -o device -t PARTUUID=${partitionUUID}))
      disk=$(basename $(readlink -f /sys/class/block/$part/..))
      end=$(( ($(cat /sys/class/block/$part/start) + $(cat /sys/class/block/$part/size)) / 2048 ))`;
    const write = [2, (GROWN - SIZE) / MIB - 2, (DETACHED - SIZE) / MIB - 8].map(
      (at) => `dd if=/dev/urandom of=/dev/$disk bs=1M seek=$((end + ${at})) count=4 oflag=direct status=none`,
    );
    await cluster.node(nodeID).run(`set -e; ${find}\n${write.join('\n')}`, { timeoutMs: 120_000 });
  }
}

async function growThrough(parts: Parts, wanted: VolumeWanted): Promise<void> {
  const [{ cluster, step }, { deployment, kubelet }] = parts;
  const { access = 'mount', fsType = 'xfs', consumer = 'node1', name } = wanted;
  const volumeId = await createVolume(deployment.controller, wanted);
  const first = await step(`${name}: up on ${consumer}`, () => kubelet.bringUp(volumeId, consumer, access, fsType));
  const write = `head -c 8M /dev/urandom > /tmp/data && dd if=/tmp/data of=${pathIn(first)} bs=1M conv=fsync status=none`;
  await cluster.node(consumer).run(write, { timeoutMs: 120_000 });
  const written = await sumOf(parts, first);
  await checkSize(parts, first, SIZE);
  if (access === 'block') await step(`${name}: what is free is not blank`, () => dirtyBehind(parts, volumeId));
  await step(`${name}: grows under its user`, async () => {
    const answered = await expandVolume(deployment.controller, volumeId, GROWN);
    const served = await kubelet.expand(first, GROWN);
    if (answered !== GROWN || served !== GROWN) throw new Error(`${name}: ${answered} and ${served} were answered`);
  });
  await checkSize(parts, first, GROWN);
  await checkZero(parts, first, SIZE, GROWN);
  await untilDone(parts, volumeId);
  if ((await sumOf(parts, first)) !== written) throw new Error(`${name}: its data has changed`);
  await kubelet.takeDown(first);
  await step(`${name}: grows while attached nowhere`, () => expandVolume(deployment.controller, volumeId, DETACHED));
  const second = await step(`${name}: up on node3`, () => kubelet.bringUp(volumeId, 'node3', access, fsType));
  await untilDone(parts, volumeId);
  await checkSize(parts, second, DETACHED);
  await checkZero(parts, second, GROWN, DETACHED);
  if (access === 'block') await step(`${name}: its members are alike`, () => checkMirrors(parts, second));
  if ((await sumOf(parts, second)) !== written) throw new Error(`${name}: its data has changed on the way`);
  await refuseTooMuch(parts, second);
  await kubelet.takeDown(second);
  await step(`${name}: deleted`, () => kubelet.deleteVolume(volumeId));
}

/** More than a drive has: a condition names the node, and no table of any drive has changed. */
async function refuseTooMuch(parts: Parts, volume: PodVolume): Promise<void> {
  const [{ cluster, step }, { deployment }] = parts;
  // Entries only: of a namespace of another node, which has no table, sgdisk makes one up with a new disk GUID each time.
  const entries = `for d in /dev/nvme?n1; do sgdisk -p $d 2>/dev/null | grep -E '^ +[0-9]+ '; done; true`;
  const tables = () => Promise.all(cluster.nodes.map((node) => node.run(entries)));
  const before = (await tables()).join('\n');
  const answer: unknown = await step(`${volume.volumeId}: refused more than a drive has`, () =>
    expandVolume(deployment.controller, volume.volumeId, 2 ** 40).catch((error: unknown) => error),
  );
  const text = answer instanceof Error ? answer.message : String(answer);
  if (!/node node\d, drive/.test(text)) throw new Error(`the refusal names no node: ${text}`);
  const object = await deployment.object('meshstorvolumes', volume.volumeId);
  const condition = object === undefined ? undefined : conditionOf(object, 'Expandable');
  if (condition?.status !== 'False') throw new Error(`no condition says so: ${JSON.stringify(condition)}`);
  if ('expandToBytes' in (object?.spec ?? {})) throw new Error('the wish still stands');
  if ((await tables()).join('\n') !== before) throw new Error('a partition table has changed');
  await checkSize(parts, volume, DETACHED);
}

export const driverExpand: Scenario = {
  name: 'driver-expand',
  title: 'volumes of every kind grow under their users and while attached nowhere, and keep their data',
  nodes: 3,
  run: (context) =>
    withDriver(context, {}, async (driver) => {
      const parts = [context, driver] as const;
      await context.step('every drive is usable', () => untilUsable(driver.deployment, context.cluster.nodes));
      for (const wanted of CASES) await growThrough(parts, wanted);
    }),
};
