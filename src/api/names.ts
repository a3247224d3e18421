/**
 * Every name that the driver gives to something, in one place (SPEC §1). Names are derived from random identities
 * (`spec.volumeUUID`), never from a volume's or a node's name alone, so that nothing ever re-uses an old one.
 */
import { hashHex, isUuid, uuidV5 } from '../support/uuid.ts';

export const DRIVER_NAME = 'io.meshstor.csi.mesh';
export const API_GROUP = 'csi.meshstor.io';
export const API_VERSION = 'v1alpha1';
export const VOLUME_KIND = 'MeshStorVolume';
export const VOLUME_PLURAL = 'meshstorvolumes';
export const NODE_DEVICE_KIND = 'MeshStorNodeDevice';
export const NODE_DEVICE_PLURAL = 'meshstornodedevices';
export const TOPOLOGY_KEY = 'topology.meshstor.io/node';
export const TCP_ADDRESS_ANNOTATION = 'meshstor.io/nvme-over-tcp-address';
export const RDMA_ADDRESS_ANNOTATION = 'meshstor.io/nvme-over-rdma-address';
/** On a volume: the name the CO asked for, where the object's name is a hash of it. */
export const REQUESTED_NAME_ANNOTATION = 'meshstor.io/requested-name';
/** On a node device: `true` allows the drive (SPEC §7.15). */
export const ALLOW_DRIVE_ANNOTATION = 'meshstor.io/allow';
/** Label of a node device: its node, so that a node watches its own alone. */
export const NODE_LABEL = 'meshstor.io/node';
/** On a volume: every holder has removed its partition before the object goes. */
export const VOLUME_FINALIZER = 'csi.meshstor.io/partitions';
export const PVC_NAME_ANNOTATION = 'meshstor.io/pvc-name';
export const PVC_NAMESPACE_ANNOTATION = 'meshstor.io/pvc-namespace';
export const PV_NAME_ANNOTATION = 'meshstor.io/pv-name';
/** Condition of a volume that no PersistentVolume names. */
export const UNCLAIMED_CONDITION = 'Unclaimed';
/** Label of a volume: `true` as long as `UNCLAIMED_CONDITION` is; conditions cannot be selected by. */
export const UNCLAIMED_LABEL = 'meshstor.io/unclaimed';

export const TCP_PORT = 4420;
export const RDMA_PORT = 4421;
export const NVMET_TCP_PORT_ID = 4420;
export const NVMET_RDMA_PORT_ID = 4421;

const NQN_PREFIX = 'nqn.2025-12.io.meshstor:';
/** Upper-case GUID of the GPT type "Linux RAID". */
export const LINUX_RAID_TYPE_GUID = 'A19D880F-05FC-4D3B-A006-743F0F84911E';
export const PARTITION_LABEL_PREFIX = 'meshstor-';
export const LEG_NAME_PREFIX = 'meshstor-';
export const LEG_UUID_PREFIX = 'MESHSTOR-';
/** A name of ours in each superblock (SPEC §1): with "any", the udev of whoever holds a member would start the array it sees there. */
export const MD_HOMEHOST = 'meshstor';

/** Namespace of host ids and machine-independent names: a constant of this project. */
const PROJECT_NAMESPACE = '5d1f1ac4-4b0f-5b4e-9d1c-3f0a6d6c7e21';

/** The value of `NODE_LABEL`: the node's name, or a hash of one that is too long for a label. */
export function nodeLabelFor(nodeName: string): string {
  return nodeName.length <= 63 ? nodeName : hashHex(nodeName, 32);
}

/** The object name, and volume id, for a name that the CO asks for. */
export function volumeIdFor(requestedName: string): string {
  const pv = /^pvc-([0-9a-f-]{36})$/.exec(requestedName);
  if (pv?.[1] !== undefined && isUuid(pv[1])) return requestedName;
  return `vol-${hashHex(requestedName, 32)}`;
}

/** PARTUUID of a member: slot and generation within this incarnation of the volume. */
export function partitionUuidFor(volumeUUID: string, slot: number, generation: number): string {
  return uuidV5(volumeUUID, `member/${slot}/${generation}`);
}

export function arrayUuidFor(volumeUUID: string): string {
  return uuidV5(volumeUUID, 'array');
}

export function filesystemUuidFor(volumeUUID: string): string {
  return uuidV5(volumeUUID, 'filesystem');
}

/** 16 hex digits that stand for the volume where room is short (PARTLABEL, md name). */
export function shortIdFor(volumeUUID: string): string {
  return hashHex(volumeUUID, 16);
}

