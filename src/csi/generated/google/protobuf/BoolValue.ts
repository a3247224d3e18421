// Made from proto/csi.proto.

export interface BoolValue {
  value?: boolean;
}

export interface BoolValue__Output {
  value: boolean;
}
