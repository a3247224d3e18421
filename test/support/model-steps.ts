/** Carries out a consumer's steps on the model, and throws `Broken` at the first one that breaks a safety rule of SPEC §7. */
import { legNameFor } from '../../src/api/names.ts';
import {
  activated,
  formatted,
  recordBirth,
  recordObserved,
  recordReleased,
  recordStart,
} from '../../src/plan/records.ts';
import type { Birth } from '../../src/plan/records.ts';
import type { StageStep, UnstageStep } from '../../src/plan/steps.ts';
import type { ModelCluster, ModelNode } from './model-cluster.ts';
import { applyGrowStep, fitsOver } from './model-growth.ts';
import { NOW, deviceOf } from './model-cluster.ts';
import { Away, must, record, removeLeg, whoOf } from './model-rules.ts';

function connect(cluster: ModelCluster, node: ModelNode, step: Extract<StageStep, { kind: 'connect' }>): void {
  const holder = cluster.node(step.options.traddr);
  const exported = holder.exports.find(({ nqn }) => nqn === step.options.nqn);
  if (!holder.up || exported === undefined) throw new Away(`node ${holder.name} does not answer`);
  must(exported.allowedHosts.includes(step.options.hostNqn), 'a connection is of the granted host');
  const { nqn, partitionUUID, epoch, attachmentID } = exported;
  node.imports.push({ nqn, partitionUUID, epoch, attachmentID, holder: holder.name });
}

function createGuard(cluster: ModelCluster, node: ModelNode, step: Extract<StageStep, { kind: 'createGuard' }>): void {
  must(!node.legs.some(({ name }) => name === step.name), 'a leg is made once');
  must(step.epoch === cluster.status.attachmentEpoch, 'a guard is of the epoch of now');
  must(cluster.entry(step.partitionUUID)?.epoch === step.epoch, 'a guard is made only over a member that is granted');
  const under = underOf(cluster, node, step);
  fitsOver(cluster, node, step);
  node.legs.push({
    name: step.name,
    path: `/dev/mapper/${step.name}`,
    kernelName: 'dm-60',
    partitionUUID: step.partitionUUID,
    epoch: step.epoch,
    kind: 'guard',
    underPath: under.path,
    namespaceUUID: under.uuid,
    queues: true,
    pathState: 'active',
    suspended: false,
    openCount: 0,
    sizeBytes: step.sizeBytes,
  });
}

function underOf(
  cluster: ModelCluster,
  node: ModelNode,
  step: Extract<StageStep, { kind: 'createGuard' }>,
): { path: string; uuid: string } {
  const { over } = step;
  if ('path' in over) {
    must(node.partitions.has(step.partitionUUID), 'a local guard is over a partition of this node');
    return { path: over.path, uuid: over.namespaceUUID };
  }
  const seen = node.imports.find(({ nqn }) => nqn === over.nqn);
  const uuid =
    seen === undefined
      ? undefined
      : cluster.node(seen.holder).exports.find(({ nqn }) => nqn === over.nqn)?.namespaces[0]?.uuid;
  if (uuid === undefined) throw new Away(`no namespace of ${over.nqn}`);
  return { path: over.nqn, uuid };
}

function legsByPath(node: ModelNode, paths: readonly string[]): ModelNode['legs'] {
  return paths.map((path) => {
    const leg = node.legs.find((seen) => seen.path === path);
    must(
      leg?.kind === 'guard' && leg.pathState === 'active' && leg.queues,
      'an array is made of guards that have a path and queue',
    );
    return leg;
  });
}

