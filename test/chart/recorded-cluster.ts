/**
 * The real roles over fake kernels and an API server, stand-in or real, each with a client that notes what it asks for. One life of
 * a volume and whatever else makes a role speak to the API.
 */
import { NODE_LABEL, nodeLabelFor } from '../../src/api/names.ts';
import type { Controller } from '../../src/controller/controller.ts';
import { startController } from '../../src/controller/controller.ts';
import type { KubeClient } from '../../src/kube/index.ts';
import {
  createNodeDeviceStore,
  createVolumeStore,
  KubeClaimedVolumes,
  KubeEventRecorder,
  KubeNodeStore,
  LeaderElector,
  loadParsers,
  systemClock,
} from '../../src/kube/index.ts';
import { GIB } from '../../src/support/units.ts';
import { FakeDisk } from '../fakes/fake-disks.ts';
import { FakeFabric } from '../fakes/fake-fabric.ts';
import type { Api } from '../kube/contract/server.ts';
import { DEVICES, VOLUMES } from '../kube/contract/server.ts';
import { createHarness, QUICK, quiet, until } from '../kube/harness.ts';
import type { NodeRole } from '../kube/node-roles.ts';
import {
  addressOf,
  countUsableDrives,
  nodeObject,
  quickQueue,
  startNodeRole,
  stopNodeRole,
} from '../kube/node-roles.ts';
import type { JsonObject } from '../lab/api-server/json.ts';
import { CLASS, newVolume, stageOf } from '../roles/role-parts.ts';
import { RecordingClient } from './recording-client.ts';

const VOLUME = 'pvc-0b8a1f9e-2c3d-4e5f-8a7b-6c5d4e3f2a1b';
const STAGING = `/var/lib/kubelet/plugins/kubernetes.io/csi/${VOLUME}`;
const LIMIT_MS = 20_000;
const parsers = loadParsers();

type Member = NodeRole<RecordingClient>;

/** An API server with the nodes and our kinds in it. */
export interface World {
  readonly api: Api;
  /** The client of the controller role, or of the role on a node. */
  clientOf(who: string): KubeClient;
  /** Somebody reads from the wire what is asked for: nothing is asked beside what the roles ask. */
  readonly isWireTold?: boolean;
  /** Puts an object in place that no API server would take; undefined where that cannot be done. */
  readonly putRaw?: (object: JsonObject) => Promise<void>;
}

export const CONTROLLER = 'controller';

export class RecordedCluster {
  readonly controllerClient: RecordingClient;
  readonly members = new Map<string, Member>();
  readonly #world: World;
  readonly #fabric = new FakeFabric();
  readonly #controller: Controller;
  readonly #controllerEvents: KubeEventRecorder;
  readonly #stops: (() => Promise<void>)[] = [];

  private constructor(world: World, names: readonly string[]) {
    this.#world = world;
    names.forEach((name, index) => this.members.set(name, this.#startNode(name, addressOf(index))));
    const client = new RecordingClient(world.clientOf(CONTROLLER), world.isWireTold !== true);
    this.controllerClient = client;
    const volumes = createVolumeStore({ client, log: quiet, parsers, watch: QUICK });
    const devices = createNodeDeviceStore({ client, log: quiet, parsers, watch: QUICK });
    const nodes = new KubeNodeStore({ client, log: quiet, watch: QUICK });
    const claimed = new KubeClaimedVolumes({ client, log: quiet, watch: QUICK });
    this.#controllerEvents = new KubeEventRecorder({ client, log: quiet, instance: 'controller-0', intervalMs: 20 });
    this.#controller = startController({
      volumes,
      devices,
      nodes,
      claimed,
      events: this.#controllerEvents,
      clock: systemClock,
      log: quiet,
      newQueue: (work) => quickQueue((name) => work.reconcile(name)),
    });
    for (const store of [volumes, devices, nodes, claimed]) {
      store.start();
      this.#stops.push(() => store.stop());
    }
  }

