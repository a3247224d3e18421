import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine } from '../machine.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import { until } from '../wait.ts';

const NQN = 'nqn.2024-01.test.meshstor:kernel-facts';
const LEG_SECTORS = 400 * 2048;
const SUBSYSTEM = `/sys/kernel/config/nvmet/subsystems/${NQN}`;
const PORT = '/sys/kernel/config/nvmet/ports/1';

async function exportLeg(holder: Machine, consumerNqn: string): Promise<void> {
  await holder.run(`set -e
    dmsetup create leg --table "0 ${LEG_SECTORS} linear /dev/nvme0n1 2048"
    mkdir ${SUBSYSTEM} /sys/kernel/config/nvmet/hosts/${consumerNqn} ${SUBSYSTEM}/namespaces/1 ${PORT}
    echo 0 > ${SUBSYSTEM}/attr_allow_any_host
    ln -s /sys/kernel/config/nvmet/hosts/${consumerNqn} ${SUBSYSTEM}/allowed_hosts/${consumerNqn}
    printf %s /dev/mapper/leg > ${SUBSYSTEM}/namespaces/1/device_path
    echo 1 > ${SUBSYSTEM}/namespaces/1/enable
    cd ${PORT}
    echo tcp > addr_trtype; echo ipv4 > addr_adrfam; echo ${holder.address} > addr_traddr; echo 4420 > addr_trsvcid
    ln -s ${SUBSYSTEM} subsystems/${NQN}`);
}

async function unexportLeg(holder: Machine, consumerNqn: string): Promise<void> {
  await holder.run(`set -e
    rm ${PORT}/subsystems/${NQN} ${SUBSYSTEM}/allowed_hosts/${consumerNqn}
    echo 0 > ${SUBSYSTEM}/namespaces/1/enable
    rmdir ${SUBSYSTEM}/namespaces/1 ${SUBSYSTEM} ${PORT} /sys/kernel/config/nvmet/hosts/${consumerNqn}
    dmsetup remove leg`);
}

/** Connects and returns the name of the controller, such as `nvme2`; the namespace is there when it returns. */
async function connect(consumer: Machine, holder: Machine): Promise<string> {
  const options = [
    `transport=tcp,traddr=${holder.address},trsvcid=4420,nqn=${NQN}`,
    'hostnqn=$(cat /etc/nvme/hostnqn),hostid=$(cat /etc/nvme/hostid)',
    'fast_io_fail_tmo=1,ctrl_loss_tmo=60,reconnect_delay=1,keep_alive_tmo=1,nr_io_queues=1',
  ];
  await consumer.run(`printf %s "${options.join(',')}" > /dev/nvme-fabrics`);
  const find = `grep -l ${NQN} /sys/class/nvme/*/subsysnqn`;
  const controller = (await consumer.run(find)).trim().split('/')[4] ?? '';
  await until('namespace of the export', 5000, () => consumer.run(`ls /dev; true`), new RegExp(`${controller}n1\\b`));
  return controller;
}

async function buildArray(consumer: Machine, controller: string): Promise<void> {
  const path = `/dev/${controller}n1`;
  await consumer.run(
    `set -e
    dmsetup create local --table "0 ${LEG_SECTORS} linear /dev/nvme0n1 2048"
    dmsetup create guard --table \\
      "0 ${LEG_SECTORS} multipath 3 queue_if_no_path queue_mode bio 0 1 1 service-time 0 1 1 ${path} 1"
    echo "CREATE bbl=no" > /tmp/mdadm.conf
    mdadm --create /dev/md0 --config=/tmp/mdadm.conf --run --metadata=1.2 --homehost=meshstor --level=1 \\
      --raid-devices=2 --bitmap=internal --assume-clean /dev/mapper/local --write-mostly /dev/mapper/guard
    mkfs.xfs -q /dev/md0
    mkdir -p /mnt/facts
    mount /dev/md0 /mnt/facts`,
    { timeoutMs: 60_000 },
  );
}

