/** The node role, wired. */
import { release } from 'node:os';
import { dirname } from 'node:path';
import { mkdir } from 'node:fs/promises';
import { DomainError, errnoCode } from '../api/errors.ts';
import type { NodeOptions } from '../cli/options.ts';
import { programVersion } from '../cli/version.ts';
import { startCsiServer } from '../csi/server.ts';
import {
  KubeEventRecorder,
  WorkQueue,
  createKubeClient,
  createNodeDeviceStore,
  createNodeReader,
  createVolumeStore,
} from '../kube/index.ts';
import type { NativeKernel } from '../native/index.ts';
import { createKernel } from '../native/index.ts';
import type { OnStep } from '../node/converge.ts';
import { readNodeIdentity } from '../node/identity.ts';
import type { ReconcileVolume, RunningNode, VolumeQueue } from '../node/node.ts';
import { PASS_EVERY_MS, startNode } from '../node/node.ts';
import { SystemTools } from '../node/tools.ts';
import { serveHttp } from '../observability/http.ts';
import type { RootLog } from '../observability/log.ts';
import { createLog, toggleDebugOnSignal } from '../observability/log.ts';
import { Metrics } from '../observability/metrics.ts';
import { errorFields } from '../support/log.ts';
import { KeyedLock } from '../support/keyed-lock.ts';
import { STOP_LIMIT_MS, endOnUnexpectedErrors, stopAll, untilToldToStop } from './process.ts';
import { driveSample, volumeSample } from './samples.ts';
import { watchPreflight } from './preflight.ts';

/** How long a start waits for a holder that does not confirm. */
const START_GRACE_MS = 5000;
const CONCURRENT_VOLUMES = 4;
const VERSION = programVersion();

/** One node process per node (SPEC §7.1): held until this process ends, whatever ends it. */
async function takeNodeLock(kernel: NativeKernel, lockFile: string): Promise<void> {
  await mkdir(dirname(lockFile), { recursive: true });
  try {
    await kernel.acquireNodeLock(lockFile);
  } catch (error) {
    if (!['EWOULDBLOCK', 'EAGAIN'].includes(errnoCode(error) ?? '')) throw error;
    throw new DomainError(
      'precondition',
      `taking ${lockFile}: another node process of this node holds it; wait for it to end`,
      { cause: error },
    );
  }
}

/** This process releases I/O that waits: it must not wait for that I/O itself when memory is short (SPEC §7.14). */
async function beIoFlusher(kernel: NativeKernel, log: RootLog): Promise<void> {
  try {
    await kernel.setIoFlusher();
  } catch (error) {
    log.warn('not an I/O flusher', {
      error: errorFields(error),
      fix: 'run as root with CAP_SYS_RESOURCE on Linux 5.6 or newer',
    });
  }
}

function startKernel(log: RootLog): NativeKernel {
  return createKernel({ onStuck: (calls) => log.warn('kernel calls do not return', { calls }) });
}

function queueOf(log: RootLog, metrics: Metrics): (reconcile: ReconcileVolume) => VolumeQueue {
  return (reconcile) =>
    new WorkQueue({
      reconciler: { reconcile },
      name: 'volumes',
      log,
      concurrency: CONCURRENT_VOLUMES,
      backOff: { baseMs: 200, capMs: PASS_EVERY_MS },
      onDone: (_key, outcome, durationMs) => metrics.reconciled('volumes', durationMs / 1000, outcome !== 'done'),
    });
}

function connect(options: NodeOptions, log: RootLog) {
  const client = createKubeClient({
    ...(options.kubeconfig === undefined ? {} : { kubeconfig: options.kubeconfig }),
    userAgent: `meshstor-node/${VERSION}`,
  });
  return {
    client,
    volumes: createVolumeStore({ client, log }),
    devices: createNodeDeviceStore({ client, log }),
    nodes: createNodeReader(client),
    events: new KubeEventRecorder({ client, log, instance: options.nodeName }),
  };
}

