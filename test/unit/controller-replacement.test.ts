/** What the controller does about members of born volumes that are out. */
import { expect } from 'chai';
import type { PartitionState, PartitionStatus } from '../../src/api/volume.ts';
import { createRequest, FakeCluster } from '../fakes/fake-cluster.ts';
import type { Replica } from '../fakes/fake-cluster.ts';

const NAME = createRequest().name;
const TIMEOUT_MS = 900_000;

describe('a member that is out', () => {
  let cluster: FakeCluster;
  let replica: Replica;

  /** Born, in use on n1; members on the first nodes by slot. */
  async function inUse(copies: number, nodes: number, drivesPerCopy = 1): Promise<void> {
    cluster = new FakeCluster();
    for (let index = 1; index <= nodes; index += 1) {
      // Less room from node to node: they are taken in this order.
      for (let drive = 0; drive <= drivesPerCopy; drive += 1) {
        if (drive === 0) cluster.addNode(`n${index}`, { freeBytes: (100 - index) * 1024 ** 3 });
        else if (drivesPerCopy > 1) {
          cluster.setDrive(`n${index}`, { device: `nvme${drive}n1`, freeBytes: (100 - index) * 1024 ** 3 });
        }
      }
    }
    replica = cluster.replica();
    const parameters = { ...createRequest().parameters, numberOfCopies: copies, drivesPerCopy };
    await replica.operations.createVolume(createRequest({ preferredNodes: ['n1'], parameters }));
    await replica.operations.publishVolume(NAME, 'n1');
    cluster.bear(NAME);
    cluster.confirm(NAME);
  }

  const entries = (): readonly PartitionStatus[] => cluster.status(NAME).partitions;
  const shown = (): readonly string[] => entries().map(({ slot, nodeID, state }) => `${slot} ${nodeID} ${state}`);
  const set = (isMeant: (entry: PartitionStatus) => boolean, state: PartitionState): void =>
    cluster.writeStatus(NAME, ({ partitions }) => ({
      mdState: 'degraded',
      partitions: partitions.map((entry) => (isMeant(entry) ? { ...entry, state, missingEpoch: 1 } : entry)),
    }));
  const at = (slot: number) => (entry: PartitionStatus) => entry.slot === slot;
  const onNode = (node: string) => (entry: PartitionStatus) => entry.nodeID === node;
  const look = () => replica.reconciler.reconcile(NAME);
  /** Time passes; everybody but these is heard of. */
  function pass(ms: number, ...silent: readonly string[]): void {
    cluster.clock.advance(ms);
    cluster.beat(...['n1', 'n2', 'n3', 'n4', 'n5'].filter((node) => !silent.includes(node)));
  }

  it('is replaced when it has been missing for longer than the volume tolerates, in one write', async () => {
    await inUse(2, 3);
    set(at(1), 'Missing');
    await look();
    pass(TIMEOUT_MS - 1000, 'n2');
    expect(await look()).to.deep.equal({ requeueAfterMs: 1001 });
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Missing']);
    pass(1001, 'n2');
    const writes = cluster.volumeServer.writes.length;
    await look();
    expect(cluster.volumeServer.writes.length).to.equal(writes + 1);
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Replacing', '1 n3 Requested']);
    expect(entries()[2]).to.include({ generation: 1, epoch: 0 });
    expect(entries()[2]?.partitionUUID).to.not.equal(entries()[1]?.partitionUUID);
    expect(cluster.status(NAME)).to.include({ phase: 'Replacing', downDevices: 1, degradedDevices: 1, ready: '1/2' });
    expect(cluster.events.reasons()).to.include('ReplacementRequested');
    await look();
    expect(entries(), 'once').to.have.length(3);
  });

  it('is waited for anew by a controller that starts, and whatever the clock on the wall says', async () => {
    await inUse(2, 3);
    set(at(1), 'Missing');
    await look();
    pass(TIMEOUT_MS - 1000, 'n2');
    replica = cluster.replica();
    await look();
    pass(2000, 'n2');
    cluster.clock.setBy(10 * TIMEOUT_MS);
    cluster.beat();
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Missing']);
    cluster.writeStatus(NAME, ({ partitions }) => ({
      partitions: partitions.map((entry) => ({ ...entry, updatedAt: '2001-01-01T00:00:00Z' })),
    }));
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Missing']);
  });

  it('is counted anew when it was back for a moment', async () => {
    await inUse(2, 3);
    set(at(1), 'Missing');
    await look();
    pass(TIMEOUT_MS - 1000);
    set(at(1), 'Synced');
    await look();
    set(at(1), 'Missing');
    await look();
    pass(2000);
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Missing']);
  });

  it('is replaced at once when it failed, and not on the drive that failed', async () => {
    await inUse(2, 2);
    set(at(1), 'Faulty');
    await look();
    expect(shown(), 'there is no other drive').to.deep.equal(['0 n1 Synced', '1 n2 Faulty']);
    cluster.setDrive('n2', { device: 'nvme1n1' });
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Replacing', '1 n2 Requested']);
    expect(entries()[1]).to.include({ failed: true, stale: true, device: 'nvme0n1' });
    expect(entries()[2]?.device).to.equal('nvme1n1');
    expect(cluster.status(NAME)).to.include({ failedDevices: 1, downDevices: 0 });
  });

  it('stays when nothing fits, which is said with the reason of each node once, and is tried again', async () => {
    await inUse(2, 2);
    set(at(1), 'Missing');
    await look();
    pass(TIMEOUT_MS + 1, 'n2');
    expect(await look()).to.deep.equal({ requeueAfterMs: 10_000 });
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Missing']);
    const said = cluster.status(NAME).conditions.find(({ type }) => type === 'Placed');
    expect(said).to.include({ status: 'False', reason: 'NoRoom' });
    expect(said?.message).to.include('member 1 on n2/nvme0n1 has been missing for more than 900 s');
    expect(said?.message).to.include('n1: holds another copy of this volume');
    expect(said?.message).to.include('n2: its member of this volume is missing');
    pass(10_000, 'n2');
    await look();
    expect(cluster.events.reasons().filter((reason) => reason === 'ReplacementWaits')).to.have.length(1);
    cluster.addNode('n3');
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Replacing', '1 n3 Requested']);
    await look();
    expect(cluster.status(NAME).conditions).to.deep.equal([]);
  });

  it('is replaced on another drive of its node when its own is not listed any more', async () => {
    await inUse(2, 2);
    cluster.setDrive('n2', { device: 'nvme1n1' });
    cluster.deviceServer.remove('n2-nvme0n1');
    set(at(1), 'Missing');
    await look();
    pass(TIMEOUT_MS + 1);
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Replacing', '1 n2 Requested']);
  });

  it('counts while nobody uses the volume only when nothing is heard of its node', async () => {
    await inUse(2, 3);
    set(at(1), 'Missing');
    cluster.writeStatus(NAME, () => ({ mdState: '', nodeName: '' }));
    await look();
    pass(TIMEOUT_MS + 1);
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Missing']);
    pass(61_000, 'n2');
    await look();
    pass(TIMEOUT_MS + 1, 'n2');
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Replacing', '1 n3 Requested']);
  });

  it('is not replaced where nobody holds every write, nor in a volume that goes or whose object is too old', async () => {
    await inUse(2, 3);
    set(() => true, 'Faulty');
    await look();
    expect(entries()).to.have.length(2);
    set(at(0), 'Synced');
    const conditions = [{ type: 'WitnessBehind', status: 'True', reason: 'r', message: 'm', lastTransitionTime: 't' }];
    cluster.writeStatus(NAME, () => ({ conditions: conditions as never }));
    await look();
    expect(entries()).to.have.length(2);
    cluster.writeStatus(NAME, () => ({ conditions: [] }));
    await look();
    expect(entries()).to.have.length(3);
  });

  it('is one of several: each gets a node of its own, and one that finds none keeps no other waiting', async () => {
    await inUse(3, 4);
    set((entry) => entry.slot > 0, 'Missing');
    await look();
    pass(TIMEOUT_MS + 1, 'n2', 'n3');
    await look();
    expect(
      entries()
        .filter(({ state }) => state === 'Requested')
        .map(({ nodeID }) => nodeID),
    ).to.deep.equal(['n4']);
    cluster.addNode('n5');
    await look();
    const requested = entries().filter(({ state }) => state === 'Requested');
    expect(requested.map(({ slot, nodeID }) => `${slot} ${nodeID}`)).to.deep.equal(['1 n4', '2 n5']);
  });

  it('of a copy with several drives is replaced on the node of that copy', async () => {
    await inUse(2, 3, 2);
    const failed = entries().find((entry) => entry.nodeID === 'n2');
    set((entry) => entry.partitionUUID === failed?.partitionUUID, 'Faulty');
    await look();
    const made = entries().filter(({ state }) => state === 'Requested');
    expect(made.map(({ nodeID, slot }) => ({ nodeID, slot }))).to.deep.equal([{ nodeID: 'n2', slot: failed?.slot }]);
    const devices = entries().flatMap(({ nodeID, device }) => (nodeID === 'n2' ? [device] : []));
    expect(new Set(devices).size).to.equal(3);
  });

  it('goes when the new one is in sync, and not before', async () => {
    await inUse(2, 3);
    set(at(1), 'Faulty');
    await look();
    for (const state of ['Created', 'Syncing'] as const) {
      set(onNode('n3'), state);
      await look();
      expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Replacing', `1 n3 ${state}`]);
    }
    set(onNode('n3'), 'Synced');
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Deleting', '1 n3 Synced']);
    expect(cluster.events.reasons()).to.include('Replaced');
    expect(cluster.status(NAME)).to.include({ phase: 'Synced', ready: '2/2', failedDevices: 0 });
  });

  it('stays and its replacement goes when it is being copied to again before that one was', async () => {
    await inUse(2, 3);
    set(at(1), 'Faulty');
    await look();
    set(onNode('n3'), 'Created');
    set(onNode('n2'), 'Syncing');
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Syncing', '1 n3 Deleting']);
    expect(cluster.events.reasons()).to.include('ReplacementCancelled');
  });

  it('gets another replacement when nothing is heard of the node of the first, or that cannot make it', async () => {
    await inUse(2, 4);
    set(at(1), 'Faulty');
    await look();
    pass(TIMEOUT_MS + 1, 'n3');
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n2 Replacing', '1 n3 Deleting', '1 n4 Requested']);
    expect(cluster.events.reasons()).to.include('ReplacementGivenUp');
    expect(entries()[3]?.generation).to.equal(2);
    cluster.writeStatus(NAME, ({ partitions }) => ({ partitions: partitions.slice(0, 3) }));
    cluster.setDrive('n2', { device: 'nvme1n1' });
    await look();
    expect(shown()[3]).to.equal('1 n2 Requested');
  });

  it('is released when its node is gone for good and nothing is heard of it', async () => {
    await inUse(2, 3);
    set(at(1), 'Faulty');
    await look();
    set(onNode('n3'), 'Synced');
    await look();
    cluster.nodes.remove('n2');
    await look();
    expect(shown()).to.include('1 n2 Deleting');
    pass(61_000, 'n2');
    await look();
    expect(shown()).to.deep.equal(['0 n1 Synced', '1 n3 Synced']);
    expect(cluster.events.reasons()).to.include('HolderGone');
  });
});
