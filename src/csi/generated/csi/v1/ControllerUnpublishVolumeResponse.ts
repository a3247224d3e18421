// Made from proto/csi.proto.

export interface ControllerUnpublishVolumeResponse {}

export interface ControllerUnpublishVolumeResponse__Output {}
