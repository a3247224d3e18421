/** A CSI client as the sidecars and kubelet are: typed calls over a unix socket, one promise each. */
import { fileURLToPath } from 'node:url';
import type { CallOptions, Client, ServiceError } from '@grpc/grpc-js';
import { Metadata, credentials, loadPackageDefinition, status } from '@grpc/grpc-js';
import type { MethodDefinition } from '@grpc/proto-loader';
import { loadSync } from '@grpc/proto-loader';
import type { ProtoGrpcType } from '../../src/csi/generated/csi.ts';
import type { ControllerDefinition } from '../../src/csi/generated/csi/v1/Controller.ts';
import type { IdentityDefinition } from '../../src/csi/generated/csi/v1/Identity.ts';
import type { NodeDefinition } from '../../src/csi/generated/csi/v1/Node.ts';

export interface CallSettings {
  readonly deadlineMs?: number;
  /** Cancels the call. */
  readonly signal?: AbortSignal;
}

/** One promise for each call of a service, by the RPC's own name. */
export type Calls<Definition> = {
  readonly [Name in keyof Definition]: Definition[Name] extends MethodDefinition<
    infer Request,
    infer _Answer,
    infer _Received,
    infer Response
  >
    ? (request: Request, settings?: CallSettings) => Promise<Response>
    : never;
};

export interface CsiClient {
  readonly identity: Calls<IdentityDefinition>;
  readonly controller: Calls<ControllerDefinition>;
  readonly node: Calls<NodeDefinition>;
  close(): void;
}

/** What a call that failed is rejected with. */
export class CsiError extends Error {
  readonly rpc: string;
  /** `INVALID_ARGUMENT`, … */
  readonly code: keyof typeof status;
  readonly details: string;

  constructor(rpc: string, error: ServiceError) {
    super(`${rpc}: ${status[error.code]}: ${error.details}`, { cause: error });
    this.name = 'CsiError';
    this.rpc = rpc;
    this.code = status[error.code] as keyof typeof status;
    this.details = error.details;
  }
}

const DEFAULT_DEADLINE_MS = 120_000;

type CsiPackage = ProtoGrpcType['csi']['v1'];

let loaded: CsiPackage | undefined;

/** The contract itself, read by another reader than the driver's: what they disagree in, tests notice. */
function loadCsiPackage(): CsiPackage {
  if (loaded === undefined) {
    const path = fileURLToPath(new URL('../../proto/csi.proto', import.meta.url));
    const definition = loadSync(path, { keepCase: false, longs: String, enums: String, defaults: true, oneofs: true });
    // The generated types describe exactly what this loads; the loader itself cannot say so.
    loaded = (loadPackageDefinition(definition) as unknown as ProtoGrpcType).csi.v1;
  }
  return loaded;
}

/** All three services over one connection each; a service that the server does not have answers UNIMPLEMENTED. */
export function connectCsi(socketPath: string): CsiClient {
  const csi = loadCsiPackage();
  const address = `unix:${socketPath}`;
  // What kubelet and the sidecars send.
  const options = {
    'grpc.default_authority': 'localhost',
    // A driver that is still starting is found soon after it serves.
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 1000,
  };
  const identity = new csi.Identity(address, credentials.createInsecure(), options);
  const controller = new csi.Controller(address, credentials.createInsecure(), options);
  const node = new csi.Node(address, credentials.createInsecure(), options);
  return {
    identity: promised<IdentityDefinition>(identity),
    controller: promised<ControllerDefinition>(controller),
    node: promised<NodeDefinition>(node),
    close: () => {
      for (const client of [identity, controller, node]) client.close();
    },
  };
}

type UntypedCall = (
  request: unknown,
  metadata: Metadata,
  options: CallOptions,
  callback: (error: ServiceError | null, response: unknown) => void,
) => { cancel(): void };

function promised<Definition>(client: Client): Calls<Definition> {
  const call = (name: string, request: unknown, settings: CallSettings = {}): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const method = Reflect.get(client, name) as UntypedCall;
      const deadline = Date.now() + (settings.deadlineMs ?? DEFAULT_DEADLINE_MS);
      const running = method.call(client, request, new Metadata(), { deadline }, (error, response) => {
        settings.signal?.removeEventListener('abort', cancel);
        if (error === null) resolve(response);
        else reject(new CsiError(name, error));
      });
      const cancel = (): void => running.cancel();
      settings.signal?.addEventListener('abort', cancel);
      if (settings.signal?.aborted === true) cancel();
    });
  return new Proxy({} as Calls<Definition>, {
    get: (_target, name) => (request: unknown, settings?: CallSettings) => call(String(name), request, settings),
  });
}
