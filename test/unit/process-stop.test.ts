import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { join } from 'node:path';

import {
  CUT_OFF_MS,
  KERNEL_LIMIT_MS,
  PART_LIMIT_MS,
  STOP_LIMIT_MS,
  StartedParts,
  WORK_LIMIT_MS,
  runParts,
} from '../../src/main/process.ts';
import type { RootLog } from '../../src/observability/log.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const GRACE_PERIOD_MS = 30_000;

type Line = readonly [string, Readonly<Record<string, unknown>>];

/** A log that keeps what it is told. */
function keepingLog(): { readonly log: RootLog; readonly lines: Line[] } {
  const lines: Line[] = [];
  const put = (message: string, fields: Readonly<Record<string, unknown>> = {}): void =>
    void lines.push([message, fields]);
  const log: RootLog = {
    debug: put,
    info: put,
    warn: put,
    error: put,
    child: () => log,
    level: 'info',
    dropped: 0,
    flushSync: () => void lines.push(['flushed', {}]),
  };
  return { log, lines };
}

const never = (): Promise<void> => new Promise(() => undefined);

/** Opening a pipe that nobody writes to is as good as a drive that does not answer. */
const HANG = `
  const dir = mkdtempSync(join(tmpdir(), 'meshstor-stop-'));
  execFileSync('mkfifo', [join(dir, 'drive')]);
  open(join(dir, 'drive'), 'r', () => undefined);
  setTimeout(() => rmSync(dir, { recursive: true }), 100);
`;

const PRELUDE = `
  import { execFileSync } from 'node:child_process';
  import { mkdtempSync, open, rmSync } from 'node:fs';
  import { tmpdir } from 'node:os';
  import { join } from 'node:path';
  import { createLog } from './src/observability/log.ts';
  import { Threads, endOnUnexpectedErrors, runParts, untilToldToStop } from './src/main/process.ts';
  const log = createLog({ level: 'info' });
`;

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly said: string;
}

/** A process that does this, and how it ends. SIGQUIT: not by itself. */
async function run(code: string): Promise<Ended> {
  const args = ['--import=tsx', '--input-type=module', '-e', PRELUDE + code];
  const child = spawn(process.execPath, args, { cwd: ROOT });
  let said = '';
  child.stderr.on('data', (data: Buffer) => (said += data.toString()));
  const killer = setTimeout(() => child.kill('SIGQUIT'), 15_000);
  const ended = await new Promise<Omit<Ended, 'said'>>((resolve) =>
    child.once('close', (code, signal) => resolve({ code, signal })),
  );
  clearTimeout(killer);
  return { ...ended, said };
}

