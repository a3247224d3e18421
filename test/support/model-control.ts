/** The controller on the model: what it does about members of a born volume that are out. */
import { partitionSizeBytes } from '../../src/api/layout.ts';
import { partitionUuidFor } from '../../src/api/names.ts';
import type { PartitionStatus } from '../../src/api/volume.ts';
import { nextGeneration } from '../../src/plan/lifecycle.ts';
import type { DriveSeen } from '../../src/plan/placement.ts';
import { placeVolume } from '../../src/plan/placement.ts';
import type { OpenCopy, OutSeen } from '../../src/plan/replacement.ts';
import { isOutCounted, openCopies, recordReplacement, recordSurplus } from '../../src/plan/replacement.ts';
import { MIB } from '../../src/support/units.ts';
import type { ModelCluster } from './model-cluster.ts';
import { NOW, SPARE_DRIVES, VOLUME_UUID } from './model-cluster.ts';
import { must, record } from './model-rules.ts';

/** `late`: whoever is out or silent has been so for longer than the volume tolerates. */
function seenBy(cluster: ModelCluster, late: boolean): OutSeen {
  const isSilent = (name: string): boolean => !cluster.node(name).up;
  const counted = new Set(
    cluster.status.partitions
      .filter((entry) => isOutCounted(cluster.status, entry, isSilent(entry.nodeID)))
      .map(({ partitionUUID }) => partitionUUID),
  );
  return {
    outMs: (partitionUUID) => (late && counted.has(partitionUUID) ? Number.POSITIVE_INFINITY : 0),
    silenceMs: (name) => (late && isSilent(name) ? Number.POSITIVE_INFINITY : 0),
    isDriveGone: () => false,
  };
}

function inventoryOf(cluster: ModelCluster): readonly DriveSeen[] {
  return cluster.nodes.flatMap(({ name, up }) =>
    Array.from({ length: cluster.shape.drives + SPARE_DRIVES }, (_, index) => ({
      node: name,
      device: `nvme${index}n1`,
      serial: `${name}-${index}`,
      sectorSize: 512,
      biggestFreeBytes: 4096 * MIB,
      freeBytes: 4096 * MIB,
      heartbeatAgeMs: up ? 0 : 90_000,
      usable: true,
      unusableReason: '',
      schedulable: true,
      rdma: false,
    })),
  );
}

/** Where the members of a copy go; empty when nowhere. */
function placed(cluster: ModelCluster, copy: OpenCopy): readonly PartitionStatus[] {
  const { capacityBytes, numberOfCopies, drivesPerCopy } = cluster.volume.spec;
  const sizeBytes = partitionSizeBytes(capacityBytes, drivesPerCopy);
  const { nodeName } = cluster.status;
  const found = placeVolume(
    {
      volumeUUID: VOLUME_UUID,
      capacityBytes,
      partitionBytes: sizeBytes,
      numberOfCopies,
      drivesPerCopy,
      sectorSize: 512,
      ...(nodeName === '' ? {} : { consumer: nodeName }),
      keep: copy.keep.map(({ slot, nodeID, device, serial }) => ({ slot, node: nodeID, device, serial })),
      slots: copy.slots,
      avoid: copy.avoid,
    },
    inventoryOf(cluster),
  );
  if (!found.ok) return [];
  const generation = nextGeneration(cluster.status);
  return found.members.map(({ slot, node, device, serial }) => ({
    nodeID: node,
    partitionUUID: partitionUuidFor(VOLUME_UUID, slot, generation),
    nvmeofNamespaceID: slot + 1,
    state: 'Requested',
    sizeBytes,
    updatedAt: NOW,
    device,
    serial,
    slot,
    generation,
    transport: 'tcp',
    epoch: 0,
  }));
}

/** A replacement is for a member that is out, on a drive and a node that no other copy is on. */
function checkPlace(cluster: ModelCluster, { replaced }: OpenCopy, newcomers: readonly PartitionStatus[]): void {
  for (const { state } of replaced) must(state === 'Missing' || state === 'Faulty', 'only who is out is replaced');
  const { copies } = cluster.shape;
  const mayServe = ({ state, failed }: PartitionStatus): boolean => state !== 'Deleting' && failed !== true;
  const others = cluster.status.partitions.filter((entry) => mayServe(entry) && entry.state !== 'Faulty');
  for (const newcomer of newcomers) {
    const isApart = others.every(
      ({ nodeID, slot }) => nodeID !== newcomer.nodeID || slot % copies === newcomer.slot % copies,
    );
    must(isApart, 'each copy has a node of its own');
    const isFree = cluster.status.partitions.every(
      ({ serial, state, failed }) => serial !== newcomer.serial || state === 'Deleting' || failed !== true,
    );
    must(isFree, 'no member goes to the drive on which one failed');
  }
}

/** One look of the controller. */
export function control(cluster: ModelCluster, late: boolean): void {
  const seen = seenBy(cluster, late);
  record(cluster, recordSurplus(cluster.volume, seen.silenceMs, NOW));
  const tried = new Set<string>();
  for (;;) {
    const copy = openCopies(cluster.volume, seen).find(({ slots }) => !tried.has(slots.join()));
    if (copy === undefined) return;
    tried.add(copy.slots.join());
    const newcomers = placed(cluster, copy);
    if (newcomers.length === 0) continue;
    checkPlace(cluster, copy, newcomers);
    record(cluster, recordReplacement(cluster.volume, copy, newcomers, NOW));
  }
}