export function partitionLabelFor(volumeUUID: string): string {
  return `${PARTITION_LABEL_PREFIX}${shortIdFor(volumeUUID)}`;
}

/** dm name of a leg: a local partition's claim or a guard, one for each epoch. */
export function legNameFor(partitionUUID: string, epoch: number): string {
  return `${LEG_NAME_PREFIX}${partitionUUID}-${epoch}`;
}

/**
 * dm uuid of a leg. It carries the UUID of the namespace under it, so that a path that comes back can be compared (SPEC §7.2), and
 * of a guard a hash of the volume id, by which it is found when the volume's object is gone. The kernel takes 128 characters.
 */
export function legDmUuidFor(partitionUUID: string, epoch: number, namespaceUUID: string, volumeId?: string): string {
  const volume = volumeId === undefined ? '' : `-${volumeMarkFor(volumeId)}`;
  return `${LEG_UUID_PREFIX}${partitionUUID}-${epoch}-${namespaceUUID}${volume}`;
}

/** What the dm uuid of a volume's guard ends with. */
export function volumeMarkFor(volumeId: string): string {
  return hashHex(volumeId, 16);
}

export interface LegName {
  readonly partitionUUID: string;
  readonly epoch: number;
}

/** The parts of a leg's dm name; undefined for any other name. */
export function parseLegName(name: string): LegName | undefined {
  const match = /^meshstor-([0-9a-f-]{36})-(0|[1-9][0-9]*)$/.exec(name);
  if (match?.[1] === undefined || match[2] === undefined || !isUuid(match[1])) return undefined;
  return { partitionUUID: match[1], epoch: Number(match[2]) };
}

/** The namespace UUID in a leg's dm uuid; undefined when the uuid is not of that form. */
export function parseLegDmUuid(uuid: string): string | undefined {
  const match = /^MESHSTOR-[0-9a-f-]{36}-(?:0|[1-9][0-9]*)-([0-9a-f-]{36})(?:-[0-9a-f]{16})?$/.exec(uuid);
  return match?.[1] !== undefined && isUuid(match[1]) ? match[1] : undefined;
}

/** In the dm uuid of a guard: what stands for its volume (`volumeMarkFor`). Undefined for claims, foreign devices, and guards of old versions. */
export function parseVolumeMark(dmUuid: string): string | undefined {
  return parseLegDmUuid(dmUuid) === undefined ? undefined : /-([0-9a-f]{16})$/.exec(dmUuid)?.[1];
}

export function subsystemNqnFor(partitionUUID: string, epoch: number, attachmentID: string): string {
  return `${NQN_PREFIX}${partitionUUID}:${epoch}-${attachmentID}`;
}

export interface SubsystemName {
  readonly partitionUUID: string;
  readonly epoch: number;
  readonly attachmentID: string;
}

/** The parts of one of our subsystem NQNs; undefined for any other NQN. */
export function parseSubsystemNqn(nqn: string): SubsystemName | undefined {
  const match = /^nqn\.2025-12\.io\.meshstor:([0-9a-f-]{36}):([1-9][0-9]*)-([0-9a-f-]{36})$/.exec(nqn);
  if (match?.[1] === undefined || match[2] === undefined || match[3] === undefined) return undefined;
  return isUuid(match[1]) ? { partitionUUID: match[1], epoch: Number(match[2]), attachmentID: match[3] } : undefined;
}

/** NVMe base specification: an NQN has at most 223 bytes. */
const NQN_MAX_BYTES = 223;

/** Host NQN of a node. A node name that does not fit is cut and a hash of the whole is put behind it. */
export function hostNqnFor(nodeName: string): string {
  const nqn = `${NQN_PREFIX}${nodeName}`;
  if (nqn.length <= NQN_MAX_BYTES) return nqn;
  return `${nqn.slice(0, NQN_MAX_BYTES - 17)}.${hashHex(nodeName, 16)}`;
}

/** One stable host id for each node: the kernel refuses one host id with two NQNs. */
export function hostIdFor(nodeName: string): string {
  return uuidV5(PROJECT_NAMESPACE, `host/${nodeName}`);
}

/** UUID of an exported namespace: another one after the holder's kernel restarted (SPEC §7.2). */
export function namespaceUuidFor(partitionUUID: string, epoch: number, bootID: string): string {
  return uuidV5(partitionUUID, `${epoch}/${bootID}`);
}

/** Object name of a node device; hashed above 253 characters (the parts stand in its spec). */
export function nodeDeviceNameFor(node: string, device: string): string {
  const name = `${node}-${device}`;
  return name.length <= 253 ? name : `${name.slice(0, 236)}-${hashHex(name, 16)}`;
}
