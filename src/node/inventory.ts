/** This node's drives as MeshStorNodeDevice objects: made, kept up to date, and removed when the drive is gone (SPEC §2). */
import type { NewCondition } from '../api/conditions.ts';
import { findCondition, setCondition } from '../api/conditions.ts';
import { DomainError } from '../api/errors.ts';
import { ALLOW_DRIVE_ANNOTATION, NODE_LABEL, nodeDeviceNameFor, nodeLabelFor } from '../api/names.ts';
import type { MeshStorNodeDevice, NodeDeviceSpec, NodeDeviceStatus } from '../api/node-device.ts';
import { isSameDrive } from '../api/node-device.ts';
import type { ObjectStore } from '../api/object.ts';
import type { Kernel } from '../api/kernel.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import type { Log } from '../support/log.ts';
import { formatBytes } from '../support/units.ts';
import { randomUuid } from '../support/uuid.ts';
import type { DrivePolicy, DriveVerdict } from './drive-policy.ts';
import { driveKey, isAnnotated, isOurPartition, judgeDrive } from './drive-policy.ts';
import type { Preflight } from './preflight-watch.ts';
import type { DriveSeen } from './snapshot.ts';

export interface InventoryParts {
  readonly kernel: Kernel;
  readonly devices: ObjectStore<MeshStorNodeDevice>;
  readonly volumes: ObjectStore<MeshStorVolume>;
  readonly nodeName: string;
  readonly policy: () => DrivePolicy;
  readonly preflight: Pick<Preflight, 'known'>;
  readonly now: () => string;
  readonly log: Log;
}

interface PartitionCounts {
  readonly volumes: number;
  readonly local: number;
  readonly remote: number;
  readonly unknown: number;
}

/** Partitions of ours on the drive, by who uses them. `consumerOf`: consumer of each PARTUUID that some volume lists. */
export function countPartitions(
  drive: DriveSeen,
  consumerOf: ReadonlyMap<string, string>,
  nodeName: string,
): PartitionCounts {
  const ours = (drive.table?.partitions ?? []).filter(isOurPartition);
  const consumers = ours.map((partition) => consumerOf.get(partition.partitionGuid));
  const known = consumers.filter((consumer) => consumer !== undefined);
  const local = known.filter((consumer) => consumer === nodeName).length;
  const remote = known.filter((consumer) => consumer !== nodeName && consumer !== '').length;
  return { volumes: known.length, local, remote, unknown: ours.length - known.length };
}

function specOf(drive: DriveSeen, nodeName: string, usedAlias: string): NodeDeviceSpec {
  const { namespace } = drive;
  return {
    node: nodeName,
    device: namespace.name,
    usedAlias,
    model: namespace.model,
    serial: namespace.serial,
    nsid: namespace.nsid,
    size: formatBytes(namespace.sizeBytes),
    sizeBytes: namespace.sizeBytes,
    multiQueue: namespace.hardwareQueues,
    sectorSize: namespace.logicalBlockSize,
  };
}

const PREFLIGHT_FAILED = 'PreflightFailed';

/** Nothing is said before the first look: what was said before the restart stays. */
function preflightCondition(known: string | undefined): readonly NewCondition[] {
  const type = 'Preflight';
  if (known === undefined) return [];
  if (known !== '') return [{ type, status: 'False', reason: 'FatalFindings', message: known }];
  return [{ type, status: 'True', reason: 'Passed', message: 'the node is fit to hold and use volumes' }];
}

/** A node that fails its preflight gets no new volumes; partitions on it are served on (SPEC §12). */
function usableCondition(verdict: DriveVerdict, preflight: string): NewCondition {
  if (preflight !== '' && verdict.kind === 'usable')
    return { type: 'Usable', status: 'False', reason: PREFLIGHT_FAILED, message: `preflight fails: ${preflight}` };
  if (verdict.kind === 'usable')
    return { type: 'Usable', status: 'True', reason: 'Allowed', message: 'allowed, with a good partition table' };
  if (verdict.kind === 'unusable')
    return { type: 'Usable', status: 'False', reason: verdict.reason, message: verdict.message };
  return { type: 'Usable', status: 'False', reason: 'Preparing', message: 'its partition table is being written' };
}

/** The identity of a drive within its node: model, serial number, namespace. */
function isOfDrive({ spec }: MeshStorNodeDevice, { namespace }: DriveSeen): boolean {
  return spec.model === namespace.model && isSameDrive(spec, namespace);
}

export class Inventory {
  readonly #parts: InventoryParts;

  constructor(parts: InventoryParts) {
    this.#parts = parts;
  }

