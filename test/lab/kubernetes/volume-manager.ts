/**
 * What kubelet's volume manager does on one node with the claims of pods, in its order and with its paths (pkg/volume/csi and
 * pkg/volume/util/operationexecutor of Kubernetes): reports the volume in use, waits until it is attached, stages, publishes,
 * for raw block maps it and keeps it open by a loop device; and all of it backwards. Whatever fails is tried again, for as long
 * as the pod is wanted, or has to go.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CsiClient } from '../../csi/client.ts';
import type { VolumeCapability } from '../../../src/csi/generated/csi/v1/VolumeCapability.ts';
import { ApiError } from '../../../src/kube/index.ts';
import type { Api } from '../../kube/contract/server.ts';
import type { Machine } from '../machine.ts';
import type { VolumePaths } from './names.ts';
import { attachmentName, blockPaths, mountPaths, uniqueVolumeName } from './names.ts';
import type { NodeObject } from './node-object.ts';
import type { Pod } from './pod.ts';
import { claimOf, warn } from './pod.ts';

const ATTACHMENTS = '/apis/storage.k8s.io/v1/volumeattachments';
const VOLUMES = '/api/v1/persistentvolumes';
/** csiTimeout of kubelet. */
const CALL_MS = 120_000;
const ATTACH_MS = 600_000;
const LOOK_MS = 300;
/** The exponential back-off of its operations: from, up to. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 122_000;
const STATS_MS = 60_000;

/** The part of a PersistentVolume that kubelet reads. */
interface PvSpec {
  readonly accessModes: readonly string[];
  readonly volumeMode?: 'Filesystem' | 'Block';
  readonly mountOptions?: readonly string[];
  readonly csi: {
    readonly volumeHandle: string;
    readonly fsType?: string;
    readonly volumeAttributes?: Record<string, string>;
  };
}

/** One volume of one pod. */
interface Carried {
  readonly pod: Pod;
  readonly handle: string;
  readonly isForOnePod: boolean;
  readonly paths: VolumePaths;
  readonly capability: VolumeCapability;
  readonly volumeContext: Record<string, string>;
  /** How far it got: what has been tried has to be undone. */
  staging: boolean;
  publishing: boolean;
  releasing: boolean;
  loopDevice?: string;
  isThere: boolean;
}

export interface VolumeStats {
  readonly totalBytes: number;
  readonly usedBytes: number;
  readonly abnormal: boolean;
  readonly message: string;
}

export interface VolumeManagerParts {
  readonly machine: Machine;
  readonly api: Api;
  readonly node: NodeObject;
  readonly csi: CsiClient;
}

export class VolumeManager {
  readonly #parts: VolumeManagerParts;
  readonly #carried = new Map<string, Carried>();

  constructor(parts: VolumeManagerParts) {
    this.#parts = parts;
  }

  /** Where the container runtime would find the pod's volume; undefined while it is not there. */
  pathOf(podUid: string): string | undefined {
    const carried = this.#carried.get(podUid);
    if (carried?.isThere !== true) return undefined;
    return carried.paths.mapped?.podPath ?? carried.paths.targetPath;
  }

