import { isIPv6 } from 'node:net';

import type { NvmetExportWanted, NvmetPortWanted, NvmetState } from '../../src/api/kernel.ts';
import { kernelError } from './fake-bytes.ts';
import type { BlockDevice, DeviceTable, Opener } from './fake-devices.ts';

interface Namespace {
  readonly nsid: number;
  readonly devicePath: string;
  readonly uuid: string;
  readonly device: BlockDevice;
  readonly opener: Opener;
  /** As the target last saw it: a device that grows is noticed only when a host asks for its size. */
  sizeBytes: number;
}

interface Subsystem {
  readonly nqn: string;
  readonly hosts: Set<string>;
  readonly namespaces: Map<number, Namespace>;
}

interface Port extends NvmetPortWanted {
  readonly adrfam: 'ipv4' | 'ipv6';
  readonly linked: Set<string>;
}

/** What a host is served through one subsystem. */
export interface ServedNamespace {
  readonly nsid: number;
  readonly uuid: string;
  readonly device: BlockDevice;
  readonly sizeBytes: number;
}

export type Answer =
  | { readonly kind: 'served'; readonly namespaces: readonly ServedNamespace[] }
  | { readonly kind: 'refused' }
  | { readonly kind: 'nobody' };

function authorityOf(nqn: string): string {
  return nqn.slice(0, nqn.indexOf(':') + 1);
}

/** The NVMe-oF target of one node. */
export class FakeNvmet {
  readonly #devices: DeviceTable;
  readonly #addresses: readonly string[];
  readonly #onChange: () => void;
  readonly #ports = new Map<number, Port>();
  readonly #subsystems = new Map<string, Subsystem>();
  readonly #hosts = new Set<string>();

  constructor(devices: DeviceTable, addresses: readonly string[], onChange: () => void) {
    this.#devices = devices;
    this.#addresses = addresses;
    this.#onChange = onChange;
  }

