/** The Node service: requests into the words of `NodeOperations` and back. */
import { TOPOLOGY_KEY } from '../api/names.ts';
import { DomainError } from '../api/errors.ts';
import type { ExpandRequest, NodeOperations, PublishRequest, StageRequest, VolumeStats } from '../node/operations.ts';
import type { NodeHandlers } from './generated/csi/v1/Node.ts';
import type { NodeExpandVolumeRequest__Output } from './generated/csi/v1/NodeExpandVolumeRequest.ts';
import type { NodeExpandVolumeResponse } from './generated/csi/v1/NodeExpandVolumeResponse.ts';
import type { NodeGetCapabilitiesRequest__Output } from './generated/csi/v1/NodeGetCapabilitiesRequest.ts';
import type { NodeGetCapabilitiesResponse } from './generated/csi/v1/NodeGetCapabilitiesResponse.ts';
import type { NodeGetInfoRequest__Output } from './generated/csi/v1/NodeGetInfoRequest.ts';
import type { NodeGetInfoResponse } from './generated/csi/v1/NodeGetInfoResponse.ts';
import type { NodeGetVolumeStatsRequest__Output } from './generated/csi/v1/NodeGetVolumeStatsRequest.ts';
import type { NodeGetVolumeStatsResponse } from './generated/csi/v1/NodeGetVolumeStatsResponse.ts';
import type { NodePublishVolumeRequest__Output } from './generated/csi/v1/NodePublishVolumeRequest.ts';
import type { NodePublishVolumeResponse } from './generated/csi/v1/NodePublishVolumeResponse.ts';
import type { NodeStageVolumeRequest__Output } from './generated/csi/v1/NodeStageVolumeRequest.ts';
import type { NodeStageVolumeResponse } from './generated/csi/v1/NodeStageVolumeResponse.ts';
import type { NodeUnpublishVolumeRequest__Output } from './generated/csi/v1/NodeUnpublishVolumeRequest.ts';
import type { NodeUnpublishVolumeResponse } from './generated/csi/v1/NodeUnpublishVolumeResponse.ts';
import type { NodeUnstageVolumeRequest__Output } from './generated/csi/v1/NodeUnstageVolumeRequest.ts';
import type { NodeUnstageVolumeResponse } from './generated/csi/v1/NodeUnstageVolumeResponse.ts';
import type { CsiEdge } from './unary.ts';
import { unary } from './unary.ts';
import { requirePath, requireText, validateCapability, validateCapacityRange } from './validation.ts';

const CAPABILITIES = [
  'STAGE_UNSTAGE_VOLUME',
  'GET_VOLUME_STATS',
  'EXPAND_VOLUME',
  'VOLUME_CONDITION',
  'SINGLE_NODE_MULTI_WRITER',
] as const;

export function nodeHandlers(edge: CsiEdge, node: NodeOperations): NodeHandlers {
  return { ...stagingHandlers(edge, node), ...publishingHandlers(edge, node), ...factHandlers(edge, node) };
}

type Staging = Pick<NodeHandlers, 'NodeStageVolume' | 'NodeUnstageVolume'>;
type Publishing = Pick<NodeHandlers, 'NodePublishVolume' | 'NodeUnpublishVolume'>;
type Facts = Pick<NodeHandlers, 'NodeGetVolumeStats' | 'NodeExpandVolume' | 'NodeGetCapabilities' | 'NodeGetInfo'>;

function stagingHandlers(edge: CsiEdge, node: NodeOperations): Staging {
  return {
    NodeStageVolume: unary<NodeStageVolumeRequest__Output, StageRequest, NodeStageVolumeResponse>(edge, {
      name: 'NodeStageVolume',
      requestType: 'NodeStageVolumeRequest',
      validate: toStageRequest,
      lockKey: (request) => request.volumeId,
      work: async (request, { signal }) => {
        await node.stage(request, signal);
        return {};
      },
    }),
    NodeUnstageVolume: unary<NodeUnstageVolumeRequest__Output, VolumeAtPath, NodeUnstageVolumeResponse>(edge, {
      name: 'NodeUnstageVolume',
      requestType: 'NodeUnstageVolumeRequest',
      validate: (request) => ({
        volumeId: requireText('volume_id', request.volumeId),
        path: requirePath('staging_target_path', request.stagingTargetPath),
      }),
      lockKey: (request) => request.volumeId,
      work: async (request, { signal }) => {
        await node.unstage(request.volumeId, request.path, signal);
        return {};
      },
    }),
  };
}

interface VolumeAtPath {
  readonly volumeId: string;
  readonly path: string;
}

function toStageRequest(request: NodeStageVolumeRequest__Output): StageRequest {
  return {
    volumeId: requireText('volume_id', request.volumeId),
    stagingPath: requirePath('staging_target_path', request.stagingTargetPath),
    ...validateCapability('volume_capability', request.volumeCapability),
    publishContext: request.publishContext,
  };
}

