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
    await runParts(log, Promise.resolve(), start, () => ends.push(lines.length));
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
    await runParts(log, Promise.resolve(), start, () => void (ends += 1));
    expect(ends).to.equal(0);
    expect(lines.map(([message]) => message)).to.deep.equal(['role ended', 'flushed']);
  });

  it('keeps the reason of a start that failed, also when what was started hangs', async () => {
    const { log, lines } = keepingLog();
    const start = (parts: StartedParts): Promise<void> => {
      parts.add('kernel', never, 20);
      return Promise.reject(new Error('the lock is taken'));
    };
    const failure = await runParts(log, never(), start, () => undefined).catch((error: unknown) => error);
    expect((failure as Error).message).to.equal('the lock is taken');
    expect(JSON.stringify(lines)).to.contain('the lock is taken');
  });

  it('ends a process whose pool hangs in the kernel', async function () {
    this.timeout(30_000);
    const code = `
      import { execFileSync } from 'node:child_process';
      import { mkdtempSync, open, rmSync } from 'node:fs';
      import { tmpdir } from 'node:os';
      import { join } from 'node:path';
      import { createLog } from './src/observability/log.ts';
      import { runParts } from './src/main/process.ts';
      const dir = mkdtempSync(join(tmpdir(), 'meshstor-stop-'));
      execFileSync('mkfifo', [join(dir, 'drive')]);
      // Opening a pipe that nobody writes to is as good as a drive that does not answer.
      open(join(dir, 'drive'), 'r', () => undefined);
      setTimeout(() => rmSync(dir, { recursive: true }), 100);
      const log = createLog({ level: 'info' });
      const told = new Promise((resolve) => setTimeout(resolve, 300));
      await runParts(log, told, async (parts) => parts.watchThreads(() => ['open']));
    `;
    const child = spawn(process.execPath, ['--import=tsx', '--input-type=module', '-e', code], { cwd: ROOT });
    let said = '';
    child.stderr.on('data', (data: Buffer) => (said += data.toString()));
    const killer = setTimeout(() => child.kill('SIGQUIT'), 25_000);
    const signal = await new Promise((resolve) => child.once('close', (_code, by) => resolve(by)));
    clearTimeout(killer);
    expect(signal, said).to.equal('SIGKILL');
    expect(said).to.contain('"hanging":["open"]');
  });
});
