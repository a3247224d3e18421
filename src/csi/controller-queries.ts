/** The Controller service's questions: what there is, how it is, and what would fit. Nothing here takes a lock. */
import { SMALLEST_VOLUME_BYTES } from '../api/layout.ts';
import { DomainError } from '../api/errors.ts';
import { TOPOLOGY_KEY } from '../api/names.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import type { ClassParameters, ControllerOperations } from '../controller/operations.ts';
import { unknownVolume, whyUnusable } from './capability-match.ts';
import type { ControllerHandlers } from './generated/csi/v1/Controller.ts';
import type { ControllerGetCapabilitiesRequest__Output } from './generated/csi/v1/ControllerGetCapabilitiesRequest.ts';
import type { ControllerGetCapabilitiesResponse } from './generated/csi/v1/ControllerGetCapabilitiesResponse.ts';
import type { ControllerGetVolumeRequest__Output } from './generated/csi/v1/ControllerGetVolumeRequest.ts';
import type { ControllerGetVolumeResponse } from './generated/csi/v1/ControllerGetVolumeResponse.ts';
import type { GetCapacityRequest__Output } from './generated/csi/v1/GetCapacityRequest.ts';
import type { GetCapacityResponse } from './generated/csi/v1/GetCapacityResponse.ts';
import type { ListVolumesRequest__Output } from './generated/csi/v1/ListVolumesRequest.ts';
import type { ListVolumesResponse } from './generated/csi/v1/ListVolumesResponse.ts';
import type { ValidateVolumeCapabilitiesRequest__Output } from './generated/csi/v1/ValidateVolumeCapabilitiesRequest.ts';
import type { ValidateVolumeCapabilitiesResponse } from './generated/csi/v1/ValidateVolumeCapabilitiesResponse.ts';
import { parseClassParameters } from './parameters.ts';
import type { CsiEdge } from './unary.ts';
import { unary } from './unary.ts';
import { refuse, requireText, validateCapabilities, validateCapability } from './validation.ts';
import { conditionOf } from './volume-condition.ts';

const CAPABILITIES = [
  'CREATE_DELETE_VOLUME',
  'PUBLISH_UNPUBLISH_VOLUME',
  'LIST_VOLUMES',
  'LIST_VOLUMES_PUBLISHED_NODES',
  'GET_CAPACITY',
  'EXPAND_VOLUME',
  'GET_VOLUME',
  'VOLUME_CONDITION',
  'SINGLE_NODE_MULTI_WRITER',
] as const;

type Listing = 'ListVolumes' | 'ControllerGetVolume';
type Asking = 'ControllerGetCapabilities' | 'GetCapacity' | 'ValidateVolumeCapabilities';

export function queryHandlers(
  edge: CsiEdge,
  controller: ControllerOperations,
): Pick<ControllerHandlers, Listing | Asking> {
  return { ...listingHandlers(edge, controller), ...askingHandlers(edge, controller) };
}

function listingHandlers(edge: CsiEdge, controller: ControllerOperations): Pick<ControllerHandlers, Listing> {
  return {
    ListVolumes: unary<ListVolumesRequest__Output, Page, ListVolumesResponse>(edge, {
      name: 'ListVolumes',
      requestType: 'ListVolumesRequest',
      validate: (request) => {
        if (request.maxEntries < 0)
          throw refuse('max_entries', `expected no negative number, got ${request.maxEntries}`);
        return { after: readToken(request.startingToken), maxEntries: request.maxEntries };
      },
      work: (page) => listPage(controller.listVolumes(), page),
    }),
    ControllerGetVolume: unary<ControllerGetVolumeRequest__Output, string, ControllerGetVolumeResponse>(edge, {
      name: 'ControllerGetVolume',
      requestType: 'ControllerGetVolumeRequest',
      validate: (request) => requireText('volume_id', request.volumeId),
      work: async (volumeId) => {
        const volume = await controller.getVolume(volumeId);
        if (volume === undefined) throw unknownVolume('get', volumeId);
        return toEntry(volume);
      },
    }),
  };
}

interface Page {
  /** Id of the last volume on the page before; empty for the first page. */
  readonly after: string;
  /** 0: no limit. */
  readonly maxEntries: number;
}

/** A token carries the last id of its page, so that it stays good while volumes come and go. */
const TOKEN_PREFIX = 'after:';

function makeToken(volumeId: string): string {
  return Buffer.from(TOKEN_PREFIX + volumeId).toString('base64url');
}

function readToken(token: string): string {
  if (token === '') return '';
  const text = Buffer.from(token, 'base64url').toString();
  const volumeId = text.startsWith(TOKEN_PREFIX) ? text.slice(TOKEN_PREFIX.length) : '';
  if (volumeId === '' || makeToken(volumeId) !== token) {
    throw new DomainError(
      'pending',
      `check request: starting_token: ${JSON.stringify(token.slice(0, 128))} is no token of this driver, list from the start`,
    );
  }
  return volumeId;
}

