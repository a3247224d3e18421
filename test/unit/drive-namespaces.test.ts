/** Two namespaces of one controller have one serial number: they are two drives everywhere. */
import { expect } from 'chai';
import { ALLOW_DRIVE_ANNOTATION, nodeDeviceNameFor } from '../../src/api/names.ts';
import type { MeshStorNodeDevice } from '../../src/api/node-device.ts';
import type { DrivePolicy } from '../../src/node/drive-policy.ts';
import { driveKey } from '../../src/node/drive-policy.ts';
import { Inventory } from '../../src/node/inventory.ts';
import { observeHolder } from '../../src/node/observe-volume.ts';
import type { DriveSeen } from '../../src/node/snapshot.ts';
import { lookAtDrives } from '../../src/node/snapshot.ts';
import { planHolder } from '../../src/plan/holding.ts';
import type { DriveTableSeen, HolderWorld } from '../../src/plan/world.ts';
import { isSameDrive } from '../../src/api/node-device.ts';
import type { MeshStorVolume, PartitionState } from '../../src/api/volume.ts';
import { GIB } from '../../src/support/units.ts';
import { randomUuid } from '../../src/support/uuid.ts';
import { FakeFabric } from '../fakes/fake-fabric.ts';
import { FakeNode } from '../fakes/fake-node.ts';
import { FakeServer, FakeStore } from '../fakes/fake-store.ts';
import { SILENT } from '../roles/in-process-cluster.ts';
import { ModelCluster } from '../support/model-cluster.ts';

/** A holder whose entry is on namespace 2 of a drive; what of the drive is there is given. */
function world(
  state: PartitionState,
  namespaces: readonly { readonly nsid: number; readonly device: string }[],
): HolderWorld {
  const cluster = new ModelCluster({ copies: 1, drives: 1, nodes: 1, mode: 'Filesystem' });
  const partitions = cluster.status.partitions.map((entry) => ({ ...entry, state, device: 'nvme0n2', nsid: 2 }));
  cluster.status = { ...cluster.status, partitions };
  const seen = cluster.holderWorld(cluster.node('node-0'));
  const drives = namespaces.map(({ nsid, device }): DriveTableSeen => ({
    ...seen.drives[0]!,
    nsid,
    device,
    diskPath: `/dev/${device}`,
  }));
  return { ...seen, drives };
}

const NOTHING_ALLOWED: DrivePolicy = { selectors: [], nodeLabels: {}, initializeBlank: false };
const NOTHING_SEEN = {
  arrays: [],
  legs: [],
  nvmet: { ports: [], subsystems: [], hosts: [] },
  controllers: [],
  mounts: [],
};
const FIRST = { nsid: 1, device: 'nvme0n1' };
const SECOND = { nsid: 2, device: 'nvme0n2' };

/** Both namespaces are listed by objects without a namespace id, one of which carries the annotation. */
async function withOldObjects(allowed: string): Promise<{ inventory: Inventory; drives: readonly DriveSeen[] }> {
  const disks = [FIRST, SECOND].map(({ device }) => ({ name: device, sizeBytes: GIB, serial: 'S' }));
  const { kernel } = new FakeNode({ name: 'node1', fabric: new FakeFabric(), addresses: ['10.0.0.1'], disks });
  for (const { device } of [FIRST, SECOND]) await kernel.initializeGpt(`/dev/${device}`, randomUuid());
  const found = await lookAtDrives(kernel, await kernel.nvmeNamespaces());
  const drives = found.map((drive, index) => ({ ...drive, namespace: { ...drive.namespace, nsid: index + 1 } }));
  const devices = new FakeStore(new FakeServer<MeshStorNodeDevice>());
  for (const { namespace } of drives) {
    const annotations = namespace.name === allowed ? { [ALLOW_DRIVE_ANNOTATION]: 'true' } : {};
    const { name: device, model, serial, sizeBytes } = namespace;
    const spec = { node: 'node1', device, usedAlias: '', model, serial, size: '1Gi', sizeBytes };
    await devices.create(
      { name: nodeDeviceNameFor('node1', device), annotations, labels: {} },
      { ...spec, multiQueue: 1, sectorSize: 512 },
    );
  }
  const inventory = new Inventory({
    kernel,
    devices,
    volumes: new FakeStore(new FakeServer<MeshStorVolume>()),
    nodeName: 'node1',
    policy: () => NOTHING_ALLOWED,
    preflight: { known: '' },
    now: () => '2026-01-01T00:00:00Z',
    log: SILENT,
  });
  return { inventory, drives };
}

