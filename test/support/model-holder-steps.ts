/** Carries out a holder's steps on the model, and throws `Broken` at the first one that breaks a safety rule of SPEC §7. */
import { namespaceUuidFor } from '../../src/api/names.ts';
import { recordCreated, recordGranted, recordImpossible, recordRemoved } from '../../src/plan/records.ts';
import type { HolderStep } from '../../src/plan/steps.ts';
import type { ModelCluster, ModelNode } from './model-cluster.ts';
import { NOW } from './model-cluster.ts';
import { applyGrowthStep } from './model-growth.ts';
import { must, record, removeLeg } from './model-rules.ts';

function reachedBy(node: ModelNode, partitionUUID: string): string[] {
  return [
    ...node.legs.filter((leg) => leg.partitionUUID === partitionUUID).map(({ name }) => name),
    ...node.exports.filter((seen) => seen.partitionUUID === partitionUUID).map(({ nqn }) => nqn),
  ];
}

function createPartition(
  cluster: ModelCluster,
  node: ModelNode,
  step: Extract<HolderStep, { kind: 'createPartition' }>,
): void {
  must(cluster.entry(step.partitionUUID)?.state === 'Requested', 'a partition is made only while Requested');
  must(!node.partitions.has(step.partitionUUID), 'a partition is made once');
  node.partitions.set(step.partitionUUID, {
    partitionUUID: step.partitionUUID,
    sizeBytes: step.sizeBytes,
    zeroedBytes: 0,
    zeroed: false,
    data: -1,
    events: 0,
  });
}

function grant(cluster: ModelCluster, node: ModelNode, step: Extract<HolderStep, { kind: 'recordGranted' }>): void {
  const { partitionUUID, epoch, attachmentID } = step;
  const { nodeName } = cluster.status;
  must(
    node.legs.every((leg) => leg.partitionUUID !== partitionUUID || leg.epoch === epoch),
    'a grant is recorded only when legs of every other epoch are gone',
  );
  must(
    node.exports.every(
      (seen) => seen.partitionUUID !== partitionUUID || (seen.epoch === epoch && seen.attachmentID === attachmentID),
    ),
    'a grant is recorded only when exports of every other attachment are gone',
  );
  must(
    node.array === undefined || node.array.members.every((member) => member.epoch === epoch),
    'a grant is recorded only when this node has no array of an older epoch',
  );
  const isRemote = nodeName !== '' && nodeName !== node.name;
  must(
    !isRemote || node.exports.some((seen) => seen.partitionUUID === partitionUUID),
    'a remote grant is recorded when it is exported',
  );
  must(
    isRemote || node.exports.every((seen) => seen.partitionUUID !== partitionUUID),
    'without a remote consumer nothing is exported',
  );
  record(cluster, recordGranted(cluster.volume, node.name, partitionUUID, epoch, attachmentID, NOW));
}

function createClaim(cluster: ModelCluster, node: ModelNode, step: Extract<HolderStep, { kind: 'createClaim' }>): void {
  must(
    reachedBy(node, step.partitionUUID).length === 0,
    'a claim is made only after every other leg and export is gone',
  );
  const { bootID } = cluster.identity(node);
  node.legs.push({
    name: step.name,
    path: `/dev/mapper/${step.name}`,
    kernelName: 'dm-50',
    partitionUUID: step.partitionUUID,
    epoch: step.epoch,
    kind: 'linear',
    underPath: step.path,
    namespaceUUID: namespaceUuidFor(step.partitionUUID, step.epoch, bootID),
    queues: false,
    pathState: 'none',
    suspended: false,
    openCount: 0,
    sizeBytes: step.sizeBytes,
  });
}

function exportClaim(cluster: ModelCluster, node: ModelNode, step: Extract<HolderStep, { kind: 'export' }>): void {
  const leg = node.legs.find(({ path }) => path === step.devicePath);
  must(leg?.kind === 'linear', 'only a claim is exported');
  must(
    node.exports.every((seen) => seen.nqn === step.nqn || seen.partitionUUID !== leg.partitionUUID),
    'an export is made only after every other one is revoked',
  );
  const { attachmentEpoch, attachmentID } = cluster.status;
  must(leg.epoch === attachmentEpoch, 'an export is of the epoch of now');
  cluster.namespaceBytes.set(step.nqn, leg.sizeBytes);
  node.exports = node.exports.filter(({ nqn }) => nqn !== step.nqn);
  node.exports.push({
    nqn: step.nqn,
    partitionUUID: leg.partitionUUID,
    epoch: attachmentEpoch,
    attachmentID,
    allowedHosts: [step.hostNqn],
    portIds: step.portIds,
    namespaces: [{ nsid: step.nsid, devicePath: step.devicePath, enabled: true, uuid: step.namespaceUUID }],
  });
}

export function applyHolderStep(cluster: ModelCluster, node: ModelNode, step: HolderStep): void {
  switch (step.kind) {
    case 'createPartition': {
      createPartition(cluster, node, step);
      return;
    }
    case 'zeroPartition': {
      must(cluster.entry(step.partitionUUID)?.state === 'Requested', 'a partition is zeroed only while Requested');
      const partition = cluster.mustPartition(step.partitionUUID);
      partition.zeroed = true;
      partition.zeroedBytes = step.sizeBytes;
      partition.data = 0;
      return;
    }
    case 'recordCreated':
      must(node.partitions.get(step.partitionUUID)?.zeroed === true, 'Created is recorded only of a zeroed partition');
      {
        record(cluster, recordCreated(cluster.volume, node.name, step.partitionUUID, NOW));
        return;
      }
    case 'recordImpossible': {
      record(cluster, recordImpossible(cluster.volume, node.name, step.partitionUUID, step.reason, NOW));
      return;
    }
    case 'repairTable':
      return;
    case 'recordGrowable':
    case 'growPartition':
    case 'zeroGrowth':
    case 'growClaim':
    case 'recordGrown':
      applyGrowthStep(cluster, node, step);
      return;
    case 'revokeExport':
    case 'fenceExport':
      node.exports = node.exports.filter(({ nqn }) => nqn !== step.nqn);
      for (const other of cluster.nodes) cluster.refreshPaths(other);
      return;
    case 'removeLeg': {
      removeLeg(cluster, node, step.name);
      return;
    }
    case 'createClaim': {
      createClaim(cluster, node, step);
      return;
    }
    case 'export': {
      exportClaim(cluster, node, step);
      return;
    }
    case 'recordGranted': {
      grant(cluster, node, step);
      return;
    }
    case 'wipePartition':
    case 'removePartition':
      must(cluster.entry(step.partitionUUID)?.state === 'Deleting', 'a partition goes only while Deleting');
      must(reachedBy(node, step.partitionUUID).length === 0, 'a partition goes only when nobody reaches it');
      if (step.kind === 'removePartition') node.partitions.delete(step.partitionUUID);
      return;
    case 'recordRemoved':
      must(!node.partitions.has(step.partitionUUID), 'a partition is recorded removed when it is gone');
      {
        record(cluster, recordRemoved(cluster.volume, node.name, step.partitionUUID, NOW));
        return;
      }
  }
}
