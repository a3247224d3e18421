/** Carries out a consumer's steps: stage, unstage, publish (SPEC §7). Each is one effect that may be repeated. */
import { mkdir, open, rm, rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DomainError, errnoCode } from '../api/errors.ts';
import type { Kernel } from '../api/kernel.ts';
import type { ObjectStore } from '../api/object.ts';
import { legDmUuidFor } from '../api/names.ts';
import { STAMP_OFFSET_BYTES } from '../api/layout.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import { recordExpanded } from '../plan/expansion-records.ts';
import { activated, formatted, recordBirth, recordObserved, recordReleased, recordStart } from '../plan/records.ts';
import type { Who } from '../plan/owner.ts';
import type { Birth } from '../plan/records.ts';
import type { PublishStep, StageStep, UnstageStep } from '../plan/steps.ts';
import type { FilesystemSeen, NodeIdentity } from '../plan/world.ts';
import { MIB } from '../support/units.ts';
import { guardTable } from './dm-tables.ts';
import { encodeStamp } from './stamp.ts';
import type { Tools } from './tools.ts';
import { unmount } from './unmount.ts';
import { verifyLocalLeg, verifyRemoteLeg } from './verify-device.ts';

export interface ConsumerActs {
  readonly kernel: Kernel;
  readonly tools: Tools;
  readonly volumes: ObjectStore<MeshStorVolume>;
  readonly me: NodeIdentity;
  readonly now: () => string;
  /** Waits for something to change, at most that long. */
  readonly pause: (limitMs: number) => Promise<void>;
}

/** What one operation remembers between its rounds. */
export interface StageMemory {
  filesystem: FilesystemSeen;
}

/** From the connection being live to its block device: some 100 ms, more on a loaded machine. */
const NAMESPACE_LIMIT_MS = 10_000;

interface Namespace {
  readonly path: string;
  readonly uuid: string;
}

/** Found by NQN and nsid, never by name; waited for. */
async function waitForNamespace(acts: ConsumerActs, nqn: string, nsid: number): Promise<Namespace> {
  const deadline = performance.now() + NAMESPACE_LIMIT_MS;
  for (;;) {
    const found = (await acts.kernel.nvmeNamespaces()).find(
      (namespace) => namespace.subsystemNqn === nqn && namespace.nsid === nsid,
    );
    if (found?.uuid !== undefined) return { path: found.path, uuid: found.uuid };
    if (performance.now() > deadline) {
      throw new DomainError(
        'unavailable',
        `waiting for namespace ${nsid} of ${nqn}: connected, but no block device within ${NAMESPACE_LIMIT_MS / 1000} s`,
      );
    }
    await acts.pause(100);
  }
}

async function createGuard(
  acts: ConsumerActs,
  volumeId: string,
  step: Extract<StageStep, { kind: 'createGuard' }>,
): Promise<void> {
  const { kernel } = acts;
  const { name, partitionUUID, epoch, sizeBytes, over } = step;
  if ('nqn' in over) {
    const { path, uuid } = await waitForNamespace(acts, over.nqn, over.nsid);
    await kernel.createDm(name, legDmUuidFor(partitionUUID, epoch, uuid, volumeId), guardTable(path, sizeBytes));
    return verifyRemoteLeg(kernel, name, over.nqn, over.nsid);
  }
  const dmUuid = legDmUuidFor(partitionUUID, epoch, over.namespaceUUID, volumeId);
  await kernel.createDm(name, dmUuid, guardTable(over.path, sizeBytes));
  return verifyLocalLeg(kernel, name, partitionUUID);
}

/** The target looks at its device again when it is asked for the size, and tells its hosts when that has changed. */
async function refreshNamespace(
  acts: ConsumerActs,
  step: Extract<StageStep, { kind: 'refreshNamespace' }>,
): Promise<void> {
  const { nqn, nsid, sizeBytes } = step;
  const deadline = performance.now() + NAMESPACE_LIMIT_MS;
  for (let hasAsked = false; ; hasAsked = true) {
    const found = (await acts.kernel.nvmeNamespaces()).find(
      (namespace) => namespace.subsystemNqn === nqn && namespace.nsid === nsid,
    );
    if (found !== undefined && found.sizeBytes >= sizeBytes) return;
    if (found === undefined || performance.now() > deadline) {
      const seen = found === undefined ? 'it is gone' : `it has ${found.sizeBytes} bytes`;
      throw new DomainError(
        'unavailable',
        `waiting for namespace ${nsid} of ${nqn} to have ${sizeBytes} bytes: ${seen}`,
      );
    }
    if (!hasAsked) await acts.kernel.identifyNamespace(found.path);
    else await acts.pause(100);
  }
}