function createArray(cluster: ModelCluster, node: ModelNode, step: Extract<StageStep, { kind: 'createArray' }>): void {
  must(cluster.volume.spec.activatedAt === undefined, 'nobody creates the array once activatedAt is set');
  must(node.array === undefined, 'one array for a volume');
  const legs = legsByPath(
    node,
    step.members.filter((member) => member !== 'missing'),
  );
  must(legs.length === cluster.shape.copies * cluster.shape.drives, 'an array is born whole');
  must(
    legs.every(({ partitionUUID }) => cluster.mustPartition(partitionUUID).birth === undefined),
    'superblocks are wiped before a birth',
  );
  cluster.births += 1;
  cluster.arrayBytes = step.memberDataBytes * cluster.shape.drives;
  for (const { partitionUUID } of legs) cluster.mustPartition(partitionUUID).birth = cluster.births;
  const members = legs.map(({ partitionUUID, epoch, path }) => ({
    partitionUUID,
    epoch,
    writeMostly: step.writeMostly.includes(path),
    faulty: false,
  }));
  node.array = { name: 'md127', members, readOnly: false, resyncPending: false, recorded: false, everWritable: true };
}

/** MD takes the freshest members; a write that nobody acknowledged does not make one fresher. */
function assembleArray(
  cluster: ModelCluster,
  node: ModelNode,
  step: Extract<StageStep, { kind: 'assembleArray' }>,
): void {
  must(cluster.volume.spec.activatedAt !== undefined, 'an array is assembled only after its birth');
  must(node.array === undefined, 'one array for a volume');
  const legs = legsByPath(node, step.members);
  for (const leg of legs) {
    const entry = cluster.entry(leg.partitionUUID);
    must(entry?.state === 'Synced', 'an array is assembled only from Synced members');
    must(
      entry.epoch === cluster.status.attachmentEpoch && leg.epoch === entry.epoch,
      'an array is assembled only from granted members',
    );
  }
  const partitions = legs.map(({ partitionUUID }) => cluster.mustPartition(partitionUUID));
  const latest = Math.max(...partitions.map(({ events }) => events));
  const running = partitions.filter(({ events }) => events === latest);
  const freshest = Math.max(...running.map(({ data }) => Math.floor(data)));
  const taken = new Set(running.filter(({ data }) => Math.floor(data) === freshest));
  // What a start takes for the truth is the truth; mirrors that differ from it are resynced.
  for (const partition of taken) partition.shaky = false;
  must(
    [...taken].every(({ lost }) => lost !== true),
    'no start uses a member that MD had dropped when the array was stopped',
  );
  const members = legs
    .filter(({ partitionUUID }) => taken.has(cluster.mustPartition(partitionUUID)))
    .map(({ partitionUUID, epoch }) => ({
      partitionUUID,
      epoch,
      writeMostly: cluster.entry(partitionUUID)?.slot === 0,
      faulty: false,
    }));
  node.array = {
    name: 'md127',
    members,
    readOnly: true,
    resyncPending: cluster.status.releasedEpoch === 0,
    recorded: false,
    everWritable: false,
  };
  for (const column of cluster.columns(node.array))
    must(column.length > 0, 'never start without a member in every column');
}

function makeWritable(cluster: ModelCluster, node: ModelNode): void {
  const { array } = node;
  must(array?.recorded === true, 'the start is recorded before the array turns writable');
  const started = array.members.map(({ partitionUUID }) => partitionUUID);
  for (const partitionUUID of started) {
    const { stamp } = cluster.mustPartition(partitionUUID);
    must(stamp?.epoch === cluster.status.attachmentEpoch, 'members are stamped before the array turns writable');
  }
  for (const entry of cluster.status.partitions) {
    must(
      entry.state !== 'Synced' || started.includes(entry.partitionUUID),
      'whoever is left out of a start is Synced no more',
    );
  }
  if (array.resyncPending) {
    for (const column of cluster.columns(array)) {
      const synced = column.filter(({ partitionUUID }) => cluster.entry(partitionUUID)?.state === 'Synced');
      must(
        synced.length === 1 && synced[0] === column[0],
        'after an unclean hand-over only the member that MD reads from is Synced',
      );
    }
  }
  array.readOnly = false;
  array.everWritable = true;
}

