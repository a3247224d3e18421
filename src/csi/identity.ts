import { DRIVER_NAME } from '../api/names.ts';
import type { GetPluginCapabilitiesRequest__Output } from './generated/csi/v1/GetPluginCapabilitiesRequest.ts';
import type { GetPluginCapabilitiesResponse } from './generated/csi/v1/GetPluginCapabilitiesResponse.ts';
import type { GetPluginInfoRequest__Output } from './generated/csi/v1/GetPluginInfoRequest.ts';
import type { GetPluginInfoResponse } from './generated/csi/v1/GetPluginInfoResponse.ts';
import type { IdentityHandlers } from './generated/csi/v1/Identity.ts';
import type { ProbeRequest__Output } from './generated/csi/v1/ProbeRequest.ts';
import type { ProbeResponse } from './generated/csi/v1/ProbeResponse.ts';
import type { CsiEdge, Rpc } from './unary.ts';
import { unary } from './unary.ts';

export interface PluginIdentity {
  readonly version: string;
}

/** The Identity service. Ready as soon as the process serves: liveness depends on nothing else (SPEC §7.14). */
export function identityHandlers(edge: CsiEdge, plugin: PluginIdentity): IdentityHandlers {
  const always = <Request extends object, Response>(
    name: string,
    answer: () => Response,
  ): Rpc<Request, undefined, Response> => ({
    name,
    requestType: `${name}Request`,
    validate: () => undefined,
    work: answer,
    isAlwaysServed: true,
  });
  return {
    GetPluginInfo: unary(
      edge,
      always<GetPluginInfoRequest__Output, GetPluginInfoResponse>('GetPluginInfo', () => ({
        name: DRIVER_NAME,
        vendorVersion: plugin.version,
      })),
    ),
    GetPluginCapabilities: unary(
      edge,
      always<GetPluginCapabilitiesRequest__Output, GetPluginCapabilitiesResponse>('GetPluginCapabilities', () => ({
        // The plugin's as a whole: CSI wants the same answer of each of its instances, whichever services that one serves.
        capabilities: [
          { service: { type: 'CONTROLLER_SERVICE' as const } },
          { service: { type: 'VOLUME_ACCESSIBILITY_CONSTRAINTS' as const } },
          { volumeExpansion: { type: 'ONLINE' as const } },
        ],
      })),
    ),
    Probe: unary(
      edge,
      always<ProbeRequest__Output, ProbeResponse>('Probe', () => ({ ready: { value: true } })),
    ),
  };
}
