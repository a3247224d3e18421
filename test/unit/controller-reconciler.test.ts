/** What the controller does by itself: the end of volumes, and places that could not be kept. */
import { expect } from 'chai';
import { DomainError } from '../../src/api/errors.ts';
import type { PartitionStatus } from '../../src/api/volume.ts';
import { startController } from '../../src/controller/controller.ts';
import { KeyedLock } from '../../src/support/keyed-lock.ts';
import { packageRoot } from '../../src/support/package-root.ts';
import { GIB } from '../../src/support/units.ts';
import { createRequest, FakeCluster } from '../fakes/fake-cluster.ts';
import type { Replica } from '../fakes/fake-cluster.ts';
import { LogKeeper } from '../csi/harness.ts';

const NAME = createRequest().name;

describe('the end of a volume', () => {
  let cluster: FakeCluster;
  let replica: Replica;

  beforeEach(async () => {
    cluster = new FakeCluster().withNodes(2);
    replica = cluster.replica();
    await replica.operations.createVolume(createRequest({ preferredNodes: ['n1'] }));
    await replica.operations.deleteVolume(NAME);
  });

  it('comes when every holder has removed its partition, not before', async () => {
    expect(cluster.status(NAME).partitions.map((entry) => entry.state)).to.deep.equal(['Deleting', 'Deleting']);
    await replica.reconciler.reconcile(NAME);
    cluster.writeStatus(NAME, ({ partitions }) => ({ partitions: partitions.slice(1) }));
    await replica.reconciler.reconcile(NAME);
    expect(cluster.volume(NAME).metadata.finalizers).to.have.length(1);
    cluster.writeStatus(NAME, () => ({ partitions: [] }));
    await replica.reconciler.reconcile(NAME);
    expect(cluster.volumeServer.objects.size).to.equal(0);
  });

  it('releases a holder whose Node is gone and which is silent, and only then', async () => {
    cluster.nodes.remove('n2');
    await replica.reconciler.reconcile(NAME);
    expect(cluster.status(NAME).partitions, 'its process still beats').to.have.length(2);
    cluster.clock.advance(61_000);
    await replica.reconciler.reconcile(NAME);
    expect(cluster.status(NAME).partitions.map((entry) => entry.nodeID)).to.deep.equal(['n1']);
    expect(cluster.events.reasons()).to.include('HolderGone');
    await replica.reconciler.reconcile(NAME);
    expect(cluster.status(NAME).partitions, 'silence alone releases nobody').to.have.length(1);
  });

  it('gives its space back at once, however short its life was', async () => {
    const tight = new FakeCluster().withNodes(2, 3 * GIB);
    const { operations, reconciler } = tight.replica();
    const request = createRequest({ requiredBytes: 2 * GIB, preferredNodes: ['n1'] });
    for (let times = 0; times < 3; times += 1) {
      await operations.createVolume(request);
      const another = operations.createVolume({ ...request, name: 'another' });
      expect(await another.catch((error: unknown) => String(error))).to.match(/^DomainError: place volume/);
      await operations.deleteVolume(NAME);
      tight.writeStatus(NAME, () => ({ partitions: [] }));
      await reconciler.reconcile(NAME);
      expect(tight.volumeServer.objects.size).to.equal(0);
    }
    await operations.createVolume({ ...request, name: 'another' });
  });

  it('waits until the volume is detached when somebody deletes the object itself', async () => {
    const other = createRequest({ name: 'other', preferredNodes: ['n1'] });
    const { metadata } = await replica.operations.createVolume(other);
    await replica.operations.publishVolume(metadata.name, 'n1');
    cluster.volumeServer.delete(metadata.name, undefined);
    await replica.reconciler.reconcile(metadata.name);
    expect(cluster.status(metadata.name).phase).to.equal('Requested');
    expect(cluster.events.reasons()).to.include('DeletionWaits');
    await replica.operations.unpublishVolume(metadata.name, 'n1');
    await replica.reconciler.reconcile(metadata.name);
    expect(cluster.status(metadata.name).phase).to.equal('Deleting');
  });
});

