// Made from proto/csi.proto.

export interface NodeUnstageVolumeResponse {}

export interface NodeUnstageVolumeResponse__Output {}
