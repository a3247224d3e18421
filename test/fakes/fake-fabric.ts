import type { Extent, NvmeConnectOptions, NvmeController, NvmeNamespace } from '../../src/api/kernel.ts';
import { kernelError } from './fake-bytes.ts';
import { BlockDevice } from './fake-devices.ts';
import type { DeviceTable } from './fake-devices.ts';
import type { Answer, FakeNvmet, ServedNamespace } from './fake-nvmet.ts';

/** What the fabric knows of a node. */
export interface FabricEndpoint {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly nvmet: FakeNvmet;
  readonly host: FakeNvmeHost;
  readonly isUp: boolean;
}

function pairOf(one: string, other: string): string {
  return [one, other].sort().join('|');
}

/** The network between the nodes of one process. */
export class FakeFabric {
  readonly #endpoints: FabricEndpoint[] = [];
  readonly #cuts = new Set<string>();

  register(endpoint: FabricEndpoint): void {
    this.#endpoints.push(endpoint);
  }

  /** No packet passes between the two any more. Connections stay, and fail what is sent. */
  cut(one: string, other: string): void {
    this.#cuts.add(pairOf(one, other));
    this.refresh();
  }

  /** The link is back; connections that were not given up work again. */
  heal(one: string, other: string): void {
    this.#cuts.delete(pairOf(one, other));
    this.refresh();
  }

