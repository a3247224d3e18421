import { expect } from 'chai';
import fc from 'fast-check';
import type { Log } from '../../src/kube/clock.ts';
import { TerminalError, WorkQueue } from '../../src/kube/work-queue.ts';
import type { ReconcileResult, WorkQueueOptions } from '../../src/kube/work-queue.ts';
import { FakeClock, settle } from './kube-fake-clock.ts';

const quiet: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

interface Bench {
  readonly queue: WorkQueue;
  readonly clock: FakeClock;
  readonly runs: string[];
}

function benchOf(
  work: (key: string, run: number) => ReconcileResult | Promise<ReconcileResult>,
  options: Partial<WorkQueueOptions> = {},
): Bench {
  const clock = new FakeClock();
  const runs: string[] = [];
  const queue = new WorkQueue({
    name: 'test',
    log: quiet,
    clock,
    random: () => 0.999999,
    backOff: { baseMs: 100, capMs: 1000 },
    reconciler: {
      reconcile: async (key) => {
        runs.push(key);
        return work(key, runs.length);
      },
    },
    ...options,
  });
  return { queue, clock, runs };
}

describe('WorkQueue', () => {
  it('works once on a key that was added several times while it waited', async () => {
    const { queue, runs } = benchOf(() => ({}));
    for (const key of ['a', 'b', 'a', 'a']) queue.add(key);
    queue.start();
    await settle();
    expect(runs).to.deep.equal(['a', 'b']);
  });

  it('logs what lies behind a failure, with names of volumes and without secrets', async () => {
    const lines: Readonly<Record<string, unknown>>[] = [];
    const log: Log = { ...quiet, warn: (_message, fields = {}) => lines.push(fields) };
    const leg = 'meshstor-6b1e0e3a-5f57-4f0c-9a43-0d7d5a3b9c11-3';
    const behind = Object.assign(new Error(`EBUSY: ${leg}, token: hunter2\nat somewhere`), { code: 'EBUSY' });
    const { queue } = benchOf(
      () => {
        throw new Error('removing a leg', { cause: behind });
      },
      { log },
    );
    queue.add('a');
    queue.start();
    await settle();
    await queue.shutdown();
    expect(lines[0]).to.include({ error: 'removing a leg', cause: `Error EBUSY: EBUSY: ${leg}, token: ***` });
  });

  it('does not begin before the caller of add has returned', () => {
    const { queue, runs } = benchOf(() => ({}));
    queue.start();
    queue.add('a');
    expect(runs).to.deep.equal([]);
  });

  it('works again, afterwards, on a key that was added while it was worked on', async () => {
    const gates: (() => void)[] = [];
    const { queue, runs } = benchOf(async () => {
      await new Promise<void>((resolve) => gates.push(resolve));
      return {};
    });
    queue.start();
    queue.add('a');
    await settle();
    queue.add('a');
    queue.add('a');
    await settle();
    expect(runs).to.deep.equal(['a']);
    gates[0]?.();
    await settle();
    expect(runs).to.deep.equal(['a', 'a']);
    gates[1]?.();
    await settle();
    expect(queue.processing + queue.waiting).to.equal(0);
  });

  it('comes back to a failed key later each time, up to the cap, and begins anew after a success', async () => {
    const at: number[] = [];
    let fails = true;
    const { queue, clock } = benchOf(() => {
      at.push(clock.now());
      if (fails) throw new Error('not yet');
      return {};
    });
    queue.start();
    queue.add('a');
    await clock.advance(4000);
    const gaps = at.slice(1).map((time, index) => Math.round(time - (at[index] ?? 0)));
    expect(gaps.slice(0, 5)).to.deep.equal([100, 200, 400, 800, 1000]);
    fails = false;
    await clock.advance(1000);
    fails = true;
    const count = at.length;
    queue.add('a');
    await clock.advance(110);
    expect(at.length - count).to.equal(2);
  });

  it('does not come back to a key whose reconciler gave up, until it is added', async () => {
    const { queue, clock, runs } = benchOf(() => {
      throw new TerminalError('no use');
    });
    queue.start();
    queue.add('a');
    await clock.advance(100_000);
    expect(runs.length).to.equal(1);
    queue.add('a');
    await clock.advance(0);
    expect(runs.length).to.equal(2);
  });

  it('comes back when the reconciler asks for it', async () => {
    const { queue, clock, runs } = benchOf((_key, run) => (run < 3 ? { requeueAfterMs: 500 } : {}));
    queue.start();
    queue.add('a');
    await clock.advance(499);
    expect(runs.length).to.equal(1);
    await clock.advance(10_000);
    expect(runs.length).to.equal(3);
  });

  it('keeps the earlier of two delays of a key', async () => {
    const { queue, clock, runs } = benchOf(() => ({}));
    queue.start();
    queue.addAfter('a', 500);
    queue.addAfter('a', 100);
    queue.addAfter('a', 900);
    await clock.advance(100);
    expect(runs).to.deep.equal(['a']);
    await clock.advance(10_000);
    expect(runs).to.deep.equal(['a']);
  });

  it('takes nothing new after shutdown, tells running work to end, and waits for it', async () => {
    let signal: AbortSignal | undefined;
    const clock = new FakeClock();
    const queue = new WorkQueue({
      name: 'test',
      log: quiet,
      clock,
      reconciler: {
        reconcile: (_key, context) => {
          signal = context.signal;
          return new Promise((resolve) => {
            context.signal.addEventListener('abort', () => resolve({ requeueAfterMs: 1 }));
          });
        },
      },
    });
    queue.start();
    queue.add('a');
    queue.addAfter('b', 100);
    await settle();
    await queue.shutdown();
    expect(signal?.aborted).to.equal(true);
    queue.add('c');
    await clock.advance(1000);
    expect([queue.waiting, queue.processing, queue.delayed, clock.pending]).to.deep.equal([0, 0, 0, 0]);
  });

  it('refuses a concurrency below one', () => {
    expect(() => benchOf(() => ({}), { concurrency: 0 })).to.throw(RangeError);
  });

  it('under any schedule: never one key twice at once, never above its concurrency, no addition lost', async () => {
    const keys = fc.constantFrom('a', 'b', 'c', 'd');
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(keys, { maxLength: 20 }),
        fc.integer({ min: 1, max: 3 }),
        checkSchedule,
      ),
      { numRuns: 200 },
    );
  });
});

