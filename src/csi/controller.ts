/** The Controller service: volumes made, removed, attached and detached. Questions about them are in controller-queries.ts. */
import { DomainError } from '../api/errors.ts';
import { volumeIdFor } from '../api/names.ts';
import type { ControllerOperations, CreateVolumeRequest, SizeRange } from '../controller/operations.ts';
import { unknownVolume, whyUnusable } from './capability-match.ts';
import { queryHandlers } from './controller-queries.ts';
import type { ControllerHandlers } from './generated/csi/v1/Controller.ts';
import type { ControllerExpandVolumeRequest__Output } from './generated/csi/v1/ControllerExpandVolumeRequest.ts';
import type { ControllerExpandVolumeResponse } from './generated/csi/v1/ControllerExpandVolumeResponse.ts';
import type { ControllerPublishVolumeRequest__Output } from './generated/csi/v1/ControllerPublishVolumeRequest.ts';
import type { ControllerPublishVolumeResponse } from './generated/csi/v1/ControllerPublishVolumeResponse.ts';
import type { ControllerUnpublishVolumeRequest__Output } from './generated/csi/v1/ControllerUnpublishVolumeRequest.ts';
import type { ControllerUnpublishVolumeResponse } from './generated/csi/v1/ControllerUnpublishVolumeResponse.ts';
import type { CreateVolumeRequest__Output } from './generated/csi/v1/CreateVolumeRequest.ts';
import type { CreateVolumeResponse } from './generated/csi/v1/CreateVolumeResponse.ts';
import type { DeleteVolumeRequest__Output } from './generated/csi/v1/DeleteVolumeRequest.ts';
import type { DeleteVolumeResponse } from './generated/csi/v1/DeleteVolumeResponse.ts';
import { parseClassParameters } from './parameters.ts';
import type { CsiEdge } from './unary.ts';
import { unary } from './unary.ts';
import type { Access } from './validation.ts';
import {
  nodesIn,
  refuse,
  requireText,
  validateCapabilities,
  validateCapability,
  validateCapacityRange,
} from './validation.ts';

export function controllerHandlers(edge: CsiEdge, controller: ControllerOperations): ControllerHandlers {
  return {
    ...lifeHandlers(edge, controller),
    ...attachmentHandlers(edge, controller),
    ...expansionHandlers(edge, controller),
    ...queryHandlers(edge, controller),
    ...unsupportedHandlers(edge),
  };
}

function lifeHandlers(
  edge: CsiEdge,
  controller: ControllerOperations,
): Pick<ControllerHandlers, 'CreateVolume' | 'DeleteVolume'> {
  return {
    CreateVolume: unary<CreateVolumeRequest__Output, CreateVolumeRequest, CreateVolumeResponse>(edge, {
      name: 'CreateVolume',
      requestType: 'CreateVolumeRequest',
      validate: toCreateRequest,
      // The key of every later call on this volume.
      lockKey: (request) => volumeIdFor(request.name),
      work: async (request) => {
        const volume = await controller.createVolume(request);
        // No accessible_topology: any node can be the consumer.
        return { volume: { volumeId: volume.metadata.name, capacityBytes: volume.spec.capacityBytes } };
      },
    }),
    DeleteVolume: unary<DeleteVolumeRequest__Output, string, DeleteVolumeResponse>(edge, {
      name: 'DeleteVolume',
      requestType: 'DeleteVolumeRequest',
      validate: (request) => requireText('volume_id', request.volumeId),
      lockKey: (volumeId) => volumeId,
      work: async (volumeId) => {
        await controller.deleteVolume(volumeId);
        return {};
      },
    }),
  };
}

function toCreateRequest(request: CreateVolumeRequest__Output): CreateVolumeRequest {
  const name = requireText('name', request.name);
  const use = validateCapabilities('volume_capabilities', request.volumeCapabilities);
  if (request.volumeContentSource !== null) {
    throw refuse('volume_content_source', 'is not supported, snapshots and clones are not advertised');
  }
  if (Object.keys(request.mutableParameters).length > 0) {
    throw refuse('mutable_parameters', 'is not supported, MODIFY_VOLUME is not advertised');
  }
  const parameters = parseClassParameters(request.parameters);
  const requirements = request.accessibilityRequirements;
  return {
    name,
    ...validateCapacityRange(request.capacityRange),
    parameters,
    volumeMode: use.volumeMode,
    fsType: use.fsType === '' ? parameters.fsType : use.fsType,
    requisiteNodes: nodesIn('accessibility_requirements.requisite', requirements?.requisite ?? []),
    preferredNodes: nodesIn('accessibility_requirements.preferred', requirements?.preferred ?? []),
  };
}

interface Attachment {
  readonly volumeId: string;
  readonly nodeName: string;
}

