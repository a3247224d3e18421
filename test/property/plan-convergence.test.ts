import { expect } from 'chai';
import fc from 'fast-check';
import { planHolder } from '../../src/plan/holding.ts';
import { planStage } from '../../src/plan/staging.ts';
import { ModelCluster } from '../support/model-cluster.ts';
import { after, bringUp, histories, lifeOf, node, run, shapes } from '../support/model-history.ts';
import {
  checkData,
  forever,
  holdAll,
  observe,
  publish,
  stage,
  tearDownFenced,
  unpublish,
  unstageOn,
  wantedOf,
} from '../support/model-run.ts';

describe('planners', () => {
  it('bring the volume up after any history of kills, power cuts, moves and outages, and lose nothing', () => {
    fc.assert(
      fc.property(shapes, histories, node, (shape, history, on) => {
        const cluster = after(shape, history);
        bringUp(cluster, on);
        cluster.write();
        cluster.settle();
        observe(cluster);
        checkData(cluster);
        expect(
          cluster.status.partitions.filter(({ state }) => state === 'Syncing'),
          'resynced members are Synced again',
        ).to.deep.equal([]);
        expect(cluster.consumer?.array?.readOnly).to.equal(false);
      }),
      { numRuns: 250 },
    );
  });

  it('start without a silent holder, and never call what it missed Synced again', () => {
    const replicated = shapes.filter(({ copies }) => copies > 1);
    fc.assert(
      fc.property(
        replicated,
        histories,
        fc.array(node, { maxLength: 2 }),
        fc.boolean(),
        (shape, history, on, orderly) => {
          const cluster = new ModelCluster(shape);
          const silent = cluster.nodes[1]!;
          bringUp(cluster, 0);
          cluster.write();
          if (orderly) unstageOn(cluster, cluster.consumer!);
          cluster.reboot(silent, false);
          silent.up = false;
          bringUp(cluster, 0);
          cluster.write();
          const missed = cluster.status.partitions.filter(({ nodeID }) => nodeID === silent.name);
          expect(missed.map(({ state }) => state)).to.deep.equal(missed.map(() => 'Missing'));
          expect(missed.every(({ stale }) => stale === true)).to.equal(!orderly);
          silent.up = true;
          for (const op of history) run(cluster, op);
          for (const each of cluster.nodes) each.up = true;
          for (const target of on) bringUp(cluster, target);
          checkData(cluster);
          expect(
            cluster.status.partitions.some(({ state, nodeID }) => state === 'Synced' && nodeID === silent.name),
          ).to.equal(false);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('never start from a member that MD dropped by itself before the array was stopped, whoever is silent then', () => {
    const replicated = shapes.filter(({ copies }) => copies > 1);
    const kills = fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 3 });
    fc.assert(
      fc.property(replicated, node, node, fc.boolean(), kills, (shape, which, quiet, isReported, times) => {
        const cluster = new ModelCluster(shape);
        bringUp(cluster, 0);
        cluster.write();
        cluster.drop(which);
        if (isReported) observe(cluster);
        cluster.write();
        for (const steps of times) unstageOn(cluster, cluster.consumer!, lifeOf(steps, false));
        unstageOn(cluster, cluster.consumer!);
        cluster.detach();
        const silent = cluster.nodes[quiet % shape.copies]!;
        cluster.reboot(silent, false);
        silent.up = false;
        cluster.attach(cluster.nodes.at(-1)!.name);
        stage(cluster);
        silent.up = true;
        bringUp(cluster, which);
        checkData(cluster);
      }),
      { numRuns: 120 },
    );
  });

  it('want nothing more of a world that is as wanted', () => {
    fc.assert(
      fc.property(shapes, histories, node, (shape, history, on) => {
        const cluster = after(shape, history);
        bringUp(cluster, on);
        for (const each of cluster.nodes) expect(planHolder(cluster.holderWorld(each))).to.deep.equal({ kind: 'done' });
        expect(planStage(cluster.consumerWorld(cluster.consumer!, false), wantedOf(cluster))).to.deep.equal({
          kind: 'done',
        });
      }),
      { numRuns: 80 },
    );
  });

  it('converge again in the same attachment wherever the node process is killed', () => {
    fc.assert(
      fc.property(
        shapes,
        node,
        fc.array(fc.tuple(fc.integer({ min: 0, max: 30 }), fc.boolean()), { maxLength: 8 }),
        (shape, on, kills) => {
          const cluster = new ModelCluster(shape);
          cluster.attach(cluster.nodes[on % cluster.nodes.length]!.name);
          for (const [steps, half] of kills) stage(cluster, lifeOf(steps, half));
          expect(stage(cluster)).to.deep.equal({ kind: 'done' });
          expect(cluster.status.ready).to.equal(`${shape.copies * shape.drives}/${shape.copies * shape.drives}`);
          expect(publish(cluster)).to.deep.equal({ kind: 'done' });
        },
      ),
      { numRuns: 200 },
    );
  });

  it('take down all that they set up, in any number of attempts', () => {
    fc.assert(
      fc.property(
        shapes,
        histories,
        node,
        fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 4 }),
        (shape, history, on, kills) => {
          const cluster = after(shape, history);
          bringUp(cluster, on);
          publish(cluster);
          const consumer = cluster.consumer!;
          unpublish(cluster, consumer);
          for (const steps of kills) unstageOn(cluster, consumer, lifeOf(steps, false));
          expect(unstageOn(cluster, consumer)).to.deep.equal({ kind: 'done' });
          cluster.detach();
          tearDownFenced(cluster);
          holdAll(cluster);
          expect(cluster.status.partitions.every(({ epoch }) => epoch === cluster.status.attachmentEpoch)).to.equal(
            true,
          );
          cluster.delete();
          for (const steps of kills) holdAll(cluster, lifeOf(steps, false));
          holdAll(cluster);
          expect(cluster.status.partitions).to.deep.equal([]);
          for (const each of cluster.nodes) {
            const { partitions, legs, exports, imports, array, mounts } = each;
            expect({ partitions: partitions.size, legs, exports, imports, array, mounts }).to.deep.equal({
              partitions: 0,
              legs: [],
              exports: [],
              imports: [],
              array: undefined,
              mounts: [],
            });
          }
        },
      ),
      { numRuns: 80 },
    );
  });

  it('record a clean hand-over only after an orderly stop, and the next start keeps every member Synced', () => {
    fc.assert(
      fc.property(shapes, node, node, (shape, from, to) => {
        const cluster = new ModelCluster(shape);
        bringUp(cluster, from);
        cluster.write();
        unstageOn(cluster, cluster.consumer!);
        expect(cluster.status.releasedEpoch).to.equal(cluster.status.attachmentEpoch);
        bringUp(cluster, to);
        expect(cluster.status.partitions.every(({ state }) => state === 'Synced')).to.equal(true);
      }),
    );
  });

  it('keep an unclean hand-over unclean when the next consumer was never started', () => {
    fc.assert(
      fc.property(shapes, node, node, fc.integer({ min: 0, max: 12 }), (shape, from, to, steps) => {
        const cluster = new ModelCluster(shape);
        bringUp(cluster, from);
        cluster.write();
        cluster.reboot(cluster.consumer!, true);
        cluster.detach();
        cluster.attach(cluster.nodes[to % cluster.nodes.length]!.name);
        stage(cluster, lifeOf(steps, false));
        const ran = cluster.consumer!.array?.readOnly === false;
        unstageOn(cluster, cluster.consumer!, forever());
        expect(cluster.status.releasedEpoch).to.equal(ran ? cluster.status.attachmentEpoch : 0);
      }),
    );
  });

  it('refuse the same way every time, and touch nothing', () => {
    fc.assert(
      fc.property(shapes, histories, node, (shape, history, on) => {
        const cluster = after(shape, history);
        bringUp(cluster, on);
        cluster.status = { ...cluster.status, attachmentEpoch: cluster.status.attachmentEpoch - 1 };
        for (const each of cluster.nodes.filter((candidate) => candidate.partitions.size > 0)) {
          expect(planHolder(cluster.holderWorld(each))).to.include({ kind: 'refuse', condition: 'WitnessBehind' });
        }
        const world = cluster.consumerWorld(cluster.consumer!, true);
        const refusal = planStage(world, wantedOf(cluster));
        expect(refusal).to.include({ kind: 'refuse', error: 'precondition', condition: 'WitnessBehind' });
        expect(planStage(world, wantedOf(cluster))).to.deep.equal(refusal);
        expect(unstageOn(cluster, cluster.consumer!)).to.include({ kind: 'refuse', condition: 'WitnessBehind' });
      }),
      { numRuns: 60 },
    );
  });
});
