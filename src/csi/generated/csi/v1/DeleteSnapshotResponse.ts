// Made from proto/csi.proto.

export interface DeleteSnapshotResponse {}

export interface DeleteSnapshotResponse__Output {}
