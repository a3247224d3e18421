/** The controller role, put together. */
import { randomUuid } from '../support/uuid.ts';
import type { KeyedLock } from '../support/keyed-lock.ts';
import type { Log } from '../support/log.ts';
import { Heartbeats } from './heartbeats.ts';
import type { ControllerOperations } from './operations.ts';
import type { ControllerParts } from './parts.ts';
import { Placer } from './placer.ts';
import type { OperationLimits } from './volume-operations.ts';
import { DEFAULT_LIMITS, VolumeOperations } from './volume-operations.ts';
import type { ReconcileOutcome } from './volume-reconciler.ts';
import { VolumeReconciler } from './volume-reconciler.ts';

/** What the controller needs of a work queue: one key never runs twice at once, failures come back later. */
export interface ReconcileQueue {
  start(): void;
  add(key: string): void;
  shutdown(): Promise<void>;
}

export interface VolumeWork {
  reconcile(name: string): Promise<ReconcileOutcome>;
}

export interface ControllerOptions extends Omit<ControllerParts, 'newUuid'> {
  readonly log: Log;
  /** Makes the queue that runs the volume reconciler. */
  readonly newQueue: (work: VolumeWork) => ReconcileQueue;
  /** Shared with the CSI server: a volume that a call works on is left alone meanwhile. */
  readonly lock?: KeyedLock;
  /** Whether this replica reconciles; all serve calls. Two at once are safe, and only tell some things twice. */
  readonly isLeader?: () => boolean;
  readonly newUuid?: () => string;
  readonly limits?: OperationLimits;
}

export interface Controller {
  readonly operations: ControllerOperations;
  /** Why calls cannot be served yet; undefined when they can. */
  readonly notReady: () => string | undefined;
  stop(): Promise<void>;
}

const BUSY_MS = 1000;
const NOT_LEADER_MS = 5000;

export function startController(options: ControllerOptions): Controller {
  const { volumes, devices, nodes, log } = options;
  const parts: ControllerParts = { ...options, newUuid: options.newUuid ?? randomUuid };
  const heartbeats = new Heartbeats(devices, options.clock);
  const placer = new Placer(parts, heartbeats);
  const reconciler = new VolumeReconciler(parts, heartbeats, placer);
  const queue = options.newQueue({ reconcile: (name) => guarded(options, reconciler, name) });
  const unsubscribe = [
    volumes.onChange((name) => queue.add(name)),
    options.claimed.onChange((name) => {
      if (volumes.get(name) !== undefined) queue.add(name);
    }),
    // A node that goes may release the volumes that wait for it.
    nodes.onChange((node) => {
      for (const name of volumesOn(parts, node)) queue.add(name);
    }),
  ];
  void Promise.all([volumes.synced, devices.synced, nodes.synced]).then(() => {
    for (const volume of volumes.list()) queue.add(volume.metadata.name);
    queue.start();
    log.info('controller reconciles', { volumes: volumes.list().length });
  });
  return {
    operations: new VolumeOperations(parts, heartbeats, placer, options.limits ?? DEFAULT_LIMITS),
    notReady: () => whyNotReady(options),
    stop: async () => {
      for (const end of unsubscribe) end();
      heartbeats.stop();
      placer.stop();
      await queue.shutdown();
    },
  };
}

function whyNotReady(options: ControllerOptions): string | undefined {
  const { volumes, devices, nodes } = options;
  const waiting = Object.entries({ volumes, devices, nodes }).flatMap(([name, store]) =>
    store.isSynced ? [] : [name],
  );
  return waiting.length === 0 ? undefined : `not all ${waiting.join(', ')} were listed yet`;
}

function volumesOn(parts: ControllerParts, node: string): readonly string[] {
  const isThere = parts.volumes
    .list()
    .filter((volume) => (volume.status?.partitions ?? []).some((entry) => entry.nodeID === node));
  return isThere.map((volume) => volume.metadata.name);
}

async function guarded(
  options: ControllerOptions,
  reconciler: VolumeReconciler,
  name: string,
): Promise<ReconcileOutcome> {
  if (options.isLeader?.() === false) return { requeueAfterMs: NOT_LEADER_MS };
  if (options.lock === undefined) return reconciler.reconcile(name);
  const release = options.lock.tryAcquire(name, 'the volume reconciler');
  if (release === undefined) return { requeueAfterMs: BUSY_MS };
  try {
    return await reconciler.reconcile(name);
  } finally {
    release();
  }
}
