/** The controller role, wired. It never loads the addon. */
import type { ControllerOptions } from '../cli/options.ts';
import { programVersion } from '../cli/version.ts';
import type { Controller, ReconcileQueue, VolumeWork } from '../controller/controller.ts';
import { startController } from '../controller/controller.ts';
import { startCsiServer } from '../csi/server.ts';
import {
  KubeEventRecorder,
  KubeNodeStore,
  LeaderElector,
  WorkQueue,
  createKubeClient,
  createNodeDeviceStore,
  createVolumeStore,
  systemClock,
} from '../kube/index.ts';
import { serveHttp } from '../observability/http.ts';
import type { RootLog } from '../observability/log.ts';
import { createLog, toggleDebugOnSignal } from '../observability/log.ts';
import { Metrics } from '../observability/metrics.ts';
import { KeyedLock } from '../support/keyed-lock.ts';
import { randomUuid } from '../support/uuid.ts';
import { STOP_LIMIT_MS, endOnUnexpectedErrors, stopAll, untilToldToStop } from './process.ts';
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
    events: new KubeEventRecorder({ client, log, instance: options.podName }),
  };
}

type Api = ReturnType<typeof connect>;

function showMetrics(metrics: Metrics, { volumes, devices, nodes }: Api): void {
  volumes.onChange(() => {
    metrics.setVolumes(volumes.list().map(volumeSample));
  });
  devices.onChange(() => {
    metrics.setDrives(devices.list().map(driveSample));
  });
  metrics.watchAges(() => ({
    volumes: volumes.watchAgeMs / 1000,
    nodeDevices: devices.watchAgeMs / 1000,
    nodes: nodes.watchAgeMs / 1000,
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

/** Runs until told to stop. */
export async function runController(options: ControllerOptions): Promise<void> {
  const version = programVersion();
  const log = createLog({ level: options.logLevel, fields: { role: 'controller' } });
  endOnUnexpectedErrors(log);
  const stopToggling = toggleDebugOnSignal(log);
  const stopped = untilToldToStop(log);
  const metrics = new Metrics({ role: 'controller', version });
  const api = connect(options, log, version);
  showMetrics(metrics, api);
  metrics.logLinesDropped(() => log.dropped);
  const election = startElection(options, api, log);
  const lock = new KeyedLock();
  const controller: Controller = startController({
    ...api,
    log,
    lock,
    clock: systemClock,
    newQueue: queueOf(log, metrics),
    isLeader: election.isLeader,
  });
  api.volumes.start();
  api.devices.start();
  api.nodes.start();
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
  const http = await serveHttp({
    ...options.metricsAddress,
    log,
    metrics: () => metrics.render(),
    notReady: controller.notReady,
  });
  log.info('controller role runs', { version, metrics: http.address });
  await stopped;
  await stopAll(log, [
    ['csi', () => csi.stop(STOP_LIMIT_MS)],
    ['controller', () => controller.stop()],
    ['election', () => election.stop()],
    ['http', () => http.close()],
    ['volumes', () => api.volumes.stop()],
    ['devices', () => api.devices.stop()],
    ['nodes', () => api.nodes.stop()],
    ['client', () => api.client.close()],
    ['signals', stopToggling],
  ]);
  log.info('controller role ended');
  log.flushSync();
}
