import { expect } from 'chai';
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { addonCandidates, loadAddon } from '../../src/native/load.ts';

/** More than the pool of any test run has threads. */
const EXPORTS = 40;
const require = createRequire(import.meta.url);

const nqn = (index: number): string => `nqn.2025-12.io.meshstor:thread-test:${String(index)}`;

function addonFile(): string {
  const here = new URL('../../src/native', import.meta.url).pathname;
  for (const path of addonCandidates(here, process.env)) {
    try {
      require(path);
      return path;
    } catch {
      continue;
    }
  }
  throw new Error('the addon is not built: node scripts/build-addon.mjs');
}

/** A target on plain files whose namespaces do not answer: what reads a pipe waits until somebody writes. */
class HangingTarget {
  readonly root = mkdtempSync(join(tmpdir(), 'meshstor-nvmet-'));
  readonly #pipes: string[] = [];

  constructor(exports: number) {
    const nvmet = join(this.root, 'sys/kernel/config/nvmet');
    for (const name of ['ports', 'hosts', 'subsystems']) mkdirSync(join(nvmet, name), { recursive: true });
    for (let index = 0; index < exports; index += 1) {
      const namespace = join(nvmet, 'subsystems', nqn(index), 'namespaces/1');
      mkdirSync(namespace, { recursive: true });
      this.#pipes.push(join(namespace, 'enable'));
    }
    execFileSync('mkfifo', this.#pipes);
    const port = join(nvmet, 'ports/1');
    mkdirSync(join(port, 'subsystems'), { recursive: true });
    for (const name of ['trtype', 'adrfam', 'traddr', 'trsvcid']) writeFileSync(join(port, `addr_${name}`), '\n');
  }

  /** Everything that hangs comes back: the namespaces are disabled. */
  release(): void {
    for (const pipe of this.#pipes.splice(0)) {
      const fd = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
      writeSync(fd, '0\n');
      closeSync(fd);
      // Who looks from here on does not wait.
      writeFileSync(`${pipe}.new`, '0\n');
      renameSync(`${pipe}.new`, pipe);
    }
  }

  remove(): void {
    rmSync(this.root, { recursive: true });
  }
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'success',
    (error: unknown) => (error as { code: string }).code,
  );

async function exitOf(code: string, limitMs: number): Promise<unknown> {
  const child = spawn(process.execPath, ['-e', code], { stdio: 'ignore' });
  const killer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  const outcome = await new Promise((resolve) => child.once('exit', (status, signal) => resolve(signal ?? status)));
  clearTimeout(killer);
  return outcome;
}

describe('removals of exports that hang', () => {
  let target: HangingTarget;

  beforeEach(() => {
    target = new HangingTarget(EXPORTS);
  });

  afterEach(() => target.remove());

  it('leave the pool to others, and refuse a second one at once', async () => {
    const addon = loadAddon();
    const removals = Array.from({ length: EXPORTS }, (_, index) => addon.removeNvmetExport(nqn(index), target.root));
    const outcomes = Promise.all(removals.map(codeOf));
    const port = { id: 1, trtype: 'tcp', traddr: '10.0.0.1', trsvcid: '4420' } as const;
    await addon.ensureNvmetPort(port, target.root);
    expect(await readFile(join(target.root, 'sys/kernel/config/nvmet/ports/1/addr_traddr'), 'utf8')).to.equal(
      '10.0.0.1',
    );
    expect(await codeOf(addon.removeNvmetExport(nqn(0), target.root))).to.equal('EBUSY');
    target.release();
    // Plain files do not go away with their directory, as attributes do.
    expect(new Set(await outcomes)).to.deep.equal(new Set(['ENOTEMPTY']));
    expect(await codeOf(addon.removeNvmetExport(nqn(EXPORTS), target.root))).to.equal('success');
  });

  it('do not keep the process from ending', async () => {
    const code = `
      const addon = require(${JSON.stringify(addonFile())});
      for (let i = 0; i < 8; i += 1) {
        addon.removeNvmetExport('nqn.2025-12.io.meshstor:thread-test:' + i, ${JSON.stringify(target.root)});
      }
      setTimeout(() => process.exit(7), 200);
    `;
    expect(await exitOf(code, 10_000)).to.equal(7);
  }).timeout(15_000);

  it('may come back after the thread that asked is gone', async () => {
    const code = `
      const { parentPort, workerData } = require('node:worker_threads');
      const addon = require(workerData.path);
      for (let i = 0; i < 8; i += 1) {
        addon.removeNvmetExport('nqn.2025-12.io.meshstor:thread-test:' + i, workerData.root);
      }
      parentPort.postMessage('started');
    `;
    const worker = new Worker(code, { eval: true, workerData: { path: addonFile(), root: target.root } });
    await new Promise((resolve) => worker.once('message', resolve));
    await worker.terminate();
    target.release();
    const addon = loadAddon();
    for (let index = 0; index < 8; index += 1) {
      let code = 'EBUSY';
      while (code === 'EBUSY') {
        await new Promise((resolve) => setTimeout(resolve, 5));
        code = await codeOf(addon.removeNvmetExport(nqn(index), target.root));
      }
      expect(code).to.equal('ENOTEMPTY');
    }
  });
});
