import { join } from 'node:path';
import { loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { packageRoot } from '../support/package-root.ts';
import type { ProtoGrpcType } from './generated/csi.ts';

export type CsiPackage = ProtoGrpcType['csi']['v1'];

let loaded: CsiPackage | undefined;

/** The services of proto/csi.proto, read once. The options are those of scripts/generate-proto.mjs. */
export function loadCsiPackage(): CsiPackage {
  if (loaded === undefined) {
    const path = join(packageRoot(import.meta.url), 'proto', 'csi.proto');
    const definition = loadSync(path, { keepCase: false, longs: String, enums: String, defaults: true, oneofs: true });
    // The generated types describe exactly what this loads; the loader itself cannot say so.
    loaded = (loadPackageDefinition(definition) as unknown as ProtoGrpcType).csi.v1;
  }
  return loaded;
}
