import { expect } from 'chai';
import { GuardedWork } from '../../src/node/act-mender.ts';

const LEG = '/dev/mapper/meshstor-11111111-1111-5111-8111-111111111111-1';

function pending(): { readonly work: Promise<void>; readonly end: () => void } {
  let end = (): void => undefined;
  const work = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { work, end };
}

const messageOf = (work: Promise<void>): Promise<string> =>
  work.then(
    () => 'done',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );

describe('work through a guard', () => {
  let told: string[];
  let guarded: GuardedWork;

  beforeEach(() => {
    told = [];
    const messageDm = (name: string, message: string): Promise<void> => {
      told.push(`${name} ${message}`);
      return Promise.resolve();
    };
    guarded = new GuardedWork({ messageDm }, 20);
  });

  it('is let fail when it outlasts its limit, and nothing else is done there before it has ended', async () => {
    const slow = pending();
    expect(await messageOf(guarded.run(LEG, 'writing to', () => slow.work))).to.match(/no answer within 0\.02 s/);
    expect(told).to.deep.equal(['meshstor-11111111-1111-5111-8111-111111111111-1 fail_if_no_path']);
    let begun = false;
    const next = async (): Promise<void> => {
      begun = true;
      await Promise.resolve();
    };
    expect(await messageOf(guarded.run(LEG, 'adding', next))).to.equal(
      `adding ${LEG}: writing to it, begun earlier, has not ended`,
    );
    expect(begun).to.equal(false);
    slow.end();
    await slow.work;
    expect(await messageOf(guarded.run(LEG, 'adding', next))).to.equal('done');
    expect(begun).to.equal(true);
  });

  it('through another guard is not kept waiting', async () => {
    const slow = pending();
    const first = messageOf(guarded.run(LEG, 'writing to', () => slow.work));
    expect(await messageOf(guarded.run(`${LEG}0`, 'writing to', () => Promise.resolve()))).to.equal('done');
    slow.end();
    expect(await first).to.equal('done');
    expect(told).to.deep.equal([]);
  });

  it('that fails late is nobody’s unhandled rejection', async () => {
    const late = new Promise<void>((_resolve, reject) => setTimeout(() => reject(new Error('EIO')), 40));
    expect(await messageOf(guarded.run(LEG, 'reading', () => late))).to.match(/no answer/);
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(await messageOf(guarded.run(LEG, 'reading', () => Promise.resolve()))).to.equal('done');
  });
});
