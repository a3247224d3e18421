/** Two replicas over one API in every order of their steps, and a crash at every one of them: nothing happens twice, nothing is lost. */
import { expect } from 'chai';
import fc from 'fast-check';
import { DomainError } from '../../src/api/errors.ts';
import type { MeshStorVolume } from '../../src/api/volume.ts';
import { createRequest, FakeCluster } from '../fakes/fake-cluster.ts';
import type { Replica } from '../fakes/fake-cluster.ts';
import { FakeStore } from '../fakes/fake-store.ts';

const NAME = createRequest().name;
const REQUEST = createRequest({ preferredNodes: ['n1'] });

const settled = (work: Promise<unknown>): Promise<unknown> =>
  work.catch((error: unknown) => {
    if (error instanceof DomainError && error.kind !== 'internal') return error.kind;
    throw error;
  });

/** What must hold after every single write. */
function checkHistory(cluster: FakeCluster): void {
  const attachments = new Map<number, string>();
  let epoch = 0;
  let uuid: string | undefined;
  let placed: string | undefined;
  for (const { name, after } of cluster.volumeServer.writes) {
    expect(name).to.equal(NAME);
    if (after === undefined) continue;
    uuid ??= after.spec.volumeUUID;
    expect(after.spec.volumeUUID, 'one incarnation').to.equal(uuid);
    const status = after.status;
    if (status === undefined) continue;
    expect(status.attachmentEpoch, 'epochs never go back, and rise by one').to.be.within(epoch, epoch + 1);
    const holder = `${status.nodeName}/${status.attachmentID}`;
    const known = attachments.get(status.attachmentEpoch);
    expect(known ?? holder, 'one attachment for each epoch').to.equal(holder);
    attachments.set(status.attachmentEpoch, holder);
    epoch = status.attachmentEpoch;
    if (status.partitions.length === 0) continue;
    const where = status.partitions.map((entry) => `${entry.partitionUUID}@${entry.nodeID}`).join();
    placed ??= where;
    expect(where, 'placed once').to.equal(placed);
    expect(new Set(status.partitions.map((entry) => entry.nodeID)).size, 'copies on distinct nodes').to.equal(2);
  }
}

describe('two replicas of the controller over one API', () => {
  it('never create, place or attach twice, in any order of their steps', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.boolean(), async (scheduler, isSameNode) => {
        const cluster = new FakeCluster().withNodes(3);
        const pause = (step: string): Promise<void> => scheduler.schedule(Promise.resolve(), step);
        const replicas = [0, 1].map(() =>
          cluster.replica(new FakeStore<MeshStorVolume>(cluster.volumeServer, { pause })),
        );
        const life = async ({ operations }: Replica, node: string): Promise<unknown[]> => {
          const created = await settled(operations.createVolume({ ...REQUEST, preferredNodes: [node] }));
          const published = await settled(operations.publishVolume(NAME, node));
          const again = await settled(operations.publishVolume(NAME, node));
          return [created, published, again];
        };
        const [a, b] = replicas;
        if (a === undefined || b === undefined) throw new Error('two replicas');
        const both = Promise.all([life(a, 'n1'), life(b, isSameNode ? 'n1' : 'n2')]);
        await scheduler.waitFor(both);
        checkHistory(cluster);
        const status = cluster.status(NAME);
        expect(status.attachmentEpoch).to.equal(1);
        const answers = (await both).flatMap((list) => list.slice(1)).filter((answer) => typeof answer === 'object');
        for (const answer of answers) expect(answer).to.deep.equal({ epoch: 1, attachmentID: status.attachmentID });
        expect(answers.length).to.be.greaterThan(0);
      }),
      { numRuns: 150 },
    );
  });

  it('detach and attach against each other leave one story: each epoch one consumer', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), async (scheduler) => {
        const cluster = new FakeCluster().withNodes(3);
        await cluster.replica().operations.createVolume(REQUEST);
        await cluster.replica().operations.publishVolume(NAME, 'n1');
        const pause = (step: string): Promise<void> => scheduler.schedule(Promise.resolve(), step);
        const replica = (): Replica['operations'] =>
          cluster.replica(new FakeStore<MeshStorVolume>(cluster.volumeServer, { pause })).operations;
        const [a, b, c] = [replica(), replica(), replica()];
        await scheduler.waitFor(
          Promise.all([
            settled(a.unpublishVolume(NAME, 'n1')),
            settled(b.unpublishVolume(NAME, '')).then(() => settled(b.publishVolume(NAME, 'n2'))),
            settled(c.publishVolume(NAME, 'n3')).then(() => settled(c.deleteVolume(NAME))),
          ]),
        );
        checkHistory(cluster);
        const status = cluster.status(NAME);
        expect(status.phase === 'Deleting' && status.nodeName !== '', 'deleted while attached').to.be.false;
      }),
      { numRuns: 150 },
    );
  });
});

