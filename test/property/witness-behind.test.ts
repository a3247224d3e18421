import { expect } from 'chai';
import fc from 'fast-check';
import { refuseBehind } from '../../src/plan/view.ts';
import { after, bringUp, shapes } from '../support/model-history.ts';
import { mend, stage, unstageOn } from '../support/model-run.ts';
import { NOW } from '../support/model-cluster.ts';

describe('an object that was restored from an older backup', () => {
  it('lets nobody start from a member that was left out since, when the one that knows better cannot be reached', () => {
    const replicated = shapes.filter(({ copies }) => copies > 1);
    fc.assert(
      fc.property(replicated, fc.boolean(), (shape, isTold) => {
        const cluster = after(shape, []);
        const consumer = shape.copies;
        bringUp(cluster, consumer);
        const backup = cluster.status;
        const [best, ...others] = cluster.nodes.slice(0, shape.copies);
        unstageOn(cluster, cluster.nodes[consumer]!);
        // Everything goes on without the others; then the object becomes as it was.
        for (const other of others) other.up = false;
        bringUp(cluster, consumer);
        mend(cluster, true);
        cluster.write();
        cluster.reboot(cluster.nodes[consumer]!, false);
        cluster.status = backup;
        const told = refuseBehind(cluster.holderWorld(best!));
        expect(told?.message, 'its stamp is of a later attachment').to.contain('older than the data');
        if (isTold) {
          const condition = { type: 'WitnessBehind', reason: 'WitnessBehind', message: told!.message } as const;
          const conditions = [{ ...condition, status: 'True' as const, lastTransitionTime: NOW }];
          cluster.status = { ...backup, conditions };
        }
        best!.up = false;
        cluster.cut(best!);
        for (const other of others) other.up = true;
        if (isTold) expect(stage(cluster)).to.include({ kind: 'refuse', error: 'precondition' });
        // Nobody who could have told was there: this is what the condition is for.
        else expect(() => stage(cluster)).to.throw('lacks an acknowledged write');
      }),
      { numRuns: 30 },
    );
  });
});
