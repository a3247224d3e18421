import type { Machine } from '../machine.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import type { Driver } from '../with-driver.ts';
import { blankDrives, conditionOf, untilUsable, withDriver } from '../with-driver.ts';
import { createVolume } from '../kubelet.ts';

const MIB = 1024 * 1024;

interface Case {
  readonly what: string;
  /** Prepares /dev/nvme0n1 of node1. */
  readonly prepare: string;
  /** Undoes what a removal of data alone would not. */
  readonly undo?: string;
  /** With the drive allowed by a pattern and `--initialize-blank`: the reason for which it stays untouched; undefined: it may be used. */
  readonly reasonWhenAllowed?: string;
}

const CASES: readonly Case[] = [
  { what: 'a blank drive', prepare: 'true' },
  {
    what: 'an LVM physical volume on the whole drive',
    // Label of the second sector: LABELONE, its sector, CRC, offset, type (lvm2 on-disk format).
    prepare: `printf 'LABELONE\\001\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\040\\0\\0\\0LVM2 001' | dd of=/dev/nvme0n1 bs=512 seek=1 conv=fsync status=none`,
    reasonWhenAllowed: 'ForeignData',
  },
  {
    what: 'a ZFS label on the whole drive',
    // Uberblocks of the first label begin at 128 KiB; each starts with the magic 00bab10c.
    prepare: `for i in 0 1 2 3 4 5 6 7; do printf '\\014\\261\\272\\0\\0\\0\\0\\0' | dd of=/dev/nvme0n1 bs=1024 seek=$((128 + i)) conv=fsync,notrunc status=none; done`,
    reasonWhenAllowed: 'ForeignData',
  },
  {
    what: 'a Ceph OSD',
    prepare: `printf 'bluestore block device\\n5f0c6a1e-7b8d-4c3f-9a21-0d4e8c6b7a90\\n' | dd of=/dev/nvme0n1 bs=512 conv=fsync,sync status=none`,
    reasonWhenAllowed: 'ForeignData',
  },
  {
    what: 'an operating system in use',
    prepare: `sgdisk -n 1:2048:+1500M -t 1:8300 -c 1:root /dev/nvme0n1 >/dev/null && { partx -u /dev/nvme0n1 || true; } && mkfs.xfs -q -f /dev/nvme0n1p1 && mkdir -p /mnt/os && mount /dev/nvme0n1p1 /mnt/os`,
    undo: 'umount /mnt/os',
    reasonWhenAllowed: 'SystemDrive',
  },
  {
    what: 'an MBR alone',
    prepare: `printf 'label: dos\\n2048,1000000,83\\n' | sfdisk -q /dev/nvme0n1`,
    reasonWhenAllowed: 'ForeignData',
  },
];

/** Everything that the driver could change: both ends of the drive. */
async function fingerprint(machine: Machine): Promise<string> {
  return machine.run(`size=$(blockdev --getsize64 /dev/nvme0n1)
    { dd if=/dev/nvme0n1 bs=1M count=4 iflag=direct status=none; dd if=/dev/nvme0n1 bs=1M skip=$((size / 1048576 - 4)) count=4 iflag=direct status=none; } | sha256sum`);
}

async function usableOf({ deployment }: Driver) {
  const device = await deployment.object('meshstornodedevices', 'node1-nvme0n1');
  return device === undefined ? undefined : conditionOf(device, 'Usable');
}

async function untilJudged(
  driver: Driver,
): Promise<{ readonly status: string; readonly reason: string; readonly message: string }> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const condition = await usableOf(driver);
    if (condition !== undefined && condition.reason !== 'Preparing') return condition;
    if (Date.now() > deadline) throw new Error('node1-nvme0n1 was not judged');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function leftAlone(context: ScenarioContext, { what, prepare, undo }: Case): Promise<void> {
  const node1 = context.cluster.node('node1');
  await node1.run(prepare, { timeoutMs: 60_000 });
  const before = await fingerprint(node1);
  await withDriver(context, { driveSelectors: ['serial=NONE'] }, async (driver) => {
    const { status, reason, message } = await untilJudged(driver);
    if (status !== 'False' || reason !== 'NotAllowed') throw new Error(`${what}: ${status} ${reason}: ${message}`);
    const after = await fingerprint(node1);
    if (after !== before) throw new Error(`${what}: the drive was written without a selector`);
    context.note(`${what}, no selector: untouched, ${message}`);
    if (undo !== undefined) await node1.run(undo);
  });
}

async function judged(context: ScenarioContext, { what, prepare, undo, reasonWhenAllowed }: Case): Promise<void> {
  const node1 = context.cluster.node('node1');
  await node1.run(prepare, { timeoutMs: 60_000 });
  const before = await fingerprint(node1);
  await withDriver(context, { driveSelectors: ['serial=LAB-NODE1-*'] }, async (driver) => {
    const { status, reason, message } = await untilJudged(driver);
    const isAsExpected =
      reasonWhenAllowed === undefined ? status === 'True' : status === 'False' && reason === reasonWhenAllowed;
    if (!isAsExpected) throw new Error(`${what}: ${status} ${reason}: ${message}`);
    if (reasonWhenAllowed !== undefined && (await fingerprint(node1)) !== before)
      throw new Error(`${what}: the drive was written`);
    context.note(`${what}, allowed by a pattern: ${status === 'True' ? 'usable' : `untouched, ${message}`}`);
    if (undo !== undefined) await node1.run(undo);
  });
}

/** A namespace that came over the network is somebody else's drive: it never becomes a candidate. */
async function importedIsNoCandidate(context: ScenarioContext): Promise<void> {
  await withDriver(context, {}, async (driver) => {
    await untilUsable(driver.deployment, context.cluster.nodes);
    const volumeId = await createVolume(driver.deployment.controller, {
      name: 'imported',
      sizeBytes: 512 * MIB,
      consumer: 'node1',
    });
    const volume = await driver.kubelet.bringUp(volumeId, 'node1');
    await new Promise((resolve) => setTimeout(resolve, 16_000));
    const listed = (await driver.deployment.list('meshstornodedevices')).map(({ metadata }) => metadata.name).sort();
    const expected = context.cluster.nodes
      .flatMap(({ name }) => [0, 1, 2].map((drive) => `${name}-nvme${drive}n1`))
      .sort();
    if (listed.join(' ') !== expected.join(' ')) throw new Error(`drives listed: ${listed.join(' ')}`);
    context.note(`with a namespace of another node connected, the drives listed are ${listed.join(', ')}`);
    await driver.kubelet.takeDown(volume);
    await driver.kubelet.deleteVolume(volumeId);
  });
}

async function run(context: ScenarioContext): Promise<void> {
  const node1 = context.cluster.node('node1');
  for (const drive of CASES) {
    await context.step(`${drive.what}, no selector`, () => leftAlone(context, drive));
    await blankDrives(node1);
    await context.step(`${drive.what}, allowed`, () => judged(context, drive));
    await blankDrives(node1);
  }
  await context.step('an imported namespace', () => importedIsNoCandidate(context));
}

export const driverDrives: Scenario = {
  name: 'driver-drives',
  title: 'no drive is written that is not allowed, and none that holds something',
  nodes: 2,
  run,
};
