/** The calls that sidecars make of a controller, and their patience. */
import { TOPOLOGY_KEY } from '../../../src/api/names.ts';
import { MIB } from '../../../src/support/units.ts';
import type { CsiClient } from '../../csi/client.ts';
import { CsiError } from '../../csi/client.ts';
import { WRITER } from '../../csi/harness.ts';

const PATIENCE_MS = 60_000;
/** Said by a driver that wants the same call again. */
export const AGAIN: ReadonlySet<string> = new Set(['ABORTED', 'UNAVAILABLE']);

const PARAMETERS = { numberOfCopies: '2' };

export type Call = (csi: CsiClient) => Promise<unknown>;

/** Of just this size. `node`: where its first pod runs; without one it is placed at the first attach. */
export function create(name: string, node?: string, bytes = 512 * MIB): Call {
  const term = node === undefined ? [] : [{ segments: { [TOPOLOGY_KEY]: node } }];
  return ({ controller }) =>
    controller.CreateVolume({
      name,
      capacityRange: { requiredBytes: bytes, limitBytes: bytes },
      volumeCapabilities: [WRITER],
      parameters: PARAMETERS,
      ...(node === undefined ? {} : { accessibilityRequirements: { requisite: term, preferred: term } }),
    });
}

export function publish(volumeId: string, nodeId: string): Call {
  return ({ controller }) =>
    controller.ControllerPublishVolume({ volumeId, nodeId, volumeCapability: WRITER, readonly: false });
}

export function unpublish(volumeId: string, nodeId: string): Call {
  return ({ controller }) => controller.ControllerUnpublishVolume({ volumeId, nodeId });
}

export function remove(volumeId: string): Call {
  return ({ controller }) => controller.DeleteVolume({ volumeId });
}

/** To this size or more; resolves to what it has then. Its wait for the nodes ends by the deadline. */
export function expand(volumeId: string, requiredBytes: number, deadlineMs = PATIENCE_MS): Call {
  return async ({ controller }) => {
    const capacityRange = { requiredBytes, limitBytes: 0 };
    const request = { volumeId, capacityRange, volumeCapability: WRITER };
    return Number((await controller.ControllerExpandVolume(request, { deadlineMs })).capacityBytes);
  };
}

/** What is said of one volume that is asked for: its size and its nodes. */
export function inspect(volumeId: string): Call {
  return async ({ controller }) => {
    const { volume, status } = await controller.ControllerGetVolume({ volumeId });
    return { bytes: Number(volume?.capacityBytes), nodes: status?.publishedNodeIds };
  };
}

export function validate(volumeId: string): Call {
  return async ({ controller }) => {
    const { confirmed } = await controller.ValidateVolumeCapabilities({ volumeId, volumeCapabilities: [WRITER] });
    return confirmed?.volumeCapabilities.length;
  };
}

/** What the list says of one volume: its nodes, undefined when it is not in it. */
export function listed(volumeId: string): Call {
  return async ({ controller }) => {
    const { entries } = await controller.ListVolumes({});
    return entries.find(({ volume }) => volume?.volumeId === volumeId)?.status?.publishedNodeIds;
  };
}

export function capacity(node: string): Call {
  return async ({ controller }) => {
    const accessibleTopology = { segments: { [TOPOLOGY_KEY]: node } };
    return Number((await controller.GetCapacity({ parameters: PARAMETERS, accessibleTopology })).availableCapacity);
  };
}

/** Its answer, or the code of the refusal. */
export type Outcome = { readonly answer: unknown } | { readonly code: string };

/** Calls until it is answered for good. `isAgain`: whether the same call is wanted again. */
export async function settled(
  csi: CsiClient,
  call: Call,
  patienceMs = PATIENCE_MS,
  isAgain = ({ code }: CsiError): boolean => AGAIN.has(code),
): Promise<Outcome> {
  const end = Date.now() + patienceMs;
  for (;;) {
    try {
      return { answer: await call(csi) };
    } catch (error) {
      if (!(error instanceof CsiError)) throw error;
      if (!isAgain(error)) return { code: error.code };
      if (Date.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** As `settled`, for a call that has to succeed. */
export async function done(csi: CsiClient, call: Call, patienceMs = PATIENCE_MS): Promise<unknown> {
  const outcome = await settled(csi, call, patienceMs);
  if ('answer' in outcome) return outcome.answer;
  throw new Error(`refused with ${outcome.code}`);
}
