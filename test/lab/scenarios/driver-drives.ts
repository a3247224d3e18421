import { setTimeout as sleep } from 'node:timers/promises';
import type { DeploymentOptions } from '../deployment.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import type { Driver } from '../with-driver.ts';
import { conditionOf, untilUsable, withDriver } from '../with-driver.ts';
import { createVolume } from '../kubelet.ts';

const MIB = 1024 * 1024;
/** More than one pass of 10 s. */
const NEXT_PASS_MS = 15_000;

interface Case {
  readonly what: string;
  /** Each case has a drive of its own, so that all are judged by one start of the roles. */
  readonly node: 'node1' | 'node2';
  /** nvme0n1 has sectors of 512 bytes, the others of 4096. */
  readonly drive: 'nvme0n1' | 'nvme1n1' | 'nvme2n1';
  /** Prepares /dev/$drive of the node. */
  readonly prepare: string;
  /** Undoes what a removal of data alone would not. */
  readonly undo?: string;
  /** With the drive allowed by a pattern, and `--initialize-blank` on node2: the reason for which it stays untouched. */
  readonly reasonWhenAllowed: string;
}

const CASES: readonly Case[] = [
  { what: 'a blank drive', node: 'node1', drive: 'nvme1n1', prepare: 'true', reasonWhenAllowed: 'Blank' },
  {
    what: 'an MBR alone',
    node: 'node1',
    drive: 'nvme0n1',
    prepare: `printf 'label: dos\\n2048,1000000,83\\n' | sfdisk -q /dev/$drive`,
    reasonWhenAllowed: 'ForeignData',
  },
  {
    what: 'an operating system in use',
    node: 'node1',
    drive: 'nvme2n1',
    prepare: `sgdisk -n 1:2048:+1500M -t 1:8300 -c 1:root /dev/$drive >/dev/null && { partx -u /dev/$drive || true; } && mkfs.xfs -q -f /dev/"$drive"p1 && mkdir -p /mnt/os && mount /dev/"$drive"p1 /mnt/os`,
    undo: 'umount /mnt/os',
    reasonWhenAllowed: 'SystemDrive',
  },
  {
    what: 'a ZFS label on the whole drive',
    node: 'node2',
    drive: 'nvme0n1',
    // Uberblocks of the first label begin at 128 KiB; each starts with the magic 00bab10c.
    prepare: `for i in 0 1 2 3 4 5 6 7; do printf '\\014\\261\\272\\0\\0\\0\\0\\0' | dd of=/dev/$drive bs=1024 seek=$((128 + i)) conv=fsync,notrunc status=none; done`,
    reasonWhenAllowed: 'ForeignData',
  },
  {
    what: 'a Ceph OSD',
    node: 'node2',
    drive: 'nvme1n1',
    prepare: `printf 'bluestore block device\\n5f0c6a1e-7b8d-4c3f-9a21-0d4e8c6b7a90\\n' | dd of=/dev/$drive bs=512 conv=fsync,sync status=none`,
    reasonWhenAllowed: 'ForeignData',
  },
  {
    what: 'an LVM physical volume on the whole drive',
    node: 'node2',
    drive: 'nvme2n1',
    // Label at byte 512 whatever the sector is: LABELONE, its sector, CRC, offset, type (lvm2 on-disk format).
    prepare: `printf 'LABELONE\\001\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\040\\0\\0\\0LVM2 001' | dd of=/dev/$drive bs=512 seek=1 conv=fsync status=none`,
    reasonWhenAllowed: 'ForeignData',
  },
];

const nameOf = ({ node, drive }: Case): string => `${node}-${drive}`;

/** Everything that the driver could change: both ends of the drive. */
function fingerprint({ cluster }: ScenarioContext, { node, drive }: Case): Promise<string> {
  return cluster.node(node).run(`size=$(blockdev --getsize64 /dev/${drive})
    { dd if=/dev/${drive} bs=1M count=4 iflag=direct status=none; dd if=/dev/${drive} bs=1M skip=$((size / 1048576 - 4)) count=4 iflag=direct status=none; } | sha256sum`);
}

async function untilJudged(
  { deployment }: Driver,
  name: string,
): Promise<{ readonly status: string; readonly reason: string; readonly message: string }> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const device = await deployment.object('meshstornodedevices', name);
    const condition = device === undefined ? undefined : conditionOf(device, 'Usable');
    if (condition !== undefined && condition.reason !== 'Preparing') return condition;
    if (Date.now() > deadline) throw new Error(`${name} was not judged`);
    await sleep(200);
  }
}