function publishingHandlers(edge: CsiEdge, node: NodeOperations): Publishing {
  return {
    NodePublishVolume: unary<NodePublishVolumeRequest__Output, PublishRequest, NodePublishVolumeResponse>(edge, {
      name: 'NodePublishVolume',
      requestType: 'NodePublishVolumeRequest',
      validate: toPublishRequest,
      lockKey: (request) => request.volumeId,
      work: async (request, { signal }) => {
        await node.publish(request, signal);
        return {};
      },
    }),
    NodeUnpublishVolume: unary<NodeUnpublishVolumeRequest__Output, VolumeAtPath, NodeUnpublishVolumeResponse>(edge, {
      name: 'NodeUnpublishVolume',
      requestType: 'NodeUnpublishVolumeRequest',
      validate: (request) => ({
        volumeId: requireText('volume_id', request.volumeId),
        path: requirePath('target_path', request.targetPath),
      }),
      lockKey: (request) => request.volumeId,
      work: async (request, { signal }) => {
        await node.unpublish(request.volumeId, request.path, signal);
        return {};
      },
    }),
  };
}

function toPublishRequest(request: NodePublishVolumeRequest__Output): PublishRequest {
  const volumeId = requireText('volume_id', request.volumeId);
  const targetPath = requirePath('target_path', request.targetPath);
  const wanted = validateCapability('volume_capability', request.volumeCapability);
  if (request.stagingTargetPath === '') {
    throw new DomainError(
      'precondition',
      'check request: staging_target_path: is required, the volume is staged first',
    );
  }
  return {
    volumeId,
    targetPath,
    stagingPath: requirePath('staging_target_path', request.stagingTargetPath),
    access: wanted.access,
    readOnly: wanted.readOnly || request.readonly,
    singleWriter: wanted.singleWriter,
    publishContext: request.publishContext,
  };
}

/** No volume is at a relative path: a wrong path like any other, for which CSI has NOT_FOUND. */
function requireVolumePath(doing: string, volumeId: string, volumePath: string): string {
  if (volumePath !== '' && !volumePath.startsWith('/')) {
    const at = JSON.stringify(volumePath);
    throw new DomainError('notFound', `${doing} ${volumeId}: it is not at ${at}, which is no absolute path`);
  }
  return requirePath('volume_path', volumePath);
}

function toStatsRequest(request: NodeGetVolumeStatsRequest__Output): VolumeAtPath {
  const volumeId = requireText('volume_id', request.volumeId);
  return { volumeId, path: requireVolumePath('reading usage of', volumeId, request.volumePath) };
}

function toExpandRequest(request: NodeExpandVolumeRequest__Output): ExpandRequest {
  const volumeId = requireText('volume_id', request.volumeId);
  const volumePath = requireVolumePath('expanding', volumeId, request.volumePath);
  if (request.volumeCapability !== null) validateCapability('volume_capability', request.volumeCapability);
  return { volumeId, volumePath, ...validateCapacityRange(request.capacityRange) };
}

function factHandlers(edge: CsiEdge, node: NodeOperations): Facts {
  return {
    NodeGetVolumeStats: unary<NodeGetVolumeStatsRequest__Output, VolumeAtPath, NodeGetVolumeStatsResponse>(edge, {
      name: 'NodeGetVolumeStats',
      requestType: 'NodeGetVolumeStatsRequest',
      validate: toStatsRequest,
      work: async (request, { signal }) => toStatsResponse(await node.stats(request.volumeId, request.path, signal)),
    }),
    NodeExpandVolume: unary<NodeExpandVolumeRequest__Output, ExpandRequest, NodeExpandVolumeResponse>(edge, {
      name: 'NodeExpandVolume',
      requestType: 'NodeExpandVolumeRequest',
      validate: toExpandRequest,
      // It waits for members: a pod that goes does not wait for it.
      lockKey: (request) => `${request.volumeId}/expansion`,
      work: async (request, { signal }) => ({ capacityBytes: await node.expand(request, signal) }),
    }),
    NodeGetCapabilities: unary<NodeGetCapabilitiesRequest__Output, undefined, NodeGetCapabilitiesResponse>(edge, {
      name: 'NodeGetCapabilities',
      requestType: 'NodeGetCapabilitiesRequest',
      validate: () => undefined,
      work: () => ({ capabilities: CAPABILITIES.map((type) => ({ rpc: { type } })) }),
      isAlwaysServed: true,
    }),
    NodeGetInfo: unary<NodeGetInfoRequest__Output, undefined, NodeGetInfoResponse>(edge, {
      name: 'NodeGetInfo',
      requestType: 'NodeGetInfoRequest',
      validate: () => undefined,
      work: () => ({
        nodeId: node.nodeName,
        accessibleTopology: { segments: { [TOPOLOGY_KEY]: node.nodeName } },
      }),
      isAlwaysServed: true,
    }),
  };
}

function toStatsResponse(stats: VolumeStats): NodeGetVolumeStatsResponse {
  const { usage } = stats;
  return {
    usage:
      usage === undefined
        ? [{ unit: 'BYTES', total: stats.deviceBytes }]
        : [
            { unit: 'BYTES', total: usage.totalBytes, used: usage.usedBytes, available: usage.availableBytes },
            {
              unit: 'INODES',
              total: usage.totalInodes,
              used: usage.totalInodes - usage.freeInodes,
              available: usage.freeInodes,
            },
          ],
    volumeCondition: { abnormal: stats.abnormal, message: stats.message },
  };
}
