import type { CpioEntry } from './cpio.ts';

/**
 * Modules that are loaded before a node's agent answers. The guest has all modules of the kernel package at /lib/modules,
 * and the kernel loads those that a mount, a device-mapper table or a qdisc asks for by itself.
 */
export const BOOT_MODULES: readonly string[] = [
  ...['virtio_pci', 'virtio_net', 'virtio_console', '9p', '9pnet_virtio', 'overlay', 'configfs'],
  ...['nvme', 'nvme-tcp', 'nvmet', 'nvmet-tcp'],
  ...['raid1', 'raid10', 'dm-mod', 'dm-multipath', 'dm-service-time', 'xfs', 'ext4'],
];

/** Commands of busybox that the init script below uses. */
const APPLETS = ['sh', 'mount', 'mkdir', 'insmod', 'cat', 'echo', 'ln', 'cp', 'ip', 'hostname', 'switch_root', 'sleep'];

/**
 * First program of a node. It loads the modules, puts a tmpfs over the host's read-only root (9p), sets up what the
 * driver expects of a node and hands over to busybox init, which reaps orphans and keeps the agent running.
 * Node-specific values come as shell assignments from a file whose path is in the kernel's command line.
 */
export const INIT_SCRIPT = `#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
fail() { echo "lab init: $1"; echo o > /proc/sysrq-trigger; sleep 60; }
while read -r module; do insmod "/modules/$module" || echo "lab init: cannot load $module"; done < /modules/order
for word in $(cat /proc/cmdline); do case "$word" in lab.env=*) env="\${word#lab.env=}";; esac; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host || fail "cannot mount the host's files"
[ -r "/host$env" ] || fail "no node settings at $env"
. "/host$env"
mount -t tmpfs -o mode=755,size=60% tmpfs /rw
mkdir -p /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay /root || fail "cannot mount the overlay"
mkdir -p /root/.lab /root/lib/modules /root/etc/nvme /root/var/lib/kubelet /root/sys /root/proc /root/dev /root/run /root/tmp
cp /bin/busybox /root/.lab/busybox
ln -s busybox /root/.lab/init
echo "$LAB_MACHINE_ID" > /root/etc/machine-id
echo "$LAB_NAME" > /root/etc/hostname
echo "$LAB_HOSTS" > /root/etc/hosts
echo "nqn.2014-08.org.nvmexpress:uuid:$LAB_UUID" > /root/etc/nvme/hostnqn
echo "$LAB_UUID" > /root/etc/nvme/hostid
echo "" > /root/etc/resolv.conf
echo "proc /proc proc defaults 0 0" > /root/etc/fstab
mount --move /sys /root/sys
mount --move /dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o gid=5,mode=620 devpts /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm
mount -t tmpfs -o mode=755 tmpfs /root/run
mkdir -p /root/run/lock
mount -t tmpfs -o mode=1777 tmpfs /root/tmp
mount -t tmpfs -o mode=755 tmpfs /root/var/lib/kubelet
mount -t configfs configfs /root/sys/kernel/config
mount -t debugfs debugfs /root/sys/kernel/debug
mount -t tracefs tracefs /root/sys/kernel/tracing
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
[ -n "$LAB_MODULES" ] && mount -o bind "/root$LAB_MODULES" /root/lib/modules
hostname "$LAB_NAME"
ip link set lo up
ip link set eth0 up
ip addr add "$LAB_ADDRESS/24" dev eth0
echo "::respawn:/.lab/agent" > /root/etc/inittab
{
  echo "#!/.lab/busybox sh"
  echo "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LAB_NODE=$LAB_NAME DM_DISABLE_UDEV=1"
  echo "cd /"
  echo "exec '$LAB_NODE_BINARY' '$LAB_AGENT' > /run/lab-agent.log 2>&1"
} > /root/.lab/agent
/bin/busybox chmod 755 /root/.lab/agent
mount --move /proc /root/proc
exec switch_root /root /.lab/init
`;

/** Kinds of segments, <elf.h>. */
const [PT_LOAD, PT_INTERP] = [1, 3];