  #ownDevices(): readonly MeshStorNodeDevice[] {
    return this.#parts.devices.list().filter((device) => device.spec.node === this.#parts.nodeName);
  }

  /** Keys (`driveKey`) of drives whose object carries the allowing annotation. */
  annotatedDrives(): ReadonlySet<string> {
    const annotated = this.#ownDevices().filter(
      (device) => device.metadata.annotations[ALLOW_DRIVE_ANNOTATION] === 'true',
    );
    return new Set(annotated.map(({ spec }) => driveKey(spec.serial, spec)));
  }

  judge(drive: DriveSeen): DriveVerdict {
    const annotated = isAnnotated(drive.namespace, this.annotatedDrives());
    return judgeDrive(
      drive.namespace,
      drive.table,
      drive.signatures,
      this.#parts.policy(),
      annotated,
      drive.tableError,
    );
  }

  /** Writes a table on allowed blank drives and repairs half-damaged ones. Returns whether anything was written. */
  async prepareDrives(drives: readonly DriveSeen[]): Promise<boolean> {
    const { kernel, log } = this.#parts;
    let wrote = false;
    for (const drive of drives) {
      const { kind } = this.judge(drive);
      const { path, serial } = drive.namespace;
      if (kind === 'initialize') await kernel.initializeGpt(path, randomUuid());
      else if (kind === 'repair') await kernel.repairGpt(path);
      else continue;
      log.info('partition table written', { path, serial, why: kind });
      wrote = true;
    }
    return wrote;
  }

  /** Brings the objects in line with the drives; every status carries a new heartbeat. */
  async publish(drives: readonly DriveSeen[]): Promise<void> {
    const { devices, nodeName } = this.#parts;
    const consumerOf = this.#consumers();
    const wanted = new Map(drives.map((drive) => [nodeDeviceNameFor(nodeName, drive.namespace.name), drive]));
    const old = this.#ownDevices();
    const present = new Set(wanted.keys());
    for (const [name, drive] of wanted) await this.#ensureObject(name, drive, old, present);
    for (const device of old) {
      const drive = wanted.get(device.metadata.name);
      if (drive === undefined || !isOfDrive(device, drive)) {
        await devices.delete(device.metadata.name, { uid: device.metadata.uid });
      }
    }
    for (const [name, drive] of wanted) {
      const verdict = this.judge(drive);
      const counts = countPartitions(drive, consumerOf, nodeName);
      await devices.mutateStatus(name, (current) => this.#status(current, drive, verdict, counts));
    }
  }

  #consumers(): ReadonlyMap<string, string> {
    const consumers = new Map<string, string>();
    for (const volume of this.#parts.volumes.list()) {
      for (const partition of volume.status?.partitions ?? [])
        consumers.set(partition.partitionUUID, volume.status?.nodeName ?? '');
    }
    return consumers;
  }

  /** A drive that came back under another kernel name takes its annotations along. */
  async #ensureObject(
    name: string,
    drive: DriveSeen,
    old: readonly MeshStorNodeDevice[],
    present: ReadonlySet<string>,
  ): Promise<void> {
    const { devices, nodeName } = this.#parts;
    const known = old.find((device) => device.metadata.name === name);
    if (known !== undefined && isOfDrive(known, drive)) {
      const spec = specOf(drive, nodeName, known.spec.usedAlias);
      if (JSON.stringify(spec) !== JSON.stringify(known.spec))
        await devices.mutate(name, (current) => ({ ...current, spec }));
      return;
    }
    if (known !== undefined) await devices.delete(name, { uid: known.metadata.uid });
    // Another namespace of the same drive, which is there itself, is not this one under its old name.
    const renamed = old.find((device) => !present.has(device.metadata.name) && isOfDrive(device, drive));
    const spec = specOf(drive, nodeName, renamed?.spec.device ?? '');
    try {
      await devices.create({ name, annotations: renamed?.metadata.annotations ?? {}, labels: this.#labels }, spec);
    } catch (error) {
      // The cache is behind, or the object lacks the label by which it comes here: the next pass compares it.
      if (!(error instanceof DomainError) || error.kind !== 'conflict') throw error;
      await devices.mutate(name, (current) => this.#labelled(current));
    }
    this.#parts.log.info('drive listed', { name, serial: spec.serial, model: spec.model, usedAlias: spec.usedAlias });
  }

  get #labels(): Readonly<Record<string, string>> {
    return { [NODE_LABEL]: nodeLabelFor(this.#parts.nodeName) };
  }

  #labelled(current: MeshStorNodeDevice): MeshStorNodeDevice | undefined {
    const { metadata, spec } = current;
    if (spec.node !== this.#parts.nodeName || NODE_LABEL in metadata.labels) return undefined;
    return { ...current, metadata: { ...metadata, labels: { ...metadata.labels, ...this.#labels } } };
  }

  #status(
    current: MeshStorNodeDevice,
    drive: DriveSeen,
    verdict: DriveVerdict,
    counts: PartitionCounts,
  ): NodeDeviceStatus {
    const now = this.#parts.now();
    const { known } = this.#parts.preflight;
    const before = current.status?.conditions ?? [];
    const failedBefore = findCondition(before, 'Preflight')?.status === 'False';
    const preflight = known ?? (failedBefore ? (findCondition(before, 'Preflight')?.message ?? '') : '');
    const usable = usableCondition(verdict, preflight);
    const conditions = [...preflightCondition(known), usable].reduce(
      (list, next) => setCondition(list, next, now),
      before,
    );
    const sizes = (drive.table?.freeExtents ?? []).map((extent) => extent.sizeBytes);
    const isUsable = usable.status === 'True';
    const biggest = isUsable ? Math.max(0, ...sizes) : 0;
    return {
      biggestUsableFreeSpace: formatBytes(biggest),
      biggestUsableFreeSpaceBytes: biggest,
      freeBytes: isUsable ? sizes.reduce((sum, size) => sum + size, 0) : 0,
      numberOfVolumes: counts.volumes,
      numberOfUnknownVolumes: counts.unknown,
      localPartitions: counts.local,
      remotePartitions: counts.remote,
      unknownPartitions: counts.unknown,
      updatedAt: now,
      conditions,
    };
  }
}