/**
 * Every drive is prepared, the roles start, each drive is judged as expected and is untouched then and a pass later, and what was
 * prepared is undone.
 */
async function untouched(
  context: ScenarioContext,
  options: DeploymentOptions,
  how: string,
  reasonOf: (drive: Case) => string,
): Promise<void> {
  const fingerprints = new Map<Case, string>();
  for (const each of CASES) {
    const script = `drive=${each.drive}; ${each.prepare}`;
    await context.cluster.node(each.node).run(script, { timeoutMs: 60_000 });
    fingerprints.set(each, await fingerprint(context, each));
  }
  const check = async (driver: Driver, when: string): Promise<void> => {
    for (const [each, before] of fingerprints) {
      const { status, reason, message } = await untilJudged(driver, nameOf(each));
      if (status !== 'False' || reason !== reasonOf(each))
        throw new Error(`${each.what}, ${how}, ${when}: ${status} ${reason}: ${message}`);
      if ((await fingerprint(context, each)) !== before)
        throw new Error(`${each.what}, ${how}: the drive was written ${when}`);
      context.note(`${each.what}, ${how}: untouched ${when}, ${message}`);
    }
  };
  await withDriver(context, options, async (driver) => {
    await check(driver, 'at first');
    await sleep(NEXT_PASS_MS);
    await check(driver, 'after the next pass');
    for (const { node, undo } of CASES) if (undo !== undefined) await context.cluster.node(node).run(undo);
  });
}

/** The default, beside leave to initialise blank drives, which is no selector. */
const withoutSelector = (context: ScenarioContext): Promise<void> =>
  untouched(context, { driveSelectors: [], initializeBlank: true }, 'no selector', () => 'NotAllowed');

const allowed = (context: ScenarioContext): Promise<void> =>
  untouched(
    context,
    { driveSelectors: ['serial=LAB-*'], initializeBlank: (node) => node === 'node2' },
    'allowed by a pattern',
    ({ reasonWhenAllowed }) => reasonWhenAllowed,
  );

/** Blank drives are initialised; a namespace that came over the network is somebody else's drive: it never becomes a candidate. */
async function importedIsNoCandidate(context: ScenarioContext): Promise<void> {
  const options = { driveSelectors: ['path=/dev/nvme*'], initializeBlank: true };
  await withDriver(context, options, async (driver) => {
    await untilUsable(driver.deployment, context.cluster.nodes);
    const volumeId = await createVolume(driver.deployment.controller, {
      name: 'imported',
      sizeBytes: 512 * MIB,
      consumer: 'node1',
    });
    const volume = await driver.kubelet.bringUp(volumeId, 'node1');
    await sleep(NEXT_PASS_MS);
    const namespaces = await context.cluster.node('node1').run('ls -d /dev/nvme*n*');
    const imported = namespaces.split('\n').filter((path) => /^\/dev\/nvme[3-9]n\d+$/.test(path));
    if (imported.length === 0) throw new Error(`no namespace is imported on node1: ${namespaces}`);
    const listed = (await driver.deployment.list('meshstornodedevices')).map(({ metadata }) => metadata.name).sort();
    const expected = context.cluster.nodes
      .flatMap(({ name }) => [0, 1, 2].map((drive) => `${name}-nvme${drive}n1`))
      .sort();
    if (listed.join(' ') !== expected.join(' ')) throw new Error(`drives listed: ${listed.join(' ')}`);
    context.note(`all blank drives were initialised; with ${imported.join(', ')} of node2 connected on node1 and`);
    context.note(`path=/dev/nvme* as selector, the drives listed are ${listed.join(', ')}`);
    await driver.kubelet.takeDown(volume);
    await driver.kubelet.deleteVolume(volumeId);
  });
}

async function run(context: ScenarioContext): Promise<void> {
  await context.step('drives of all kinds, no selector', () => withoutSelector(context));
  await context.step('drives of all kinds, allowed', () => allowed(context));
  await context.step('blank drives and an imported namespace, all allowed', () => importedIsNoCandidate(context));
}

export const driverDrives: Scenario = {
  name: 'driver-drives',
  title: 'no drive is written that is not allowed, and none that holds something',
  nodes: 2,
  run,
};