/** Which drives the holder's planner may use. */
async function holderDrives(inventory: Inventory, drives: readonly DriveSeen[]): Promise<readonly boolean[]> {
  const cluster = new ModelCluster({ copies: 1, drives: 1, nodes: 1, mode: 'Filesystem' });
  const snapshot = { ...NOTHING_SEEN, drives, namespaces: drives.map(({ namespace }) => namespace) };
  const view = {
    me: cluster.holderWorld(cluster.node('node-0')).me,
    policy: NOTHING_ALLOWED,
    annotatedDrives: inventory.annotatedDrives(),
    listensOnRdma: false,
    zeroedTo: new Map(),
  };
  const { kernel } = new FakeNode({ name: 'node1', fabric: new FakeFabric(), addresses: ['10.0.0.1'] });
  const seen = await observeHolder(kernel, snapshot, cluster.volume, view, false);
  return seen.drives.map(({ usable }) => usable);
}

describe('two namespaces with one serial number', () => {
  it('are told apart when a partition is made, whatever their names are now', () => {
    // The names are swapped since the drive was chosen.
    const swapped = world('Requested', [
      { nsid: 1, device: 'nvme0n2' },
      { nsid: 2, device: 'nvme0n1' },
    ]);
    const plan = planHolder(swapped);
    expect(plan.kind === 'steps' && plan.steps[0]).to.include({ kind: 'createPartition', diskPath: '/dev/nvme0n1' });
    const alone = planHolder(world('Requested', [FIRST]));
    expect(alone.kind === 'steps' && alone.steps[0], 'the other one is no stand-in').to.include({
      kind: 'recordImpossible',
    });
  });

  it('are told apart when a partition goes: one that is not seen is not known to be wiped', () => {
    expect(planHolder(world('Deleting', [FIRST])).kind).to.equal('wait');
    const plan = planHolder(world('Deleting', [FIRST, { nsid: 2, device: 'nvme0n2' }]));
    expect(plan.kind === 'steps' && plan.steps[0]).to.include({ kind: 'recordRemoved' });
  });

  it('are both read before the partition of an entry of an older version, which names neither, is said to be gone', () => {
    const both = world('Deleting', [FIRST, SECOND]);
    const withTables = (...unreadable: readonly boolean[]): HolderWorld => ({
      ...both,
      volume: {
        ...both.volume,
        status: {
          ...both.volume.status!,
          partitions: both.volume.status!.partitions.map(({ nsid: _, ...entry }) => entry),
        },
      },
      drives: both.drives.map((drive, index) => ({ ...drive, isUnreadable: unreadable[index] === true })),
    });
    for (const unreadable of [
      [false, true],
      [true, false],
    ]) {
      const plan = planHolder(withTables(...unreadable));
      const hanging = unreadable[0] === true ? 'nvme0n1' : 'nvme0n2';
      expect(plan.kind === 'wait' && plan.reason).to.contain(`/dev/${hanging} cannot be read`);
    }
    const plan = planHolder(withTables(false, false));
    expect(plan.kind === 'steps' && plan.steps[0]).to.include({ kind: 'recordRemoved' });
  });

  it('are allowed one by one', () => {
    expect(driveKey('S', FIRST)).not.to.equal(driveKey('S', SECOND));
    expect(isSameDrive({ serial: 'S', nsid: 1 }, { serial: 'S', nsid: 2 })).to.equal(false);
    expect(isSameDrive({ serial: 'S' }, { serial: 'S', nsid: 2 }), 'of an older version').to.equal(true);
  });

  it('are allowed one by one, too, by objects of an older version, which have no namespace id', async () => {
    for (const allowed of [FIRST, SECOND]) {
      const { inventory, drives } = await withOldObjects(allowed.device);
      const judged = drives.map((drive) => inventory.judge(drive).kind);
      expect(judged, allowed.device).to.deep.equal(
        [FIRST, SECOND].map((each) => (each === allowed ? 'usable' : 'unusable')),
      );
      const tables = await holderDrives(inventory, drives);
      expect(tables, allowed.device).to.deep.equal([FIRST, SECOND].map((each) => each === allowed));
    }
  });
});
