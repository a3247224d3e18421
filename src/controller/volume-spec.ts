/** From a request to a volume's spec, and back: is this the volume that was asked for? */
import { SMALLEST_VOLUME_BYTES } from '../api/layout.ts';
import { DomainError } from '../api/errors.ts';
import {
  PV_NAME_ANNOTATION,
  PVC_NAME_ANNOTATION,
  PVC_NAMESPACE_ANNOTATION,
  REQUESTED_NAME_ANNOTATION,
} from '../api/names.ts';
import type { MeshStorVolume, SectorSize, VolumeSpec } from '../api/volume.ts';
import { MIB, roundUp } from '../support/units.ts';
import type { CreateVolumeRequest } from './operations.ts';

/** The largest number of bytes that a spec can hold, by its schema. */
const LARGEST_VOLUME_BYTES = 9_007_199_253_692_416;

/** Size of the device: the request, raised to the smallest volume and rounded up so that every drive gets whole MiBs. */
export function chooseCapacity(
  request: Pick<CreateVolumeRequest, 'requiredBytes' | 'limitBytes' | 'parameters'>,
): number {
  const { requiredBytes, limitBytes } = request;
  const unit = MIB * request.parameters.drivesPerCopy;
  const wanted = Math.max(requiredBytes, SMALLEST_VOLUME_BYTES);
  const capacity = roundUp(wanted, unit);
  if (capacity > LARGEST_VOLUME_BYTES) {
    throw outOfRange('required_bytes', requiredBytes, `a volume has at most ${LARGEST_VOLUME_BYTES} bytes`);
  }
  if (limitBytes === 0 || capacity <= limitBytes) return capacity;
  if (limitBytes < SMALLEST_VOLUME_BYTES) {
    throw outOfRange('limit_bytes', limitBytes, `the smallest volume has ${SMALLEST_VOLUME_BYTES} bytes`);
  }
  throw outOfRange(
    'limit_bytes',
    limitBytes,
    `${requiredBytes} bytes are rounded up to ${capacity}, the next multiple of ${unit}`,
  );
}

function outOfRange(field: string, value: number, rule: string): DomainError {
  return new DomainError('outOfRange', `choose the size: capacity_range.${field} is ${value}: ${rule}`);
}

export function specFor(
  request: CreateVolumeRequest,
  capacityBytes: number,
  volumeUUID: string,
  sectorSize: SectorSize | undefined,
): VolumeSpec {
  const { parameters } = request;
  const members = parameters.numberOfCopies * parameters.drivesPerCopy;
  return {
    capacityBytes,
    numberOfCopies: parameters.numberOfCopies,
    drivesPerCopy: parameters.drivesPerCopy,
    memberMissingTimeout: parameters.memberMissingTimeout,
    // Each member has a subsystem of its own, so ids need to differ only where people read them.
    nvmeofNamespaceIDs: Array.from({ length: members }, (_, slot) => slot + 1),
    volumeUUID,
    ...(sectorSize === undefined ? {} : { sectorSize }),
    fsType: request.fsType,
    volumeMode: request.volumeMode,
    dataLocality: parameters.dataLocality,
    onWitnessLoss: parameters.onWitnessLoss,
    onLastCopyLoss: parameters.onLastCopyLoss,
  };
}

export function annotationsFor(request: CreateVolumeRequest, volumeId: string): Readonly<Record<string, string>> {
  const { pvcName, pvcNamespace, pvName } = request.parameters;
  return {
    ...(request.name === volumeId ? {} : { [REQUESTED_NAME_ANNOTATION]: request.name }),
    ...(pvcName === undefined ? {} : { [PVC_NAME_ANNOTATION]: pvcName }),
    ...(pvcNamespace === undefined ? {} : { [PVC_NAMESPACE_ANNOTATION]: pvcNamespace }),
    ...(pvName === undefined ? {} : { [PV_NAME_ANNOTATION]: pvName }),
  };
}

/** Throws `conflict` when the volume that has this name already is another one than the request describes. */
export function requireSame(volume: MeshStorVolume, request: CreateVolumeRequest): void {
  const difference = findDifference(volume, request);
  if (difference === undefined) return;
  throw new DomainError('conflict', `create volume ${request.name}: it exists already with ${difference}`);
}

const COMPARED = [
  'numberOfCopies',
  'drivesPerCopy',
  'memberMissingTimeout',
  'onWitnessLoss',
  'onLastCopyLoss',
  'dataLocality',
] as const;

function findDifference(volume: MeshStorVolume, request: CreateVolumeRequest): string | undefined {
  const { spec, metadata } = volume;
  const { parameters, requiredBytes, limitBytes } = request;
  const requestedName = metadata.annotations[REQUESTED_NAME_ANNOTATION] ?? metadata.name;
  if (requestedName !== request.name) return `the name ${JSON.stringify(requestedName)}`;
  if (spec.capacityBytes < requiredBytes || (limitBytes !== 0 && spec.capacityBytes > limitBytes)) {
    return `${spec.capacityBytes} bytes, asked for ${requiredBytes} to ${limitBytes === 0 ? 'any' : limitBytes}`;
  }
  for (const key of COMPARED) {
    if (spec[key] !== parameters[key]) return `${key} ${spec[key]}, asked for ${parameters[key]}`;
  }
  if (spec.volumeMode !== request.volumeMode) return `mode ${spec.volumeMode}, asked for ${request.volumeMode}`;
  if (spec.volumeMode === 'Filesystem' && spec.fsType !== request.fsType) {
    return `filesystem ${spec.fsType}, asked for ${request.fsType}`;
  }
  const { sectorSize } = parameters;
  if (sectorSize !== 'auto' && spec.sectorSize !== undefined && spec.sectorSize !== sectorSize) {
    return `sectorSize ${spec.sectorSize}, asked for ${sectorSize}`;
  }
  return undefined;
}