  /** Ready to place volumes. Whoever made the world ends it after `stop`. */
  static async start(world: World, names: readonly string[]): Promise<RecordedCluster> {
    const cluster = new RecordedCluster(world, names);
    const hasRoom = (name: string): boolean => cluster.#controller.operations.capacity(CLASS, name) > 0;
    try {
      await until('every drive is usable', async () => (await countUsableDrives(world.api)) === names.length, LIMIT_MS);
      await until('the controller knows all drives', () => names.every(hasRoom), LIMIT_MS);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  #startNode(name: string, address: string): Member {
    const client = new RecordingClient(this.#world.clientOf(name), this.#world.isWireTold !== true);
    return startNodeRole({ name, address, fabric: this.#fabric, client });
  }

  member(name: string): Member {
    const member = this.members.get(name);
    if (member === undefined) throw new Error(`no node ${name}`);
    return member;
  }

  /** Made, used on one node, moved to another, deleted. */
  async liveOnce(): Promise<void> {
    const { operations } = this.#controller;
    const parameters = { pvcName: 'data', pvcNamespace: 'apps', pvName: VOLUME };
    const made = await operations.createVolume(newVolume(VOLUME, 'node1', { parameters }));
    for (const node of ['node1', 'node3']) await this.#use(made.metadata.name, node);
    await operations.deleteVolume(made.metadata.name);
    const isListed = async (): Promise<boolean> =>
      (await this.#world.api.list(VOLUMES)).items.some(({ metadata }) => metadata.name === VOLUME);
    await until('it is gone', async () => !(await isListed()), LIMIT_MS);
  }

  async #use(volumeId: string, node: string): Promise<void> {
    const { operations } = this.#controller;
    const stage = stageOf(volumeId, await operations.publishVolume(volumeId, node), STAGING);
    const { role } = this.member(node);
    await role.operations.stage(stage, AbortSignal.timeout(LIMIT_MS));
    await role.operations.unstage(volumeId, STAGING, AbortSignal.timeout(LIMIT_MS));
    await operations.unpublishVolume(volumeId, node);
  }

  /** What an object says of its drive is put right: here by somebody's hand, in life after a drive changed. */
  async correctDrive(node: string): Promise<void> {
    const path = `${DEVICES}/${node}-nvme0n1`;
    const { fake, client } = this.member(node);
    await this.#world.api.patch(path, { spec: { multiQueue: 77 } });
    // A new drive makes the node look at once.
    fake.disks.add(new FakeDisk({ name: 'nvme1n1', sizeBytes: GIB, serial: `${node}-1` }));
    const isCorrected = (): boolean =>
      client.accesses.some(({ verb, resource }) => verb === 'update' && resource === 'meshstornodedevices');
    await until('its object is put right', isCorrected, 2 * LIMIT_MS);
  }

  /** A drive is pulled: its object goes. */
  async loseDrive(node: string): Promise<void> {
    const { disks } = this.member(node).fake;
    for (const disk of [...disks.disks]) disks.pull(disk);
    const isListed = async (): Promise<boolean> =>
      (await this.#world.api.list(DEVICES)).items.some(({ metadata }) => metadata.name.startsWith(`${node}-`));
    await until('its object is gone', async () => !(await isListed()), 2 * LIMIT_MS);
  }

  /** Objects that an older version of the schema has left get a condition by whoever watches them. */
  async leaveMalformed(node: string): Promise<void> {
    const apiVersion = 'csi.meshstor.io/v1alpha1';
    const metadata = { name: 'broken', labels: { [NODE_LABEL]: nodeLabelFor(node) } };
    await this.#world.putRaw?.({ apiVersion, kind: 'MeshStorVolume', metadata, spec: { capacityBytes: 'much' } });
    await this.#world.putRaw?.({ apiVersion, kind: 'MeshStorNodeDevice', metadata, spec: { node: 7 } });
    const clients = [this.controllerClient, this.member(node).client];
    await until(
      'all have marked both',
      () =>
        clients.every(({ accesses }) =>
          ['meshstorvolumes/status', 'meshstornodedevices/status'].every((resource) =>
            accesses.some((access) => access.verb === 'patch' && access.resource === resource),
          ),
        ),
      LIMIT_MS,
    );
  }

  /** The same event again is counted up where it is. */
  async repeatEvents(): Promise<void> {
    const recorders = [{ client: this.controllerClient, events: this.#controllerEvents }, ...this.members.values()];
    for (const { client, events } of recorders) {
      const isCounted = (): boolean =>
        client.accesses.some(({ verb, resource }) => verb === 'patch' && resource === 'events');
      await until(
        'an event is counted up',
        () => {
          events.record({ kind: 'MeshStorVolume', name: 'some', uid: '' }, 'Normal', 'Again', 'the same once more');
          return isCounted();
        },
        LIMIT_MS,
      );
    }
  }

  /** The lease of the controller role is won and renewed. */
  async lead(namespace = 'meshstor'): Promise<void> {
    const elector = new LeaderElector({
      client: this.controllerClient,
      log: quiet,
      namespace,
      name: 'meshstor-controller',
      identity: 'controller-0',
      lead: () => undefined,
      leaseDurationMs: 900,
      renewDeadlineMs: 600,
      retryMs: 20,
    });
    elector.start();
    const isRenewed = (): boolean =>
      this.controllerClient.accesses.some(({ verb, resource }) => verb === 'update' && resource === 'leases');
    await until('the lease is renewed', isRenewed, LIMIT_MS);
    await elector.stop();
  }

  async stop(): Promise<void> {
    await this.#controller.stop();
    await Promise.all([...this.members.values()].map(stopNodeRole));
    this.#controllerEvents.close();
    for (const stop of this.#stops) await stop();
  }
}

/** What one role asked for. */
export type Recording = Pick<RecordingClient, 'accesses' | 'writes'>;

export interface Recordings {
  readonly controller: Recording;
  /** By node. */
  readonly nodes: ReadonlyMap<string, Recording>;
}

async function record(): Promise<Recordings> {
  const names = ['node1', 'node2', 'node3'];
  const harness = await createHarness();
  const { api, server } = harness;
  for (const [index, name] of names.entries()) await api.create('/api/v1/nodes', nodeObject(name, addressOf(index)));
  const world = {
    api,
    clientOf: () => harness.newClient(),
    putRaw: (object: JsonObject) => Promise.resolve(void server.putRaw(object)),
  };
  try {
    const cluster = await RecordedCluster.start(world, names);
    try {
      await cluster.liveOnce();
      await cluster.repeatEvents();
      await cluster.lead();
      await cluster.leaveMalformed('node2');
      await cluster.correctDrive('node3');
      await cluster.loseDrive('node2');
    } finally {
      await cluster.stop();
    }
    const nodes = [...cluster.members].map(([name, { client }]) => [name, client] as const);
    return { controller: cluster.controllerClient, nodes: new Map(nodes) };
  } finally {
    await harness.close();
  }
}

let recordings: Promise<Recordings> | undefined;

/** Everything that the roles ask for; done once for all tests. */
export function recordEverything(): Promise<Recordings> {
  recordings ??= record();
  return recordings;
}
