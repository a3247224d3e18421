import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine } from './machine.ts';

const CLEAN_LIMIT_MS = 60_000;

/** Everything that a consumer has of volumes, and whether the pod's program lives. */
async function leftOf(machine: Machine, pid: string): Promise<string> {
  return machine.run(
    `ls -d /sys/block/md*/md 2>/dev/null; dmsetup ls --target multipath | grep meshstor
     grep -E '/var/lib/kubelet/(plugins|pods)' /proc/mounts; ls -d /proc/${pid} 2>/dev/null; cat /sys/class/nvme-fabrics/ctl/nvme*/subsysnqn 2>/dev/null | grep meshstor; true`,
  );
}

/** What programs wait for, and what the array and its guards are. */
function whyOf(machine: Machine): Promise<string> {
  return machine.run(
    `ps -eo pid,stat,wchan:30,args | grep -v '\\]$' ; cat /proc/mdstat; dmsetup status; dmsetup table --target multipath
     for pid in $(ps -eo pid,stat | awk '$2 ~ /^D/ { print $1 }'); do echo "$pid $(cat /proc/$pid/comm)"; cat /proc/$pid/stack; done; true`,
  );
}

/** Waits until a node that was cut off as consumer has taken down what it had, and the pod's program is gone. */
export async function untilClean(machine: Machine, pid: string): Promise<void> {
  const deadline = Date.now() + CLEAN_LIMIT_MS;
  for (;;) {
    const left = (await leftOf(machine, pid)).replaceAll('No devices found', '').trim();
    if (left === '') return;
    if (Date.now() > deadline) throw new Error(`left on ${machine.name}:\n${left}\n${await whyOf(machine)}`);
    await sleep(500);
  }
}
