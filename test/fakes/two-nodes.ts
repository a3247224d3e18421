import { expect } from 'chai';

import type { NewGptPartition, NvmeConnectOptions } from '../../src/api/kernel.ts';
import { claimTable, guardTable } from '../../src/node/dm-tables.ts';
import { MIB } from './fake-bytes.ts';
import { FakeFabric } from './fake-fabric.ts';
import { FakeNode } from './fake-node.ts';

export const DISK = '/dev/nvme0n1';
export const PART = '0f8fad5b-d9cb-469f-a165-70867728950e';
export const OTHER = '7c9e6679-7425-40de-944b-e07fc1f90ae7';
export const NS_UUID = '6fa459ea-ee8a-3ca4-894e-db77e160355e';
export const ARRAY_UUID = '16fd2706-8baf-433b-82eb-8c7fada847da';
export const FS_UUID = '886313e1-3b8a-5372-9b90-0c9aee199e5d';
export const NQN = `nqn.2025-12.io.meshstor:${PART}:1-a`;
export const SIZE = 32 * MIB;
export const DATA_OFFSET = 8 * MIB;

export function newPartition(partitionGuid: string, startBytes: number, sizeBytes = SIZE): NewGptPartition {
  return {
    typeGuid: 'A19D880F-05FC-4D3B-A006-743F0F84911E',
    partitionGuid,
    name: 'meshstor-x',
    startBytes,
    sizeBytes,
  };
}

export function connectTo(traddr: string, nqn: string, host: string): NvmeConnectOptions {
  return {
    transport: 'tcp',
    traddr,
    trsvcid: '4420',
    nqn,
    hostNqn: `nqn.2025-12.io.meshstor:${host}`,
    hostId: `00000000-0000-4000-8000-00000000000${host.slice(-1)}`,
    keepAliveTmoSec: 1,
    fastIoFailTmoSec: 1,
    ctrlLossTmoSec: 3,
    reconnectDelaySec: 1,
    nrIoQueues: 1,
  };
}

export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error: unknown) {
    expect((error as { errno: number }).errno).to.be.lessThan(0);
    return (error as { code: string }).code;
  }
  return 'success';
}

/** Whether the work is still waiting after everything that can run has run. */
export async function waits(work: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const done = (): void => void (settled = true);
  work.then(done, done);
  for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
  return !settled;
}

/** Two nodes with a drive each; the second exports a partition to the first. */
export class TwoNodes {
  readonly fabric = new FakeFabric();
  readonly one: FakeNode;
  readonly two: FakeNode;

  constructor() {
    const disks = [{ name: 'nvme0n1', sizeBytes: 256 * MIB }];
    this.one = new FakeNode({ name: 'node1', fabric: this.fabric, addresses: ['10.0.0.1'], disks });
    this.two = new FakeNode({ name: 'node2', fabric: this.fabric, addresses: ['10.0.0.2'], disks });
  }

  async partition(node: FakeNode): Promise<string> {
    await node.kernel.initializeGpt(DISK, FS_UUID);
    return node.kernel.addGptPartition(DISK, newPartition(PART, MIB));
  }

  async export(nsUuid = NS_UUID, nqn = NQN): Promise<void> {
    const { kernel } = this.two;
    await kernel.createDm('claim', '', claimTable('/dev/nvme0n1p1', SIZE));
    await kernel.ensureNvmetPort({ id: 1, trtype: 'tcp', traddr: '10.0.0.2', trsvcid: '4420' });
    await kernel.ensureNvmetExport({
      nqn,
      nsid: 1,
      devicePath: '/dev/mapper/claim',
      uuid: nsUuid,
      hostNqn: 'nqn.2025-12.io.meshstor:node1',
      portIds: [1],
    });
  }

  async importedPath(nqn = NQN): Promise<string> {
    await this.one.kernel.nvmeConnect(connectTo('10.0.0.2', nqn, 'node1'));
    const found = (await this.one.kernel.nvmeNamespaces()).find(({ subsystemNqn }) => subsystemNqn === nqn);
    return found?.path ?? '';
  }

  /** A mirror on node1: its own partition and node2's, each behind a guard, with a filesystem mounted on /mnt. */
  async mirror(): Promise<void> {
    const local = await this.partition(this.one);
    await this.partition(this.two);
    await this.export();
    const remote = await this.importedPath();
    await this.one.kernel.createDm('g0', '', guardTable(local, SIZE));
    await this.one.kernel.createDm('g1', '', guardTable(remote, SIZE));
    await this.one.md.create({
      uuid: ARRAY_UUID,
      name: 'vol',
      level: 1,
      members: ['/dev/mapper/g0', '/dev/mapper/g1'],
      writeMostly: new Set(['/dev/mapper/g1']),
      sizeBytes: SIZE - DATA_OFFSET,
      dataOffsetBytes: DATA_OFFSET,
    });
    await this.one.mounts.make('/dev/md127', 'xfs', FS_UUID);
    await this.one.kernel.mount('/dev/md127', '/mnt', 'xfs', ['noatime']);
  }
}
