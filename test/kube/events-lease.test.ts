import { expect } from 'chai';
import { createNodeReader, KubeEventRecorder, KubeNodeStore, LeaderElector } from '../../src/kube/index.ts';
import type { LeaderElectorOptions } from '../../src/kube/lease.ts';
import { FakeClock } from '../unit/kube-fake-clock.ts';
import type { Harness } from './harness.ts';
import { createHarness, quiet, QUICK, until } from './harness.ts';

const EVENTS = '/api/v1/namespaces/default/events';
const ABOUT = { kind: 'MeshStorVolume', name: 'pvc-1', uid: 'u-1' };

interface EventWire {
  readonly reason: string;
  readonly message: string;
  readonly count: number;
  readonly type: string;
  readonly involvedObject: { readonly name: string; readonly apiVersion: string };
}

describe('KubeEventRecorder', () => {
  let harness: Harness;
  let recorders: KubeEventRecorder[];

  beforeEach(async () => {
    harness = await createHarness();
    recorders = [];
  });

  afterEach(async () => {
    for (const recorder of recorders) recorder.close();
    await harness.close();
  });

  const recorderOf = (options: object = {}) => {
    const recorder = new KubeEventRecorder({ client: harness.client, log: harness.log, instance: 'node1', ...options });
    recorders.push(recorder);
    return recorder;
  };
  const events = async () => (await harness.api.list(EVENTS)).items as unknown as readonly EventWire[];

  it('counts the same event instead of sending it again', async () => {
    const recorder = recorderOf({ intervalMs: 50 });
    for (let n = 0; n < 5; n += 1) recorder.record(ABOUT, 'Warning', 'MemberMissing', 'node2 is away');
    recorder.record(ABOUT, 'Normal', 'MemberBack', 'node2 is back');
    await until('both', async () => {
      const found = await events();
      return found.length === 2 && found.some((event) => event.count === 5);
    });
    const found = await events();
    const missing = found.find((event) => event.reason === 'MemberMissing');
    expect(missing?.involvedObject).to.include({ name: 'pvc-1', apiVersion: 'csi.meshstor.io/v1alpha1' });
    expect([missing?.type, missing?.count]).to.deep.equal(['Warning', 5]);
  });

  it('puts an event about a namespaced object beside it', async () => {
    await harness.api.create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
    const claim = { kind: 'PersistentVolumeClaim', name: 'data', namespace: 'shop', uid: 'u-2' };
    recorderOf().record(claim, 'Warning', 'VolumeDegraded', 'one member is away');
    const found = async () =>
      (await harness.api.list('/api/v1/namespaces/shop/events')).items as unknown as readonly EventWire[];
    await until('the event', async () => (await found()).length === 1);
    expect((await found())[0]?.involvedObject).to.include({ name: 'data', namespace: 'shop', apiVersion: 'v1' });
    expect(await events()).to.deep.equal([]);
  });

  it('sends the same event at most once in its interval', async () => {
    const recorder = recorderOf({ intervalMs: 10_000 });
    for (let n = 0; n < 10; n += 1) {
      recorder.record(ABOUT, 'Warning', 'MemberMissing', 'node2 is away');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect([harness.server.counts.get('POST'), (await events())[0]?.count]).to.deep.equal([1, 1]);
  });

  it('goes on counting where the process before it stopped', async () => {
    recorderOf().record(ABOUT, 'Warning', 'MemberMissing', 'node2 is away');
    await until('the event', async () => (await events()).length === 1);
    recorderOf().record(ABOUT, 'Warning', 'MemberMissing', 'node2 is away');
    await until('the count', async () => (await events())[0]?.count === 2);
  });

  it('keeps within its rate, and loses no event by it', async () => {
    const recorder = recorderOf({ burst: 3, perSecond: 20 });
    const startedAt = Date.now();
    for (let n = 0; n < 10; n += 1) recorder.record(ABOUT, 'Normal', 'Step', `step ${n}`);
    await until('all', async () => (await events()).length === 10);
    expect(Date.now() - startedAt).to.be.greaterThan(250);
  });

  it('logs what cannot be sent, and never throws', async () => {
    harness.server.faults.fail({ status: 500, match: (method) => method === 'POST' });
    recorderOf().record(ABOUT, 'Normal', 'Attached', 'x'.repeat(5000));
    await until('the line', () => harness.lines.some((line) => line.message === 'event not sent'));
  });

  it('drops new events when too many wait, and says so', () => {
    const recorder = recorderOf({ capacity: 2, burst: 0, perSecond: 0.001 });
    for (let n = 0; n < 3; n += 1) recorder.record(ABOUT, 'Normal', 'Step', `step ${n}`);
    expect(harness.lines.map((line) => line.message)).to.deep.equal(['event dropped: too many at once']);
  });

  it('cuts messages that the API would refuse', async () => {
    recorderOf().record(ABOUT, 'Normal', 'Attached', 'x'.repeat(5000));
    await until('the event', async () => (await events()).length === 1);
    expect((await events())[0]?.message.length).to.equal(1024);
  });
});

describe('nodes', () => {
  let harness: Harness;

  beforeEach(async () => {
    harness = await createHarness();
    await harness.api.create('/api/v1/nodes', {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'node1', annotations: { 'meshstor.io/nvme-over-tcp-address': '10.0.0.1' } },
      spec: { unschedulable: true, taints: [{ key: 'a', effect: 'NoSchedule' }] },
      status: {
        addresses: [
          { type: 'Hostname', address: 'node1' },
          { type: 'InternalIP', address: '192.0.2.1' },
        ],
        conditions: [{ type: 'Ready', status: 'True' }],
        nodeInfo: { systemUUID: '6B1E0E3A-5F57-4F0C-9A43-0D7D5A3B9C11' },
      },
    });
  });

  afterEach(async () => {
    await harness.close();
  });

  it('are read one at a time without watching', async () => {
    const reader = createNodeReader(harness.client);
    const node = await reader.read('node1');
    expect(node).to.deep.include({
      internalIP: '192.0.2.1',
      machineID: '6b1e0e3a-5f57-4f0c-9a43-0d7d5a3b9c11',
      ready: true,
      unschedulable: true,
      taints: [{ key: 'a', value: '', effect: 'NoSchedule' }],
    });
    expect(node?.metadata.annotations).to.deep.equal({ 'meshstor.io/nvme-over-tcp-address': '10.0.0.1' });
    expect(await reader.read('nobody')).to.equal(undefined);
    expect(harness.server.openWatches).to.equal(0);
  });

  it('are watched by the controller', async () => {
    const store = new KubeNodeStore({ client: harness.client, log: quiet, watch: QUICK });
    store.start();
    await store.synced;
    expect(store.list().map((node) => node.metadata.name)).to.deep.equal(['node1']);
    await harness.api.patch('/api/v1/nodes/node1', { spec: { unschedulable: null } });
    await until('the change', () => store.get('node1')?.unschedulable === false);
    await store.stop();
  });
});