async function checkSchedule(scheduler: fc.Scheduler, additions: string[], concurrency: number): Promise<void> {
  const state = new Map<string, number>();
  const handled = new Map<string, number>();
  const running = new Set<string>();
  let worst = 0;
  let failures = 0;
  const { queue, clock } = benchOf(
    async (key) => {
      expect(running.has(key), `${key} runs twice at once`).to.equal(false);
      running.add(key);
      worst = Math.max(worst, running.size);
      const seen = state.get(key) ?? 0;
      await scheduler.schedule(Promise.resolve(), `work on ${key}`);
      running.delete(key);
      failures += 1;
      if (failures % 3 === 0) throw new Error('fails now and then');
      handled.set(key, seen);
      return {};
    },
    { concurrency },
  );
  queue.start();
  scheduler.scheduleSequence(
    additions.map((key) => async () => {
      state.set(key, (state.get(key) ?? 0) + 1);
      queue.add(key);
    }),
  );
  for (
    let round = 0;
    round < 200 && (scheduler.count() > 0 || queue.delayed + queue.processing + queue.waiting > 0);
    round += 1
  ) {
    if (scheduler.count() > 0) await scheduler.waitNext(1);
    await clock.advance(10);
    if (scheduler.count() === 0) await clock.advance(2000);
  }
  expect(worst).to.be.at.most(concurrency);
  expect(Object.fromEntries(handled), 'what the last run of each key saw').to.deep.equal(Object.fromEntries(state));
}
