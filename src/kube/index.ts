/** What other layers use of this one. */
import {
  API_GROUP,
  API_VERSION,
  NODE_DEVICE_KIND,
  NODE_DEVICE_PLURAL,
  VOLUME_KIND,
  VOLUME_PLURAL,
} from '../api/names.ts';
import type { MeshStorNodeDevice } from '../api/node-device.ts';
import { serializeNodeDevice, serializeVolume } from '../api/parse.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import type { Parsers } from './schemas.ts';
import { loadParsers } from './schemas.ts';
import { KubeStore } from './store.ts';
import type { KubeStoreOptions } from './store.ts';

export { ApiError } from './api-error.ts';
export { BackOff } from './back-off.ts';
export { KubeClaimedVolumes } from './claimed-volumes.ts';
export { createKubeClient } from './client.ts';
export type { KubeClient } from './client.ts';
export { systemClock } from './clock.ts';
export type { Clock, Log } from './clock.ts';
export { KubeEventRecorder } from './events.ts';
export { LeaderElector } from './lease.ts';
export { createNodeReader, KubeNodeStore } from './nodes.ts';
export type { NodeReader } from './nodes.ts';
export { loadParsers } from './schemas.ts';
export { KubeStore, MALFORMED_CONDITION } from './store.ts';
export { TerminalError, WorkQueue } from './work-queue.ts';
export type { ReconcileContext, Reconciler, ReconcileResult } from './work-queue.ts';

/** What the stores of the two kinds need; schemas are read from `deploy/crds` unless parsers are given. */
export type StoreOptions = Omit<KubeStoreOptions<never>, 'resource' | 'parse' | 'serialize' | 'entriesBy'> & {
  readonly parsers?: Parsers;
};

/** The volumes of the cluster. Call `start()` to watch them. */
export function createVolumeStore(options: StoreOptions): KubeStore<MeshStorVolume> {
  const { parsers = loadParsers(), ...rest } = options;
  return new KubeStore({
    ...rest,
    resource: { group: API_GROUP, version: API_VERSION, plural: VOLUME_PLURAL, kind: VOLUME_KIND, noun: 'volume' },
    parse: parsers.volume,
    serialize: serializeVolume,
    entriesBy: { partitions: 'partitionUUID' },
  });
}

/** The drives of the cluster. Call `start()` to watch them. */
export function createNodeDeviceStore(options: StoreOptions): KubeStore<MeshStorNodeDevice> {
  const { parsers = loadParsers(), ...rest } = options;
  return new KubeStore({
    ...rest,
    resource: {
      group: API_GROUP,
      version: API_VERSION,
      plural: NODE_DEVICE_PLURAL,
      kind: NODE_DEVICE_KIND,
      noun: 'node device',
    },
    parse: parsers.nodeDevice,
    serialize: serializeNodeDevice,
  });
}