describe('a volume that waits for its first attach', () => {
  it('is New, with what it should have, from its creation on', async () => {
    const cluster = new FakeCluster().withNodes(2);
    const { operations } = cluster.replica();
    const created = await operations.createVolume(createRequest({ preferredNodes: ['n1', 'n2'] }));
    const expected = { phase: 'New', ready: '0/2', totalDevices: 2, degradedDevices: 0, mdState: '' };
    expect(created.status).to.include(expected);
    expect(cluster.status(NAME)).to.include(expected);
    const writes = cluster.volumeServer.writes.length;
    await operations.createVolume(createRequest({ preferredNodes: ['n1', 'n2'] }));
    expect(cluster.volumeServer.writes, 'a repeated call changes nothing').to.have.length(writes);
  });

  it('becomes New later when its creator died before that, unless it has data somewhere', async () => {
    const cluster = new FakeCluster().withNodes(2);
    const { operations, reconciler } = cluster.replica();
    cluster.volumes.failNext('mutateStatus', new DomainError('unavailable', 'cut off'));
    expect(await operations.createVolume(createRequest()).catch((error: unknown) => String(error))).to.include(
      'cut off',
    );
    expect(cluster.volume(NAME).status).to.equal(undefined);
    await reconciler.reconcile(NAME);
    expect(cluster.status(NAME)).to.include({ phase: 'New', ready: '0/2' });
    const { status: _lost, ...born } = cluster.volume(NAME);
    cluster.volumeServer.put(born);
    cluster.writeSpec(NAME, { activatedAt: '2026-06-01T00:00:00Z' });
    await reconciler.reconcile(NAME);
    expect(cluster.status(NAME).conditions.map(({ type }) => type)).to.deep.equal(['StatusLost']);
    expect(cluster.status(NAME).ready, 'it is not a new one').to.equal('');
  });
});

describe('a place that cannot be kept', () => {
  let cluster: FakeCluster;
  let replica: Replica;
  const nodesOf = (): readonly string[] => cluster.status(NAME).partitions.map((entry) => entry.nodeID);
  const take = (isTaken: (entry: PartitionStatus) => boolean): void =>
    cluster.writeStatus(NAME, ({ partitions }) => ({ partitions: partitions.filter((entry) => !isTaken(entry)) }));

  beforeEach(async () => {
    cluster = new FakeCluster().withNodes(3);
    replica = cluster.replica();
    await replica.operations.createVolume(createRequest({ preferredNodes: ['n1'] }));
    await replica.operations.publishVolume(NAME, 'n1');
    await replica.reconciler.reconcile(NAME);
  });

  it('is given to another node, with a PARTUUID that was never listed', async () => {
    const before = cluster.status(NAME).partitions;
    const lost = before.find((entry) => entry.nodeID !== 'n1');
    take((entry) => entry.nodeID === lost?.nodeID);
    await replica.reconciler.reconcile(NAME);
    const after = cluster.status(NAME).partitions;
    expect(after.map((entry) => entry.slot).sort()).to.deep.equal([0, 1]);
    expect(nodesOf()).to.include('n1').and.not.to.include(lost?.nodeID);
    const fresh = after.find((entry) => entry.nodeID !== 'n1');
    expect(before.map((entry) => entry.partitionUUID)).not.to.include(fresh?.partitionUUID);
    expect(fresh).to.include({ state: 'Requested', generation: 1, slot: lost?.slot });
    expect(cluster.events.reasons()).to.include('PlacedAgain');
    const writes = cluster.volumeServer.writes.length;
    await replica.reconciler.reconcile(NAME);
    expect(cluster.volumeServer.writes, 'satisfied').to.have.length(writes);
  });

  it('never gets a PARTUUID again, even when every entry was taken back', async () => {
    const used = cluster.status(NAME).partitions.map((entry) => entry.partitionUUID);
    for (let turn = 1; turn <= 3; turn += 1) {
      take(() => true);
      await replica.reconciler.reconcile(NAME);
      // The nodes that gave up are asked again only after a while.
      cluster.clock.advance(61_000);
      cluster.beat();
      await replica.reconciler.reconcile(NAME);
      const uuids = cluster.status(NAME).partitions.map((entry) => entry.partitionUUID);
      expect(uuids, `turn ${turn}`).to.have.length(2);
      for (const uuid of uuids) expect(used).not.to.include(uuid);
      used.push(...uuids);
    }
    take(() => true);
    await replica.operations.unpublishVolume(NAME, 'n1');
    await replica.operations.publishVolume(NAME, 'n2');
    const last = cluster.status(NAME).partitions;
    expect(last.map(({ generation }) => generation)).to.deep.equal([4, 4]);
    for (const { partitionUUID } of last) expect(used).not.to.include(partitionUUID);
    expect(cluster.status(NAME).nextGeneration).to.equal(5);
  });

  it('is not written by a plan that was made before its generation was used', async () => {
    const { placer } = replica;
    const before = cluster.volume(NAME);
    const old = placer.planAll(NAME, { spec: before.spec }, 'n1');
    take(() => true);
    const problem = await placer.writePlan(cluster.volume(NAME), old).catch((error: unknown) => String(error));
    expect(problem).to.match(/changed meanwhile/);
    expect(cluster.status(NAME).partitions).to.deep.equal([]);
  });

  it('leaves a condition when there is no other node, does not ask the same one at once, and asks again later', async () => {
    const refusing = nodesOf().find((node) => node !== 'n1') ?? '';
    for (const node of ['n2', 'n3']) if (node !== refusing) cluster.nodes.set(node, { unschedulable: true });
    take((entry) => entry.nodeID === refusing);
    await replica.reconciler.reconcile(NAME);
    expect(nodesOf()).to.deep.equal(['n1']);
    expect(cluster.status(NAME).conditions).to.have.length(1);
    expect(cluster.status(NAME).conditions[0]).to.include({ type: 'Placed', status: 'False', reason: 'NoRoom' });
    cluster.clock.advance(61_000);
    cluster.beat();
    await replica.reconciler.reconcile(NAME);
    expect([...nodesOf()].sort()).to.deep.equal(['n1', refusing].sort());
    expect(cluster.status(NAME).conditions).to.deep.equal([]);
  });

  it('is given up when its holder was silent for longer than the volume tolerates, before birth only', async () => {
    const silent = nodesOf().find((node) => node !== 'n1') ?? '';
    for (let minute = 0; minute < 14; minute += 1) {
      cluster.clock.advance(60_000);
      cluster.beat(...['n1', 'n2', 'n3'].filter((node) => node !== silent));
    }
    await replica.reconciler.reconcile(NAME);
    expect(cluster.status(NAME).partitions).to.have.length(2);
    cluster.clock.advance(61_000);
    cluster.beat(...['n1', 'n2', 'n3'].filter((node) => node !== silent));
    await replica.reconciler.reconcile(NAME);
    await replica.reconciler.reconcile(NAME);
    const states = Object.fromEntries(cluster.status(NAME).partitions.map((entry) => [entry.nodeID, entry.state]));
    const spare = ['n2', 'n3'].find((node) => node !== silent) ?? '';
    expect(states).to.deep.equal({ n1: 'Requested', [silent]: 'Deleting', [spare]: 'Requested' });
  });

  it('is never touched once the volume is born', async () => {
    cluster.bear(NAME);
    const before = nodesOf();
    cluster.clock.advance(3_600_000);
    cluster.beat('n1');
    await replica.reconciler.reconcile(NAME);
    expect(nodesOf()).to.deep.equal(before);
    expect(cluster.status(NAME)).to.include({ phase: 'Synced', ready: '2/2' });
  });
});

