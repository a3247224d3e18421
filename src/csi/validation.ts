/** Checks of requests, before any lock or effect. Each failure names the field, what it was, and the rule. */
import { DomainError } from '../api/errors.ts';
import { TOPOLOGY_KEY } from '../api/names.ts';
import type { FsType, VolumeMode } from '../api/volume.ts';
import type { VolumeAccess } from '../node/operations.ts';
import type { CapacityRange__Output } from './generated/csi/v1/CapacityRange.ts';
import type { Topology__Output } from './generated/csi/v1/Topology.ts';
import type { VolumeCapability__Output } from './generated/csi/v1/VolumeCapability.ts';

/** CSI: strings have at most 128 bytes unless the field says otherwise; paths may have the operating system's limit. */
const LONGEST_NAME_BYTES = 128;
const LONGEST_PATH_BYTES = 4095;

export function refuse(field: string, rule: string): DomainError {
  return new DomainError('invalid', `check request: ${field}: ${rule}`);
}

export function requireText(field: string, value: string, maxBytes: number = LONGEST_NAME_BYTES): string {
  if (value === '') throw refuse(field, 'is required');
  if (Buffer.byteLength(value) > maxBytes) throw refuse(field, `has more than ${maxBytes} bytes`);
  if (/\p{Cc}/u.test(value)) throw refuse(field, 'has control characters');
  return value;
}

/** An absolute path without `.`, `..` or empty components. One slash at the end is dropped. */
export function requirePath(field: string, value: string): string {
  requireText(field, value, LONGEST_PATH_BYTES);
  const path = value.length > 1 && value.endsWith('/') ? value.slice(0, -1) : value;
  if (!path.startsWith('/')) throw refuse(field, `expected an absolute path, got ${JSON.stringify(path)}`);
  const parts = path.slice(1).split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw refuse(field, `expected a path without empty, "." or ".." parts, got ${JSON.stringify(path)}`);
  }
  return path;
}

/** Bytes from the wire's decimal text: 0 when absent. Above 2^53 a number would silently be another one. */
export function parseBytes(field: string, text: string | undefined): number {
  if (text === undefined) return 0;
  if (!/^-?[0-9]+$/.test(text)) throw refuse(field, `expected a number of bytes, got ${JSON.stringify(text)}`);
  const value = Number(text);
  if (value < 0) throw refuse(field, `expected no negative number, got ${text}`);
  if (!Number.isSafeInteger(value)) {
    throw new DomainError('outOfRange', `check request: ${field}: ${text} bytes is above ${Number.MAX_SAFE_INTEGER}`);
  }
  return value;
}

export interface SizeWanted {
  readonly requiredBytes: number;
  readonly limitBytes: number;
}

export function validateCapacityRange(range: CapacityRange__Output | null | undefined): SizeWanted {
  if (range === null || range === undefined) return { requiredBytes: 0, limitBytes: 0 };
  const requiredBytes = parseBytes('capacity_range.required_bytes', range.requiredBytes);
  const limitBytes = parseBytes('capacity_range.limit_bytes', range.limitBytes);
  if (requiredBytes === 0 && limitBytes === 0) {
    throw refuse('capacity_range', 'expected required_bytes or limit_bytes to be set');
  }
  if (limitBytes !== 0 && limitBytes < requiredBytes) {
    throw refuse('capacity_range.limit_bytes', `${limitBytes} is below required_bytes, ${requiredBytes}`);
  }
  return { requiredBytes, limitBytes };
}

/** A capability that this driver can serve. */
export interface Access {
  readonly access: VolumeAccess;
  readonly readOnly: boolean;
  readonly singleWriter: boolean;
}

export function validateCapability(field: string, capability: VolumeCapability__Output | null | undefined): Access {
  if (capability === null || capability === undefined) throw refuse(field, 'is required');
  const mode = capability.accessMode?.mode ?? 'UNKNOWN';
  const path = `${field}.access_mode.mode`;
  switch (mode) {
    case 'SINGLE_NODE_WRITER':
    case 'SINGLE_NODE_READER_ONLY':
    case 'SINGLE_NODE_SINGLE_WRITER':
    case 'SINGLE_NODE_MULTI_WRITER':
      break;
    case 'MULTI_NODE_READER_ONLY':
    case 'MULTI_NODE_SINGLE_WRITER':
    case 'MULTI_NODE_MULTI_WRITER':
      throw refuse(path, `${mode} is not supported, expected one of the SINGLE_NODE modes`);
    case 'UNKNOWN':
      throw refuse(path, 'is required');
    default:
      throw refuse(path, `${String(mode)} is not a mode of CSI 1.12`);
  }
  return {
    access: validateAccessType(field, capability),
    readOnly: mode === 'SINGLE_NODE_READER_ONLY',
    singleWriter: mode === 'SINGLE_NODE_SINGLE_WRITER',
  };
}

function validateAccessType(field: string, capability: VolumeCapability__Output): VolumeAccess {
  if (capability.accessType === 'block') return { kind: 'block' };
  const mount = capability.mount;
  if (capability.accessType !== 'mount' || mount === null || mount === undefined) {
    throw refuse(`${field}.access_type`, 'expected block or mount');
  }
  if (mount.volumeMountGroup !== '') {
    throw refuse(`${field}.mount.volume_mount_group`, 'is not supported, VOLUME_MOUNT_GROUP is not advertised');
  }
  for (const flag of mount.mountFlags) requireText(`${field}.mount.mount_flags`, flag, LONGEST_PATH_BYTES);
  return {
    kind: 'mount',
    fsType: validateFsType(`${field}.mount.fs_type`, mount.fsType),
    mountFlags: mount.mountFlags,
  };
}

function validateFsType(field: string, text: string): FsType | '' {
  if (text === '' || text === 'xfs' || text === 'ext4') return text;
  throw refuse(field, `expected xfs or ext4, got ${JSON.stringify(text.slice(0, 64))}`);
}

export interface VolumeUse {
  readonly volumeMode: VolumeMode;
  /** What the capabilities ask for; empty when they leave it open. */
  readonly fsType: FsType | '';
}

/** All of them together: one mode, one filesystem. */
export function validateCapabilities(field: string, list: readonly VolumeCapability__Output[]): VolumeUse {
  if (list.length === 0) throw refuse(field, 'expected at least one capability');
  const uses = list.map((capability, index) => validateCapability(`${field}[${index}]`, capability).access);
  const kinds = new Set(uses.map((use) => use.kind));
  if (kinds.size > 1) throw refuse(field, 'block and mount together: a volume is one of the two');
  const fsTypes = new Set(uses.flatMap((use) => (use.kind === 'mount' && use.fsType !== '' ? [use.fsType] : [])));
  if (fsTypes.size > 1) throw refuse(field, 'xfs and ext4 together: a volume has one filesystem');
  const [fsType] = fsTypes;
  return { volumeMode: kinds.has('block') ? 'Block' : 'Filesystem', fsType: fsType ?? '' };
}

/** Nodes that the terms name by our topology key. `exhausted` when there are terms and none of them can be met. */
export function nodesIn(field: string, terms: readonly Topology__Output[]): readonly string[] {
  const nodes = terms.flatMap((term) => {
    const node = term.segments[TOPOLOGY_KEY];
    return node === undefined || node === '' ? [] : [node];
  });
  if (terms.length > 0 && nodes.length === 0) {
    throw new DomainError('exhausted', `check request: ${field}: none of ${terms.length} terms has ${TOPOLOGY_KEY}`);
  }
  return [...new Set(nodes)];
}
