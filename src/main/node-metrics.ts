/** What the node role shows at /metrics. */
import type { Kernel } from '../api/kernel.ts';
import { arrayUuidFor } from '../api/names.ts';
import type { MeshStorNodeDevice } from '../api/node-device.ts';
import type { ObjectStore } from '../api/object.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import type { InFlightCall } from '../native/index.ts';
import type { OnStep } from '../node/converge.ts';
import type { RootLog } from '../observability/log.ts';
import type { Metrics, SyncSpeed } from '../observability/metrics.ts';
import { driveSample, volumeSample } from './samples.ts';

type Watched<T extends MeshStorVolume | MeshStorNodeDevice> = ObjectStore<T> & { readonly watchAgeMs: number };

export interface NodeMetricsParts {
  readonly metrics: Metrics;
  readonly kernel: Kernel;
  readonly inFlight: () => readonly InFlightCall[];
  readonly volumes: Watched<MeshStorVolume>;
  readonly devices: Watched<MeshStorNodeDevice>;
  readonly nodeName: string;
  readonly log: Pick<RootLog, 'dropped'>;
}

/** A scrape does not wait longer for arrays that do not answer. */
const ARRAYS_LIMIT_MS = 2000;

/** The same kernel; connections are counted. */
export function countConnects(kernel: Kernel, metrics: Metrics): Kernel {
  const nvmeConnect: Kernel['nvmeConnect'] = async (options) => {
    try {
      const connected = await kernel.nvmeConnect(options);
      metrics.connected(options.transport, 'ok');
      return connected;
    } catch (error) {
      metrics.connected(options.transport, 'failed');
      throw error;
    }
  };
  return new Proxy(kernel, {
    get(target, key) {
      if (key === 'nvmeConnect') return nvmeConnect;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** Counts the steps that have a series of their own. */
export function countSteps(metrics: Metrics, onStep: OnStep | undefined): OnStep {
  return (done) => {
    if (done.step === 'fenceExport') metrics.fenced();
    onStep?.(done);
  };
}

/** Of the volumes that are synchronised; the kernel is asked only when there are some. */
async function syncSpeeds(kernel: Kernel, consumed: readonly MeshStorVolume[]): Promise<readonly SyncSpeed[]> {
  const syncing = consumed.filter(({ status }) => (status?.syncPercentage ?? '') !== '');
  if (syncing.length === 0) return [];
  const limit = new Promise<undefined>((resolve) => setTimeout(resolve, ARRAYS_LIMIT_MS, undefined).unref());
  const arrays = await Promise.race([kernel.mdArrays().catch(() => undefined), limit]);
  return syncing.flatMap((volume) => {
    const array = arrays?.find(({ uuid }) => uuid === arrayUuidFor(volume.spec.volumeUUID));
    if (array?.syncSpeed === undefined) return [];
    return [{ labels: volumeSample(volume), bytesPerSecond: array.syncSpeed * 1024 }];
  });
}

export function showNodeMetrics({
  metrics,
  kernel,
  inFlight,
  volumes,
  devices,
  nodeName,
  log,
}: NodeMetricsParts): void {
  metrics.kernelCalls(() => {
    const counts: Record<string, number> = {};
    for (const call of inFlight()) counts[call.op] = (counts[call.op] ?? 0) + 1;
    return counts;
  });
  metrics.watchAges(() => ({ volumes: volumes.watchAgeMs / 1000, nodeDevices: devices.watchAgeMs / 1000 }));
  metrics.logLinesDropped(() => log.dropped);
  const consumed = () => volumes.list().filter((volume) => volume.status?.nodeName === nodeName);
  const own = () => devices.list().filter((device) => device.spec.node === nodeName);
  volumes.onChange(metrics.showVolumes(() => consumed().map(volumeSample)));
  devices.onChange(metrics.showDrives(() => own().map(driveSample)));
  metrics.syncSpeeds(() => syncSpeeds(kernel, consumed()));
}