function recordBorn(cluster: ModelCluster, node: ModelNode, birth: Birth, half: boolean): void {
  const who = whoOf(cluster, node);
  record(cluster, recordBirth(cluster.volume, who, birth, NOW));
  if (!half) cluster.volume = activated(cluster.volume, who, birth.capacityBytes, NOW) ?? cluster.volume;
}

function makeFilesystem(
  cluster: ModelCluster,
  node: ModelNode,
  step: Extract<StageStep, { kind: 'makeFilesystem' }>,
): void {
  must(cluster.volume.spec.formattedAt === undefined, 'nobody formats once formattedAt is set');
  must(cluster.filesystem.kind !== 'filesystem', 'nobody formats over a complete filesystem');
  must(node.array?.readOnly === false, 'only a writable array is formatted');
  cluster.filesystem = { kind: 'filesystem', fsType: step.fsType, uuid: step.uuid };
  cluster.filesystemBytes = cluster.arrayBytes;
}

function mount(cluster: ModelCluster, node: ModelNode, step: Extract<StageStep, { kind: 'mount' }>): void {
  must(cluster.volume.spec.formattedAt !== undefined, 'nothing is mounted before its record');
  must(node.array?.readOnly === false, 'only a writable array is mounted');
  node.mounts.push({
    mountPoint: step.target,
    devNumber: '9:127',
    isOurs: true,
    fsType: step.fsType,
    readOnly: step.options.includes('ro'),
  });
}

/** Guards of the array that hold I/O back. */
function stuckGuards({ array, legs }: ModelNode): ModelNode['legs'] {
  const names = new Set(
    (array?.members ?? [])
      .filter(({ faulty }) => !faulty)
      .map((member) => legNameFor(member.partitionUUID, member.epoch)),
  );
  return legs.filter((leg) => names.has(leg.name) && leg.pathState === 'failed' && leg.queues);
}

function stopArray(cluster: ModelCluster, node: ModelNode): void {
  must(node.mounts.length === 0, 'an array is stopped only when nothing is mounted');
  const { array } = node;
  if (array === undefined) return;
  must(stuckGuards(node).length === 0, 'an array is not stopped while a guard holds I/O back');
  const isFenced = array.members.some(({ epoch }) => epoch !== cluster.status.attachmentEpoch);
  if (!isFenced && cluster.consumer === node) {
    for (const { partitionUUID, faulty } of array.members) {
      if (faulty) cluster.mustPartition(partitionUUID).lost = true;
      else cluster.mustPartition(partitionUUID).unflushed = false;
    }
  }
  node.array = undefined;
  node.shutDown = false;
  lastStopped.set(cluster, { node: node.name, everWritable: array.everWritable && !array.readOnly });
}

/** What was stopped last: `recordReleased` is only for an array that this consumer ran. */
const lastStopped = new WeakMap<ModelCluster, { node: string; everWritable: boolean }>();

