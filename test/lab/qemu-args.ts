import { createHash } from 'node:crypto';

export interface DriveSpec {
  readonly sizeBytes: number;
  readonly sectorSize: 512 | 4096;
}

export interface MachineSpec {
  readonly name: string;
  /** 1, 2, …: gives the node its address, MAC address and tap. */
  readonly index: number;
  readonly drives: readonly (DriveSpec & { readonly file: string; readonly serial: string })[];
  readonly memoryMiB: number;
  readonly vmlinux: string;
  readonly initramfs: string;
  readonly accel: 'tcg' | 'kvm';
  /** File of shell assignments that the guest's init reads (path on the host). */
  readonly envFile: string;
  readonly serialLog: string;
  readonly qmpSocket: string;
  readonly agentSocket: string;
}

/** A UUID made from a name: the same name always gives the same one. */
export function uuidFor(name: string): string {
  const hex = createHash('sha256').update(`meshstor-lab:${name}`).digest('hex');
  const variant = ((Number.parseInt(hex.slice(16, 18), 16) & 0x3f) | 0x80).toString(16);
  const low = `${variant}${hex.slice(18, 20)}`;
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${low}-${hex.slice(20, 32)}`;
}

export function tapName(index: number): string {
  return `tap${index}`;
}

/** Address of a node in the lab's network; the host (and the API server on it) is `HOST_ADDRESS`. */
export function addressOf(index: number): string {
  return `10.77.0.${10 + index}`;
}

export const HOST_ADDRESS = '10.77.0.1';

/** A comma separates options for QEMU, so it is doubled in a value. */
function value(text: string): string {
  return text.replaceAll(',', ',,');
}

/** The NVMe drive as QEMU's `-device` and `device_add` take it. Each sits behind a port of its own, to be pulled. */
export function nvmeDevice(
  drive: DriveSpec & { readonly serial: string },
  index: number,
): Readonly<Record<string, string | number>> {
  const sectors =
    drive.sectorSize === 512 ? {} : { logical_block_size: drive.sectorSize, physical_block_size: drive.sectorSize };
  const at = { id: `nvme${index}`, bus: `port${index}`, drive: `drive${index}` };
  return { driver: 'nvme', ...at, serial: drive.serial, ...sectors };
}

/** The block node under a drive, above the one of its image file: faults are put in between while the machine runs. */
export function driveNode(index: number): Readonly<Record<string, unknown>> {
  const cache = { direct: false, 'no-flush': true };
  return { driver: 'raw', 'node-name': `drive${index}`, file: `file${index}`, discard: 'unmap', cache };
}

function driveArgs(drive: MachineSpec['drives'][number], index: number): string[] {
  const cache = { direct: false, 'no-flush': true };
  const file = { driver: 'file', 'node-name': `file${index}`, filename: drive.file, discard: 'unmap', cache };
  return [
    ...['-blockdev', JSON.stringify(file), '-blockdev', JSON.stringify(driveNode(index))],
    ...['-device', `pcie-root-port,id=port${index},chassis=${index + 1},slot=${index + 1}`],
    ...['-device', JSON.stringify(nvmeDevice(drive, index))],
  ];
}

/**
 * Command line of one node. Two virtual CPUs, always: with one, QEMU 7.2 loses completions of Write Zeroes bursts.
 */
export function qemuArgs(spec: MachineSpec): string[] {
  if (/\s/.test(spec.envFile))
    throw new Error(`boot ${spec.name}: the path "${spec.envFile}" must not contain a space`);
  const uuid = uuidFor(spec.name);
  const mac = `52:54:00:4d:53:${(10 + spec.index).toString(16).padStart(2, '0')}`;
  const kernelWords =
    'console=ttyS0 quiet panic=1 nokaslr tsc=reliable mitigations=off random.trust_cpu=on init_on_alloc=0 cryptomgr.notests';
  return [
    ...['-name', `meshstor-${spec.name}`, '-machine', 'q35', '-nodefaults', '-display', 'none', '-no-user-config'],
    ...(spec.accel === 'kvm'
      ? ['-accel', 'kvm', '-cpu', 'host']
      : ['-accel', 'tcg,thread=multi', '-cpu', 'max,la57=off']),
    ...['-smp', '2', '-m', String(spec.memoryMiB), '-uuid', uuid],
    ...['-smbios', `type=1,manufacturer=MeshStor,product=Lab,serial=${spec.name},uuid=${uuid}`],
    ...['-kernel', spec.vmlinux, '-initrd', spec.initramfs, '-append', `${kernelWords} lab.env=${spec.envFile}`],
    ...['-serial', `file:${spec.serialLog}`],
    ...['-qmp', `unix:${value(spec.qmpSocket)},server=on,wait=off`],
    ...['-chardev', `socket,id=agent,path=${value(spec.agentSocket)},server=on,wait=off`],
    ...['-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=agent,name=meshstor.agent'],
    ...['-virtfs', 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap'],
    ...['-netdev', `tap,id=net0,ifname=${tapName(spec.index)},script=no,downscript=no`],
    ...['-device', `virtio-net-pci,netdev=net0,mac=${mac}`],
    ...spec.drives.flatMap(driveArgs),
  ];
}

/** Text of the file that `MachineSpec.envFile` names. */
export function envFileText(options: {
  readonly name: string;
  readonly index: number;
  readonly hosts: readonly { readonly name: string; readonly address: string }[];
  readonly modulesDir: string;
  readonly nodeBinary: string;
  readonly agent: string;
}): string {
  const uuid = uuidFor(options.name);
  const hosts = ['127.0.0.1 localhost', ...options.hosts.map(({ name, address }) => `${address} ${name}`)].join('\n');
  const values = {
    LAB_NAME: options.name,
    LAB_UUID: uuid,
    LAB_MACHINE_ID: uuidFor(`machine-id:${options.name}`).replaceAll('-', ''),
    LAB_ADDRESS: addressOf(options.index),
    LAB_HOSTS: hosts,
    LAB_MODULES: options.modulesDir,
    LAB_NODE_BINARY: options.nodeBinary,
    LAB_AGENT: options.agent,
  };
  return Object.entries(values)
    .map(([name, text]) => `${name}='${text.replaceAll("'", `'\\''`)}'\n`)
    .join('');
}
