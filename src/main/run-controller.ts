/** The controller role, wired. It never loads the addon. */
import type { ControllerOptions } from '../cli/options.ts';
import { programVersion } from '../cli/version.ts';
import type { Controller, ReconcileQueue, VolumeWork } from '../controller/controller.ts';
import { startController } from '../controller/controller.ts';
import { startCsiServer } from '../csi/server.ts';
import {
  KubeClaimedVolumes,
  KubeEventRecorder,
  KubeNodeStore,
  LeaderElector,
  WorkQueue,
  createKubeClient,
  createNodeDeviceStore,
  createVolumeStore,
  systemClock,
} from '../kube/index.ts';
import type { RootLog } from '../observability/log.ts';
import { createLog, toggleDebugOnSignal } from '../observability/log.ts';
import { Metrics } from '../observability/metrics.ts';
import { KeyedLock } from '../support/keyed-lock.ts';
import { randomUuid } from '../support/uuid.ts';
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
import { serveMetrics } from './start-failures.ts';
import { driveSample, volumeSample } from './samples.ts';

const CONCURRENT_VOLUMES = 8;
const LEASE_NAME = 'meshstor-controller';

function connect(options: ControllerOptions, log: RootLog, version: string) {
  const kubeconfig = options.kubeconfig === undefined ? {} : { kubeconfig: options.kubeconfig };
  const client = createKubeClient({ ...kubeconfig, userAgent: `meshstor-controller/${version}` });
  return {
    client,
    volumes: createVolumeStore({ client, log }),
    devices: createNodeDeviceStore({ client, log }),
    nodes: new KubeNodeStore({ client, log }),
    claimed: new KubeClaimedVolumes({ client, log }),
    events: new KubeEventRecorder({ client, log, instance: options.podName }),
  };
}

type Api = ReturnType<typeof connect>;

function showMetrics(metrics: Metrics, { volumes, devices, nodes, claimed }: Api): void {
  volumes.onChange(metrics.showVolumes(() => volumes.list().map(volumeSample)));
  devices.onChange(metrics.showDrives(() => devices.list().map(driveSample)));
  metrics.watchAges(() => ({
    volumes: volumes.watchAgeMs / 1000,
    nodeDevices: devices.watchAgeMs / 1000,
    nodes: nodes.watchAgeMs / 1000,
    persistentVolumes: claimed.watchAgeMs / 1000,
  }));
}

function queueOf(log: RootLog, metrics: Metrics): (work: VolumeWork) => ReconcileQueue {
  return (work) =>
    new WorkQueue({
      reconciler: { reconcile: (name) => work.reconcile(name) },
      name: 'volumes',
      log,
      concurrency: CONCURRENT_VOLUMES,
      onDone: (_key, outcome, durationMs) => {
        metrics.reconciled('volumes', durationMs / 1000, outcome !== 'done');
      },
    });
}

/** Leads from the first won lease on; without leader election at once. */
function startElection(
  options: ControllerOptions,
  api: Api,
  log: RootLog,
): { readonly isLeader: () => boolean; stop(): Promise<void> } {
  if (!options.leaderElection) return { isLeader: () => true, stop: () => Promise.resolve() };
  const elector = new LeaderElector({
    client: api.client,
    log,
    namespace: options.leaseNamespace,
    name: LEASE_NAME,
    identity: `${options.podName}-${randomUuid()}`,
    lead: () => undefined,
  });
  elector.start();
  return { isLeader: () => elector.isLeader, stop: () => elector.stop() };
}

async function startParts(options: ControllerOptions, log: RootLog, version: string, parts: StartedParts) {
  parts.add('signals', toggleDebugOnSignal(log));
  const metrics = new Metrics({ role: 'controller', version });
  const api = connect(options, log, version);
  parts.add('client', () => api.client.close());
  showMetrics(metrics, api);
  metrics.logLinesDropped(() => log.dropped);
  parts.add('nodes', () => api.nodes.stop());
  parts.addBeside('persistent volumes', () => api.claimed.stop());
  parts.addBeside('devices', () => api.devices.stop());
  parts.addBeside('volumes', () => api.volumes.stop());
  const election = startElection(options, api, log);
  parts.add('election', () => election.stop());
  const lock = new KeyedLock();
  const controller: Controller = startController({
    ...api,
    log,
    lock,
    clock: systemClock,
    unclaimedAfterMs: options.unclaimedAfterMinutes * 60_000,
    newQueue: queueOf(log, metrics),
    isLeader: election.isLeader,
  });
  parts.add('controller', () => controller.stop(), WORK_LIMIT_MS);
  api.volumes.start();
  api.devices.start();
  api.nodes.start();
  api.claimed.start();
  const csi = await startCsiServer({
    endpoint: options.csiEndpoint,
    version,
    log,
    lock,
    controller: controller.operations,
    notReady: controller.notReady,
    onAnswer: (rpc, code, seconds) => {
      metrics.csiAnswered(rpc, code, seconds);
    },
  });
  parts.add('csi', () => csi.stop(STOP_LIMIT_MS), STOP_LIMIT_MS + CUT_OFF_MS);
  const http = await serveMetrics({
    ...options.metricsAddress,
    log,
    metrics: () => metrics.render(),
    notReady: controller.notReady,
  });
  parts.addBeside('http', () => http.close());
  log.info('controller role runs', { version, metrics: http.address });
}

/** Runs until told to stop. */
export async function runController(options: ControllerOptions): Promise<void> {
  const version = programVersion();
  const log = createLog({ level: options.logLevel, fields: { role: 'controller' } });
  const threads = new Threads();
  endOnUnexpectedErrors(log, threads);
  await runParts(log, untilToldToStop(log, threads), (parts) => startParts(options, log, version, parts), { threads });
}
