/** The services of proto/csi.proto for a server, as src/csi/generated describes them. */
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import type { IConversionOptions, Method, Type } from 'protobufjs';
// Without the parser, which only the generation needs: a role serves half a second of a slow machine earlier.
// Whole: Node does not see the names that this CommonJS module exports.
import protobuf from 'protobufjs/light.js';
import { CSI_DESCRIPTOR } from './generated/descriptor.ts';

export type CsiServiceName = 'Controller' | 'Identity' | 'Node';

/** Of int64, enums and fields that were not sent. The flags of scripts/generate-proto.mjs say the same. */
const CONVERSION: IConversionOptions = { longs: String, enums: String, defaults: true, oneofs: true };

let root: protobuf.Root | undefined;

/** Messages are made ready when the first of them is read or written. Throws for a service that is not served. */
export function csiService(name: CsiServiceName): ServiceDefinition {
  root ??= protobuf.Root.fromJSON(CSI_DESCRIPTOR);
  const service = root.lookupService(`csi.v1.${name}`);
  const fullName = service.fullName.replace(/^\./, '');
  const methods = service.methodsArray.map((method) => [method.name, methodOf(fullName, method)] as const);
  return Object.fromEntries(methods);
}

function methodOf(service: string, method: Method): MethodDefinition<object, object> {
  method.resolve();
  const { resolvedRequestType: request, resolvedResponseType: response } = method;
  if (request === null || response === null) throw new Error(`${service}.${method.name} has no messages`);
  return {
    path: `/${service}/${method.name}`,
    requestStream: method.requestStream === true,
    responseStream: method.responseStream === true,
    requestSerialize: (message) => serialized(request, message),
    requestDeserialize: (bytes) => deserialized(request, bytes),
    responseSerialize: (message) => serialized(response, message),
    responseDeserialize: (bytes) => deserialized(response, bytes),
  };
}

function serialized(type: Type, message: object): Buffer {
  return Buffer.from(type.encode(type.fromObject(message)).finish());
}

function deserialized(type: Type, bytes: Buffer): object {
  return type.toObject(type.decode(bytes), CONVERSION);
}