  state(): NvmetState {
    const ports = [...this.#ports.values()].sort((a, b) => a.id - b.id);
    const subsystems = [...this.#subsystems.values()].sort((a, b) => (a.nqn < b.nqn ? -1 : 1));
    return {
      ports: ports.map(({ linked, ...port }) => ({ ...port, subsystems: [...linked].sort() })),
      subsystems: subsystems.map(({ nqn, hosts, namespaces }) => ({
        nqn,
        allowAnyHost: false,
        allowedHosts: [...hosts].sort(),
        namespaces: [...namespaces.values()].map(({ nsid, devicePath, uuid }) => ({
          nsid,
          devicePath,
          enabled: true,
          uuid,
        })),
      })),
      hosts: [...this.#hosts].sort(),
    };
  }

  ensurePort(wanted: NvmetPortWanted): void {
    const known = this.#ports.get(wanted.id);
    const same = known?.trtype === wanted.trtype && known.traddr === wanted.traddr && known.trsvcid === wanted.trsvcid;
    if (same) return;
    if (known !== undefined && known.linked.size > 0) {
      throw kernelError('EEXIST', 'mkdir', `ports/${String(wanted.id)}`);
    }
    this.#ports.set(wanted.id, { ...wanted, adrfam: isIPv6(wanted.traddr) ? 'ipv6' : 'ipv4', linked: new Set() });
  }

  ensureExport(wanted: NvmetExportWanted): void {
    for (const id of wanted.portIds) {
      if (!this.#ports.has(id)) throw kernelError('ENOENT', 'lstat', `ports/${String(id)}`);
    }
    const subsystem = this.#subsystems.get(wanted.nqn) ?? {
      nqn: wanted.nqn,
      hosts: new Set<string>(),
      namespaces: new Map<number, Namespace>(),
    };
    this.#checkFits(subsystem, wanted);
    this.#subsystems.set(wanted.nqn, subsystem);
    if (!subsystem.namespaces.has(wanted.nsid)) {
      const device = this.#devices.get(wanted.devicePath, 'write enable');
      const opener: Opener = { holder: '' };
      device.open(opener);
      const { nsid, devicePath, uuid } = wanted;
      subsystem.namespaces.set(nsid, { nsid, devicePath, uuid, device, opener, sizeBytes: device.sizeBytes });
    }
    this.#hosts.add(wanted.hostNqn);
    subsystem.hosts.add(wanted.hostNqn);
    for (const id of wanted.portIds) this.#link(id, wanted.nqn);
    this.#onChange();
  }

  removeExport(nqn: string): void {
    for (const port of this.#ports.values()) port.linked.delete(nqn);
    const subsystem = this.#subsystems.get(nqn);
    for (const { device, opener } of subsystem?.namespaces.values() ?? []) device.close(opener);
    this.#subsystems.delete(nqn);
    const used = new Set([...this.#subsystems.values()].flatMap(({ hosts }) => [...hosts]));
    for (const host of [...this.#hosts]) {
      if (!used.has(host) && host.startsWith(authorityOf(nqn))) this.#hosts.delete(host);
    }
    this.#onChange();
  }

  /** What a connection attempt, or a request on a connection, would meet. */
  answer(
    address: { readonly transport: string; readonly traddr: string; readonly trsvcid: string },
    nqn: string,
    hostNqn: string,
  ): Answer {
    const listening = [...this.#ports.values()].filter(
      (port) =>
        port.linked.size > 0 &&
        port.trtype === address.transport &&
        port.trsvcid === address.trsvcid &&
        (port.traddr === address.traddr || port.traddr === '0.0.0.0' || port.traddr === '::'),
    );
    if (listening.length === 0) return { kind: 'nobody' };
    const subsystem = this.#subsystems.get(nqn);
    const isOffered = listening.some((port) => port.linked.has(nqn));
    if (subsystem === undefined || !isOffered || !subsystem.hosts.has(hostNqn)) return { kind: 'refused' };
    return { kind: 'served', namespaces: [...subsystem.namespaces.values()] };
  }

  /** A host identifies the namespace: a size that has changed is told to all hosts. */
  revalidate(nqn: string, nsid: number): void {
    const namespace = this.#subsystems.get(nqn)?.namespaces.get(nsid);
    if (namespace === undefined || namespace.sizeBytes === namespace.device.sizeBytes) return;
    namespace.sizeBytes = namespace.device.sizeBytes;
    this.#onChange();
  }

  clear(): void {
    this.#ports.clear();
    this.#subsystems.clear();
    this.#hosts.clear();
  }

  #checkFits(subsystem: Subsystem, wanted: NvmetExportWanted): void {
    const refuse = (): never => {
      throw kernelError('EEXIST', 'mkdir', `subsystems/${wanted.nqn}`);
    };
    for (const host of subsystem.hosts) if (host !== wanted.hostNqn) refuse();
    for (const namespace of subsystem.namespaces.values()) {
      const same =
        namespace.nsid === wanted.nsid && namespace.devicePath === wanted.devicePath && namespace.uuid === wanted.uuid;
      if (!same) refuse();
    }
  }

  /** The first link makes a port listen: that is when its address is tried. */
  #link(id: number, nqn: string): void {
    const port = this.#ports.get(id);
    if (port === undefined) return;
    const path = `ports/${String(id)}/subsystems/${nqn}`;
    if (port.linked.size === 0) {
      const isAny = port.traddr === '0.0.0.0' || port.traddr === '::';
      if (!isAny && !this.#addresses.includes(port.traddr)) throw kernelError('EADDRNOTAVAIL', 'symlink', path);
      const isTaken = [...this.#ports.values()].some(
        (other) =>
          other !== port &&
          other.linked.size > 0 &&
          other.trtype === port.trtype &&
          other.traddr === port.traddr &&
          other.trsvcid === port.trsvcid,
      );
      if (isTaken) throw kernelError('EADDRINUSE', 'symlink', path);
    }
    port.linked.add(nqn);
  }
}
