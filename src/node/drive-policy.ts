/**
 * Which drives may be used (SPEC §7.15). By default none is written: every local drive is listed with the reason. Pure.
 */
import type { GptTable, NvmeNamespace } from '../api/kernel.ts';
import { LINUX_RAID_TYPE_GUID, PARTITION_LABEL_PREFIX } from '../api/names.ts';

/** All given parts must match; `*` stands for any text in model, serial and path. */
export interface DriveSelector {
  readonly model?: string;
  readonly serial?: string;
  /** `/dev/nvme0n1`. Names move: a serial number is safer. */
  readonly path?: string;
  /** Labels that the node must have. */
  readonly nodeLabels?: Readonly<Record<string, string>>;
}

export interface DrivePolicy {
  readonly selectors: readonly DriveSelector[];
  readonly nodeLabels: Readonly<Record<string, string>>;
  /** An allowed blank drive gets a GPT. */
  readonly initializeBlank: boolean;
}

/**
 * One namespace of one drive: a drive can have several under one serial number. An object of an older version has no namespace id;
 * until one is filled in, its kernel name tells them apart, which looks like no number.
 */
export function driveKey(serial: string, namespace: { readonly nsid?: number; readonly device: string }): string {
  return `${serial}/${namespace.nsid ?? namespace.device}`;
}

/** `annotated`: keys (`driveKey`) of what the objects with the allowing annotation say. */
export function isAnnotated({ serial, nsid, name: device }: NvmeNamespace, annotated: ReadonlySet<string>): boolean {
  return annotated.has(driveKey(serial, { nsid, device })) || annotated.has(driveKey(serial, { device }));
}

export type DriveVerdict =
  | { readonly kind: 'usable' }
  /** Usable after its other table copy was rewritten. */
  | { readonly kind: 'repair' }
  /** Usable after an empty table was written. */
  | { readonly kind: 'initialize' }
  | { readonly kind: 'unusable'; readonly reason: string; readonly message: string };

function globMatches(pattern: string, text: string): boolean {
  const source = pattern
    .split('*')
    .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('.*');
  return new RegExp(`^${source}$`).test(text);
}

export function selectorMatches(
  selector: DriveSelector,
  drive: NvmeNamespace,
  nodeLabels: Readonly<Record<string, string>>,
): boolean {
  const parts: [string | undefined, string][] = [
    [selector.model, drive.model],
    [selector.serial, drive.serial],
    [selector.path, drive.path],
  ];
  if (parts.some(([pattern, text]) => pattern !== undefined && !globMatches(pattern, text))) return false;
  return Object.entries(selector.nodeLabels ?? {}).every(([key, value]) => nodeLabels[key] === value);
}

/** Whether the annotation or a selector that matches names exactly this drive, and not by a pattern or a label. */
function isNamedExplicitly(drive: NvmeNamespace, { selectors, nodeLabels }: DrivePolicy, annotated: boolean): boolean {
  const naming = selectors.filter(({ serial, path }) => serial === drive.serial || path === drive.path);
  return annotated || naming.some((selector) => selectorMatches(selector, drive, nodeLabels));
}

export function isOurPartition(partition: { readonly typeGuid: string; readonly name: string }): boolean {
  return partition.typeGuid === LINUX_RAID_TYPE_GUID && partition.name.startsWith(PARTITION_LABEL_PREFIX);
}

function unusable(reason: string, message: string): DriveVerdict {
  return { kind: 'unusable', reason, message };
}

/** Foreign partitions of the drive that the running system uses. */
function systemUses(drive: NvmeNamespace, table: GptTable): readonly string[] {
  const ours = new Set(table.partitions.filter(isOurPartition).map((partition) => partition.number));
  return drive.partitions
    .filter((partition) => !ours.has(partition.number))
    .flatMap((partition) => [
      ...partition.mountPoints,
      ...partition.holders.map((holder) => `${partition.name} held by ${holder}`),
    ]);
}

function judgeTable(
  drive: NvmeNamespace,
  table: GptTable,
  signatures: readonly string[],
  policy: DrivePolicy,
): DriveVerdict {
  const found = signatures.length === 0 ? 'data of no known kind' : signatures.join(', ');
  const ours = new Set(table.partitions.filter(isOurPartition).map((partition) => partition.partitionGuid));
  switch (table.state) {
    case 'valid':
      return { kind: 'usable' };
    case 'primary-only':
    case 'backup-only':
      return { kind: 'repair' };
    case 'differ': {
      const foreign = table.differingPartitionGuids.filter((guid) => !ours.has(guid));
      if (foreign.length === 0) return { kind: 'repair' };
      return unusable(
        'TablesDiffer',
        `the two partition tables of ${drive.path} differ in partitions of others (${foreign.join(', ')}): repair them with gdisk`,
      );
    }
    case 'blank':
      if (signatures.length > 0)
        return unusable(
          'ForeignData',
          `${drive.path} has no partition table and holds ${found}: wipe it if that may go`,
        );
      if (policy.initializeBlank) return { kind: 'initialize' };
      return unusable(
        'Blank',
        `${drive.path} is blank: allow a new partition table with --initialize-blank, or make one with sgdisk -o`,
      );
    case 'foreign':
      return unusable('ForeignData', `${drive.path} holds ${found} and no GPT: wipe it if that may go`);
    case 'damaged': {
      const fields = table.problems.map((problem) => `${problem.copy} ${problem.field}`).join(', ');
      return unusable(
        'DamagedTable',
        `both partition tables of ${drive.path} are damaged (${fields}): repair them with gdisk`,
      );
    }
  }
}

/** `table` undefined: it could not be read (`tableError` says why). `annotated`: the drive's object carries the allowing annotation. */
export function judgeDrive(
  drive: NvmeNamespace,
  table: GptTable | undefined,
  signatures: readonly string[],
  policy: DrivePolicy,
  annotated: boolean,
  tableError = '',
): DriveVerdict {
  const allowed = annotated || policy.selectors.some((selector) => selectorMatches(selector, drive, policy.nodeLabels));
  if (table === undefined) return unusable('Unreadable', `reading the partition table of ${drive.path}: ${tableError}`);
  if (!allowed) {
    const what = signatures.length === 0 ? 'candidate' : `candidate, holds ${signatures.join(', ')}`;
    return unusable(
      'NotAllowed',
      `${what}: allow it with --drive-selector serial=${drive.serial} or the annotation meshstor.io/allow=true`,
    );
  }
  if (drive.holders.length > 0)
    return unusable('InUse', `${drive.path} as a whole is held by ${drive.holders.join(', ')}`);
  if (drive.mountPoints.length > 0)
    return unusable('InUse', `${drive.path} as a whole is mounted at ${drive.mountPoints.join(', ')}`);
  const uses = systemUses(drive, table);
  if (uses.length > 0 && !isNamedExplicitly(drive, policy, annotated)) {
    return unusable(
      'SystemDrive',
      `${drive.path} is used by this system (${uses.join(', ')}): name it by its exact serial number to use its free space`,
    );
  }
  return judgeTable(drive, table, signatures, policy);
}
