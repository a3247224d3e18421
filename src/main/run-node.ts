/** The node role, wired. */
import { release } from 'node:os';
import { dirname } from 'node:path';
import { NODE_LABEL, nodeLabelFor } from '../api/names.ts';
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
import { gatherPreflightFacts, liveQueueTimeout, machineSources, threadPoolSize } from '../node/preflight-facts.ts';
import type { Preflight } from '../node/preflight-watch.ts';
import { PreflightWatch } from '../node/preflight-watch.ts';
import { SystemTools } from '../node/tools.ts';
import type { HttpEndpoint } from '../observability/http.ts';
import type { RootLog } from '../observability/log.ts';
import { createLog, toggleDebugOnSignal } from '../observability/log.ts';
import { Metrics } from '../observability/metrics.ts';
import { errorFields } from '../support/log.ts';
import { KeyedLock } from '../support/keyed-lock.ts';
import { countConnects, countSteps, showNodeMetrics } from './node-metrics.ts';
import type { StartedParts } from './process.ts';
import {
  CUT_OFF_MS,
  STOP_LIMIT_MS,
  Threads,
  WORK_LIMIT_MS,
  endOnUnexpectedErrors,
  runParts,
  untilToldToStop,
} from './process.ts';
import { serveMetrics, takeNodeLock } from './start-failures.ts';

/** How long a start waits for a holder that does not confirm: longer than the restart of a node process takes. */
const START_GRACE_MS = 30_000;
/** A path that comes back within it costs nothing; what is lost for longer is recorded and dropped, and pods write on (SPEC §8). */
const DROP_GRACE_MS = 2000;
const CONCURRENT_VOLUMES = 4;
const VERSION = programVersion();

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
  // The heartbeats of other nodes do not wake this one.
  const labelSelector = `${NODE_LABEL}=${nodeLabelFor(options.nodeName)}`;
  return {
    client,
    volumes: createVolumeStore({ client, log }),
    devices: createNodeDeviceStore({ client, log, watch: { labelSelector } }),
    nodes: createNodeReader(client),
    events: new KubeEventRecorder({ client, log, instance: options.nodeName }),
  };
}

type Api = ReturnType<typeof connect>;

function preflightOf(options: NodeOptions, log: RootLog): PreflightWatch {
  const sources = { ...machineSources(options), threadPoolSize: threadPoolSize(process.env) };
  return new PreflightWatch({
    gather: () => gatherPreflightFacts(sources),
    liveQueueTimeout: () => liveQueueTimeout(options.sysRoot),
    log,
  });
}

interface RoleParts {
  readonly api: Api;
  readonly kernel: NativeKernel;
  readonly metrics: Metrics;
  readonly preflight: Preflight;
  readonly log: RootLog;
  readonly onStep: OnStep | undefined;
}

async function startRole(options: NodeOptions, role: RoleParts): Promise<RunningNode> {
  const { api, kernel, metrics, preflight, log, onStep } = role;
  return startNode({
    ...api,
    kernel: countConnects(kernel, metrics),
    me: await readNodeIdentity(options.nodeName, options.sysRoot),
    log,
    tools: new SystemTools(dirname(options.lockFile), release()),
    policy: { selectors: options.driveSelectors, initializeBlank: options.initializeBlank },
    rebuildLimitMiBs: options.rebuildLimitMiBs,
    startGraceMs: START_GRACE_MS,
    dropGraceMs: DROP_GRACE_MS,
    preflight,
    now: () => new Date().toISOString(),
    queueFor: queueOf(log, metrics),
    ...(options.nvmeTcpAddress === undefined ? {} : { tcpAddress: options.nvmeTcpAddress }),
    onStep: countSteps(metrics, onStep),
  });
}

async function startServers(
  options: NodeOptions,
  { api, metrics, log }: RoleParts,
  node: RunningNode,
  parts: StartedParts,
): Promise<HttpEndpoint> {
  const csi = await startCsiServer({
    endpoint: options.csiEndpoint,
    version: VERSION,
    log,
    lock: new KeyedLock(),
    node: node.operations,
    onAnswer: (rpc, code, seconds) => metrics.csiAnswered(rpc, code, seconds),
  });
  parts.add('csi', () => csi.stop(STOP_LIMIT_MS), STOP_LIMIT_MS + CUT_OFF_MS);
  const http = await serveMetrics({
    ...options.metricsAddress,
    log,
    metrics: () => metrics.render(),
    notReady: () =>
      api.volumes.isSynced && api.devices.isSynced ? undefined : 'the API has not listed everything yet',
  });
  parts.addBeside('http', () => http.close());
  return http;
}

async function startParts(options: NodeOptions, log: RootLog, onStep: OnStep | undefined, parts: StartedParts) {
  parts.add('signals', toggleDebugOnSignal(log));
  const kernel = startKernel(log);
  parts.watchThreads(() => kernel.inFlight());
  await takeNodeLock(kernel, options.lockFile);
  await beIoFlusher(kernel, log);
  const metrics = new Metrics({ role: 'node', version: VERSION });
  const api = connect(options, log);
  parts.add('client', () => api.client.close());
  showNodeMetrics({ metrics, kernel, inFlight: () => kernel.inFlight(), ...api, nodeName: options.nodeName, log });
  const preflight = preflightOf(options, log);
  parts.add('preflight', () => preflight.stop());
  parts.addBeside('devices', () => api.devices.stop());
  parts.addBeside('volumes', () => api.volumes.stop());
  const role = { api, kernel, metrics, preflight, log, onStep };
  const node = await startRole(options, role);
  parts.add('node', () => node.stop(), WORK_LIMIT_MS);
  const http = await startServers(options, role, node, parts);
  log.info('node role runs', { version: VERSION, metrics: http.address });
  api.volumes.start();
  api.devices.start();
  void preflight.look();
}

/** Runs until told to stop. `onStep`: told of every step that was carried out. */
export async function runNode(options: NodeOptions, onStep?: OnStep): Promise<void> {
  const log = createLog({ level: options.logLevel, fields: { node: options.nodeName } });
  log.info('node role starts', { version: VERSION });
  const threads = new Threads();
  endOnUnexpectedErrors(log, threads);
  await runParts(log, untilToldToStop(log, threads), (parts) => startParts(options, log, onStep, parts), { threads });
}
