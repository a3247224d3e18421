import { expect } from 'chai';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';

import { createKernel } from '../../src/native/index.ts';
import { addonCandidates, loadAddon } from '../../src/native/load.ts';
import { NativeError } from '../../src/native/native-error.ts';
import { ABI_VERSION, RAW_EXPORTS } from '../../src/native/raw.ts';
import type { RawAddon } from '../../src/native/raw.ts';

const MISSING = '/dev/meshstor-no-such-disk';
const require = createRequire(import.meta.url);

/** The file that `loadAddon` took, and what it exports. */
function loadedFile(): { readonly path: string; readonly addon: Record<string, unknown> } {
  for (const path of addonCandidates(new URL('../../src/native', import.meta.url).pathname, process.env)) {
    try {
      return { path, addon: require(path) as Record<string, unknown> };
    } catch {
      continue;
    }
  }
  throw new Error('the addon is not built: node scripts/build-addon.mjs');
}

async function failureOf(work: Promise<unknown>): Promise<Record<string, unknown>> {
  try {
    await work;
  } catch (error: unknown) {
    return error as Record<string, unknown>;
  }
  throw new Error('expected a rejection');
}

describe('native addon', () => {
  it('exports exactly the declared operations, and the ABI version of this program', () => {
    const { addon } = loadedFile();
    expect(Object.keys(addon).sort()).to.deep.equal(RAW_EXPORTS);
    expect(addon['abiVersion']).to.equal(ABI_VERSION);
  });

  it('passes the loader’s own check', () => {
    expect(loadAddon().abiVersion).to.equal(ABI_VERSION);
  });

  it('rejects with errors of the shape of node’s fs, never with a numeric code', async () => {
    const error = await failureOf(loadAddon().readGpt(MISSING));
    expect(error).to.be.instanceOf(Error);
    expect(error).to.include({ errno: -2, code: 'ENOENT', syscall: 'open', path: MISSING });
    expect(error['message']).to.contain('ENOENT').and.contain(MISSING);
  });

  it('rejects through the facade with the same fields and the caller’s stack', async () => {
    const kernel = createKernel();
    async function asksForATable(): Promise<void> {
      await kernel.readGpt(MISSING);
    }
    const error = await failureOf(asksForATable());
    expect(error).to.be.instanceOf(NativeError);
    expect(error).to.include({ errno: -2, code: 'ENOENT', syscall: 'open', path: MISSING });
    expect(error['stack']).to.contain('asksForATable');
  });

  it('refuses arguments of a wrong type without crashing', async () => {
    const addon = loadAddon();
    const wrong: [string, (raw: RawAddon) => Promise<unknown>][] = [
      ['no path', (raw) => raw.readGpt(undefined as unknown as string)],
      ['a number for a path', (raw) => raw.signatures(7 as unknown as string)],
      ['a string for an object', (raw) => raw.ensureNvmetPort('x' as never)],
      ['null for an object', (raw) => raw.nvmeConnect(null as never)],
      ['a string for a list', (raw) => raw.createDm('x', 'u', 'linear' as never)],
      ['a fraction', (raw) => raw.readBytes('/dev/null', 0.5, 512)],
      ['a string for bytes', (raw) => raw.writeBytes('/dev/null', 0, 'text' as never)],
    ];
    for (const [name, call] of wrong) {
      const error = await failureOf(Promise.resolve().then(() => call(addon)));
      expect(error, name).to.be.instanceOf(TypeError);
      expect(error['message'], name).to.match(/^Expected "/);
    }
  });

  it('gives results that the facade accepts, on whatever this machine has', async () => {
    const kernel = createKernel();
    expect(await kernel.mounts()).to.be.an('array').that.is.not.empty;
    expect(await kernel.nvmeNamespaces()).to.be.an('array');
    expect(await kernel.nvmeControllers()).to.be.an('array');
    expect(await kernel.mdArrays()).to.be.an('array');
    const usage = await kernel.filesystemUsage('/', 5000);
    expect(usage.totalBytes).to.be.greaterThan(0);
    expect(usage.usedBytes).to.be.at.most(usage.totalBytes);
  });

  it('does not grow over ten thousand calls, failures included', async function () {
    this.timeout(60_000);
    const addon = loadAddon();
    const round = async (calls: number): Promise<number> => {
      for (let done = 0; done < calls; done += 100) {
        const batch: Promise<unknown>[] = [];
        for (let i = 0; i < 50; i += 1) {
          batch.push(addon.nvmeControllers());
          batch.push(addon.readGpt(MISSING).catch((error: unknown) => error));
        }
        await Promise.all(batch);
      }
      return process.memoryUsage.rss();
    };
    const before = await round(4000);
    const after = await round(10_000);
    expect(after / before, `RSS ${String(before)} -> ${String(after)}`).to.be.lessThan(1.3);
  });

  it('loads in a worker thread beside the main one, and works in both', async () => {
    const { path } = loadedFile();
    const code = `
      const { parentPort, workerData } = require('node:worker_threads');
      const addon = require(workerData);
      addon.readGpt('${MISSING}').catch((error) => parentPort.postMessage([addon.abiVersion, error.code, error.syscall]));
    `;
    for (let i = 0; i < 3; i += 1) {
      const worker = new Worker(code, { eval: true, workerData: path });
      const message = await new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
      });
      expect(message).to.deep.equal([ABI_VERSION, 'ENOENT', 'open']);
      await worker.terminate();
    }
    expect((await failureOf(loadAddon().readGpt(MISSING)))['code']).to.equal('ENOENT');
  });

  it('survives a worker that is ended while a call is under way', async () => {
    const { path } = loadedFile();
    const code = `
      const { parentPort, workerData } = require('node:worker_threads');
      const addon = require(workerData);
      // Ends only by being ended, whoever is quicker.
      setInterval(() => undefined, 1000);
      for (let i = 0; i < 50; i += 1) addon.readGpt('${MISSING}').catch(() => undefined);
      parentPort.postMessage('started');
    `;
    const worker = new Worker(code, { eval: true, workerData: path });
    await new Promise((resolve) => worker.once('message', resolve));
    expect(await worker.terminate()).to.equal(1);
    expect((await failureOf(loadAddon().readGpt(MISSING)))['code']).to.equal('ENOENT');
  });
});
