/** A small cluster for the controller role: nodes with drives, over fake stores. */
import type { MeshStorNodeDevice } from '../../src/api/node-device.ts';
import type { MeshStorVolume, PartitionStatus, VolumeStatus } from '../../src/api/volume.ts';
import { Heartbeats } from '../../src/controller/heartbeats.ts';
import type { CreateVolumeRequest } from '../../src/controller/operations.ts';
import type { ControllerParts } from '../../src/controller/parts.ts';
import { Placer } from '../../src/controller/placer.ts';
import { VolumeOperations } from '../../src/controller/volume-operations.ts';
import { VolumeReconciler } from '../../src/controller/volume-reconciler.ts';
import { GIB } from '../../src/support/units.ts';
import { FakeClock, FakeEventRecorder, FakeServer, FakeStore, newMeta } from './fake-store.ts';
import { FakeClaimedVolumes, FakeNodeStore } from './fake-nodes.ts';
import type { FakeStoreOptions } from './fake-store.ts';

export class FakeCluster {
  readonly clock = new FakeClock();
  readonly nodes = new FakeNodeStore();
  readonly events = new FakeEventRecorder();
  readonly claimed = new FakeClaimedVolumes();
  readonly volumeServer = new FakeServer<MeshStorVolume>();
  readonly deviceServer = new FakeServer<MeshStorNodeDevice>();
  readonly volumes: FakeStore<MeshStorVolume>;
  readonly devices: FakeStore<MeshStorNodeDevice>;
  #uuids = 0;

  constructor(options: FakeStoreOptions = {}) {
    this.volumes = new FakeStore(this.volumeServer, options);
    this.devices = new FakeStore(this.deviceServer);
  }

  /** Nodes `n1` … with one usable drive each. */
  withNodes(count: number, freeBytes = 100 * GIB): this {
    for (let index = 1; index <= count; index += 1) this.addNode(`n${index}`, { freeBytes });
    return this;
  }

  addNode(name: string, drive: { freeBytes?: number; sectorSize?: number; usable?: boolean } = {}): void {
    this.nodes.set(name);
    this.setDrive(name, drive);
  }

  setDrive(
    node: string,
    drive: { device?: string; freeBytes?: number; sectorSize?: number; usable?: boolean } = {},
  ): void {
    const { device = 'nvme0n1', freeBytes = 100 * GIB, sectorSize = 512, usable = true } = drive;
    this.deviceServer.put({
      metadata: newMeta(`${node}-${device}`),
      spec: {
        node,
        device,
        usedAlias: '',
        model: 'Test',
        serial: `S-${node}-${device}`,
        size: '100Gi',
        sizeBytes: 100 * GIB,
        multiQueue: 4,
        sectorSize,
      },
      status: {
        biggestUsableFreeSpace: '',
        biggestUsableFreeSpaceBytes: freeBytes,
        freeBytes,
        numberOfVolumes: 0,
        numberOfUnknownVolumes: 0,
        localPartitions: 0,
        remotePartitions: 0,
        unknownPartitions: 0,
        updatedAt: new Date(this.clock.now()).toISOString(),
        conditions: [
          {
            type: 'Usable',
            status: usable ? 'True' : 'False',
            reason: usable ? 'Allowed' : 'NotAllowed',
            message: usable ? '' : 'no selector allows it',
            lastTransitionTime: '2026-01-01T00:00:00Z',
          },
        ],
      },
    });
  }

  /** Every node that is listed sends a heartbeat now. */
  beat(...names: readonly string[]): void {
    for (const device of this.devices.list()) {
      if (names.length > 0 && !names.includes(device.spec.node)) continue;
      if (device.status === undefined) continue;
      const updatedAt = new Date(this.clock.now()).toISOString();
      this.deviceServer.put({ ...device, status: { ...device.status, updatedAt } });
    }
  }

  parts(volumes: FakeStore<MeshStorVolume> = this.volumes): ControllerParts {
    const { devices, nodes, events, claimed, clock } = this;
    const monotonicMs = (): number => clock.elapsedMs;
    return { volumes, devices, nodes, events, claimed, clock, monotonicMs, newUuid: () => this.newUuid() };
  }

  newUuid(): string {
    this.#uuids += 1;
    return `00000000-0000-4000-8000-${String(this.#uuids).padStart(12, '0')}`;
  }

  /** One replica of the controller role. */
  replica(volumes: FakeStore<MeshStorVolume> = this.volumes): Replica {
    const parts = this.parts(volumes);
    const heartbeats = new Heartbeats(this.devices, this.clock);
    const placer = new Placer(parts, heartbeats);
    return {
      operations: new VolumeOperations(parts, heartbeats, placer, { cacheMs: 0, confirmMs: 0 }),
      reconciler: new VolumeReconciler(parts, heartbeats, placer),
      placer,
    };
  }

  volume(name: string): MeshStorVolume {
    const volume = this.volumeServer.objects.get(name);
    if (volume === undefined) throw new Error(`no volume ${name}`);
    return volume;
  }

  status(name: string): VolumeStatus {
    const { status } = this.volume(name);
    if (status === undefined) throw new Error(`volume ${name} has no status`);
    return status;
  }

  /** A status write by somebody else: a holder, a consumer. */
  writeStatus(name: string, change: (status: VolumeStatus) => Partial<VolumeStatus>): void {
    const volume = this.volume(name);
    const status = this.status(name);
    this.volumeServer.put({ ...volume, status: { ...status, ...change(status) } });
  }

  writeSpec(name: string, more: Partial<MeshStorVolume['spec']>): void {
    const volume = this.volume(name);
    this.volumeServer.put({ ...volume, spec: { ...volume.spec, ...more } });
  }

  /** What holders do for an epoch: confirm it. */
  confirm(name: string, nodes?: readonly string[]): void {
    this.writeStatus(name, (status) => ({
      partitions: status.partitions.map((entry) =>
        nodes === undefined || nodes.includes(entry.nodeID) ? { ...entry, epoch: status.attachmentEpoch } : entry,
      ),
    }));
  }

  /** All partitions made, the array born: as after the first stage on the consumer. */
  bear(name: string): void {
    this.writeStatus(name, (status) => ({
      mdState: 'active',
      partitions: status.partitions.map((entry): PartitionStatus => ({ ...entry, state: 'Synced' })),
    }));
    this.writeSpec(name, { activatedAt: '2026-06-01T00:00:00Z' });
  }
}

export interface Replica {
  readonly operations: VolumeOperations;
  readonly reconciler: VolumeReconciler;
  readonly placer: Placer;
}

export function createRequest(more: Partial<CreateVolumeRequest> = {}): CreateVolumeRequest {
  return {
    name: 'pvc-11111111-2222-4333-8444-555555555555',
    requiredBytes: GIB,
    limitBytes: 0,
    parameters: {
      numberOfCopies: 2,
      drivesPerCopy: 1,
      memberMissingTimeout: 900,
      sectorSize: 'auto',
      onWitnessLoss: 'suspend',
      onLastCopyLoss: 'hold',
      dataLocality: 'best-effort',
      fsType: 'xfs',
    },
    volumeMode: 'Filesystem',
    fsType: 'xfs',
    requisiteNodes: [],
    preferredNodes: [],
    ...more,
  };
}