async function cutUnderWrites({ step, note }: ScenarioContext, consumer: Machine, holder: Machine, controller: string) {
  const device = (await consumer.run(`cat /sys/block/${controller}n1/dev`)).trim();
  const state = (): Promise<string> => consumer.run(`cat /sys/class/nvme/${controller}/state`);
  const members = (): Promise<string> => consumer.run('cat /proc/mdstat');
  await holder.cutNetwork();
  const writer = await consumer.start('writer', [
    ...['dd', 'if=/dev/zero', 'of=/mnt/facts/during', 'bs=1M', 'count=8', 'conv=fsync'],
  ]);
  const ends: string[] = [];
  writer.ended.then(({ code }) => ends.push(String(code))).catch((error: unknown) => ends.push(String(error)));
  await step('the guard notices that its path is gone', () =>
    until('guard path', 20_000, () => consumer.run('dmsetup status guard'), / F /),
  );
  await sleep(3000);
  if (!/\[UU\]/.test(await members())) throw new Error(`MD dropped a member:\n${await members()}`);
  if (ends.length > 0) throw new Error(`the writer ended with one copy out of reach: ${ends.join()}`);
  note(`link cut: controller ${(await state()).trim()}, array [UU], the writer waits`);

  await holder.restoreNetwork();
  await step('the controller reconnects by itself', () => until('controller', 30_000, state, /live/));
  await consumer.run(`dmsetup message guard 0 "reinstate_path ${device}"`);
  const end = await step('the write completes', () => writer.ended);
  if (end.code !== 0) throw new Error(`the writer ended with ${end.code ?? end.signal}`);
  if (!/\[UU\]/.test(await members())) throw new Error(`MD dropped a member:\n${await members()}`);
  const log = await consumer.run('dmesg | grep -i "md/raid1.*fail" || true');
  if (log !== '') throw new Error(`MD noticed: ${log}`);
}

async function run(context: ScenarioContext): Promise<void> {
  const { cluster, step, note } = context;
  const consumer = cluster.node('node1');
  const holder = cluster.node('node2');
  const consumerNqn = (await consumer.run('cat /etc/nvme/hostnqn')).trim();

  await step('node2 exports a leg over NVMe/TCP to node1 alone', () => exportLeg(holder, consumerNqn));
  const controller = await step('node1 connects', () => connect(consumer, holder));
  await step('node1 builds guard, RAID1 without bad-block log and XFS', () => buildArray(consumer, controller));
  const checksum = await step('node1 writes a file', () =>
    consumer.run('head -c 4M /dev/urandom > /mnt/facts/before && sync && sha256sum < /mnt/facts/before'),
  );
  const badBlocks = await consumer.run(
    'ls /sys/block/md0/md/dev-dm-*/ | grep -c bad_blocks; mdadm --examine-badblocks /dev/mapper/guard',
  );
  note(badBlocks.trim().split('\n').at(-1) ?? '');
  await cutUnderWrites(context, consumer, holder, controller);
  await step('everything is taken down again', async () => {
    await consumer.run('umount /mnt/facts && mount /dev/md0 /mnt/facts');
    const after = await consumer.run('sha256sum < /mnt/facts/before');
    if (after !== checksum) throw new Error(`the file has changed: ${checksum} is now ${after}`);
    await consumer.run(`set -e
      umount /mnt/facts
      mdadm --stop /dev/md0
      dmsetup remove guard
      dmsetup remove local
      echo 1 > /sys/class/nvme/${controller}/delete_controller`);
    await unexportLeg(holder, consumerNqn);
    for (const node of [consumer, holder]) {
      const left = await node.run(
        'dmsetup ls --target multipath; dmsetup ls --target linear; grep ^md /proc/mdstat || true',
      );
      if (/leg|guard|local|md0/.test(left)) throw new Error(`${node.name} has something left: ${left}`);
      await node.run('wipefs -aq /dev/nvme0n1; dd if=/dev/zero of=/dev/nvme0n1 bs=1M count=20 conv=fsync status=none');
    }
  });
}

/** The fact that the driver's design stands on: a guard lets a blip of the network pass without MD noticing. */
export const kernelFacts: Scenario = {
  name: 'kernel-facts',
  title: 'a guarded RAID1 over NVMe/TCP keeps both members through a network cut',
  nodes: 2,
  run,
};
