// Made from proto/csi.proto.

export interface ProbeRequest {}

export interface ProbeRequest__Output {}
