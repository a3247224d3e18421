// Made from proto/csi.proto.
/** What src/csi/proto.ts builds messages and services from: parsed here and not at every start. */
export const CSI_DESCRIPTOR: object = {
  nested: {
    csi: {
      nested: {
        v1: {
          nested: {
            CapacityRange: {
              fields: { requiredBytes: { type: 'int64', id: 1 }, limitBytes: { type: 'int64', id: 2 } },
            },
            Controller: {
              methods: {
                CreateVolume: { requestType: 'CreateVolumeRequest', responseType: 'CreateVolumeResponse' },
                DeleteVolume: { requestType: 'DeleteVolumeRequest', responseType: 'DeleteVolumeResponse' },
                ControllerPublishVolume: {
                  requestType: 'ControllerPublishVolumeRequest',
                  responseType: 'ControllerPublishVolumeResponse',
                },
                ControllerUnpublishVolume: {
                  requestType: 'ControllerUnpublishVolumeRequest',
                  responseType: 'ControllerUnpublishVolumeResponse',
                },
                ValidateVolumeCapabilities: {
                  requestType: 'ValidateVolumeCapabilitiesRequest',
                  responseType: 'ValidateVolumeCapabilitiesResponse',
                },
                ListVolumes: { requestType: 'ListVolumesRequest', responseType: 'ListVolumesResponse' },
                GetCapacity: { requestType: 'GetCapacityRequest', responseType: 'GetCapacityResponse' },
                ControllerGetCapabilities: {
                  requestType: 'ControllerGetCapabilitiesRequest',
                  responseType: 'ControllerGetCapabilitiesResponse',
                },
                CreateSnapshot: { requestType: 'CreateSnapshotRequest', responseType: 'CreateSnapshotResponse' },
                DeleteSnapshot: { requestType: 'DeleteSnapshotRequest', responseType: 'DeleteSnapshotResponse' },
                ListSnapshots: { requestType: 'ListSnapshotsRequest', responseType: 'ListSnapshotsResponse' },
                GetSnapshot: { requestType: 'GetSnapshotRequest', responseType: 'GetSnapshotResponse' },
                ControllerExpandVolume: {
                  requestType: 'ControllerExpandVolumeRequest',
                  responseType: 'ControllerExpandVolumeResponse',
                },
                ControllerGetVolume: {
                  requestType: 'ControllerGetVolumeRequest',
                  responseType: 'ControllerGetVolumeResponse',
                },
                ControllerModifyVolume: {
                  requestType: 'ControllerModifyVolumeRequest',
                  responseType: 'ControllerModifyVolumeResponse',
                },
              },
            },
            ControllerExpandVolumeRequest: {
              fields: {
                volumeId: { type: 'string', id: 1 },
                capacityRange: { type: 'CapacityRange', id: 2 },
                secrets: { keyType: 'string', type: 'string', id: 3 },
                volumeCapability: { type: 'VolumeCapability', id: 4 },
              },
            },
            ControllerExpandVolumeResponse: {
              fields: { capacityBytes: { type: 'int64', id: 1 }, nodeExpansionRequired: { type: 'bool', id: 2 } },
            },
            ControllerGetCapabilitiesRequest: { fields: {} },
            ControllerGetCapabilitiesResponse: {
              fields: { capabilities: { rule: 'repeated', type: 'ControllerServiceCapability', id: 1 } },
            },
            ControllerGetVolumeRequest: { fields: { volumeId: { type: 'string', id: 1 } } },
            ControllerGetVolumeResponse: {
              fields: { volume: { type: 'Volume', id: 1 }, status: { type: 'VolumeStatus', id: 2 } },
              nested: {
                VolumeStatus: {
                  fields: {
                    publishedNodeIds: { rule: 'repeated', type: 'string', id: 1 },
                    volumeCondition: { type: 'VolumeCondition', id: 2 },
                  },
                },
              },
            },
            ControllerModifyVolumeRequest: {
              fields: {
                volumeId: { type: 'string', id: 1 },
                secrets: { keyType: 'string', type: 'string', id: 2 },
                mutableParameters: { keyType: 'string', type: 'string', id: 3 },
              },
            },
            ControllerModifyVolumeResponse: { fields: {} },
            ControllerPublishVolumeRequest: {
              fields: {
                volumeId: { type: 'string', id: 1 },
                nodeId: { type: 'string', id: 2 },
                volumeCapability: { type: 'VolumeCapability', id: 3 },
                readonly: { type: 'bool', id: 4 },
                secrets: { keyType: 'string', type: 'string', id: 5 },
                volumeContext: { keyType: 'string', type: 'string', id: 6 },
              },
            },
            ControllerPublishVolumeResponse: {
              fields: { publishContext: { keyType: 'string', type: 'string', id: 1 } },
            },
            ControllerServiceCapability: {
              oneofs: { type: { oneof: ['rpc'] } },
              fields: { rpc: { type: 'RPC', id: 1 } },
              nested: {
                RPC: {
                  fields: { type: { type: 'Type', id: 1 } },
                  nested: {
                    Type: {
                      values: {
                        UNKNOWN: 0,
                        CREATE_DELETE_VOLUME: 1,
                        PUBLISH_UNPUBLISH_VOLUME: 2,
                        LIST_VOLUMES: 3,
                        GET_CAPACITY: 4,
                        CREATE_DELETE_SNAPSHOT: 5,
                        LIST_SNAPSHOTS: 6,
                        CLONE_VOLUME: 7,
                        PUBLISH_READONLY: 8,
                        EXPAND_VOLUME: 9,
                        LIST_VOLUMES_PUBLISHED_NODES: 10,
                        VOLUME_CONDITION: 11,
                        GET_VOLUME: 12,
                        SINGLE_NODE_MULTI_WRITER: 13,
                        MODIFY_VOLUME: 14,
                        GET_SNAPSHOT: 15,
                      },
                    },
                  },
                },
              },
            },
            ControllerUnpublishVolumeRequest: {
              fields: {
                volumeId: { type: 'string', id: 1 },
                nodeId: { type: 'string', id: 2 },
                secrets: { keyType: 'string', type: 'string', id: 3 },
              },
            },
            ControllerUnpublishVolumeResponse: { fields: {} },
            CreateSnapshotRequest: {
              fields: {
                sourceVolumeId: { type: 'string', id: 1 },
                name: { type: 'string', id: 2 },
                secrets: { keyType: 'string', type: 'string', id: 3 },
                parameters: { keyType: 'string', type: 'string', id: 4 },
              },
            },
            CreateSnapshotResponse: { fields: { snapshot: { type: 'Snapshot', id: 1 } } },
            CreateVolumeRequest: {
              fields: {
                name: { type: 'string', id: 1 },
                capacityRange: { type: 'CapacityRange', id: 2 },
                volumeCapabilities: { rule: 'repeated', type: 'VolumeCapability', id: 3 },
                parameters: { keyType: 'string', type: 'string', id: 4 },
                secrets: { keyType: 'string', type: 'string', id: 5 },
                volumeContentSource: { type: 'VolumeContentSource', id: 6 },
                accessibilityRequirements: { type: 'TopologyRequirement', id: 7 },
                mutableParameters: { keyType: 'string', type: 'string', id: 8 },
              },
            },
            CreateVolumeResponse: { fields: { volume: { type: 'Volume', id: 1 } } },
            DeleteSnapshotRequest: {
              fields: { snapshotId: { type: 'string', id: 1 }, secrets: { keyType: 'string', type: 'string', id: 2 } },
            },
            DeleteSnapshotResponse: { fields: {} },
            DeleteVolumeRequest: {
              fields: { volumeId: { type: 'string', id: 1 }, secrets: { keyType: 'string', type: 'string', id: 2 } },
            },
            DeleteVolumeResponse: { fields: {} },
            GetCapacityRequest: {
              fields: {
                volumeCapabilities: { rule: 'repeated', type: 'VolumeCapability', id: 1 },
                parameters: { keyType: 'string', type: 'string', id: 2 },
                accessibleTopology: { type: 'Topology', id: 3 },
              },
            },
            GetCapacityResponse: {
              fields: {
                availableCapacity: { type: 'int64', id: 1 },
                maximumVolumeSize: { type: 'google.protobuf.Int64Value', id: 2 },
                minimumVolumeSize: { type: 'google.protobuf.Int64Value', id: 3 },
              },
            },
            GetPluginCapabilitiesRequest: { fields: {} },
            GetPluginCapabilitiesResponse: {
              fields: { capabilities: { rule: 'repeated', type: 'PluginCapability', id: 1 } },
            },
            GetPluginInfoRequest: { fields: {} },
            GetPluginInfoResponse: {
              fields: {
                name: { type: 'string', id: 1 },
                vendorVersion: { type: 'string', id: 2 },
                manifest: { keyType: 'string', type: 'string', id: 3 },
              },
            },
            GetSnapshotRequest: {
              fields: { snapshotId: { type: 'string', id: 1 }, secrets: { keyType: 'string', type: 'string', id: 2 } },
            },
            GetSnapshotResponse: { fields: { snapshot: { type: 'Snapshot', id: 1 } } },
            Identity: {
              methods: {
                GetPluginInfo: { requestType: 'GetPluginInfoRequest', responseType: 'GetPluginInfoResponse' },
                GetPluginCapabilities: {
                  requestType: 'GetPluginCapabilitiesRequest',
                  responseType: 'GetPluginCapabilitiesResponse',
                },
                Probe: { requestType: 'ProbeRequest', responseType: 'ProbeResponse' },
              },
            },
            ListSnapshotsRequest: {
              fields: {
                maxEntries: { type: 'int32', id: 1 },
                startingToken: { type: 'string', id: 2 },
                sourceVolumeId: { type: 'string', id: 3 },
                snapshotId: { type: 'string', id: 4 },
                secrets: { keyType: 'string', type: 'string', id: 5 },
              },
            },
            ListSnapshotsResponse: {
              fields: { entries: { rule: 'repeated', type: 'Entry', id: 1 }, nextToken: { type: 'string', id: 2 } },
              nested: { Entry: { fields: { snapshot: { type: 'Snapshot', id: 1 } } } },
            },
            ListVolumesRequest: {
              fields: { maxEntries: { type: 'int32', id: 1 }, startingToken: { type: 'string', id: 2 } },
            },
            ListVolumesResponse: {
              fields: { entries: { rule: 'repeated', type: 'Entry', id: 1 }, nextToken: { type: 'string', id: 2 } },
              nested: {
                VolumeStatus: {
                  fields: {
                    publishedNodeIds: { rule: 'repeated', type: 'string', id: 1 },
                    volumeCondition: { type: 'VolumeCondition', id: 2 },
                  },
                },
                Entry: { fields: { volume: { type: 'Volume', id: 1 }, status: { type: 'VolumeStatus', id: 2 } } },
              },
            },
            Node: {
              methods: {
                NodeStageVolume: { requestType: 'NodeStageVolumeRequest', responseType: 'NodeStageVolumeResponse' },
                NodeUnstageVolume: {
                  requestType: 'NodeUnstageVolumeRequest',
                  responseType: 'NodeUnstageVolumeResponse',
                },
                NodePublishVolume: {
                  requestType: 'NodePublishVolumeRequest',
                  responseType: 'NodePublishVolumeResponse',
                },
                NodeUnpublishVolume: {
                  requestType: 'NodeUnpublishVolumeRequest',
                  responseType: 'NodeUnpublishVolumeResponse',
                },
                NodeGetVolumeStats: {
                  requestType: 'NodeGetVolumeStatsRequest',
                  responseType: 'NodeGetVolumeStatsResponse',
                },
                NodeExpandVolume: { requestType: 'NodeExpandVolumeRequest', responseType: 'NodeExpandVolumeResponse' },
                NodeGetCapabilities: {
                  requestType: 'NodeGetCapabilitiesRequest',
                  responseType: 'NodeGetCapabilitiesResponse',
                },
                NodeGetInfo: { requestType: 'NodeGetInfoRequest', responseType: 'NodeGetInfoResponse' },
              },
            },
            NodeExpandVolumeRequest: {
              fields: {
                volumeId: { type: 'string', id: 1 },
                volumePath: { type: 'string', id: 2 },
                capacityRange: { type: 'CapacityRange', id: 3 },
                stagingTargetPath: { type: 'string', id: 4 },
                volumeCapability: { type: 'VolumeCapability', id: 5 },
                secrets: { keyType: 'string', type: 'string', id: 6 },
              },
            },
            NodeExpandVolumeResponse: { fields: { capacityBytes: { type: 'int64', id: 1 } } },
            NodeGetCapabilitiesRequest: { fields: {} },
            NodeGetCapabilitiesResponse: {
              fields: { capabilities: { rule: 'repeated', type: 'NodeServiceCapability', id: 1 } },
            },
            NodeGetInfoRequest: { fields: {} },
            NodeGetInfoResponse: {
              fields: {
                nodeId: { type: 'string', id: 1 },
                maxVolumesPerNode: { type: 'int64', id: 2 },
                accessibleTopology: { type: 'Topology', id: 3 },
              },
            },
            NodeGetVolumeStatsRequest: {
              fields: {
                volumeId: { type: 'string', id: 1 },
                volumePath: { type: 'string', id: 2 },
                stagingTargetPath: { type: 'string', id: 3 },
              },
            },
            NodeGetVolumeStatsResponse: {
              fields: {
                usage: { rule: 'repeated', type: 'VolumeUsage', id: 1 },
                volumeCondition: { type: 'VolumeCondition', id: 2 },
              },
            },
            NodePublishVolumeRequest: {
              fields: {
                volumeId: { type: 'string', id: 1 },
                publishContext: { keyType: 'string', type: 'string', id: 2 },
                stagingTargetPath: { type: 'string', id: 3 },
                targetPath: { type: 'string', id: 4 },
                volumeCapability: { type: 'VolumeCapability', id: 5 },
                readonly: { type: 'bool', id: 6 },
                secrets: { keyType: 'string', type: 'string', id: 7 },
                volumeContext: { keyType: 'string', type: 'string', id: 8 },
              },
            },
            NodePublishVolumeResponse: { fields: {} },
            NodeServiceCapability: {
              oneofs: { type: { oneof: ['rpc'] } },
              fields: { rpc: { type: 'RPC', id: 1 } },
              nested: {
                RPC: {
                  fields: { type: { type: 'Type', id: 1 } },
                  nested: {
                    Type: {
                      values: {
                        UNKNOWN: 0,
                        STAGE_UNSTAGE_VOLUME: 1,
                        GET_VOLUME_STATS: 2,
                        EXPAND_VOLUME: 3,
                        VOLUME_CONDITION: 4,
                        SINGLE_NODE_MULTI_WRITER: 5,
                        VOLUME_MOUNT_GROUP: 6,
                      },
                    },
                  },
                },
              },
            },
            NodeStageVolumeRequest: {
              fields: {
                volumeId: { type: 'string', id: 1 },
                publishContext: { keyType: 'string', type: 'string', id: 2 },
                stagingTargetPath: { type: 'string', id: 3 },
                volumeCapability: { type: 'VolumeCapability', id: 4 },
                secrets: { keyType: 'string', type: 'string', id: 5 },
                volumeContext: { keyType: 'string', type: 'string', id: 6 },
              },
            },
            NodeStageVolumeResponse: { fields: {} },
            NodeUnpublishVolumeRequest: {
              fields: { volumeId: { type: 'string', id: 1 }, targetPath: { type: 'string', id: 2 } },
            },
            NodeUnpublishVolumeResponse: { fields: {} },
            NodeUnstageVolumeRequest: {
              fields: { volumeId: { type: 'string', id: 1 }, stagingTargetPath: { type: 'string', id: 2 } },
            },
            NodeUnstageVolumeResponse: { fields: {} },
            PluginCapability: {
              oneofs: { type: { oneof: ['service', 'volumeExpansion'] } },
              fields: { service: { type: 'Service', id: 1 }, volumeExpansion: { type: 'VolumeExpansion', id: 2 } },
              nested: {
                Service: {
                  fields: { type: { type: 'Type', id: 1 } },
                  nested: {
                    Type: {
                      values: {
                        UNKNOWN: 0,
                        CONTROLLER_SERVICE: 1,
                        VOLUME_ACCESSIBILITY_CONSTRAINTS: 2,
                        GROUP_CONTROLLER_SERVICE: 3,
                        SNAPSHOT_METADATA_SERVICE: 4,
                      },
                    },
                  },
                },
                VolumeExpansion: {
                  fields: { type: { type: 'Type', id: 1 } },
                  nested: { Type: { values: { UNKNOWN: 0, ONLINE: 1, OFFLINE: 2 } } },
                },
              },
            },
            ProbeRequest: { fields: {} },
            ProbeResponse: { fields: { ready: { type: 'google.protobuf.BoolValue', id: 1 } } },
            Snapshot: {
              fields: {
                sizeBytes: { type: 'int64', id: 1 },
                snapshotId: { type: 'string', id: 2 },
                sourceVolumeId: { type: 'string', id: 3 },
                creationTime: { type: 'google.protobuf.Timestamp', id: 4 },
                readyToUse: { type: 'bool', id: 5 },
                groupSnapshotId: { type: 'string', id: 6 },
              },
            },
            Topology: { fields: { segments: { keyType: 'string', type: 'string', id: 1 } } },
            TopologyRequirement: {
              fields: {
                requisite: { rule: 'repeated', type: 'Topology', id: 1 },
                preferred: { rule: 'repeated', type: 'Topology', id: 2 },
              },
            },
            ValidateVolumeCapabilitiesRequest: {
              fields: {
                volumeId: { type: 'string', id: 1 },
                volumeContext: { keyType: 'string', type: 'string', id: 2 },
                volumeCapabilities: { rule: 'repeated', type: 'VolumeCapability', id: 3 },
                parameters: { keyType: 'string', type: 'string', id: 4 },
                secrets: { keyType: 'string', type: 'string', id: 5 },
                mutableParameters: { keyType: 'string', type: 'string', id: 6 },
              },
            },
            ValidateVolumeCapabilitiesResponse: {
              fields: { confirmed: { type: 'Confirmed', id: 1 }, message: { type: 'string', id: 2 } },
              nested: {
                Confirmed: {
                  fields: {
                    volumeContext: { keyType: 'string', type: 'string', id: 1 },
                    volumeCapabilities: { rule: 'repeated', type: 'VolumeCapability', id: 2 },
                    parameters: { keyType: 'string', type: 'string', id: 3 },
                    mutableParameters: { keyType: 'string', type: 'string', id: 4 },
                  },
                },
              },
            },
            Volume: {
              fields: {
                capacityBytes: { type: 'int64', id: 1 },
                volumeId: { type: 'string', id: 2 },
                volumeContext: { keyType: 'string', type: 'string', id: 3 },
                contentSource: { type: 'VolumeContentSource', id: 4 },
                accessibleTopology: { rule: 'repeated', type: 'Topology', id: 5 },
              },
            },
            VolumeCapability: {
              oneofs: { accessType: { oneof: ['block', 'mount'] } },
              fields: {
                block: { type: 'BlockVolume', id: 1 },
                mount: { type: 'MountVolume', id: 2 },
                accessMode: { type: 'AccessMode', id: 3 },
              },
              nested: {
                BlockVolume: { fields: {} },
                MountVolume: {
                  fields: {
                    fsType: { type: 'string', id: 1 },
                    mountFlags: { rule: 'repeated', type: 'string', id: 2 },
                    volumeMountGroup: { type: 'string', id: 3 },
                  },
                },
                AccessMode: {
                  fields: { mode: { type: 'Mode', id: 1 } },
                  nested: {
                    Mode: {
                      values: {
                        UNKNOWN: 0,
                        SINGLE_NODE_WRITER: 1,
                        SINGLE_NODE_READER_ONLY: 2,
                        MULTI_NODE_READER_ONLY: 3,
                        MULTI_NODE_SINGLE_WRITER: 4,
                        MULTI_NODE_MULTI_WRITER: 5,
                        SINGLE_NODE_SINGLE_WRITER: 6,
                        SINGLE_NODE_MULTI_WRITER: 7,
                      },
                    },
                  },
                },
              },
            },
            VolumeCondition: { fields: { abnormal: { type: 'bool', id: 1 }, message: { type: 'string', id: 2 } } },
            VolumeContentSource: {
              oneofs: { type: { oneof: ['snapshot', 'volume'] } },
              fields: { snapshot: { type: 'SnapshotSource', id: 1 }, volume: { type: 'VolumeSource', id: 2 } },
              nested: {
                SnapshotSource: { fields: { snapshotId: { type: 'string', id: 1 } } },
                VolumeSource: { fields: { volumeId: { type: 'string', id: 1 } } },
              },
            },
            VolumeUsage: {
              fields: {
                available: { type: 'int64', id: 1 },
                total: { type: 'int64', id: 2 },
                used: { type: 'int64', id: 3 },
                unit: { type: 'Unit', id: 4 },
              },
              nested: { Unit: { values: { UNKNOWN: 0, BYTES: 1, INODES: 2 } } },
            },
          },
        },
      },
    },
    google: {
      nested: {
        protobuf: {
          nested: {
            BoolValue: { fields: { value: { type: 'bool', id: 1 } } },
            Int64Value: { fields: { value: { type: 'int64', id: 1 } } },
            Timestamp: { fields: { seconds: { type: 'int64', id: 1 }, nanos: { type: 'int32', id: 2 } } },
          },
        },
      },
    },
  },
};
