/**
 * What the sidecars and kubelet do with a volume, in their order and with their retries: a call that answers UNAVAILABLE, ABORTED
 * or DEADLINE_EXCEEDED is made again, anything else is the caller's.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CallSettings, CsiClient } from '../csi/client.ts';
import { CsiError } from '../csi/client.ts';
import type { Deployment } from './deployment.ts';

export interface VolumeWanted {
  readonly name: string;
  readonly sizeBytes: number;
  readonly parameters?: Readonly<Record<string, string>>;
  readonly access?: 'mount' | 'block';
  readonly fsType?: string;
  /** The scheduler's choice (WaitForFirstConsumer); none: Immediate. */
  readonly consumer?: string;
}

export interface PodVolume {
  readonly volumeId: string;
  readonly node: string;
  readonly stagingPath: string;
  readonly targetPath: string;
  readonly publishContext: Record<string, string>;
  readonly access: 'mount' | 'block';
  readonly fsType: string;
}

const RETRIED: ReadonlySet<string> = new Set(['UNAVAILABLE', 'ABORTED', 'DEADLINE_EXCEEDED']);
const RETRY_LIMIT_MS = 900_000;
const CALL_LIMIT_MS = 120_000;

/** Repeats as kubelet and the sidecars do, with growing pauses. */
export async function retried<T>(what: string, call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const deadline = Date.now() + RETRY_LIMIT_MS;
  for (let pauseMs = 250; ; pauseMs = Math.min(4000, pauseMs * 2)) {
    try {
      return await call();
    } catch (error) {
      const isRetried = error instanceof CsiError && RETRIED.has(error.code) && Date.now() < deadline;
      if (!isRetried || signal?.aborted === true)
        throw new Error(`${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      await sleep(pauseMs);
    }
  }
}

function capability(access: 'mount' | 'block', fsType: string) {
  const accessMode = { mode: 'SINGLE_NODE_SINGLE_WRITER' as const };
  return access === 'block' ? { block: {}, accessMode } : { mount: { fsType, mountFlags: [] }, accessMode };
}

/** As csi-resizer asks. Returns the capacity of the answer. */
export async function expandVolume(controller: CsiClient, volumeId: string, sizeBytes: number): Promise<number> {
  const request = { volumeId, capacityRange: { requiredBytes: String(sizeBytes), limitBytes: '0' } };
  const answer = await retried('ControllerExpandVolume', () =>
    controller.controller.ControllerExpandVolume(request, { deadlineMs: CALL_LIMIT_MS }),
  );
  return Number(answer.capacityBytes);
}

export async function createVolume(controller: CsiClient, wanted: VolumeWanted): Promise<string> {
  const { consumer, access = 'mount', fsType = 'xfs' } = wanted;
  const topology = consumer === undefined ? [] : [{ segments: { 'topology.meshstor.io/node': consumer } }];
  const request = {
    name: wanted.name,
    capacityRange: { requiredBytes: String(wanted.sizeBytes), limitBytes: '0' },
    volumeCapabilities: [capability(access, fsType)],
    parameters: { ...wanted.parameters },
    accessibilityRequirements: { requisite: topology, preferred: topology },
  };
  const { volume } = await retried('CreateVolume', () =>
    controller.controller.CreateVolume(request, { deadlineMs: CALL_LIMIT_MS }),
  );
  if (!volume) throw new Error('CreateVolume: the answer has no volume');
  return volume.volumeId;
}

/** What it needs of a deployment, whatever the control plane. */
export type Volumes = Pick<Deployment, 'controller' | 'node' | 'object'>;

export class Kubelet {
  readonly #deployment: Volumes;
  readonly #signal: AbortSignal | undefined;

  /** `signal` ends the call that is being made, and its repetitions. */
  constructor(deployment: Volumes, signal?: AbortSignal) {
    this.#deployment = deployment;
    this.#signal = signal;
  }

  #settings(): CallSettings {
    return { deadlineMs: CALL_LIMIT_MS, ...(this.#signal === undefined ? {} : { signal: this.#signal }) };
  }

  async attach(
    volumeId: string,
    node: string,
    access: 'mount' | 'block' = 'mount',
    fsType = 'xfs',
  ): Promise<PodVolume> {
    const request = { volumeId, nodeId: node, volumeCapability: capability(access, fsType), readonly: false };
    const { controller } = this.#deployment.controller;
    const answer = await retried(
      'ControllerPublishVolume',
      () => controller.ControllerPublishVolume(request, this.#settings()),
      this.#signal,
    );
    const base = `/var/lib/kubelet/plugins/kubernetes.io/csi/${volumeId}`;
    const podPath = `/var/lib/kubelet/pods/pod-${volumeId}/volumes/kubernetes.io~csi/${volumeId}/mount`;
    return {
      volumeId,
      node,
      stagingPath: `${base}/globalmount`,
      targetPath: podPath,
      publishContext: answer.publishContext ?? {},
      access,
      fsType,
    };
  }

  /** Directory and call. */
  async stage(volume: PodVolume): Promise<void> {
    await this.makeStagingPath(volume);
    await this.stageCall(volume);
  }

  /** Kubelet makes the directory before it calls. */
  async makeStagingPath({ node, stagingPath }: PodVolume): Promise<void> {
    await this.#deployment.node(node).machine.run(`mkdir -p ${stagingPath}`);
  }

  /** The call alone: starts no program on the machine by itself. */
  async stageCall(volume: PodVolume): Promise<void> {
    const { volumeId, stagingPath, publishContext } = volume;
    const request = {
      volumeId,
      publishContext,
      stagingTargetPath: stagingPath,
      volumeCapability: capability(volume.access, volume.fsType),
    };
    const role = this.#deployment.node(volume.node);
    await retried('NodeStageVolume', () => role.csi.node.NodeStageVolume(request, this.#settings()), this.#signal);
  }

  async publish(volume: PodVolume): Promise<void> {
    const { volumeId, stagingPath, targetPath, publishContext } = volume;
    const volumeCapability = capability(volume.access, volume.fsType);
    const request = {
      volumeId,
      publishContext,
      stagingTargetPath: stagingPath,
      targetPath,
      volumeCapability,
      readonly: false,
    };
    const role = this.#deployment.node(volume.node);
    await role.machine.run(`mkdir -p $(dirname ${targetPath})`);
    await retried('NodePublishVolume', () => role.csi.node.NodePublishVolume(request, this.#settings()), this.#signal);
  }

  /** As kubelet asks after the controller has answered. Returns the capacity of the answer. */
  async expand(
    { volumeId, targetPath, stagingPath, node, access, fsType }: PodVolume,
    sizeBytes: number,
  ): Promise<number> {
    const { csi } = this.#deployment.node(node);
    const request = {
      volumeId,
      volumePath: targetPath,
      stagingTargetPath: stagingPath,
      capacityRange: { requiredBytes: String(sizeBytes), limitBytes: '0' },
      volumeCapability: capability(access, fsType),
    };
    const answer = await retried(
      'NodeExpandVolume',
      () => csi.node.NodeExpandVolume(request, this.#settings()),
      this.#signal,
    );
    return Number(answer.capacityBytes);
  }

  async unpublish({ volumeId, targetPath, node }: PodVolume): Promise<void> {
    const { csi } = this.#deployment.node(node);
    await retried(
      'NodeUnpublishVolume',
      () => csi.node.NodeUnpublishVolume({ volumeId, targetPath }, this.#settings()),
      this.#signal,
    );
  }

  async unstage({ volumeId, stagingPath, node }: PodVolume): Promise<void> {
    const { csi } = this.#deployment.node(node);
    const request = { volumeId, stagingTargetPath: stagingPath };
    await retried('NodeUnstageVolume', () => csi.node.NodeUnstageVolume(request, this.#settings()), this.#signal);
  }

  async detach({ volumeId, node }: Pick<PodVolume, 'volumeId' | 'node'>): Promise<void> {
    const { controller } = this.#deployment.controller;
    await retried(
      'ControllerUnpublishVolume',
      () => controller.ControllerUnpublishVolume({ volumeId, nodeId: node }, this.#settings()),
      this.#signal,
    );
  }

  /** Attach, stage, publish. */
  async bringUp(
    volumeId: string,
    node: string,
    access: 'mount' | 'block' = 'mount',
    fsType = 'xfs',
  ): Promise<PodVolume> {
    const volume = await this.attach(volumeId, node, access, fsType);
    await this.stage(volume);
    await this.publish(volume);
    return volume;
  }

  /** Unpublish, unstage, detach. */
  async takeDown(volume: PodVolume): Promise<void> {
    await this.unpublish(volume);
    await this.unstage(volume);
    await this.detach(volume);
  }

  /** Asks for the deletion and waits until the object is gone: every holder has wiped and removed its partition. */
  async deleteVolume(volumeId: string): Promise<void> {
    const { controller } = this.#deployment.controller;
    await retried('DeleteVolume', () => controller.DeleteVolume({ volumeId }, this.#settings()), this.#signal);
    const deadline = Date.now() + RETRY_LIMIT_MS;
    while ((await this.#deployment.object('meshstorvolumes', volumeId)) !== undefined) {
      if (Date.now() > deadline) throw new Error(`volume ${volumeId} is still there after its deletion`);
      await sleep(100);
    }
  }
}