describe('LeaderElector', () => {
  let harness: Harness;
  let electors: LeaderElector[];

  beforeEach(async () => {
    harness = await createHarness();
    electors = [];
  });

  afterEach(async () => {
    await Promise.all(electors.map((elector) => elector.stop()));
    await harness.close();
  });

  const start = (identity: string, signals: AbortSignal[] = [], options: Partial<LeaderElectorOptions> = {}) => {
    const elector = new LeaderElector({
      client: harness.newClient(),
      log: quiet,
      namespace: 'kube-system',
      name: 'meshstor-controller',
      identity,
      lead: (signal) => signals.push(signal),
      leaseDurationMs: 1000,
      renewDeadlineMs: 600,
      retryMs: 50,
      ...options,
    });
    electors.push(elector);
    elector.start();
    return elector;
  };

  it('has one leader at a time', async () => {
    const all = ['a', 'b', 'c'].map((identity) => start(identity));
    await until('a leader', () => all.some((elector) => elector.isLeader));
    for (let n = 0; n < 30; n += 1) {
      expect(all.filter((elector) => elector.isLeader).length).to.be.at.most(1);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  it('hands over at once when the leader stops', async () => {
    // Waiting for the end of such a lease would take longer than this test may.
    const long = { leaseDurationMs: 600_000, renewDeadlineMs: 400_000 };
    const signals: AbortSignal[] = [];
    const first = start('a', signals, long);
    await until('the first', () => first.isLeader);
    const second = start('b', [], long);
    await first.stop();
    expect(signals[0]?.aborted).to.equal(true);
    await until('the second', () => second.isLeader, 30_000);
  });

  it('stops leading before others may begin when it cannot renew', async () => {
    const clock = new FakeClock();
    const signals: AbortSignal[] = [];
    const first = start('a', signals, { clock });
    await until('the first', () => first.isLeader);
    harness.server.faults.pause();
    await clock.advance(599);
    expect(first.isLeader).to.equal(true);
    // Its last renewal was sent 600 ms ago; others wait 1000.
    await clock.advance(1);
    expect([first.isLeader, signals[0]?.aborted]).to.deep.equal([false, true]);
    harness.server.faults.resume();
    const leadsAgain = async () => {
      await clock.advance(20);
      return first.isLeader;
    };
    await until('the lease again', leadsAgain, 30_000);
    expect(signals.length).to.be.at.least(2);
  });

  it('takes over from one that went silent only after its lease has run out', async () => {
    const spec = { holderIdentity: 'dead', leaseDurationSeconds: 1, leaseTransitions: 3 };
    const metadata = { name: 'meshstor-controller', namespace: 'kube-system' };
    const path = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases';
    await harness.api.create(path, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec });
    const startedAt = Date.now();
    const elector = start('a');
    await until('the lease', () => elector.isLeader);
    expect(Date.now() - startedAt).to.be.greaterThan(950);
    const lease = await harness.api.get(`${path}/meshstor-controller`);
    expect(lease.spec).to.include({ holderIdentity: 'a', leaseTransitions: 4 });
  });
});