  /** Brings the volume of the pod's claim up; rejects only when `gone` aborts. */
  async mount(pod: Pod, gone: AbortSignal): Promise<void> {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)) {
      try {
        return await this.#tryMount(pod, gone);
      } catch (error) {
        gone.throwIfAborted();
        await this.#tell(pod, 'FailedMount', error);
        await sleep(pauseMs, undefined, { signal: gone });
      }
    }
  }

  /** Everything of the pod; its volume stays staged until `release`. */
  unmount(podUid: string, stop: AbortSignal): Promise<void> {
    return this.#undo(podUid, stop, async (carried) => {
      const { paths, handle } = carried;
      if (!carried.publishing) return;
      carried.isThere = false;
      await this.#unmap(carried);
      await this.#parts.csi.node.NodeUnpublishVolume(
        { volumeId: handle, targetPath: paths.targetPath },
        { deadlineMs: CALL_MS },
      );
      // The driver has to remove its target; kubelet removes the folder around it, for raw block later.
      const folder = `$(dirname ${paths.targetPath})`;
      const remove = paths.mapped ? 'true' : `{ [ ! -d ${folder} ] || rmdir ${folder}; }`;
      await this.#parts.machine.run(`[ ! -e ${paths.targetPath} ] && ${remove}`);
      carried.publishing = false;
    });
  }

  /** Unstages a volume that no other pod of this node has. */
  release(podUid: string, stop: AbortSignal): Promise<void> {
    return this.#undo(podUid, stop, async (carried) => {
      const { handle, paths } = carried;
      const others = [...this.#carried.values()].filter((one) => one !== carried && one.handle === handle);
      if (others.length > 0) {
        this.#carried.delete(podUid);
        return;
      }
      carried.releasing = true;
      if (carried.staging) {
        const request = { volumeId: handle, stagingTargetPath: paths.stagingPath };
        await this.#parts.csi.node.NodeUnstageVolume(request, { deadlineMs: CALL_MS });
        const around = paths.mapped ? [paths.targetPath, paths.mapped.globalPath] : [];
        const folders = [paths.stagingPath, ...around.map((path) => `$(dirname ${path})`)].join(' ');
        await this.#parts.machine.run(`for one in ${folders}; do [ ! -d $one ] || rmdir $one || exit 1; done`);
        carried.staging = false;
      }
      await this.#parts.node.setInUse(uniqueVolumeName(handle), false);
      this.#carried.delete(podUid);
    });
  }

  /** Asks for usage and condition, as kubelet does when the volume is there and each minute afterwards. */
  async stats(podUid: string): Promise<VolumeStats> {
    const carried = this.#carried.get(podUid);
    if (carried?.isThere !== true) throw new Error(`pod ${podUid} has no volume`);
    const request = { volumeId: carried.handle, volumePath: carried.paths.targetPath };
    const { usage, volumeCondition } = await this.#parts.csi.node.NodeGetVolumeStats(request, { deadlineMs: CALL_MS });
    const bytes = usage?.find(({ unit }) => unit === 'BYTES');
    return {
      totalBytes: Number(bytes?.total ?? 0),
      usedBytes: Number(bytes?.used ?? 0),
      abnormal: volumeCondition?.abnormal ?? false,
      message: volumeCondition?.message ?? '',
    };
  }

  /** Once the PersistentVolume has more than its claim: for raw block, too, by the path where it is published. */
  async expand(podUid: string, requiredBytes: number): Promise<number> {
    const carried = this.#carried.get(podUid);
    if (carried?.isThere !== true) throw new Error(`pod ${podUid} has no volume`);
    const { handle, paths, capability } = carried;
    const where = { volumeId: handle, volumePath: paths.targetPath, stagingTargetPath: paths.stagingPath };
    const request = { ...where, capacityRange: { requiredBytes }, volumeCapability: capability };
    const { capacityBytes } = await this.#parts.csi.node.NodeExpandVolume(request, { deadlineMs: CALL_MS });
    return Number(capacityBytes);
  }

  async keepStats(signal: AbortSignal): Promise<void> {
    for (let at = Date.now(); !signal.aborted; await sleep(LOOK_MS)) {
      if (Date.now() - at < STATS_MS) continue;
      at = Date.now();
      for (const [uid, { isThere }] of this.#carried) {
        // Kubelet leaves a failure to its next round.
        if (isThere) await this.stats(uid).catch(() => undefined);
      }
    }
  }

  async #tryMount(pod: Pod, gone: AbortSignal): Promise<void> {
    const { node, csi } = this.#parts;
    const carried = await this.#findVolume(pod, gone);
    const { handle, paths, capability, volumeContext } = carried;
    const others = [...this.#carried.values()].filter((one) => one !== carried && one.handle === handle);
    if (others.some(({ releasing }) => releasing)) throw new Error(`an operation of volume ${handle} is pending`);
    if (carried.isForOnePod && others.some(({ publishing }) => publishing))
      throw new Error('volume uses the ReadWriteOncePod access mode and is already in use by another pod');
    this.#carried.set(pod.metadata.uid, carried);
    await node.setInUse(uniqueVolumeName(handle), true);
    const publishContext = await this.#attached(handle, gone);
    gone.throwIfAborted();
    carried.staging = true;
    const about = { volumeId: handle, publishContext, volumeContext, volumeCapability: capability };
    const staged = { ...about, stagingTargetPath: paths.stagingPath };
    await this.#parts.machine.run(`mkdir -p -m 0750 ${paths.stagingPath}`);
    await csi.node.NodeStageVolume(staged, { deadlineMs: CALL_MS });
    gone.throwIfAborted();
    carried.publishing = true;
    await this.#parts.machine.run(`mkdir -p -m 0750 $(dirname ${paths.targetPath})`);
    const published = { ...staged, targetPath: paths.targetPath, readonly: false };
    await csi.node.NodePublishVolume(published, { deadlineMs: CALL_MS });
    await this.#map(carried);
    carried.isThere = true;
    // A failure is of no consequence for the pod.
    await this.stats(pod.metadata.uid).catch(() => undefined);
  }

  /** What is to be mounted, from the claim and what it is bound to; as it was found before, if it was. */
  async #findVolume(pod: Pod, gone: AbortSignal): Promise<Carried> {
    const { uid, namespace } = pod.metadata;
    const known = this.#carried.get(uid);
    if (known !== undefined) return known;
    const claimPath = `/api/v1/namespaces/${namespace}/persistentvolumeclaims/${claimOf(pod) ?? ''}`;
    const claim = await this.#until(`${claimPath} to be bound`, ATTACH_MS, gone, async () => {
      const found = await this.#parts.api.get(claimPath);
      return found.status?.['phase'] === 'Bound' ? found : undefined;
    });
    const pv = String(claim.spec['volumeName']);
    const { accessModes, volumeMode, mountOptions, csi } = (await this.#parts.api.get(`${VOLUMES}/${pv}`))
      .spec as unknown as PvSpec;
    const handle = csi.volumeHandle;
    const isForOnePod = accessModes.length === 1 && accessModes[0] === 'ReadWriteOncePod';
    // For a driver with SINGLE_NODE_MULTI_WRITER, which this one advertises.
    const mode = isForOnePod ? ('SINGLE_NODE_SINGLE_WRITER' as const) : ('SINGLE_NODE_MULTI_WRITER' as const);
    const mount = { fsType: csi.fsType ?? '', mountFlags: [...(mountOptions ?? [])] };
    const isBlock = volumeMode === 'Block';
    return {
      pod,
      handle,
      isForOnePod,
      paths: isBlock ? blockPaths(pv, uid) : mountPaths(handle, pv, uid),
      capability: { accessMode: { mode }, ...(isBlock ? { block: {} } : { mount }) },
      volumeContext: csi.volumeAttributes ?? {},
      staging: false,
      publishing: false,
      releasing: false,
      isThere: false,
    };
  }

  /** Waits until the controllers say that it is attached; resolves to what the driver said about it. */
  async #attached(handle: string, gone: AbortSignal): Promise<Record<string, string>> {
    const { node, api } = this.#parts;
    await this.#until(`${handle} in the Node's volumesAttached`, ATTACH_MS, gone, async () =>
      (await node.hasAttached(uniqueVolumeName(handle))) ? true : undefined,
    );
    const path = `${ATTACHMENTS}/${attachmentName(handle, node.name)}`;
    const { status, metadata } = await api.get(path);
    if (metadata.deletionTimestamp !== undefined) throw new Error(`volume attachment ${path} is being deleted`);
    if (status?.['attached'] !== true) throw new Error(`volume attachment ${path} is not attached`);
    return (status['attachmentMetadata'] ?? {}) as Record<string, string>;
  }

  /** Raw block: a bind mount that a loop device keeps open, and a link for the container runtime. */
  async #map(carried: Carried): Promise<void> {
    const { targetPath, mapped } = carried.paths;
    if (mapped === undefined || carried.loopDevice !== undefined) return;
    const { globalPath, podPath } = mapped;
    const mount = `{ findmnt -M ${globalPath} >/dev/null || mount --bind ${targetPath} ${globalPath}; }`;
    const bind = `mkdir -p $(dirname ${globalPath}) && touch ${globalPath} && ${mount}`;
    const link = `mkdir -p $(dirname ${podPath}) && ln -sfn ${targetPath} ${podPath}`;
    const open = `modprobe loop && losetup --find --show ${globalPath}`;
    carried.loopDevice = (await this.#parts.machine.run(`${bind} && ${link} && ${open}`)).trim();
  }

  async #unmap(carried: Carried): Promise<void> {
    const { mapped } = carried.paths;
    if (mapped === undefined) return;
    const { globalPath, podPath } = mapped;
    const { loopDevice } = carried;
    if (loopDevice !== undefined) await this.#parts.machine.run(`losetup --detach ${loopDevice}`);
    delete carried.loopDevice;
    const unmount = `{ ! findmnt -M ${globalPath} >/dev/null || umount ${globalPath}; }`;
    await this.#parts.machine.run(`rm -f ${podPath} && ${unmount} && rm -f ${globalPath}`);
  }

  /** Tries to undo something of a pod until it succeeds, or until everything stops. */
  async #undo(podUid: string, stop: AbortSignal, work: (carried: Carried) => Promise<void>): Promise<void> {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)) {
      const carried = this.#carried.get(podUid);
      if (carried === undefined) return;
      try {
        return await work(carried);
      } catch (error) {
        stop.throwIfAborted();
        await this.#tell(carried.pod, 'FailedUnmount', error);
        await sleep(pauseMs, undefined, { signal: stop });
      }
    }
  }

  async #until<T>(what: string, limitMs: number, gone: AbortSignal, ask: () => Promise<T | undefined>): Promise<T> {
    for (
      const deadline = Date.now() + limitMs;
      Date.now() < deadline;
      await sleep(LOOK_MS, undefined, { signal: gone })
    ) {
      const answer = await ask();
      if (answer !== undefined) return answer;
    }
    throw new Error(`timed out waiting for ${what}`);
  }

  /** Nobody else hears of a failure that is tried again; the API may be away itself. */
  async #tell(pod: Pod, reason: string, error: unknown): Promise<void> {
    const message = error instanceof Error ? error.message : String(error);
    await warn(this.#parts.api, pod, this.#parts.node.name, reason, message).catch((failure: unknown) => {
      if (!(failure instanceof ApiError)) throw failure;
    });
  }
}
