import { expect } from 'chai';
import fc from 'fast-check';
import { KeyedMutex } from '../../src/support/keyed-mutex.ts';

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('KeyedMutex', () => {
  it('runs the work of one key one after the other, in the order of asking', async () => {
    const mutex = new KeyedMutex();
    const order: string[] = [];
    const work = (name: string) => async (): Promise<void> => {
      order.push(`${name} begins`);
      await tick();
      order.push(`${name} ends`);
    };
    await Promise.all([mutex.run('k', undefined, work('a')), mutex.run('k', undefined, work('b'))]);
    expect(order).to.deep.equal(['a begins', 'a ends', 'b begins', 'b ends']);
    await tick();
    expect(mutex.isBusy('k')).to.equal(false);
  });

  it('stays closed while the first works, though one that waited gave up', async () => {
    const mutex = new KeyedMutex();
    let finish = (): void => undefined;
    const first = mutex.run('k', undefined, () => new Promise<void>((resolve) => (finish = resolve)));
    const giveUp = new AbortController();
    const second = mutex.run('k', giveUp.signal, () => Promise.resolve('never'));
    giveUp.abort(new Error('deadline'));
    expect(await second.catch((error: unknown) => (error as Error).message)).to.equal('deadline');
    await tick();
    let third = false;
    const waiting = mutex.run('k', undefined, () => Promise.resolve((third = true)));
    await tick();
    expect(mutex.isBusy('k')).to.equal(true);
    expect(third).to.equal(false);
    finish();
    await Promise.all([first, waiting]);
    expect(third).to.equal(true);
  });

  it('never lets two works of one key run at once, whoever gives up', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(fc.boolean(), { minLength: 2, maxLength: 8 }),
        async (scheduler, aborts) => {
          const mutex = new KeyedMutex();
          let inside = 0;
          let most = 0;
          const runs = aborts.map((gaveUp, index) => {
            const controller = new AbortController();
            const run = mutex.run('k', controller.signal, async () => {
              inside += 1;
              most = Math.max(most, inside);
              await scheduler.schedule(Promise.resolve(), `work ${index}`);
              inside -= 1;
            });
            if (gaveUp) void scheduler.schedule(Promise.resolve(), `abort ${index}`).then(() => controller.abort());
            return run.catch(() => undefined);
          });
          await scheduler.waitFor(Promise.all(runs));
          expect(most).to.be.at.most(1);
          await tick();
          expect(mutex.isBusy('k')).to.equal(false);
        },
      ),
    );
  });
});
