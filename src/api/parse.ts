/** From the wire to the kinds and back. Pure: the compiled schemas are passed in by whoever can read files. */
import {
  CONDITION_KEYS,
  NODE_DEVICE_SPEC_KEYS,
  NODE_DEVICE_STATUS_KEYS,
  PARTITION_KEYS,
  VOLUME_SPEC_KEYS,
  VOLUME_STATUS_KEYS,
} from './fields.ts';
import { API_GROUP, API_VERSION, NODE_DEVICE_KIND, VOLUME_KIND } from './names.ts';
import type { MeshStorNodeDevice, NodeDeviceSpec, NodeDeviceStatus } from './node-device.ts';
import type { Condition, NewMeta, ObjectMeta } from './object.ts';
import type { MeshStorVolume, PartitionStatus, VolumeSpec, VolumeStatus } from './volume.ts';
import { EMPTY_STATUS } from './volume.ts';

/** The first thing that is wrong with a value by its schema, with the path of the field; undefined when nothing is. */
export type SchemaCheck = (value: unknown) => string | undefined;

export type ParseResult<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };
export type Parser<T> = (wire: unknown) => ParseResult<T>;

type Fields = Readonly<Record<string, unknown>>;

/** Status of a drive for which nothing was reported yet; `updatedAt` lies as far back as can be, so that it counts as stale. */
export const EMPTY_DEVICE_STATUS: NodeDeviceStatus = {
  biggestUsableFreeSpace: '0',
  biggestUsableFreeSpaceBytes: 0,
  freeBytes: 0,
  numberOfVolumes: 0,
  numberOfUnknownVolumes: 0,
  localPartitions: 0,
  remotePartitions: 0,
  unknownPartitions: 0,
  updatedAt: '1970-01-01T00:00:00Z',
  conditions: [],
};

/**
 * Parser of MeshStorVolume objects. Results are deeply frozen and hold only known fields. A status without a phase counts
 * as absent: no status that the driver wrote lacks it, so what is there stems from elsewhere (a restored object to which
 * only a condition was added must still count as one whose status was lost).
 */
export function createVolumeParser(check: SchemaCheck): Parser<MeshStorVolume> {
  return (wire) => {
    const checked = checkObject(wire, VOLUME_KIND, check);
    if (typeof checked === 'string') return { ok: false, problem: checked };
    const spec = pick<VolumeSpec>(checked.spec, VOLUME_SPEC_KEYS);
    const status = isFields(checked.status) && 'phase' in checked.status ? volumeStatus(checked.status) : undefined;
    const value = { metadata: checked.metadata, spec, ...(status === undefined ? {} : { status }) };
    return { ok: true, value: deepFreeze(value) };
  };
}

/** Parser of MeshStorNodeDevice objects. A status without a heartbeat counts as absent. */
export function createNodeDeviceParser(check: SchemaCheck): Parser<MeshStorNodeDevice> {
  return (wire) => {
    const checked = checkObject(wire, NODE_DEVICE_KIND, check);
    if (typeof checked === 'string') return { ok: false, problem: checked };
    const spec = pick<NodeDeviceSpec>(checked.spec, NODE_DEVICE_SPEC_KEYS);
    const status = isFields(checked.status) && 'updatedAt' in checked.status ? deviceStatus(checked.status) : undefined;
    const value = { metadata: checked.metadata, spec, ...(status === undefined ? {} : { status }) };
    return { ok: true, value: deepFreeze(value) };
  };
}

/** Wire form of a volume. Adds what is shown to people only. */
export function serializeVolume(volume: MeshStorVolume): Fields {
  const { status } = volume;
  return {
    ...head(VOLUME_KIND, volume.metadata),
    spec: volume.spec,
    ...(status === undefined
      ? {}
      : { status: { ...status, partitionNodes: status.partitions.map((partition) => partition.nodeID).join(',') } }),
  };
}

