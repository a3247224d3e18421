/** Node roles over fake kernels and any API server: the real role, and a store and events of its own through one client. */
import { NODE_LABEL, nodeLabelFor } from '../../src/api/names.ts';
import type { KubeClient, KubeStore } from '../../src/kube/index.ts';
import {
  createNodeDeviceStore,
  createNodeReader,
  createVolumeStore,
  KubeEventRecorder,
  loadParsers,
  WorkQueue,
} from '../../src/kube/index.ts';
import type { RunningNode } from '../../src/node/node.ts';
import { startNode } from '../../src/node/node.ts';
import { GIB } from '../../src/support/units.ts';
import type { FakeFabric } from '../fakes/fake-fabric.ts';
import { FakeNode } from '../fakes/fake-node.ts';
import { machineOf, nodeParts } from '../roles/role-parts.ts';
import type { Api } from './contract/server.ts';
import { DEVICES } from './contract/server.ts';
import { QUICK, quiet } from './harness.ts';

const parsers = loadParsers();

export interface NodeRole<Client extends KubeClient = KubeClient> {
  readonly fake: FakeNode;
  readonly role: RunningNode;
  readonly client: Client;
  readonly events: KubeEventRecorder;
  readonly stores: readonly Pick<KubeStore<never>, 'stop'>[];
}

export function addressOf(index: number): string {
  return `10.0.0.${index + 1}`;
}

export function nodeObject(name: string, address: string): unknown {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name },
    status: {
      addresses: [{ type: 'InternalIP', address }],
      conditions: [{ type: 'Ready', status: 'True' }],
      nodeInfo: { systemUUID: machineOf(name) },
    },
  };
}

/** One that retries at once. */
export function quickQueue(reconcile: (key: string) => Promise<{ readonly requeueAfterMs?: number }>): WorkQueue {
  return new WorkQueue({
    reconciler: { reconcile },
    name: 'volumes',
    log: quiet,
    backOff: { baseMs: 20, capMs: 200 },
  });
}

export interface NodeRoleOptions<Client extends KubeClient> {
  readonly name: string;
  readonly address: string;
  readonly fabric: FakeFabric;
  readonly client: Client;
  /** How many it has, of 4 GiB each; one by default. */
  readonly drives?: number;
}

/** Starts one. */
export function startNodeRole<Client extends KubeClient>(options: NodeRoleOptions<Client>): NodeRole<Client> {
  const { name, address, fabric, client, drives = 1 } = options;
  const disks = Array.from({ length: drives }, (_, index) => ({
    name: `nvme${index}n1`,
    sizeBytes: 4 * GIB,
    serial: `${name}-${index}`,
  }));
  const fake = new FakeNode({ name, fabric, addresses: [address], disks });
  const labelSelector = `${NODE_LABEL}=${nodeLabelFor(name)}`;
  const volumes = createVolumeStore({ client, log: quiet, parsers, watch: QUICK });
  const devices = createNodeDeviceStore({ client, log: quiet, parsers, watch: { ...QUICK, labelSelector } });
  const events = new KubeEventRecorder({ client, log: quiet, instance: name, intervalMs: 20 });
  const role = startNode({
    ...nodeParts(fake),
    volumes,
    devices,
    nodes: createNodeReader(client),
    events,
    dropGraceMs: 5000,
    log: quiet,
    queueFor: (reconcile) => quickQueue(reconcile),
  });
  volumes.start();
  devices.start();
  return { fake, role, client, events, stores: [volumes, devices] };
}

export async function stopNodeRole({ role, events, stores, client }: NodeRole): Promise<void> {
  await role.stop();
  events.close();
  await Promise.all(stores.map((store) => store.stop()));
  client.close();
}

/** How many drives may be used, as the API says it. */
export async function countUsableDrives(api: Api): Promise<number> {
  const { items } = await api.list(DEVICES);
  const isUsable = (status: Record<string, unknown> | undefined): boolean =>
    ((status?.['conditions'] ?? []) as { readonly type: string; readonly status: string }[]).some(
      ({ type, status: is }) => type === 'Usable' && is === 'True',
    );
  return items.filter(({ status }) => isUsable(status)).length;
}
