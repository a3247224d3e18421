import { expect } from 'chai';

import { Semaphore } from '../../src/support/semaphore.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Work that runs until it is let go. */
class Held {
  readonly name: string;
  end: () => void = () => undefined;
  readonly #log: string[];

  constructor(name: string, log: string[]) {
    this.name = name;
    this.#log = log;
  }

  readonly run = (): Promise<void> => {
    this.#log.push(this.name);
    return new Promise((resolve) => (this.end = resolve));
  };
}

describe('Semaphore', () => {
  it('refuses a limit that nobody could pass', () => {
    for (const limit of [0, -1, 1.5, NaN]) expect(() => new Semaphore(limit)).to.throw(RangeError, '"limit"');
  });

  it('hands a slot to the first in the queue: whoever comes later neither overtakes nor adds one', async () => {
    const log: string[] = [];
    const semaphore = new Semaphore(1);
    const [first, second, third] = ['first', 'second', 'third'].map((name) => new Held(name, log));
    if (first === undefined || second === undefined || third === undefined) throw new Error('unreachable');
    const runs = [semaphore.run(first.run), semaphore.run(second.run)];
    await turn();
    expect(log).to.deep.equal(['first']);
    first.end();
    await turn();
    runs.push(semaphore.run(third.run));
    await turn();
    expect(log, 'the second has the only slot').to.deep.equal(['first', 'second']);
    expect([semaphore.free, semaphore.waiting]).to.deep.equal([0, 1]);
    second.end();
    await turn();
    third.end();
    await Promise.all(runs);
    expect(log).to.deep.equal(['first', 'second', 'third']);
    expect([semaphore.free, semaphore.waiting]).to.deep.equal([1, 0]);
  });

  it('gives the slot back when the work fails or throws at once', async () => {
    const semaphore = new Semaphore(1);
    const outcome = (work: () => Promise<never>): Promise<unknown> =>
      semaphore.run(work).catch((error: unknown) => error);
    const boom = new Error('boom');
    expect(await outcome(() => Promise.reject(boom))).to.equal(boom);
    expect(
      await outcome(() => {
        throw boom;
      }),
    ).to.equal(boom);
    expect(semaphore.free).to.equal(1);
  });
});
