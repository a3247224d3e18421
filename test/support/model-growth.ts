/** Growing on the model: the wish, what the controller makes of it, and the steps of holders and consumer with their rules. */
import { DATA_OFFSET_BYTES, partitionSizeBytes } from '../../src/api/layout.ts';
import { subsystemNqnFor } from '../../src/api/names.ts';
import {
  expanded,
  recordExpanded,
  recordGrowable,
  recordGrown,
  recordRefused,
  recordServed,
  recordWished,
  unwished,
  wished,
} from '../../src/plan/expansion-records.ts';
import { deriveStatus } from '../../src/plan/lifecycle.ts';
import type { HolderStep, StageStep } from '../../src/plan/steps.ts';
import { isHealthyGuard } from '../../src/plan/view.ts';
import { MIB } from '../../src/support/units.ts';
import type { ModelCluster, ModelNode, ModelPartition } from './model-cluster.ts';
import { NOW } from './model-cluster.ts';
import { Away, must, record, whoOf } from './model-rules.ts';

export function wish(cluster: ModelCluster, bytes: number): void {
  if (cluster.status.phase === 'Deleting') return;
  cluster.volume = wished(cluster.volume, bytes) ?? cluster.volume;
  record(cluster, recordWished(cluster.volume));
}

/** The controller's writes, in their order; it dies after `writes` of them. */
export function advance(cluster: ModelCluster, writes = Number.POSITIVE_INFINITY): void {
  const { expandToBytes } = cluster.volume.spec;
  const isRefused = recordRefused(cluster.volume, NOW) !== undefined;
  const all: readonly (() => void)[] = [
    () => record(cluster, recordRefused(cluster.volume, NOW)),
    () => {
      if (isRefused) cluster.volume = unwished(cluster.volume, expandToBytes ?? 0) ?? cluster.volume;
    },
    () => record(cluster, recordServed(cluster.volume)),
    () => {
      const before = cluster.volume.spec.capacityBytes;
      cluster.volume = expanded(cluster.volume) ?? cluster.volume;
      must(cluster.volume.spec.capacityBytes >= before, 'the capacity never shrinks');
    },
    () => record(cluster, deriveStatus(cluster.volume, cluster.status)),
  ];
  for (const [index, write] of all.entries()) if (index < writes) write();
}

function neededFor(cluster: ModelCluster): number {
  const { expandToBytes, capacityBytes } = cluster.volume.spec;
  return partitionSizeBytes(expandToBytes ?? capacityBytes, cluster.shape.drives);
}

type GrowthStep = Extract<
  HolderStep,
  { kind: 'recordGrowable' | 'growPartition' | 'zeroGrowth' | 'growClaim' | 'recordGrown' }
>;

const TURN_BYTES = 300 * MIB;

function zeroOneTurn(
  node: ModelNode,
  partition: ModelPartition,
  { startBytes, sizeBytes }: Extract<HolderStep, { kind: 'zeroGrowth' }>,
): void {
  const end = startBytes + Math.min(sizeBytes, TURN_BYTES);
  partition.zeroedBytes = Math.max(partition.zeroedBytes, end);
  node.zeroedTo.set(partition.partitionUUID, end);
}

export function applyGrowthStep(cluster: ModelCluster, node: ModelNode, step: GrowthStep): void {
  const partition = cluster.mustPartition(step.partitionUUID);
  const members = cluster.status.partitions.map(({ nodeID }) => cluster.node(nodeID));
  switch (step.kind) {
    case 'recordGrowable':
      record(cluster, recordGrowable(cluster.volume, node.name, step.partitionUUID, step, NOW));
      return;
    case 'growPartition':
      must(step.sizeBytes >= partition.sizeBytes, 'a partition never shrinks');
      must(
        members.every(({ roomBytes }) => roomBytes >= neededFor(cluster)),
        'no partition grows unless all can',
      );
      must(step.sizeBytes <= node.roomBytes, 'a partition grows into free space only');
      partition.sizeBytes = step.sizeBytes;
      return;
    case 'zeroGrowth':
      must(
        cluster.volume.spec.activatedAt === undefined ||
          step.startBytes >= cluster.arrayBytes / cluster.shape.drives + DATA_OFFSET_BYTES,
        'nothing that an array has is zeroed',
      );
      must(step.startBytes <= partition.zeroedBytes, 'no gap is left between what is zeroed');
      must(step.startBytes + step.sizeBytes <= partition.sizeBytes, 'only the partition is zeroed');
      zeroOneTurn(node, partition, step);
      return;
    case 'growClaim':
      must(step.sizeBytes <= partition.sizeBytes, 'a claim is not larger than its partition');
      node.legs = node.legs.map((leg) => (leg.name === step.name ? { ...leg, sizeBytes: step.sizeBytes } : leg));
      return;
    case 'recordGrown':
      record(cluster, recordGrown(cluster.volume, node.name, step.partitionUUID, step.sizeBytes, NOW));
      return;
  }
}

