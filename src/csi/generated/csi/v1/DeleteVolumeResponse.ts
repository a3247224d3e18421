// Made from proto/csi.proto.

export interface DeleteVolumeResponse {}

export interface DeleteVolumeResponse__Output {}