function listPage(volumes: readonly MeshStorVolume[], page: Page): ListVolumesResponse {
  const rest = volumes.filter((volume) => volume.metadata.name > page.after);
  const shown = page.maxEntries === 0 ? rest : rest.slice(0, page.maxEntries);
  const last = shown.at(-1);
  const isMore = shown.length < rest.length && last !== undefined;
  return { entries: shown.map(toEntry), nextToken: isMore ? makeToken(last.metadata.name) : '' };
}

function toEntry(volume: MeshStorVolume): ControllerGetVolumeResponse {
  const nodeName = volume.status?.nodeName ?? '';
  return {
    volume: { volumeId: volume.metadata.name, capacityBytes: volume.spec.capacityBytes },
    status: { publishedNodeIds: nodeName === '' ? [] : [nodeName], volumeCondition: conditionOf(volume) },
  };
}

interface Capacity {
  readonly parameters: ClassParameters;
  /** Undefined: anywhere. Empty: at a place that is none of our nodes. */
  readonly nodeName: string | undefined;
}

function askingHandlers(edge: CsiEdge, controller: ControllerOperations): Pick<ControllerHandlers, Asking> {
  return {
    ControllerGetCapabilities: unary<
      ControllerGetCapabilitiesRequest__Output,
      undefined,
      ControllerGetCapabilitiesResponse
    >(edge, {
      name: 'ControllerGetCapabilities',
      requestType: 'ControllerGetCapabilitiesRequest',
      validate: () => undefined,
      work: () => ({ capabilities: CAPABILITIES.map((type) => ({ rpc: { type } })) }),
      isAlwaysServed: true,
    }),
    GetCapacity: unary<GetCapacityRequest__Output, Capacity, GetCapacityResponse>(edge, {
      name: 'GetCapacity',
      requestType: 'GetCapacityRequest',
      validate: (request) => {
        if (request.volumeCapabilities.length > 0) {
          validateCapabilities('volume_capabilities', request.volumeCapabilities);
        }
        const segments = request.accessibleTopology?.segments;
        return {
          parameters: parseClassParameters(request.parameters),
          nodeName: segments === undefined ? undefined : (segments[TOPOLOGY_KEY] ?? ''),
        };
      },
      work: ({ parameters, nodeName }) => {
        const isKnown = nodeName === undefined || controller.knowsNode(nodeName);
        const bytes = isKnown ? controller.capacity(parameters, nodeName) : 0;
        // The largest single volume is all that is promised: volumes share drives, so no sum would hold.
        return {
          availableCapacity: bytes,
          maximumVolumeSize: { value: bytes },
          minimumVolumeSize: { value: SMALLEST_VOLUME_BYTES },
        };
      },
    }),
    ValidateVolumeCapabilities: validateCapabilitiesHandler(edge, controller),
  };
}

function validateCapabilitiesHandler(
  edge: CsiEdge,
  controller: ControllerOperations,
): ControllerHandlers['ValidateVolumeCapabilities'] {
  return unary<
    ValidateVolumeCapabilitiesRequest__Output,
    ValidateVolumeCapabilitiesRequest__Output,
    ValidateVolumeCapabilitiesResponse
  >(edge, {
    name: 'ValidateVolumeCapabilities',
    requestType: 'ValidateVolumeCapabilitiesRequest',
    validate: (request) => {
      requireText('volume_id', request.volumeId);
      if (request.volumeCapabilities.length === 0) {
        throw refuse('volume_capabilities', 'expected at least one capability');
      }
      return request;
    },
    work: async (request) => {
      const volume = await controller.getVolume(request.volumeId);
      if (volume === undefined) throw unknownVolume('validate', request.volumeId);
      const message = whyNotConfirmed(volume, request);
      if (message !== undefined) return { message };
      return {
        confirmed: {
          volumeContext: request.volumeContext,
          volumeCapabilities: request.volumeCapabilities,
          parameters: request.parameters,
        },
      };
    },
  });
}

/** An unsupported capability is an answer here, not an error. */
function whyNotConfirmed(
  volume: MeshStorVolume,
  request: ValidateVolumeCapabilitiesRequest__Output,
): string | undefined {
  if (Object.keys(request.mutableParameters).length > 0) return 'mutable_parameters: MODIFY_VOLUME is not advertised';
  for (const [index, capability] of request.volumeCapabilities.entries()) {
    try {
      const mismatch = whyUnusable(volume, validateCapability(`volume_capabilities[${index}]`, capability));
      if (mismatch !== undefined) return mismatch;
    } catch (error: unknown) {
      if (error instanceof DomainError && error.kind === 'invalid') return error.message;
      throw error;
    }
  }
  return undefined;
}
