import type { Machine } from './machine.ts';

const LOOK = `
for disk in /dev/nvme?n1; do
  [ -b "$disk" ] && sgdisk -p "$disk" 2>/dev/null | grep -o 'meshstor-[0-9a-f]*' | sed "s|^|partition on $disk: |"
done
grep '^md' /proc/mdstat | sed 's/^/array: /'
dmsetup ls 2>/dev/null | grep '^meshstor-' | sed 's/^/device mapper: /'
grep -h '^nqn.2025-12.io.meshstor:' /sys/class/nvme/nvme*/subsysnqn 2>/dev/null | sed 's/^/connection: /'
ls /sys/kernel/config/nvmet/subsystems 2>/dev/null | sed 's/^/export: /'
grep ' /var/lib/kubelet/' /proc/mounts | sed 's/^/mount: /'
true`;

/** The same without what is on the drives alone: an eighth of the programs, which take their time on a virtual node. */
const LOOK_IN_KERNEL = `
grep '^md' /proc/mdstat
ls -d /sys/class/block/nvme*n*p[0-9]* 2>/dev/null
cat /sys/block/dm-*/dm/name 2>/dev/null
grep '^nqn.2025-12.io.meshstor:' /sys/class/nvme/nvme*/subsysnqn 2>/dev/null
ls /sys/kernel/config/nvmet/subsystems 2>/dev/null
cat /sys/block/loop*/loop/backing_file 2>/dev/null
grep ' /var/lib/kubelet/' /proc/mounts
true`;

async function lookOn(machine: Machine, look: string): Promise<readonly string[]> {
  const found = await machine.run(look);
  return found
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `${machine.name}: ${line}`);
}

/** What the driver has on a node: partitions, arrays, device mapper devices, connections, exports, mounts. One line each. */
export function remainsOn(machine: Machine): Promise<readonly string[]> {
  return lookOn(machine, LOOK);
}

export async function remainsAnywhere(machines: readonly Machine[]): Promise<readonly string[]> {
  return (await Promise.all(machines.map(remainsOn))).flat();
}

/** What the nodes' kernels know of: partitions, arrays, device mapper, connections, exports, loop devices, mounts. */
export async function remainsInKernels(machines: readonly Machine[]): Promise<readonly string[]> {
  return (await Promise.all(machines.map((machine) => lookOn(machine, LOOK_IN_KERNEL)))).flat();
}