function attachmentHandlers(
  edge: CsiEdge,
  controller: ControllerOperations,
): Pick<ControllerHandlers, 'ControllerPublishVolume' | 'ControllerUnpublishVolume'> {
  return {
    ControllerPublishVolume: unary<
      ControllerPublishVolumeRequest__Output,
      Attachment & Access,
      ControllerPublishVolumeResponse
    >(edge, {
      name: 'ControllerPublishVolume',
      requestType: 'ControllerPublishVolumeRequest',
      validate: toAttachment,
      lockKey: (request) => request.volumeId,
      work: async (request) => {
        const volume = await controller.getVolume(request.volumeId);
        if (volume === undefined) throw unknownVolume('attach', request.volumeId);
        const mismatch = whyUnusable(volume, request);
        if (mismatch !== undefined) throw refuse('volume_capability', mismatch);
        const published = await controller.publishVolume(request.volumeId, request.nodeName);
        return { publishContext: { epoch: String(published.epoch), attachmentID: published.attachmentID } };
      },
    }),
    ControllerUnpublishVolume: unary<
      ControllerUnpublishVolumeRequest__Output,
      Attachment,
      ControllerUnpublishVolumeResponse
    >(edge, {
      name: 'ControllerUnpublishVolume',
      requestType: 'ControllerUnpublishVolumeRequest',
      validate: (request) => ({
        volumeId: requireText('volume_id', request.volumeId),
        nodeName: request.nodeId === '' ? '' : requireText('node_id', request.nodeId, LONGEST_NODE_NAME),
      }),
      lockKey: (request) => request.volumeId,
      work: async (request) => {
        await controller.unpublishVolume(request.volumeId, request.nodeName);
        return {};
      },
    }),
  };
}

/** CSI 1.12 allows node ids of 256 bytes; names of Kubernetes nodes have at most 253. */
const LONGEST_NODE_NAME = 256;

function toAttachment(request: ControllerPublishVolumeRequest__Output): Attachment & Access {
  const volumeId = requireText('volume_id', request.volumeId);
  const nodeName = requireText('node_id', request.nodeId, LONGEST_NODE_NAME);
  const access = validateCapability('volume_capability', request.volumeCapability);
  if (request.readonly) throw refuse('readonly', 'is not supported here, PUBLISH_READONLY is not advertised');
  return { volumeId, nodeName, ...access };
}

interface Growth extends SizeRange {
  readonly volumeId: string;
  /** Absent when the caller sent none. */
  readonly access: Access | undefined;
}

function toGrowth(request: ControllerExpandVolumeRequest__Output): Growth {
  const volumeId = requireText('volume_id', request.volumeId);
  const { volumeCapability: capability } = request;
  if (request.capacityRange === null) throw refuse('capacity_range', 'is required');
  return {
    volumeId,
    ...validateCapacityRange(request.capacityRange),
    access: capability === null ? undefined : validateCapability('volume_capability', capability),
  };
}

function expansionHandlers(
  edge: CsiEdge,
  controller: ControllerOperations,
): Pick<ControllerHandlers, 'ControllerExpandVolume'> {
  return {
    ControllerExpandVolume: unary<ControllerExpandVolumeRequest__Output, Growth, ControllerExpandVolumeResponse>(edge, {
      name: 'ControllerExpandVolume',
      requestType: 'ControllerExpandVolumeRequest',
      validate: toGrowth,
      // It waits for holders: nobody else's call waits for it.
      lockKey: (request) => `${request.volumeId}/expansion`,
      work: async ({ volumeId, access, ...range }, { signal }) => {
        const found = access === undefined ? undefined : await controller.getVolume(volumeId);
        const mismatch = found === undefined || access === undefined ? undefined : whyUnusable(found, access);
        if (mismatch !== undefined) throw refuse('volume_capability', mismatch);
        const { spec } = await controller.expandVolume(volumeId, range, signal);
        // Array and filesystem grow on the consumer, now or when it is staged next; a repeated call has to say so, too.
        return { capacityBytes: spec.capacityBytes, nodeExpansionRequired: true };
      },
    }),
  };
}

const UNSUPPORTED = {
  CreateSnapshot: 'CREATE_DELETE_SNAPSHOT',
  DeleteSnapshot: 'CREATE_DELETE_SNAPSHOT',
  ListSnapshots: 'LIST_SNAPSHOTS',
  GetSnapshot: 'GET_SNAPSHOT',
  ControllerModifyVolume: 'MODIFY_VOLUME',
} as const;

type Unsupported = keyof typeof UNSUPPORTED;

function unsupportedHandlers(edge: CsiEdge): Pick<ControllerHandlers, Unsupported> {
  const refused = (name: Unsupported): ReturnType<typeof unary<object, undefined, never>> =>
    unary<object, undefined, never>(edge, {
      name,
      requestType: `${name}Request`,
      validate: () => undefined,
      work: () => {
        throw new DomainError('unsupported', `serve ${name}: ${UNSUPPORTED[name]} is not advertised`);
      },
    });
  return {
    CreateSnapshot: refused('CreateSnapshot'),
    DeleteSnapshot: refused('DeleteSnapshot'),
    ListSnapshots: refused('ListSnapshots'),
    GetSnapshot: refused('GetSnapshot'),
    ControllerModifyVolume: refused('ControllerModifyVolume'),
  };
}
