/** Volumes that no PersistentVolume names: reported, never deleted. */
import { expect } from 'chai';
import { findCondition } from '../../src/api/conditions.ts';
import { DomainError } from '../../src/api/errors.ts';
import { UNCLAIMED_CONDITION, UNCLAIMED_LABEL } from '../../src/api/names.ts';
import type { Condition } from '../../src/api/object.ts';
import { startController } from '../../src/controller/controller.ts';
import { volumeSample } from '../../src/main/samples.ts';
import { LogKeeper } from '../csi/harness.ts';
import { createRequest, FakeCluster } from '../fakes/fake-cluster.ts';
import type { Replica } from '../fakes/fake-cluster.ts';
import { FakeStore } from '../fakes/fake-store.ts';

const NAME = createRequest().name;
const MINUTE_MS = 60_000;

describe('a volume that no PersistentVolume names', () => {
  let cluster: FakeCluster;
  let replica: Replica;

  beforeEach(async () => {
    cluster = new FakeCluster().withNodes(2);
    replica = cluster.replica();
    const { parameters } = createRequest();
    const named = { ...parameters, pvcName: 'data', pvcNamespace: 'apps', pvName: NAME };
    await replica.operations.createVolume(createRequest({ preferredNodes: ['n1', 'n2'], parameters: named }));
    cluster.claimed.remove(NAME);
  });

  const condition = (): Condition | undefined => findCondition(cluster.status(NAME).conditions, UNCLAIMED_CONDITION);
  const label = (): string | undefined => cluster.volume(NAME).metadata.labels[UNCLAIMED_LABEL];
  const writes = (): number => cluster.volumeServer.writes.length;
  const reasons = (): readonly string[] =>
    cluster.events.reasons().filter((reason) => /^Volume(Unc|C)laimed$/.test(reason));

  /** Time passes; the reconciler is called when it asked for it. */
  async function pass(minutes: number, who = replica): Promise<void> {
    const end = cluster.clock.now() + minutes * MINUTE_MS;
    for (;;) {
      const { requeueAfterMs = Number.POSITIVE_INFINITY } = await who.reconciler.reconcile(NAME);
      const leftMs = end - cluster.clock.now();
      cluster.clock.advance(Math.min(requeueAfterMs, leftMs));
      cluster.beat();
      if (leftMs <= requeueAfterMs) break;
    }
    await who.reconciler.reconcile(NAME);
  }

  it('is reported after the time by condition, event, metric and label, once, and not deleted', async () => {
    await pass(9.9);
    expect(condition()?.status).to.equal('Unknown');
    expect([label(), reasons(), volumeSample(cluster.volume(NAME)).unclaimed]).to.deep.equal([undefined, [], false]);
    await pass(0.2);
    expect(condition()).to.include({ status: 'True', reason: 'NoPersistentVolume' });
    expect(condition()?.message).to.include('since 2026-06-01T00:00:00.000Z').and.to.include('apps/data');
    expect(label()).to.equal('true');
    expect(volumeSample(cluster.volume(NAME)).unclaimed).to.equal(true);
    expect(reasons()).to.deep.equal(['VolumeUnclaimed']);
    const before = writes();
    await pass(300);
    expect(writes(), 'said once').to.equal(before);
    expect(reasons()).to.have.length(1);
    expect(cluster.volume(NAME).metadata).not.to.have.property('deletionTimestamp');
    expect(cluster.status(NAME).phase).to.equal('New');
  });

  it('is reported no more as soon as a PersistentVolume names it, which is told too', async () => {
    await pass(11);
    cluster.claimed.add(NAME);
    await replica.reconciler.reconcile(NAME);
    expect([condition(), label()]).to.deep.equal([undefined, undefined]);
    expect(reasons()).to.deep.equal(['VolumeUnclaimed', 'VolumeClaimed']);
    cluster.claimed.remove(NAME);
    await pass(9);
    expect(condition()?.status, 'counted from the beginning').to.equal('Unknown');
    cluster.claimed.add(NAME);
    await pass(1);
    expect(condition(), 'nothing was reported, nothing is said').to.equal(undefined);
    expect(reasons()).to.have.length(2);
  });

  it('costs no write when it gets one within a minute, as volumes do', async () => {
    const before = writes();
    await pass(0.9);
    cluster.claimed.add(NAME);
    await pass(60);
    expect(writes()).to.equal(before);
  });

  it('is not reported before all PersistentVolumes were listed, nor while the API is not heard', async () => {
    cluster.claimed.isSynced = false;
    await pass(30);
    expect(condition()).to.equal(undefined);
    cluster.claimed.isSynced = true;
    await pass(5);
    cluster.claimed.watchAgeMs = 121_000;
    await pass(30);
    expect(condition()?.status).to.equal('Unknown');
    cluster.claimed.watchAgeMs = 0;
    await pass(0.9);
    expect(condition()?.status, 'the provisioner gets a minute too').to.equal('Unknown');
    await pass(0.2);
    expect(condition()?.status).to.equal('True');
  });

  it('is reported though the controller restarts every five minutes, but never in the first minute of one', async () => {
    await pass(5);
    const second = cluster.replica();
    await pass(5, second);
    expect(condition()?.status).to.equal('True');
    cluster.claimed.add(NAME);
    await pass(1, second);
    cluster.claimed.remove(NAME);
    await pass(2, second);
    cluster.clock.advance(60 * MINUTE_MS);
    const third = cluster.replica();
    await pass(0.9, third);
    expect(condition()?.status).to.equal('Unknown');
    await pass(0.2, third);
    expect(condition()?.status).to.equal('True');
    await pass(60, cluster.replica());
    expect(reasons(), 'no restart says it again').to.deep.equal([
      'VolumeUnclaimed',
      'VolumeClaimed',
      'VolumeUnclaimed',
    ]);
  });

  it('is reported in time whatever the clock is set to', async () => {
    await pass(0.5);
    cluster.clock.setBy(24 * 60 * MINUTE_MS);
    await pass(1);
    expect(condition()?.status).to.equal('Unknown');
    cluster.clock.setBy(-48 * 60 * MINUTE_MS);
    cluster.beat();
    await pass(8.4);
    expect(condition()?.status).to.equal('Unknown');
    await pass(0.2);
    expect(condition()?.status).to.equal('True');
  });

  it('is as long unclaimed as its own incarnation is', async () => {
    await pass(0.9);
    const { uid: _uid, ...metadata } = cluster.volume(NAME).metadata;
    cluster.volumeServer.put({ ...cluster.volume(NAME), metadata: { ...metadata, uid: 'another' } });
    await pass(0.9);
    expect(condition()).to.equal(undefined);
  });

  it('is not reported while it is being deleted', async () => {
    await pass(2);
    await replica.operations.publishVolume(NAME, 'n1');
    cluster.volumeServer.delete(NAME, undefined);
    await pass(30);
    expect(condition()?.status).to.equal('Unknown');
    expect(reasons()).to.deep.equal([]);
  });

  it('has condition and label set right when either write failed', async () => {
    await pass(9.9);
    cluster.volumes.failNext('mutate', new DomainError('unavailable', 'cut off'));
    const failure = await pass(0.2).catch((error: unknown) => String(error));
    expect(failure).to.include('cut off');
    expect([condition()?.status, label()]).to.deep.equal(['True', undefined]);
    await replica.reconciler.reconcile(NAME);
    expect(label()).to.equal('true');
    cluster.claimed.add(NAME);
    cluster.volumes.failNext('mutateStatus', new DomainError('unavailable', 'cut off'));
    await replica.reconciler.reconcile(NAME).catch(() => undefined);
    expect([condition()?.status, label()]).to.deep.equal(['True', undefined]);
    await replica.reconciler.reconcile(NAME);
    expect(condition()).to.equal(undefined);
  });

  it('is not called unclaimed when its PersistentVolume comes in the very moment', async () => {
    const claimedJustNow = new FakeCluster({
      pause: async (step) => {
        if (isReporting && step.startsWith('mutateStatus: read')) claimedJustNow.claimed.add(NAME);
      },
    }).withNodes(2);
    let isReporting = false;
    cluster = claimedJustNow;
    replica = cluster.replica();
    await replica.operations.createVolume(createRequest({ preferredNodes: ['n1', 'n2'] }));
    cluster.claimed.remove(NAME);
    await pass(9.9);
    isReporting = true;
    await pass(0.2);
    expect(reasons()).to.deep.equal([]);
  });

  it('is reported once by two replicas of which one does not see yet what the other wrote', async () => {
    await pass(2);
    const behind = cluster.replica(new FakeStore(cluster.volumeServer, { lagging: true }));
    await pass(7.9);
    await behind.reconciler.reconcile(NAME);
    await pass(1.1);
    const before = condition();
    await behind.reconciler.reconcile(NAME);
    expect(condition()).to.deep.equal(before);
    expect(reasons()).to.deep.equal(['VolumeUnclaimed']);
  });

  it('is looked at by the leader alone, when a PersistentVolume comes or goes', async () => {
    const queued: string[] = [];
    let work: { reconcile(name: string): Promise<{ readonly requeueAfterMs?: number }> } | undefined;
    const options = {
      ...cluster.parts(),
      unclaimedAfterMs: MINUTE_MS,
      log: new LogKeeper(),
      isLeader: () => isLeader,
    };
    let isLeader = false;
    const controller = startController({
      ...options,
      newQueue: (given) => {
        work = given;
        return { start: () => undefined, add: (key) => queued.push(key), shutdown: async () => undefined };
      },
    });
    cluster.claimed.remove('of-nobody');
    cluster.claimed.remove(NAME);
    expect(queued).to.deep.equal([NAME]);
    for (const leads of [false, true]) {
      isLeader = leads;
      for (let look = 0; look < 2; look += 1) {
        await work?.reconcile(NAME);
        cluster.clock.advance(MINUTE_MS);
      }
      expect(condition()?.status).to.equal(leads ? 'True' : undefined);
    }
    await controller.stop();
    const before = queued.length;
    cluster.claimed.add(NAME);
    expect(queued).to.have.length(before);
  });
});