describe('stopping a role', () => {
  it('takes less than the grace period of the pod, whatever hangs', () => {
    const others = 4 * PART_LIMIT_MS + KERNEL_LIMIT_MS;
    expect(STOP_LIMIT_MS + CUT_OFF_MS + WORK_LIMIT_MS + others).to.be.lessThan(GRACE_PERIOD_MS - 1000);
  });

  it('stops the last part first, and those beside each other at the same time', async () => {
    const { log } = keepingLog();
    const parts = new StartedParts(log);
    const order: string[] = [];
    let release = (): void => undefined;
    parts.add('first', () => void order.push('first'));
    parts.add('csi', () => {
      order.push('csi');
      return new Promise<void>((resolve) => (release = resolve));
    });
    parts.addBeside('http', () => {
      order.push('http');
      release();
    });
    parts.add('last', () => void order.push('last'));
    expect(await parts.stopAll()).to.deep.equal([]);
    expect(order).to.deep.equal(['last', 'csi', 'http', 'first']);
  });

  it('goes on past a part that hangs, and says which it was', async () => {
    const { log, lines } = keepingLog();
    const parts = new StartedParts(log);
    let isClosed = false;
    parts.add('client', () => void (isClosed = true));
    parts.add('node', never, 20);
    parts.add('broken', () => Promise.reject(new Error('no')));
    expect(await parts.stopAll()).to.deep.equal(['node']);
    expect(isClosed).to.equal(true);
    expect(lines.map(([message]) => message)).to.deep.equal(['stopping a part failed', 'a part did not stop in time']);
    expect(lines[1]?.[1]).to.deep.equal({ part: 'node', limitMs: 20 });
  });

  it('ends the process when a part hangs, after its last words', async () => {
    const { log, lines } = keepingLog();
    const ends: number[] = [];
    const start = (parts: StartedParts): Promise<void> => Promise.resolve(parts.add('node', never, 20));
    await runParts(log, Promise.resolve(), start, { end: () => ends.push(lines.length) });
    expect(lines.at(-2)?.[1]).to.deep.equal({ hanging: ['node'], failures: [] });
    expect(lines.at(-1)?.[0]).to.equal('flushed');
    expect(ends).to.deep.equal([lines.length]);
  });

  it('leaves the end to the process when all has stopped, calls that come back late included', async () => {
    const { log, lines } = keepingLog();
    const calls = ['readGpt'];
    const start = (parts: StartedParts): Promise<void> => {
      parts.watchThreads(() => calls);
      parts.add('node', () => void setTimeout(() => calls.pop(), 50));
      return Promise.resolve();
    };
    let ends = 0;
    await runParts(log, Promise.resolve(), start, { end: () => void (ends += 1) });
    expect(ends).to.equal(0);
    expect(lines.map(([message]) => message)).to.deep.equal(['role ended', 'flushed']);
  });

  it('keeps the reason of a start that failed, also when what was started hangs', async () => {
    const { log, lines } = keepingLog();
    const start = (parts: StartedParts): Promise<void> => {
      parts.add('kernel', never, 20);
      return Promise.reject(new Error('the lock is taken'));
    };
    const failure = await runParts(log, never(), start, { end: () => undefined }).catch((error: unknown) => error);
    expect((failure as Error).message).to.equal('the lock is taken');
    expect(JSON.stringify(lines)).to.contain('the lock is taken');
  });

  it('ends a process whose pool hangs in the kernel', async function () {
    this.timeout(30_000);
    const { signal, said } = await run(`${HANG}
      const told = new Promise((resolve) => setTimeout(resolve, 300));
      await runParts(log, told, async (parts) => parts.watchThreads(() => ['open']));
    `);
    expect(signal, said).to.equal('SIGKILL');
    expect(said).to.contain('"hanging":["open"]');
  });

  const TOLD_TWICE = `
    const threads = new Threads();
    const told = untilToldToStop(log, threads);
    setTimeout(() => process.kill(process.pid, 'SIGTERM'), 300);
    setTimeout(() => process.kill(process.pid, 'SIGTERM'), 400);
    setInterval(() => undefined, 1000);
  `;
  /** The line about the first is on its way when the second comes, as on a machine with much to do. */
  const TOLD_TWICE_AT_ONCE = `
    const threads = new Threads();
    const told = untilToldToStop(log, threads);
    setTimeout(() => ['SIGTERM', 'SIGINT'].forEach((signal) => process.kill(process.pid, signal)), 300);
    setInterval(() => undefined, 1000);
  `;
  const BROKEN = `
    const threads = new Threads();
    endOnUnexpectedErrors(log, threads);
    setTimeout(() => { throw new Error('broken'); }, 300);
  `;
  for (const [what, code] of [
    ['is told to stop twice', TOLD_TWICE],
    ['is told to stop twice at once', TOLD_TWICE_AT_ONCE],
    ['has an error that nobody handles', BROKEN],
  ] as const) {
    it(`ends at once when it ${what}, with 1 when nothing holds a thread`, async function () {
      this.timeout(60_000);
      const free = await run(code);
      expect([free.code, free.signal], free.said).to.deep.equal([1, null]);
      const watched = await run(`${code} threads.watch(() => ['readGpt']);`);
      expect(watched.signal, watched.said).to.equal('SIGKILL');
      const hanging = await run(`${HANG} ${code}`);
      expect(hanging.signal, hanging.said).to.equal('SIGKILL');
      for (const { said } of [free, hanging]) expect(said).to.match(/told to stop|uncaught exception/);
    });
  }
});