async function writeStamps(acts: ConsumerActs, step: Extract<StageStep, { kind: 'writeStamps' }>): Promise<void> {
  const block = encodeStamp({ volumeUUID: step.volumeUUID, epoch: step.epoch, attachmentID: step.attachmentID });
  await Promise.all(step.legs.map((leg) => acts.kernel.writeBytes(leg, STAMP_OFFSET_BYTES, block)));
}

/** The byte of an XFS superblock that is set until mkfs has finished (`sb_inprogress`, fs/xfs/libxfs/xfs_format.h). */
const XFS_IN_PROGRESS_OFFSET = 126;

async function probeFilesystem(acts: ConsumerActs, array: string): Promise<FilesystemSeen> {
  const found = await acts.tools.probeFilesystem(array);
  if (found === undefined) {
    // An array that cannot be read is not empty.
    await acts.kernel.readBytes(array, 0, MIB);
    return { kind: 'none' };
  }
  if (found.fsType === 'xfs') {
    const superblock = await acts.kernel.readBytes(array, 0, 4096);
    if (superblock[XFS_IN_PROGRESS_OFFSET] !== 0) return { kind: 'unfinished' };
  }
  return { kind: 'filesystem', fsType: found.fsType, uuid: found.uuid };
}

async function ensureDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o750 });
}

/** Status first, then spec: a status that says Synced without `activatedAt` is a birth that did not end, and is done again. */
async function writeBirth(acts: ConsumerActs, volumeId: string, who: Who, birth: Birth): Promise<void> {
  await acts.volumes.mutateStatus(volumeId, (current) => recordBirth(current, who, birth, acts.now()));
  await acts.volumes.mutate(volumeId, (current) => activated(current, who, birth.capacityBytes, acts.now()));
}

/** The kernel takes no message for a guard that is suspended (`drivers/md/dm-mpath.c`: EBUSY): what it holds back is let go first. */
async function failGuard(kernel: Kernel, name: string): Promise<void> {
  await kernel.resumeDm(name);
  await kernel.messageDm(name, 'fail_if_no_path');
}

async function stopArray(kernel: Kernel, array: string): Promise<void> {
  try {
    await kernel.stopMdArray(array);
  } catch (error) {
    const code = errnoCode(error);
    if (code === 'ETIMEDOUT') {
      throw new DomainError('unavailable', `stopping ${array}: a member does not take MD's last write`, {
        cause: error,
      });
    }
    if (code !== 'EBUSY') throw error;
    throw new DomainError('unavailable', `stopping ${array}: a program still has it open`, { cause: error });
  }
}

type MemberStep = Extract<
  StageStep,
  { kind: 'connect' | 'createGuard' | 'removeLeg' | 'reloadGuard' | 'refreshNamespace' | 'wipeSuperblocks' }
>;
type RecordStep = Extract<StageStep, { kind: 'recordBirth' | 'recordStart' | 'recordFormatted' | 'recordExpanded' }>;

async function actOnMember(acts: ConsumerActs, volumeId: string, step: MemberStep): Promise<void> {
  const { kernel } = acts;
  switch (step.kind) {
    case 'connect':
      await kernel.nvmeConnect(step.options);
      return;
    case 'createGuard':
      return createGuard(acts, volumeId, step);
    case 'removeLeg':
      return kernel.removeDm(step.name);
    case 'reloadGuard':
      return kernel.reloadDm(step.name, guardTable(step.path, step.sizeBytes));
    case 'refreshNamespace':
      return refreshNamespace(acts, step);
    case 'wipeSuperblocks':
      await Promise.all(step.legs.map((leg) => kernel.zeroRange(leg, { startBytes: 0, sizeBytes: MIB }, 'full')));
  }
}

async function record(acts: ConsumerActs, volumeId: string, who: Who, step: RecordStep): Promise<void> {
  const { volumes, now } = acts;
  switch (step.kind) {
    case 'recordBirth':
      return writeBirth(acts, volumeId, who, step);
    case 'recordStart':
      await volumes.mutateStatus(volumeId, (current) => recordStart(current, who, step.record, now()));
      return;
    case 'recordFormatted':
      await volumes.mutate(volumeId, (current) => formatted(current, who, now()));
      return;
    case 'recordExpanded':
      await volumes.mutateStatus(volumeId, (current) => recordExpanded(current, who, step.capacityBytes));
  }
}