type Api = ReturnType<typeof connect>;

function showMetrics(metrics: Metrics, kernel: NativeKernel, api: Api, nodeName: string): void {
  metrics.kernelCalls(() => {
    const counts: Record<string, number> = {};
    for (const call of kernel.inFlight()) counts[call.op] = (counts[call.op] ?? 0) + 1;
    return counts;
  });
  metrics.watchAges(() => ({ volumes: api.volumes.watchAgeMs / 1000, nodeDevices: api.devices.watchAgeMs / 1000 }));
  const ownVolumes = (): void =>
    metrics.setVolumes(
      api.volumes
        .list()
        .filter((volume) => volume.status?.nodeName === nodeName)
        .map(volumeSample),
    );
  const ownDrives = (): void =>
    metrics.setDrives(
      api.devices
        .list()
        .filter((device) => device.spec.node === nodeName)
        .map(driveSample),
    );
  api.volumes.onChange(ownVolumes);
  api.devices.onChange(ownDrives);
}

async function startRole(
  options: NodeOptions,
  api: Api,
  kernel: NativeKernel,
  metrics: Metrics,
  log: RootLog,
  onStep: OnStep | undefined,
) {
  const me = await readNodeIdentity(options.nodeName, options.sysRoot);
  const preflight = await watchPreflight(options, log);
  const own = await api.nodes.read(options.nodeName).catch(() => undefined);
  const node: RunningNode = startNode({
    ...api,
    kernel,
    me,
    log,
    tools: new SystemTools(dirname(options.lockFile), release()),
    policy: {
      selectors: options.driveSelectors,
      nodeLabels: own?.metadata.labels ?? {},
      initializeBlank: options.initializeBlank,
    },
    startGraceMs: START_GRACE_MS,
    fatalFindings: preflight.fatalFindings,
    now: () => new Date().toISOString(),
    queueFor: queueOf(log, metrics),
    ...(options.nvmeTcpAddress === undefined ? {} : { tcpAddress: options.nvmeTcpAddress }),
    ...(onStep === undefined ? {} : { onStep }),
  });
  return { node, preflight };
}

/** Runs until told to stop. `onStep`: told of every step that was carried out. */
export async function runNode(options: NodeOptions, onStep?: OnStep): Promise<void> {
  const log = createLog({ level: options.logLevel, fields: { node: options.nodeName } });
  log.info('node role starts', { version: VERSION });
  endOnUnexpectedErrors(log);
  const stopToggling = toggleDebugOnSignal(log);
  const stopped = untilToldToStop(log);
  const kernel = startKernel(log);
  await takeNodeLock(kernel, options.lockFile);
  await beIoFlusher(kernel, log);
  const metrics = new Metrics({ role: 'node', version: VERSION });
  const api = connect(options, log);
  showMetrics(metrics, kernel, api, options.nodeName);
  api.volumes.start();
  api.devices.start();
  const { node, preflight } = await startRole(options, api, kernel, metrics, log, onStep);
  const csi = await startCsiServer({
    endpoint: options.csiEndpoint,
    version: VERSION,
    log,
    lock: new KeyedLock(),
    node: node.operations,
    onAnswer: (rpc, code, seconds) => metrics.csiAnswered(rpc, code, seconds),
  });
  const http = await serveHttp({
    ...options.metricsAddress,
    log,
    metrics: () => metrics.render(),
    notReady: () => undefined,
  });
  log.info('node role runs', { version: VERSION, metrics: http.address });
  await stopped;
  await stopAll(log, [
    ['csi', () => csi.stop(STOP_LIMIT_MS)],
    ['node', () => node.stop()],
    ['preflight', () => preflight.stop()],
    ['http', () => http.close()],
    ['volumes', () => api.volumes.stop()],
    ['devices', () => api.devices.stop()],
    ['client', () => api.client.close()],
    ['signals', stopToggling],
  ]);
  log.info('node role ended');
  log.flushSync();
}