/** With `half`, the process dies inside the step: of two writes only the first is made, mkfs does not end. */
export function applyStageStep(cluster: ModelCluster, node: ModelNode, step: StageStep, half = false): void {
  switch (step.kind) {
    case 'connect': {
      connect(cluster, node, step);
      return;
    }
    case 'createGuard': {
      createGuard(cluster, node, step);
      return;
    }
    case 'removeLeg': {
      removeLeg(cluster, node, step.name);
      return;
    }
    case 'reloadGuard':
      fitsOver(cluster, node, step);
      node.legs = node.legs.map((leg) =>
        leg.name === step.name
          ? {
              ...leg,
              queues: true,
              pathState: 'active',
              suspended: false,
              underPath: step.path,
              sizeBytes: step.sizeBytes,
            }
          : leg,
      );
      return;
    case 'wipeSuperblocks':
      must(cluster.volume.spec.activatedAt === undefined, 'no superblock is wiped after the birth');
      for (const leg of legsByPath(node, step.legs)) delete cluster.mustPartition(leg.partitionUUID).birth;
      return;
    case 'createArray': {
      createArray(cluster, node, step);
      return;
    }
    case 'assembleArray': {
      assembleArray(cluster, node, step);
      return;
    }
    case 'writeStamps':
      for (const { partitionUUID } of legsByPath(node, step.legs)) {
        cluster.mustPartition(partitionUUID).stamp = {
          volumeUUID: step.volumeUUID,
          epoch: step.epoch,
          attachmentID: step.attachmentID,
        };
      }
      return;
    case 'recordBirth': {
      recordBorn(cluster, node, step, half);
      return;
    }
    case 'recordStart':
      record(cluster, recordStart(cluster.volume, whoOf(cluster, node), step.record, NOW));
      if (node.array !== undefined) node.array.recorded = true;
      return;
    case 'makeWritable': {
      makeWritable(cluster, node);
      return;
    }
    case 'setWriteMostly': {
      const member = node.array?.members.find(({ partitionUUID }) => deviceOf(partitionUUID) === step.member);
      if (member !== undefined) member.writeMostly = step.value;
      return;
    }
    case 'probeFilesystem':
      return;
    case 'makeFilesystem':
      makeFilesystem(cluster, node, step);
      if (half) cluster.filesystem = { kind: 'unfinished' };
      return;
    case 'recordFormatted':
      must(cluster.filesystem.kind === 'filesystem', 'formattedAt is recorded of a complete filesystem');
      cluster.volume = formatted(cluster.volume, whoOf(cluster, node), NOW) ?? cluster.volume;
      return;
    case 'mount': {
      mount(cluster, node, step);
      return;
    }
    case 'refreshNamespace':
    case 'growArray':
    case 'thawArray':
    case 'growFilesystem':
    case 'recordExpanded':
      applyGrowStep(cluster, node, step);
      return;
    case 'unmount':
      node.mounts = node.mounts.filter(({ mountPoint }) => mountPoint !== step.target);
      return;
    case 'failGuard': {
      const isHandedOut = cluster.volume.spec.activatedAt !== undefined && node.array?.readOnly === false;
      must(!isHandedOut && node.mounts.length === 0, 'a stage fails a guard only of an array that nobody was handed');
      node.legs = node.legs.map((leg) => (leg.name === step.name ? { ...leg, queues: false } : leg));
      return;
    }
    case 'stopArray': {
      stopArray(cluster, node);
      return;
    }
  }
}

export function applyUnstageStep(cluster: ModelCluster, node: ModelNode, step: UnstageStep): void {
  switch (step.kind) {
    case 'unmount':
      must(node.shutDown || stuckGuards(node).length === 0, 'nothing is unmounted while a guard holds I/O back');
      node.mounts = node.mounts.filter(({ mountPoint }) => mountPoint !== step.target);
      return;
    case 'shutdownFilesystem':
      node.shutDown = true;
      return;
    case 'failGuard':
      must(node.shutDown || node.mounts.length === 0, 'a guard fails only after the filesystem was shut down');
      node.legs = node.legs.map((leg) => (leg.name === step.name ? { ...leg, queues: false } : leg));
      return;
    case 'stopArray': {
      stopArray(cluster, node);
      return;
    }
    case 'recordDropped':
      must(node.array !== undefined, 'what MD dropped is recorded while the array shows it');
      record(cluster, recordObserved(cluster.volume, whoOf(cluster, node), step.seen, NOW));
      return;
    case 'recordReleased': {
      const last = lastStopped.get(cluster);
      must(
        node.array === undefined && last?.node === node.name && last.everWritable,
        'a release is recorded only of an array that ran and was stopped',
      );
      record(cluster, recordReleased(cluster.volume, whoOf(cluster, node), NOW, step.dropped));
      return;
    }
    case 'removeLeg': {
      removeLeg(cluster, node, step.name);
      return;
    }
    case 'disconnect':
      must(
        !node.legs.some((leg) => leg.kind === 'guard' && leg.underPath === step.nqn),
        'a connection goes only after the guard over it',
      );
      node.imports = node.imports.filter(({ nqn }) => nqn !== step.nqn);
      cluster.refreshPaths(node);
      return;
    case 'removePath':
      return;
  }
}
