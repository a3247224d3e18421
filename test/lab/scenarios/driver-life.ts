import type { Driver } from '../with-driver.ts';
import { untilUsable, withDriver } from '../with-driver.ts';
import { createVolume } from '../kubelet.ts';
import type { VolumeWanted } from '../kubelet.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';

const MIB = 1024 * 1024;
const SIZE = 512 * MIB;

interface Case extends VolumeWanted {
  readonly copies: number;
}

const CASES: readonly Case[] = [
  { name: 'life-xfs', copies: 2, sizeBytes: SIZE, consumer: 'node1', parameters: { numberOfCopies: '2' } },
  {
    name: 'life-ext4',
    copies: 2,
    sizeBytes: SIZE,
    consumer: 'node2',
    fsType: 'ext4',
    parameters: { replicaCount: '2' },
  },
  { name: 'life-block', copies: 2, sizeBytes: SIZE, consumer: 'node1', access: 'block', parameters: {} },
  { name: 'life-one-copy', copies: 1, sizeBytes: SIZE, consumer: 'node1', parameters: { numberOfCopies: '1' } },
  { name: 'life-three-copies', copies: 3, sizeBytes: SIZE, parameters: { numberOfCopies: '3', sectorSize: '4096' } },
  {
    name: 'life-striped',
    copies: 2,
    sizeBytes: SIZE,
    consumer: 'node1',
    parameters: { drivesPerCopy: '2', sectorSize: '4096' },
  },
];

/** Up on one node, written; up on another, verified; gone. */
async function liveThrough(
  { cluster, step }: ScenarioContext,
  { deployment, kubelet }: Driver,
  wanted: Case,
): Promise<void> {
  const { access = 'mount', fsType = 'xfs', consumer = 'node1', name } = wanted;
  const volumeId = await step(`${name}: created`, () => createVolume(deployment.controller, wanted));
  const first = await step(`${name}: up on ${consumer}`, () => kubelet.bringUp(volumeId, consumer, access, fsType));
  const path = access === 'block' ? first.targetPath : `${first.targetPath}/data`;
  const write = `head -c 8M /dev/urandom > /tmp/data && dd if=/tmp/data of=${path} bs=1M conv=fsync status=none && sha256sum < /tmp/data`;
  const written = await cluster.node(consumer).run(write, { timeoutMs: 120_000 });
  const volume = await deployment.object('meshstorvolumes', volumeId);
  const members = wanted.copies * Number(wanted.parameters?.['drivesPerCopy'] ?? '1');
  if (volume?.status?.ready !== `${members}/${members}`)
    throw new Error(`${name}: ready is ${volume?.status?.ready}, not ${members}/${members}`);
  await kubelet.takeDown(first);
  const second = await step(`${name}: up on node3`, () => kubelet.bringUp(volumeId, 'node3', access, fsType));
  const from = access === 'block' ? second.targetPath : `${second.targetPath}/data`;
  const read = await cluster.node('node3').run(`head -c 8M ${from} | sha256sum`, { timeoutMs: 120_000 });
  if (read !== written) throw new Error(`${name}: the data is ${read.trim()}, ${written.trim()} was written`);
  await kubelet.takeDown(second);
  await step(`${name}: deleted`, () => kubelet.deleteVolume(volumeId));
}

export const driverLife: Scenario = {
  name: 'driver-life',
  title: 'volumes of every kind live on one node, move to another with their data, and leave nothing',
  nodes: 3,
  run: (context) =>
    withDriver(context, {}, async (driver) => {
      await context.step('every drive is usable', () => untilUsable(driver.deployment, context.cluster.nodes));
      for (const wanted of CASES) await liveThrough(context, driver, wanted);
    }),
};
