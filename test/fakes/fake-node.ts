import type { Kernel, KernelEvent, NvmeController, NvmeNamespace } from '../../src/api/kernel.ts';
import { uuidV5 } from '../../src/support/uuid.ts';
import { DeviceTable } from './fake-devices.ts';
import { FakeDisk, FakeDisks } from './fake-disks.ts';
import type { FakeDiskOptions } from './fake-disks.ts';
import { FakeDm } from './fake-dm.ts';
import { FakeNvmeHost } from './fake-fabric.ts';
import type { FabricEndpoint, FakeFabric } from './fake-fabric.ts';
import { FakeFaults } from './fake-faults.ts';
import { FakeKernel } from './fake-kernel.ts';
import { FakeMd } from './fake-md.ts';
import { FakeMounts } from './fake-mounts.ts';
import { FakeNvmet } from './fake-nvmet.ts';
import { FakeTools } from './fake-tools.ts';

const NAMESPACE = '6ba7b810-9dad-41d1-80b4-00c04fd430c8';

export interface FakeNodeOptions {
  readonly name: string;
  readonly fabric: FakeFabric;
  /** Addresses that this node's target can listen on. */
  readonly addresses: readonly string[];
  readonly disks?: readonly FakeDiskOptions[];
}

type Watcher = (events: readonly KernelEvent[]) => void;

/** One machine: its drives, its kernel, and the programs that a node process starts. */
export class FakeNode implements FabricEndpoint {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly fabric: FakeFabric;
  readonly devices = new DeviceTable();
  readonly faults = new FakeFaults();
  readonly disks: FakeDisks;
  readonly dm: FakeDm;
  readonly md: FakeMd;
  readonly nvmet: FakeNvmet;
  readonly host: FakeNvmeHost;
  readonly mounts: FakeMounts;
  readonly tools: FakeTools;
  /** What the node process under test is given. */
  readonly kernel: Kernel;
  isUp = true;
  ioFlusher = false;
  readonly locks = new Set<string>();
  #boots = 1;
  #uuids = 0;
  readonly #watchers = new Set<Watcher>();
  #events: KernelEvent[] = [];

  constructor(options: FakeNodeOptions) {
    this.name = options.name;
    this.addresses = options.addresses;
    this.fabric = options.fabric;
    const uevent = (action: string, device: string): void => this.#emit({ source: 'uevent', action, device });
    this.disks = new FakeDisks(this.devices, uevent);
    this.dm = new FakeDm(this.devices, uevent);
    const newUuid = (): string => uuidV5(NAMESPACE, `${this.name}/${String((this.#uuids += 1))}`);
    this.md = new FakeMd(this.devices, (device) => this.#emit({ source: 'md', action: 'md', device }), newUuid);
    this.nvmet = new FakeNvmet(this.devices, this.addresses, () => this.fabric.refresh());
    const firstRemote = (options.disks ?? []).length;
    this.host = new FakeNvmeHost(this.name, this.fabric, this.devices, firstRemote, uevent);
    this.mounts = new FakeMounts(this.devices);
    this.tools = new FakeTools(this.md, this.mounts);
    this.kernel = this.faults.wrap(new FakeKernel(this));
    for (const disk of options.disks ?? []) this.disks.add(new FakeDisk(disk));
    this.fabric.register(this);
  }

  /** Changes with every boot. */
  get bootId(): string {
    return uuidV5(NAMESPACE, `${this.name}/boot/${String(this.#boots)}`);
  }

  disk(name: string): FakeDisk {
    const disk = this.disks.disks.find((candidate) => candidate.name === name);
    if (disk === undefined) throw new RangeError(`${this.name} has no drive ${name}`);
    return disk;
  }

  /** The process is gone and comes back; the kernel goes on. */
  restartProcess(): void {
    this.locks.clear();
    this.#watchers.clear();
    this.faults.reset();
  }

  /** Power cut: everything but the drives is gone. Others meet silence until `powerOn`. */
  powerOff(): void {
    this.isUp = false;
    this.mounts.clear();
    this.md.clear();
    this.dm.clear();
    this.nvmet.clear();
    this.host.clear();
    this.devices.clear();
    this.ioFlusher = false;
    this.restartProcess();
    this.fabric.refresh();
  }

  powerOn(): void {
    this.#boots += 1;
    this.isUp = true;
    this.disks.rescan();
    this.fabric.refresh();
  }

  /** Power cut and boot. */
  crash(): void {
    this.powerOff();
    this.powerOn();
  }

  watch(watcher: Watcher): { stop(): void } {
    this.#watchers.add(watcher);
    return { stop: () => void this.#watchers.delete(watcher) };
  }

  localControllers(): readonly NvmeController[] {
    return this.disks.disks.map((disk) => ({
      name: disk.name.replace(/n\d+$/, ''),
      state: 'live',
      transport: 'pcie',
      subsystemNqn: localNqn(disk),
      hostNqn: '',
      traddr: '0000:00:04.0',
      trsvcid: '',
    }));
  }

  localNamespaces(): readonly NvmeNamespace[] {
    return this.disks.disks.map((disk) => {
      const device = this.disks.device(disk);
      return {
        name: disk.name,
        path: device.path,
        devNumber: device.devNumber,
        model: disk.model,
        serial: disk.serial,
        nsid: 1,
        ...(disk.uuid === undefined ? {} : { uuid: disk.uuid }),
        sizeBytes: disk.sizeBytes,
        logicalBlockSize: disk.logicalBlockSize,
        physicalBlockSize: disk.logicalBlockSize,
        hardwareQueues: 2,
        writeCache: disk.writeCache,
        transport: 'pcie',
        subsystemNqn: localNqn(disk),
        multipath: 'single',
        paths: [
          {
            controller: disk.name.replace(/n\d+$/, ''),
            state: 'live',
            transport: 'pcie',
            address: '0000:00:04.0',
          },
        ],
        holders: device.holders,
        mountPoints: this.mounts.pointsOf(device),
        partitions: this.disks.kernelPartitions(disk, (partition) => this.mounts.pointsOf(partition)),
      };
    });
  }

  /** Events of one turn reach every watcher together. */
  #emit(event: KernelEvent): void {
    this.#events.push(event);
    if (this.#events.length > 1) return;
    setImmediate(() => {
      const events = this.#events;
      this.#events = [];
      for (const watcher of [...this.#watchers]) watcher(events);
    });
  }
}

function localNqn(disk: FakeDisk): string {
  return `nqn.2019-08.org.qemu:${disk.serial}`;
}