const SIGNATURE_MARK = Buffer.from('~Module signature appended~\n');
/** struct module_signature of the kernel's include/linux/module_signature.h; its last four bytes are the length. */
const SIGNATURE_INFO_BYTES = 12;

/**
 * Cuts off the signature that Debian appends to a module: checking it takes an emulated machine a good part of its boot.
 * A module without one is returned as it is.
 */
export function withoutSignature(module: Buffer): Buffer {
  const mark = module.length - SIGNATURE_MARK.length;
  if (mark < SIGNATURE_INFO_BYTES || !module.subarray(mark).equals(SIGNATURE_MARK)) return module;
  const end = mark - SIGNATURE_INFO_BYTES - module.readUInt32BE(mark - 4);
  if (end < 0) throw new Error('read kernel module: its signature is longer than the file');
  return module.subarray(0, end);
}

/**
 * The xz stream inside a bzImage (Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length); undefined
 * if the kernel is packed otherwise.
 */
export function xzPayload(bzImage: Buffer): Buffer | undefined {
  if (bzImage.length < 0x250 || bzImage.toString('latin1', 0x202, 0x206) !== 'HdrS') {
    throw new Error('read kernel: not a bzImage');
  }
  const start = (bzImage.readUInt8(0x1f1) + 1) * 512 + bzImage.readUInt32LE(0x248);
  const payload = bzImage.subarray(start, start + bzImage.readUInt32LE(0x24c));
  if (!payload.subarray(0, 6).equals(Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]))) return undefined;
  return payload.subarray(0, payload.length - 4); // the kernel's build appends the unpacked size
}

/**
 * True for a 64-bit little-endian ELF program that asks for no loader: without a PT_INTERP segment it needs no libraries, so
 * that it runs where there is nothing but itself.
 */
export function isStaticElf(program: Buffer): boolean {
  if (program.length < 64 || program.readUInt32BE(0) !== 0x7f454c46 || program.readUInt16BE(4) !== 0x0201) return false;
  const start = Number(program.readBigUInt64LE(0x20));
  const [size, count] = [program.readUInt16LE(0x36), program.readUInt16LE(0x38)];
  if (start + size * count > program.length) return false;
  const types = Array.from({ length: count }, (_, index) => program.readUInt32LE(start + size * index));
  return types.includes(PT_LOAD) && !types.includes(PT_INTERP);
}

/** A kernel module as it goes into the image: its file name and its unpacked bytes. */
export interface ModuleFile {
  readonly name: string;
  readonly data: Buffer;
}

/** What the image holds, in archive order; `modules` in the order in which they are to be loaded. */
export function initramfsEntries(busybox: Buffer, modules: readonly ModuleFile[]): CpioEntry[] {
  const dirs = ['bin', 'dev', 'host', 'modules', 'proc', 'root', 'rw', 'sys'];
  return [
    ...dirs.map((path): CpioEntry => ({ path, kind: 'dir', mode: 0o755 })),
    { path: 'bin/busybox', kind: 'file', mode: 0o755, data: busybox },
    ...APPLETS.map((name): CpioEntry => ({ path: `bin/${name}`, kind: 'symlink', mode: 0o777, target: 'busybox' })),
    { path: 'init', kind: 'file', mode: 0o755, data: Buffer.from(INIT_SCRIPT) },
    ...modules.map(({ name, data }): CpioEntry => ({ path: `modules/${name}`, kind: 'file', mode: 0o644, data })),
    {
      path: 'modules/order',
      kind: 'file',
      mode: 0o644,
      data: Buffer.from(modules.map(({ name }) => `${name}\n`).join('')),
    },
  ];
}

/**
 * Reads what `modprobe --show-depends` printed for several modules: the module files in load order, each once.
 * Modules built into the kernel need no loading. Throws if a line is neither.
 */
export function parseModuleOrder(shown: string): string[] {
  const files = new Set<string>();
  for (const line of shown.split('\n')) {
    const text = line.trim();
    if (text === '' || text.startsWith('builtin ')) continue;
    const match = /^insmod (\S+)/.exec(text);
    if (!match?.[1]) throw new Error(`read module order: unexpected line "${text}"`);
    files.add(match[1]);
  }
  return [...files];
}
