import { expect } from 'chai';
import { RebuildLimit } from '../../src/node/rebuild-limit.ts';
import type { NodeSnapshot } from '../../src/node/snapshot.ts';
import { NativeError } from '../../src/native/index.ts';

const LEG = 'meshstor-6fa459ea-ee8a-3ca4-894e-db77e160355e-1';

interface ArraySketch {
  readonly name: string;
  readonly syncAction: string;
  readonly member?: string;
  readonly uuid?: string;
}

/** The leg of ours is dm-7. */
function look(...arrays: readonly ArraySketch[]): Pick<NodeSnapshot, 'arrays' | 'legs'> {
  const all = arrays.map(({ member = 'dm-7', ...array }) => ({ ...array, members: [{ name: member }] }));
  return { arrays: all, legs: [{ name: LEG, kernelName: 'dm-7' }] } as unknown as Pick<NodeSnapshot, 'arrays' | 'legs'>;
}

describe('the limit of rebuilds', () => {
  const written: string[] = [];
  let failing: string | undefined;
  const kernel = {
    setMdAttribute: (array: string, attribute: string, value: string): Promise<void> => {
      if (failing !== undefined) {
        const fields = { errno: -1, code: failing, syscall: 'open', path: `/sys/block/${array}` };
        return Promise.reject(new NativeError(failing, fields));
      }
      written.push(`${array} ${attribute} ${value}`);
      return Promise.resolve();
    },
  };

  beforeEach(() => {
    written.length = 0;
    failing = undefined;
  });

  it('is shared by the arrays that copy, and shared anew when their number changes', async () => {
    const limit = new RebuildLimit(kernel, 100);
    const one = { name: 'md127', syncAction: 'recover' };
    await limit.apply(look(one, { name: 'md126', syncAction: 'idle' }));
    await limit.apply(look(one, { name: 'md126', syncAction: 'idle' }));
    expect(written.splice(0)).to.deep.equal(['md127 sync_speed_max 102400']);
    await limit.apply(look(one, { name: 'md126', syncAction: 'resync' }));
    expect(written.splice(0)).to.deep.equal(['md127 sync_speed_max 51200', 'md126 sync_speed_max 51200']);
    await limit.apply(look(one));
    expect(written).to.deep.equal(['md127 sync_speed_max 102400']);
  });

  it('is written again for an array that copies anew, and for another one of the same name', async () => {
    const limit = new RebuildLimit(kernel, 100);
    await limit.apply(look({ name: 'md127', syncAction: 'recover', uuid: 'a' }));
    await limit.apply(look({ name: 'md127', syncAction: 'idle', uuid: 'a' }));
    await limit.apply(look({ name: 'md127', syncAction: 'recover', uuid: 'a' }));
    await limit.apply(look({ name: 'md127', syncAction: 'recover', uuid: 'b' }));
    expect(written).to.have.length(3);
  });

  it("leaves alone what is not the driver's, and what somebody checks", async () => {
    const limit = new RebuildLimit(kernel, 100);
    await limit.apply(
      look({ name: 'md0', syncAction: 'resync', member: 'sda1' }, { name: 'md127', syncAction: 'check' }),
    );
    expect(written).to.deep.equal([]);
  });

  it('is never below what the kernel grants anyway, and the kernel decides when it is 0', async () => {
    const many = Array.from({ length: 300 }, (_, index) => ({ name: `md${index}`, syncAction: 'recover' }));
    await new RebuildLimit(kernel, 100).apply(look(...many));
    expect(new Set(written.splice(0).map((line) => line.split(' ')[2]))).to.deep.equal(new Set(['1000']));
    await new RebuildLimit(kernel, 0).apply(look({ name: 'md127', syncAction: 'recover' }));
    expect(written).to.deep.equal(['md127 sync_speed_max system']);
  });

  it('tries again what failed; that an array went meanwhile is no failure', async () => {
    const limit = new RebuildLimit(kernel, 100);
    const seen = look({ name: 'md127', syncAction: 'recover' });
    failing = 'ENOENT';
    await limit.apply(seen);
    failing = 'EACCES';
    const error = await limit.apply(seen).catch((problem: unknown) => problem);
    expect(error).to.be.instanceOf(NativeError);
    failing = undefined;
    await limit.apply(seen);
    expect(written).to.deep.equal(['md127 sync_speed_max 102400']);
  });
});