describe('a reconciler whose cache is behind', () => {
  /** A volume that waits for its holders, in a cache that shows it. */
  async function placed(): Promise<{ cluster: FakeCluster; replica: Replica }> {
    const cluster = new FakeCluster({ lagging: true }).withNodes(3);
    const replica = cluster.replica();
    await replica.operations.createVolume(createRequest({ preferredNodes: ['n1'] }));
    cluster.volumes.deliver();
    return { cluster, replica };
  }

  /** Works on the same old object again and again, at the pace that it asks for itself. */
  async function repeat({ reconciler }: Replica, times = 5): Promise<readonly number[]> {
    const delays: number[] = [];
    for (let run = 0; run < times; run += 1) {
      delays.push((await reconciler.reconcile(NAME)).requeueAfterMs ?? Number.POSITIVE_INFINITY);
    }
    return delays;
  }

  const countOf = (cluster: FakeCluster, reason: string): number =>
    cluster.events.reasons().filter((other) => other === reason).length;

  it('gives a silent place up once, tells it once, and takes its time', async () => {
    const { cluster, replica } = await placed();
    const [silent = ''] = cluster.status(NAME).partitions.flatMap(({ nodeID }) => (nodeID === 'n1' ? [] : [nodeID]));
    cluster.clock.advance(901_000);
    cluster.beat(...['n1', 'n2', 'n3'].filter((node) => node !== silent));
    expect(Math.min(...(await repeat(replica)))).to.be.at.least(1000);
    expect(countOf(cluster, 'PlacementGivenUp')).to.equal(1);
  });

  it('releases a holder that is gone once, and tells it once', async () => {
    const { cluster, replica } = await placed();
    await replica.operations.deleteVolume(NAME);
    cluster.volumes.deliver();
    const [gone = ''] = cluster.status(NAME).partitions.flatMap(({ nodeID }) => (nodeID === 'n1' ? [] : [nodeID]));
    cluster.nodes.remove(gone);
    cluster.clock.advance(61_000);
    cluster.beat('n1');
    expect(Math.min(...(await repeat(replica)))).to.be.at.least(1000);
    expect(countOf(cluster, 'HolderGone')).to.equal(1);
  });

  it('brings a deletion as far as it can at once', async () => {
    const { cluster, replica } = await placed();
    cluster.volumeServer.delete(NAME, undefined);
    cluster.volumes.deliver();
    expect(Math.min(...(await repeat(replica)))).to.be.at.least(1000);
    expect(cluster.status(NAME).phase).to.equal('Deleting');
    const empty = new FakeCluster({ lagging: true }).withNodes(2);
    await empty.replica().operations.createVolume(createRequest());
    empty.volumeServer.delete(NAME, undefined);
    empty.volumes.deliver();
    await empty.replica().reconciler.reconcile(NAME);
    expect(empty.volumeServer.objects.size).to.equal(0);
  });
});