  /** `ctrl_loss_tmo` passes: every connection that does not work now is given up. */
  expire(): void {
    for (const endpoint of this.#endpoints) endpoint.host.giveUp();
  }

  /** Something changed somewhere: every host looks at its connections. */
  refresh(): void {
    for (const endpoint of this.#endpoints) endpoint.host.refresh();
  }

  /** Reaches the target when the connection works. */
  identify(from: string, options: NvmeConnectOptions, nsid: number): void {
    if (this.ask(from, options, options.nqn, options.hostNqn).kind !== 'served') return;
    const target = this.#endpoints.find(({ addresses }) => addresses.includes(options.traddr));
    target?.nvmet.revalidate(options.nqn, nsid);
  }

  /** What `from` meets at that address now: an answer, or silence. */
  ask(
    from: string,
    address: { readonly transport: string; readonly traddr: string; readonly trsvcid: string },
    nqn: string,
    hostNqn: string,
  ): Answer | { readonly kind: 'silence' } {
    const target = this.#endpoints.find(({ addresses }) => addresses.includes(address.traddr));
    if (target === undefined || !target.isUp || this.#cuts.has(pairOf(from, target.name))) return { kind: 'silence' };
    return target.nvmet.answer(address, nqn, hostNqn);
  }
}

/** The block device of a remote namespace. Errors of a lost path are EIO, which a guard takes for what it is. */
class ImportedNamespace extends BlockDevice {
  readonly controller: Controller;
  readonly nsid: number;
  readonly uuid: string;
  #sizeBytes: number;
  readonly #blockSize: number;

  constructor(controller: Controller, name: string, devNumber: string, served: ServedNamespace) {
    super(name, `/dev/${name}`, devNumber);
    this.controller = controller;
    this.nsid = served.nsid;
    this.uuid = served.uuid;
    this.#sizeBytes = served.sizeBytes;
    this.#blockSize = served.device.logicalBlockSize;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get logicalBlockSize(): number {
    return this.#blockSize;
  }

  resize(sizeBytes: number): void {
    this.#sizeBytes = sizeBytes;
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    return this.#remote(offset, length, 'read', (device) => device.read(offset, length));
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.#remote(offset, data.length, 'write', (device) => device.write(offset, data));
  }

  zero(offset: number, length: number): Promise<void> {
    return this.#remote(offset, length, 'ioctl BLKZEROOUT', (device) => device.zero(offset, length));
  }

  written(offset: number, length: number): Promise<readonly Extent[]> {
    return this.#remote(offset, length, 'read', (device) => device.written(offset, length));
  }

  async #remote<T>(
    offset: number,
    length: number,
    syscall: string,
    work: (device: BlockDevice) => Promise<T>,
  ): Promise<T> {
    this.checkRange(offset, length, syscall);
    const served = this.controller.served().find(({ nsid, uuid }) => nsid === this.nsid && uuid === this.uuid);
    if (served === undefined) throw kernelError('EIO', syscall, this.path);
    try {
      return await work(served.device);
    } catch (error: unknown) {
      // nvmet tells medium errors apart; everything else becomes an internal error.
      if ((error as { code?: string }).code === 'ENODATA') throw kernelError('ENODATA', syscall, this.path);
      throw kernelError('EIO', syscall, this.path);
    }
  }
}

interface Controller {
  readonly name: string;
  readonly options: NvmeConnectOptions;
  readonly namespaces: ImportedNamespace[];
  /** Names given out so far: one that comes back gets the next. */
  born: number;
  wasLive: boolean;
  served(): readonly ServedNamespace[];
  isLive(): boolean;
}

/** The NVMe-oF host of one node. */
export class FakeNvmeHost {
  readonly #nodeName: string;
  readonly #fabric: FakeFabric;
  readonly #devices: DeviceTable;
  readonly #notify: (action: string, device: string) => void;
  #controllers: Controller[] = [];
  /** Numbers below are those of local drives. */
  #firstNumber: number;

  constructor(
    nodeName: string,
    fabric: FakeFabric,
    devices: DeviceTable,
    firstNumber: number,
    notify: (action: string, device: string) => void,
  ) {
    this.#nodeName = nodeName;
    this.#fabric = fabric;
    this.#devices = devices;
    this.#firstNumber = firstNumber;
    this.#notify = notify;
  }

  controllers(): readonly NvmeController[] {
    return this.#controllers.map((controller) => ({
      name: controller.name,
      state: controller.isLive() ? 'live' : 'connecting',
      transport: controller.options.transport,
      subsystemNqn: controller.options.nqn,
      hostNqn: controller.options.hostNqn,
      traddr: controller.options.traddr,
      trsvcid: controller.options.trsvcid,
    }));
  }

  connect(options: NvmeConnectOptions): string {
    const known = this.#controllers.find((controller) => sameConnection(controller.options, options));
    if (known !== undefined) return known.name;
    const isHostMixed = this.#controllers.some(
      ({ options: other }) => other.hostId === options.hostId && other.hostNqn !== options.hostNqn,
    );
    if (isHostMixed) throw kernelError('EINVAL', 'write', '/dev/nvme-fabrics');
    const answer = this.#fabric.ask(this.#nodeName, options, options.nqn, options.hostNqn);
    if (answer.kind === 'silence') throw kernelError('ETIMEDOUT', 'write', '/dev/nvme-fabrics');
    if (answer.kind === 'nobody') throw kernelError('ECONNREFUSED', 'write', '/dev/nvme-fabrics');
    if (answer.kind === 'refused') throw kernelError('EIO', 'write', '/dev/nvme-fabrics');
    const controller = this.#newController(options);
    this.#controllers.push(controller);
    this.#notify('add', controller.name);
    this.refresh();
    return controller.name;
  }

  /** An admin command to the namespace behind a device node; nothing happens for what is no import. */
  identify(path: string): void {
    for (const { options, namespaces } of this.#controllers) {
      const device = namespaces.find((namespace) => namespace.path === path);
      if (device !== undefined) this.#fabric.identify(this.#nodeName, options, device.nsid);
    }
  }

  disconnect(nqn: string): void {
    for (const controller of this.#controllers.filter(({ options }) => options.nqn === nqn)) this.#delete(controller);
  }

  /** Gives up on every connection that does not work. */
  giveUp(): void {
    for (const controller of this.#controllers.filter((candidate) => !candidate.isLive())) this.#delete(controller);
  }

  /** Namespaces come and go with what the targets serve. A lost connection keeps its devices. */
  refresh(): void {
    for (const controller of this.#controllers) {
      const isLive = controller.isLive();
      if (isLive !== controller.wasLive) this.#notify('change', controller.name);
      controller.wasLive = isLive;
      if (isLive) this.#refreshController(controller);
    }
  }

  namespaces(mountsOf: (device: BlockDevice) => readonly string[]): readonly NvmeNamespace[] {
    return this.#controllers.flatMap((controller) =>
      controller.namespaces.map((device) => this.#describe(controller, device, mountsOf(device))),
    );
  }

  clear(): void {
    for (const controller of this.#controllers) for (const device of controller.namespaces) device.gone = true;
    this.#controllers = [];
  }

  #newController(options: NvmeConnectOptions): Controller {
    const taken = new Set(this.#controllers.map(({ name }) => name));
    let number = this.#firstNumber;
    while (taken.has(`nvme${String(number)}`)) number += 1;
    const ask = (): ReturnType<FakeFabric['ask']> =>
      this.#fabric.ask(this.#nodeName, options, options.nqn, options.hostNqn);
    return {
      name: `nvme${String(number)}`,
      options,
      namespaces: [],
      born: 0,
      wasLive: true,
      served: () => {
        const answer = ask();
        return answer.kind === 'served' ? answer.namespaces : [];
      },
      isLive: () => ask().kind === 'served',
    };
  }

  #refreshController(controller: Controller): void {
    const served = controller.served();
    for (const device of [...controller.namespaces]) {
      const still = served.find(({ nsid, uuid }) => nsid === device.nsid && uuid === device.uuid);
      if (still !== undefined) {
        device.resize(still.sizeBytes);
        continue;
      }
      controller.namespaces.splice(controller.namespaces.indexOf(device), 1);
      this.#devices.remove(device);
      this.#notify('remove', device.name);
    }
    for (const namespace of served) {
      if (controller.namespaces.some(({ nsid }) => nsid === namespace.nsid)) continue;
      // The kernel ignores a namespace whose UUID is known from another subsystem ("duplicate IDs").
      const isDuplicate = this.#controllers.some(
        (other) =>
          other.options.nqn !== controller.options.nqn && other.namespaces.some(({ uuid }) => uuid === namespace.uuid),
      );
      if (isDuplicate) continue;
      controller.born += 1;
      const name = `${controller.name}n${String(controller.born)}`;
      const device = new ImportedNamespace(controller, name, this.#devices.nextBlockExtNumber(), namespace);
      controller.namespaces.push(device);
      this.#devices.add(device);
      this.#notify('add', name);
    }
  }

  #delete(controller: Controller): void {
    this.#controllers = this.#controllers.filter((other) => other !== controller);
    for (const device of controller.namespaces) {
      this.#devices.remove(device);
      this.#notify('remove', device.name);
    }
    this.#notify('remove', controller.name);
  }

  #describe(controller: Controller, device: ImportedNamespace, mountPoints: readonly string[]): NvmeNamespace {
    const { options } = controller;
    return {
      name: device.name,
      path: device.path,
      devNumber: device.devNumber,
      model: 'MeshStor',
      serial: 'MS0000000000000000',
      nsid: device.nsid,
      uuid: device.uuid,
      sizeBytes: device.sizeBytes,
      logicalBlockSize: device.logicalBlockSize,
      physicalBlockSize: device.logicalBlockSize,
      hardwareQueues: options.nrIoQueues,
      writeCache: 'write back',
      transport: options.transport,
      subsystemNqn: options.nqn,
      multipath: 'single',
      paths: [
        {
          controller: controller.name,
          state: controller.isLive() ? 'live' : 'connecting',
          transport: options.transport,
          address: `traddr=${options.traddr},trsvcid=${options.trsvcid}`,
          hostNqn: options.hostNqn,
        },
      ],
      holders: device.holders,
      mountPoints,
      partitions: [],
    };
  }
}

function sameConnection(one: NvmeConnectOptions, other: NvmeConnectOptions): boolean {
  return (
    one.nqn === other.nqn &&
    one.traddr === other.traddr &&
    one.trsvcid === other.trsvcid &&
    one.transport === other.transport &&
    one.hostNqn === other.hostNqn
  );
}