/** Wire form of a node device. */
export function serializeNodeDevice(device: MeshStorNodeDevice): Fields {
  return {
    ...head(NODE_DEVICE_KIND, device.metadata),
    spec: device.spec,
    ...(device.status === undefined ? {} : { status: device.status }),
  };
}

/** Wire form of an object that does not exist yet. */
export function serializeNew(kind: string, meta: NewMeta, spec: unknown): Fields {
  return { apiVersion: `${API_GROUP}/${API_VERSION}`, kind, metadata: meta, spec };
}

/** Metadata as the project reads it; a string says what is wrong. */
export function parseMeta(wire: unknown): ObjectMeta | string {
  if (!isFields(wire)) return 'metadata: missing';
  const { name, uid, resourceVersion, generation, creationTimestamp, deletionTimestamp } = wire;
  if (typeof name !== 'string' || name === '') return 'metadata.name: missing';
  if (typeof uid !== 'string' || uid === '') return 'metadata.uid: missing';
  if (typeof resourceVersion !== 'string' || resourceVersion === '') return 'metadata.resourceVersion: missing';
  return {
    name,
    uid,
    resourceVersion,
    generation: typeof generation === 'number' ? generation : 0,
    creationTimestamp: typeof creationTimestamp === 'string' ? creationTimestamp : '',
    ...(typeof deletionTimestamp === 'string' ? { deletionTimestamp } : {}),
    finalizers: Array.isArray(wire['finalizers'])
      ? wire['finalizers'].filter((entry) => typeof entry === 'string')
      : [],
    annotations: strings(wire['annotations']),
    labels: strings(wire['labels']),
  };
}

/** Freezes a tree of plain objects and arrays, and returns it. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const child of Object.values(value)) deepFreeze(child);
  }
  return value;
}

interface CheckedObject {
  readonly metadata: ObjectMeta;
  readonly spec: Fields;
  readonly status: unknown;
}

function checkObject(wire: unknown, kind: string, check: SchemaCheck): CheckedObject | string {
  if (!isFields(wire)) return 'not an object';
  // Items of a list carry no kind of their own.
  if (wire['kind'] !== undefined && wire['kind'] !== kind) return `kind: expected ${kind}`;
  const metadata = parseMeta(wire['metadata']);
  if (typeof metadata === 'string') return metadata;
  const problem = check(wire);
  if (problem !== undefined) return problem;
  const spec = wire['spec'];
  return isFields(spec) ? { metadata, spec, status: wire['status'] } : 'spec: missing';
}

function volumeStatus(wire: Fields): VolumeStatus {
  const status = { ...EMPTY_STATUS, ...pick<VolumeStatus>(wire, VOLUME_STATUS_KEYS) };
  return {
    ...status,
    partitions: status.partitions.map((entry) => pick<PartitionStatus>(entry, PARTITION_KEYS)),
    conditions: status.conditions.map((entry) => pick<Condition>(entry, CONDITION_KEYS)),
  };
}

function deviceStatus(wire: Fields): NodeDeviceStatus {
  const status = { ...EMPTY_DEVICE_STATUS, ...pick<NodeDeviceStatus>(wire, NODE_DEVICE_STATUS_KEYS) };
  return { ...status, conditions: status.conditions.map((entry) => pick<Condition>(entry, CONDITION_KEYS)) };
}

/** The known fields of a value that its schema has accepted; null counts as absent. */
function pick<T>(wire: object, keys: readonly (keyof T)[]): T {
  const source = wire as Fields;
  const names = keys.map(String).filter((key) => source[key] !== undefined && source[key] !== null);
  return Object.fromEntries(names.map((key) => [key, structuredClone(source[key])])) as T;
}

function head(kind: string, metadata: ObjectMeta): Fields {
  return { apiVersion: `${API_GROUP}/${API_VERSION}`, kind, metadata };
}

function strings(wire: unknown): Readonly<Record<string, string>> {
  if (!isFields(wire)) return {};
  return Object.fromEntries(
    Object.entries(wire).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