/** dm refuses a table that is larger than what lies under it. */
export function fitsOver(
  cluster: ModelCluster,
  node: ModelNode,
  { partitionUUID, sizeBytes }: { readonly partitionUUID: string; readonly sizeBytes: number },
): void {
  const local = node.partitions.get(partitionUUID)?.sizeBytes;
  const seen = node.imports.find((candidate) => candidate.partitionUUID === partitionUUID);
  const under = local ?? cluster.namespaceBytes.get(seen?.nqn ?? '') ?? 0;
  if (sizeBytes > under) throw new Away(`a table of ${sizeBytes} bytes over ${under}`);
}

function growArray(cluster: ModelCluster, node: ModelNode, memberDataBytes: number): void {
  const { array } = node;
  must(array !== undefined && !array.readOnly && !array.resyncPending, 'only a quiet array that may be written grows');
  must(
    array.members.every(({ epoch }) => epoch === cluster.status.attachmentEpoch),
    'only the array of this epoch grows',
  );
  for (const { partitionUUID, faulty } of array.members) {
    const leg = node.legs.find((seen) => seen.partitionUUID === partitionUUID && seen.kind === 'guard');
    must(leg !== undefined && isHealthyGuard(leg), 'no mdadm while a guard of the array holds I/O back');
    must(!faulty && leg.sizeBytes >= memberDataBytes + DATA_OFFSET_BYTES, 'every member is large enough');
    const { zeroedBytes } = cluster.mustPartition(partitionUUID);
    must(zeroedBytes >= memberDataBytes + DATA_OFFSET_BYTES, 'an array grows only over what was zeroed');
  }
  const sizeBytes = memberDataBytes * cluster.shape.drives;
  must(sizeBytes >= cluster.arrayBytes, 'an array never shrinks');
  must(sizeBytes === cluster.volume.spec.capacityBytes, 'an array has exactly the capacity');
  cluster.arrayBytes = sizeBytes;
}

type GrowStep = Extract<
  StageStep,
  { kind: 'refreshNamespace' | 'growArray' | 'thawArray' | 'growFilesystem' | 'recordExpanded' }
>;

export function applyGrowStep(cluster: ModelCluster, node: ModelNode, step: GrowStep): void {
  switch (step.kind) {
    case 'refreshNamespace': {
      const { attachmentEpoch, attachmentID } = cluster.status;
      must(step.nqn === subsystemNqnFor(step.partitionUUID, attachmentEpoch, attachmentID), 'it asks its own holder');
      const holder = cluster.nodes.find(({ exports }) => exports.some(({ nqn }) => nqn === step.nqn));
      const claim = holder?.legs.find((leg) => leg.partitionUUID === step.partitionUUID && leg.kind === 'linear');
      if (claim === undefined || holder?.up !== true) throw new Away('the holder does not answer');
      cluster.namespaceBytes.set(step.nqn, claim.sizeBytes);
      if (claim.sizeBytes < step.sizeBytes) throw new Away('the holder has not grown its claim');
      return;
    }
    case 'growArray':
      growArray(cluster, node, step.memberDataBytes);
      return;
    case 'thawArray':
      return;
    case 'growFilesystem':
      must(
        node.mounts.some(({ mountPoint, readOnly }) => mountPoint === step.mountPoint && !readOnly),
        'a filesystem grows where it is mounted for writing',
      );
      cluster.filesystemBytes = cluster.arrayBytes;
      return;
    case 'recordExpanded': {
      const before = cluster.status.servedBytes;
      record(cluster, recordExpanded(cluster.volume, whoOf(cluster, node), step.capacityBytes));
      if (before === undefined || cluster.status.servedBytes !== undefined) return;
      must(cluster.arrayBytes === cluster.volume.spec.capacityBytes, 'the end is recorded when the array has it all');
      const isFormatted = cluster.volume.spec.formattedAt !== undefined;
      must(
        !isFormatted || cluster.filesystemBytes === cluster.arrayBytes,
        'the end is recorded when the filesystem has it all',
      );
      return;
    }
  }
}
