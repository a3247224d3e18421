import { expect } from 'chai';
import { SharedLook } from '../../src/node/shared-look.ts';
import { TwoNodes } from '../fakes/two-nodes.ts';

describe('SharedLook', () => {
  it('takes one look for all that ask, a new one after a change, and a new one after a while', async () => {
    const { kernel } = new TwoNodes().one;
    let looks = 0;
    const counting = new Proxy(kernel, {
      get: (target, name, receiver) => {
        if (name === 'mdArrays') looks += 1;
        return Reflect.get(target, name, receiver) as unknown;
      },
    });
    let now = 0;
    const look = new SharedLook(counting, () => now);
    await Promise.all([look.take(), look.take(), look.take()]);
    expect(looks).to.equal(1);
    look.invalidate();
    await look.take();
    expect(looks).to.equal(2);
    now += 5000;
    await look.take();
    expect(looks).to.equal(3);
  });

  it('does not hand out a look that failed', async () => {
    const { one } = new TwoNodes();
    one.faults.fail('mdArrays', 'EIO');
    const look = new SharedLook(one.kernel);
    expect(await look.take().catch(() => 'failed')).to.equal('failed');
    await new Promise(setImmediate);
    expect((await look.take()).drives).to.have.length(1);
  });
});
