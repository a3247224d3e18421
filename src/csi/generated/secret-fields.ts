// Made from proto/csi.proto.
/** Fields marked `csi_secret`, by request message: never logged. Made from proto/csi.proto. */
export const SECRET_FIELDS: Readonly<Record<string, readonly string[]>> = {
  NodeStageVolumeRequest: ['secrets'],
  NodePublishVolumeRequest: ['secrets'],
  NodeExpandVolumeRequest: ['secrets'],
  CreateVolumeRequest: ['secrets'],
  DeleteVolumeRequest: ['secrets'],
  ControllerPublishVolumeRequest: ['secrets'],
  ControllerUnpublishVolumeRequest: ['secrets'],
  ValidateVolumeCapabilitiesRequest: ['secrets'],
  CreateSnapshotRequest: ['secrets'],
  DeleteSnapshotRequest: ['secrets'],
  ListSnapshotsRequest: ['secrets'],
  GetSnapshotRequest: ['secrets'],
  ControllerExpandVolumeRequest: ['secrets'],
  ControllerModifyVolumeRequest: ['secrets'],
  CreateVolumeGroupSnapshotRequest: ['secrets'],
  DeleteVolumeGroupSnapshotRequest: ['secrets'],
  GetVolumeGroupSnapshotRequest: ['secrets'],
  GetMetadataAllocatedRequest: ['secrets'],
  GetMetadataDeltaRequest: ['secrets'],
};
