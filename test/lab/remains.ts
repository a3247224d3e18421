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

/** What the driver has on a node: partitions, arrays, device mapper devices, connections, exports, mounts. One line each. */
export async function remainsOn(machine: Machine): Promise<readonly string[]> {
  const found = await machine.run(LOOK);
  return found
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `${machine.name}: ${line}`);
}

export async function remainsAnywhere(machines: readonly Machine[]): Promise<readonly string[]> {
  return (await Promise.all(machines.map(remainsOn))).flat();
}