describe('the same call at two replicas at once', () => {
  const published = async (): Promise<FakeCluster> => {
    const cluster = new FakeCluster().withNodes(3);
    await cluster.replica().operations.createVolume(REQUEST);
    await cluster.replica().operations.publishVolume(NAME, 'n1');
    cluster.confirm(NAME);
    cluster.bear(NAME);
    return cluster;
  };
  const twice = async (
    cluster: FakeCluster,
    scheduler: fc.Scheduler,
    call: (operations: Replica['operations']) => Promise<unknown>,
  ): Promise<readonly unknown[]> => {
    const pause = (step: string): Promise<void> => scheduler.schedule(Promise.resolve(), step);
    const run = (): Promise<unknown> =>
      settled(call(cluster.replica(new FakeStore<MeshStorVolume>(cluster.volumeServer, { pause })).operations));
    const both = Promise.all([run(), run()]);
    await scheduler.waitFor(both);
    return both;
  };

  it('detaches once: one epoch more, no consumer, and both are done when the holders confirmed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), async (scheduler) => {
        const cluster = await published();
        cluster.writeStatus(NAME, () => ({ releasedEpoch: 1, mdState: '' }));
        await twice(cluster, scheduler, (operations) => operations.unpublishVolume(NAME, 'n1'));
        expect(cluster.status(NAME)).to.include({ attachmentEpoch: 2, nodeName: '', machineID: '', attachmentID: '' });
        expect(cluster.events.reasons().filter((reason) => reason === 'Detached')).to.have.length(1);
        cluster.confirm(NAME);
        const after = await twice(cluster, scheduler, (operations) => operations.unpublishVolume(NAME, 'n1'));
        expect(after).to.deep.equal([undefined, undefined]);
        expect(cluster.status(NAME).attachmentEpoch).to.equal(2);
      }),
      { numRuns: 60 },
    );
  });

  it('attaches once: both get the same context, again and again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), async (scheduler) => {
        const cluster = await published();
        cluster.writeStatus(NAME, () => ({ releasedEpoch: 1, mdState: '', nodeName: '', attachmentEpoch: 2 }));
        const call = (operations: Replica['operations']): Promise<unknown> => operations.publishVolume(NAME, 'n2');
        const answers = [...(await twice(cluster, scheduler, call)), ...(await twice(cluster, scheduler, call))];
        const { attachmentID } = cluster.status(NAME);
        expect(answers).to.deep.equal(Array.from({ length: 4 }, () => ({ epoch: 3, attachmentID })));
      }),
      { numRuns: 60 },
    );
  });
});