describe('space that was promised', () => {
  it('is promised to nobody else, even before the cache shows it', async () => {
    const cluster = new FakeCluster({ lagging: true }).withNodes(2, 10 * GIB);
    const { operations } = cluster.replica();
    await operations.createVolume(createRequest({ name: 'a', requiredBytes: 6 * GIB, preferredNodes: ['n1'] }));
    const tooMuch = operations.createVolume(
      createRequest({ name: 'b', requiredBytes: 6 * GIB, preferredNodes: ['n1'] }),
    );
    expect(await tooMuch.catch((error: unknown) => String(error))).to.include('free in one piece');
    cluster.volumes.deliver();
    await operations.createVolume(createRequest({ name: 'c', requiredBytes: 3 * GIB, preferredNodes: ['n1'] }));
    expect(cluster.volumeServer.objects.size).to.equal(2);
  });

  it('is counted until a heartbeat after its creation shows it', async () => {
    const cluster = new FakeCluster().withNodes(2, 10 * GIB);
    const { operations } = cluster.replica();
    const { metadata } = await operations.createVolume(
      createRequest({ name: 'a', requiredBytes: 6 * GIB, preferredNodes: ['n1'] }),
    );
    cluster.clock.advance(1000);
    const updatedAt = new Date(cluster.clock.now()).toISOString();
    cluster.writeStatus(metadata.name, ({ partitions }) => ({
      partitions: partitions.map((entry) => ({ ...entry, state: 'Created', updatedAt })),
    }));
    const { parameters } = createRequest();
    expect(operations.capacity(parameters, 'n1')).to.be.lessThan(5 * GIB);
    cluster.clock.advance(1000);
    for (const node of ['n1', 'n2']) cluster.setDrive(node, { freeBytes: 4 * GIB });
    expect(operations.capacity(parameters, 'n1')).to.equal(4 * GIB - 8 * 1024 * 1024);
  });
});

describe('startController', () => {
  it('reconciles what is there and what changes, leaves locked volumes alone, and only as the leader', async () => {
    const cluster = new FakeCluster().withNodes(2);
    const lock = new KeyedLock();
    let isLeader = true;
    const queued: string[] = [];
    let work: { reconcile(name: string): Promise<object> } | undefined;
    const controller = startController({
      ...cluster.parts(),
      log: new LogKeeper(),
      lock,
      isLeader: () => isLeader,
      newQueue: (given) => {
        work = given;
        return { start: () => undefined, add: (key) => queued.push(key), shutdown: async () => undefined };
      },
    });
    expect(controller.notReady()).to.equal(undefined);
    cluster.volumes.isSynced = false;
    expect(controller.notReady()).to.include('volumes');
    await controller.operations.createVolume(createRequest({ preferredNodes: ['n1'] }));
    await controller.operations.deleteVolume(NAME);
    cluster.writeStatus(NAME, () => ({ partitions: [] }));
    expect(queued).to.include(NAME);
    const release = lock.tryAcquire(NAME, 'DeleteVolume');
    expect(await work?.reconcile(NAME)).to.have.property('requeueAfterMs');
    release?.();
    isLeader = false;
    expect(await work?.reconcile(NAME)).to.have.property('requeueAfterMs');
    expect(cluster.volumeServer.objects.size).to.equal(1);
    isLeader = true;
    await work?.reconcile(NAME);
    expect(cluster.volumeServer.objects.size).to.equal(0);
    expect(lock.size).to.equal(0);
    await controller.stop();
  });
});

describe('packageRoot', () => {
  it('finds the package from a source file and from the bundle, and says where it looked', () => {
    const root = packageRoot(import.meta.url);
    expect(packageRoot(new URL('../../dist/meshstor.mjs', import.meta.url).href)).to.equal(root);
    expect(() => packageRoot('file:///nowhere/dist/meshstor.mjs')).to.throw('/nowhere/dist');
  });
});
