import { expect } from 'chai';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { spawn, spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DomainError } from '../../src/api/errors.ts';
import { LineStream } from '../../src/observability/line-stream.ts';
import type { LogOptions, RootLog } from '../../src/observability/log.ts';
import { createLog, redact, toggleDebugOnSignal } from '../../src/observability/log.ts';

type Line = Record<string, unknown>;

function makeLog(options: Partial<LogOptions> = {}): { log: RootLog; lines: Line[] } {
  const lines: Line[] = [];
  const sink = {
    writeLine: (line: string) => void lines.push(JSON.parse(line) as Line),
    dropped: 0,
    flushSync: () => undefined,
  };
  const log = createLog({ level: 'info', now: () => new Date('2026-01-02T03:04:05.678Z'), sink, ...options });
  return { log, lines };
}

describe('log', () => {
  it('writes time, level and message first, then the facts', () => {
    const { log, lines } = makeLog({ fields: { role: 'node' } });
    log.info('volume staged', { volumeId: 'v', durationMs: 3 });
    expect(lines).to.deep.equal([
      {
        ts: '2026-01-02T03:04:05.678Z',
        level: 'info',
        msg: 'volume staged',
        role: 'node',
        volumeId: 'v',
        durationMs: 3,
      },
    ]);
    expect(Object.keys(lines[0]!).slice(0, 3)).to.deep.equal(['ts', 'level', 'msg']);
  });

  it('does not let a fact take the place of time, level or message', () => {
    const { log, lines } = makeLog();
    log.warn('constant', { message: 'm', level: 'l', msg: 'x', ts: 1 });
    expect(lines[0]).to.include({ level: 'warn', msg: 'constant', message: 'm', level_: 'l', msg_: 'x', ts_: 1 });
  });

  it('carries the fields of a child on every line of it, and not on its parent', () => {
    const { log, lines } = makeLog();
    log.child({ a: 1 }).child({ b: 2 }).info('x');
    log.info('y');
    expect(lines[0]).to.include({ a: 1, b: 2 });
    expect(lines[1]).to.not.have.any.keys('a', 'b');
  });

  it('changes its level while running, for all children', () => {
    const { log, lines } = makeLog();
    const child = log.child({ a: 1 });
    child.debug('one');
    log.level = 'debug';
    child.debug('two');
    child.level = 'error';
    log.warn('three');
    expect(lines.map(({ msg }) => msg)).to.deep.equal(['two']);
    expect(log.level).to.equal('error');
  });

  it('switches debug on and off by signal', async () => {
    const { log } = makeLog({ level: 'warn' });
    const undo = toggleDebugOnSignal(log);
    const signalled = (): Promise<void> =>
      new Promise((resolve) => {
        process.once('SIGUSR2', () => resolve());
        process.kill(process.pid, 'SIGUSR2');
      });
    await signalled();
    expect(log.level).to.equal('debug');
    await signalled();
    expect(log.level).to.equal('warn');
    undo();
    expect(process.listenerCount('SIGUSR2')).to.equal(0);
  });

  it('keeps kind, code and the chain of causes of an error, wherever it stands', () => {
    const { log, lines } = makeLog();
    const busy = Object.assign(new Error('EBUSY'), { code: 'EBUSY', errno: -16, syscall: 'ioctl', path: '/dev/md0' });
    log.error('stop failed', { error: new DomainError('precondition', 'stopping md0: busy', { cause: busy }) });
    const error = lines[0]!['error'] as Line;
    expect(error).to.include({ kind: 'precondition', message: 'stopping md0: busy' });
    expect(error['cause']).to.include({ code: 'EBUSY', errno: -16, syscall: 'ioctl', path: '/dev/md0' });
  });

  it('writes numbers that JSON lacks, and cycles, without failing', () => {
    const { log, lines } = makeLog();
    const ring: Record<string, unknown> = { size: 2n ** 63n };
    ring['self'] = ring;
    log.info('x', { ring, when: new Date(0), bytes: new Uint8Array(3), call: () => 1 });
    expect(lines[0]).to.include({ when: '1970-01-01T00:00:00.000Z', bytes: '3 bytes' });
    expect((lines[0]!['ring'] as Line)['size']).to.equal('9223372036854775808');
  });

  it('blanks secrets by the name of their key, at any depth, and says when there was none', () => {
    const cleaned = redact({
      secrets: { user: 'u' },
      nested: [{ apiToken: 't', password: '' }],
      Authorization: 'Bearer x',
      pageToken: 3,
      volume: 'v',
    });
    expect(cleaned).to.deep.equal({
      secrets: '***',
      nested: [{ apiToken: '***', password: '' }],
      Authorization: '***',
      pageToken: 3,
      volume: 'v',
    });
  });
});

describe('line stream', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'meshstor-log-'));
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('writes every line once and in order', async () => {
    const path = join(folder, 'log');
    const fd = openSync(path, 'w');
    const stream = new LineStream(fd);
    for (let at = 0; at < 2000; at += 1) stream.writeLine(`line ${at}`);
    await stream.flush();
    closeSync(fd);
    const lines = readFileSync(path, 'utf8').split('\n');
    expect(lines).to.deep.equal([...Array.from({ length: 2000 }, (_, at) => `line ${at}`), '']);
    expect(stream.dropped).to.equal(0);
  });

  it('neither blocks nor grows without end when nobody reads, and counts what it drops', async () => {
    const path = join(folder, 'pipe');
    expect(spawnSync('mkfifo', [path]).status).to.equal(0);
    // Opened for both ways, a FIFO takes some 64 KiB and then blocks its writer, as a stuck container runtime does.
    const fd = openSync(path, 'r+');
    const stream = new LineStream(fd, 100_000);
    const line = 'x'.repeat(999);
    const start = performance.now();
    for (let at = 0; at < 1000; at += 1) {
      stream.writeLine(line);
      if (at % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(performance.now() - start).to.be.lessThan(2000);
    expect(stream.dropped).to.be.greaterThan(500);
    // Whoever starts to read again gets what was kept, and the stream goes on.
    const reader = spawn('cat', [path], { stdio: ['ignore', 'ignore', 'ignore'] });
    await stream.flush();
    const before = stream.dropped;
    stream.writeLine('again');
    await stream.flush();
    expect(stream.dropped).to.equal(before);
    reader.kill('SIGKILL');
    closeSync(fd);
  });

  it('drops lines quietly when the reader is gone for good', async () => {
    const fd = openSync('/dev/full', 'w');
    const stream = new LineStream(fd);
    stream.writeLine('a');
    await stream.flush();
    stream.writeLine('b');
    expect(stream.dropped).to.equal(2);
    closeSync(fd);
  });

  it('writes what waits when the process ends', () => {
    const path = join(folder, 'end');
    const fd = openSync(path, 'w');
    const stream = new LineStream(fd);
    stream.flushSync();
    stream.writeLine('first goes out by itself');
    stream.writeLine('second waits');
    stream.flushSync();
    expect(readFileSync(path, 'utf8')).to.include('second waits\n');
    closeSync(fd);
  });
});