describe('a detach that was overtaken', () => {
  it('does not take the volume from its next consumer', async () => {
    const cluster = new FakeCluster().withNodes(3);
    const other = cluster.replica().operations;
    await other.createVolume(REQUEST);
    await other.publishVolume(NAME, 'n1');
    let isOvertaken = false;
    const pause = async (step: string): Promise<void> => {
      if (isOvertaken || !step.startsWith('mutateStatus: read')) return;
      isOvertaken = true;
      await other.unpublishVolume(NAME, 'n1');
      await other.publishVolume(NAME, 'n3');
    };
    const late = cluster.replica(new FakeStore<MeshStorVolume>(cluster.volumeServer, { pause })).operations;
    await late.unpublishVolume(NAME, 'n1');
    expect(isOvertaken).to.be.true;
    expect(cluster.status(NAME)).to.include({ nodeName: 'n3', attachmentEpoch: 3 });
  });
});

describe('a controller that dies between any two steps', () => {
  /** The whole life of a volume, as the sidecars drive it. */
  async function life(cluster: FakeCluster, { operations, reconciler }: Replica): Promise<void> {
    await operations.createVolume(REQUEST);
    await operations.publishVolume(NAME, 'n1');
    cluster.confirm(NAME);
    await operations.unpublishVolume(NAME, 'n1');
    await operations.deleteVolume(NAME);
    cluster.writeStatus(NAME, () => ({ partitions: [] }));
    await reconciler.reconcile(NAME);
  }

  class Crash extends Error {}

  async function countSteps(): Promise<number> {
    let steps = 0;
    const cluster = new FakeCluster().withNodes(3);
    const pause = async (): Promise<void> => {
      steps += 1;
    };
    await life(cluster, cluster.replica(new FakeStore<MeshStorVolume>(cluster.volumeServer, { pause })));
    expect(cluster.volumeServer.objects.size).to.equal(0);
    return steps;
  }

  it('leaves what the next one finishes, whatever the step', async () => {
    const steps = await countSteps();
    expect(steps).to.be.greaterThan(15);
    for (let crashAt = 1; crashAt <= steps; crashAt += 1) {
      const cluster = new FakeCluster().withNodes(3);
      let step = 0;
      const pause = async (): Promise<void> => {
        step += 1;
        if (step >= crashAt) throw new Crash(`at step ${step}`);
      };
      const dying = cluster.replica(new FakeStore<MeshStorVolume>(cluster.volumeServer, { pause }));
      const end = await life(cluster, dying).catch((error: unknown) => error);
      expect(end, `step ${crashAt}`).to.be.instanceOf(Crash);
      const before = cluster.volumeServer.objects.get(NAME);
      // The sidecars repeat the call that got no answer; those before it were answered.
      const heir = cluster.replica();
      if (
        before !== undefined &&
        before.status?.phase !== 'Deleting' &&
        before.metadata.deletionTimestamp === undefined
      ) {
        const isDetached = before.status !== undefined && before.status.attachmentEpoch === 2;
        if (isDetached) {
          await heir.operations.unpublishVolume(NAME, 'n1');
          await heir.operations.deleteVolume(NAME);
          cluster.writeStatus(NAME, () => ({ partitions: [] }));
          await heir.reconciler.reconcile(NAME);
        } else {
          await life(cluster, heir);
        }
      } else {
        if (before === undefined) await life(cluster, heir);
        else {
          cluster.writeStatus(NAME, () => ({ partitions: [] }));
          await heir.reconciler.reconcile(NAME);
        }
      }
      checkHistory(cluster);
      expect(cluster.volumeServer.objects.size, `nothing is left after step ${crashAt}`).to.equal(0);
    }
  });

  it('finds its own volume when the answer to the creation was lost', async () => {
    const cluster = new FakeCluster().withNodes(3);
    cluster.volumes.failNext('create', new DomainError('unavailable', 'the answer was lost'), 'after');
    const { operations } = cluster.replica();
    expect(await settled(operations.createVolume(REQUEST))).to.equal('unavailable');
    const volume = await operations.createVolume(REQUEST);
    expect(volume.status?.phase).to.equal('Requested');
    checkHistory(cluster);
  });
});