async function makeFilesystem(
  acts: ConsumerActs,
  memory: StageMemory,
  step: Extract<StageStep, { kind: 'makeFilesystem' }>,
): Promise<void> {
  const { array, fsType, uuid, label, sectorSize } = step;
  await acts.tools.makeFilesystem({ device: array, fsType, uuid, label, sectorSize });
  memory.filesystem = { kind: 'filesystem', fsType, uuid };
}

export async function actStageStep(
  acts: ConsumerActs,
  volumeId: string,
  who: Who,
  memory: StageMemory,
  step: StageStep,
): Promise<void> {
  const { kernel, tools } = acts;
  switch (step.kind) {
    case 'connect':
    case 'createGuard':
    case 'removeLeg':
    case 'reloadGuard':
    case 'refreshNamespace':
    case 'wipeSuperblocks':
      return actOnMember(acts, volumeId, step);
    case 'recordBirth':
    case 'recordStart':
    case 'recordFormatted':
    case 'recordExpanded':
      return record(acts, volumeId, who, step);
    case 'createArray':
      return tools.createArray(step);
    case 'assembleArray':
      return tools.assembleArray(step.arrayUUID, step.name, step.members);
    case 'writeStamps':
      return writeStamps(acts, step);
    case 'makeWritable':
      return kernel.setMdAttribute(step.array, 'array_state', 'active');
    case 'setWriteMostly':
      return kernel.setMdMemberState(step.array, step.member, step.value ? 'write_mostly' : '-write_mostly');
    case 'probeFilesystem':
      memory.filesystem = await probeFilesystem(acts, step.array);
      return;
    case 'makeFilesystem':
      return makeFilesystem(acts, memory, step);
    case 'mount':
      await ensureDirectory(step.target);
      return kernel.mount(step.array, step.target, step.fsType, step.options);
    case 'growArray':
      return tools.growArray(step.array, step.memberDataBytes);
    case 'thawArray':
      return kernel.setMdAttribute(step.array, 'sync_action', 'idle');
    case 'growFilesystem':
      return tools.growFilesystem(step);
    case 'unmount':
      return unmount(kernel, step.target);
    case 'failGuard':
      return failGuard(kernel, step.name);
    case 'stopArray':
      return stopArray(kernel, step.array);
  }
}

export async function actUnstageStep(acts: ConsumerActs, volumeId: string, step: UnstageStep): Promise<void> {
  const { kernel } = acts;
  switch (step.kind) {
    case 'unmount':
      return unmount(kernel, step.target);
    case 'shutdownFilesystem':
      return kernel.shutdownFilesystem(step.mountPoint);
    case 'failGuard':
      return failGuard(kernel, step.name);
    case 'stopArray':
      return stopArray(kernel, step.array);
    case 'recordDropped': {
      const { epoch, attachmentID, seen } = step;
      const who = { nodeName: acts.me.nodeName, machineID: acts.me.machineID, epoch, attachmentID };
      await acts.volumes.mutateStatus(volumeId, (current) => recordObserved(current, who, seen, acts.now()));
      return;
    }
    case 'recordReleased': {
      const who = {
        nodeName: acts.me.nodeName,
        machineID: acts.me.machineID,
        epoch: step.epoch,
        attachmentID: step.attachmentID,
      };
      await acts.volumes.mutateStatus(volumeId, (current) => recordReleased(current, who, acts.now(), step.dropped));
      return;
    }
    case 'removeLeg':
      return kernel.removeDm(step.name);
    case 'disconnect':
      return kernel.nvmeDisconnect(step.nqn);
    case 'removePath':
      return removePath(step.path);
  }
}

/** A directory only when empty: a mount that somebody put there, or files under it, are never removed. */
async function removePath(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (error) {
    const code = errnoCode(error);
    if (code === 'ENOENT') return;
    if (code !== 'ENOTDIR') throw error;
    await rm(path, { force: true });
  }
}

export async function actPublishStep(acts: ConsumerActs, step: PublishStep): Promise<void> {
  switch (step.kind) {
    case 'bind':
      if (step.node === 'directory') {
        await ensureDirectory(step.target);
      } else {
        await ensureDirectory(dirname(step.target));
        await (await open(step.target, 'a', 0o640)).close();
      }
      return acts.kernel.bindMount(step.source, step.target, step.readOnly);
    case 'unmount':
      return unmount(acts.kernel, step.target);
    case 'removePath':
      return removePath(step.path);
  }
}
