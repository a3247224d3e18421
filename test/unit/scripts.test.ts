import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { cacheRoot, REPO_ROOT } from '../lab/paths.ts';
import { evaluate } from '../support/evaluate-script.ts';

/** What a command of the project says to a wrong line. */
function refused(...args: readonly string[]): { readonly code: number | null; readonly said: string } {
  const cwd = join(import.meta.dirname, '..', '..');
  const { status, stderr } = spawnSync(process.execPath, args, { cwd, encoding: 'utf8' });
  return { code: status, said: stderr };
}

/** One test passes, one fails; both have a line for people. */
const TELLING = `
  import { tell } from '${join(REPO_ROOT, 'test', 'support', 'tell.ts')}';
  it('passes', () => {
    tell('it took 17 ms');
    console.log('not told: no');
  });
  it('fails', () => {
    tell('it took 4711 ms');
    throw new Error('too long');
  });
`;

describe('scripts', () => {
  it('answer a wrong option with one line and code 2', () => {
    const { code, said } = refused('scripts/test.mjs', '--bogus');
    expect(said).to.equal("Unknown option '--bogus': known are --only\n");
    expect(code).to.equal(2);
    const missing = refused('scripts/chart.mjs', '--check=never');
    expect(missing.said).to.match(/^[^\n]*--check[^\n]*\n$/);
    expect(missing.code).to.equal(2);
  }).timeout(30_000);

  it('run no lab of a number of nodes that is none', () => {
    const { code, said } = refused('--import=tsx', 'test/lab/main.ts', '--nodes', 'abc', '--list');
    expect(said).to.match(/--nodes.*'abc' is invalid.*whole number/);
    expect(code).to.equal(1);
  }).timeout(120_000);

  it('find the programs of sbin after a plain su', () => {
    expect(evaluate('root', 'steps.mjs', 'process.env.PATH', { PATH: '/usr/bin:/sbin' })).to.equal(
      '/usr/bin:/sbin:/usr/local/sbin:/usr/sbin',
    );
  });

  it('use the same cache folder as the lab', () => {
    for (const env of [
      { HOME: '/h' },
      { HOME: '/h', XDG_CACHE_HOME: '/x' },
      { XDG_CACHE_HOME: '/x', MESHSTOR_CACHE: '/m' },
    ]) {
      const found = evaluate('cacheRoot', 'steps.mjs', 'cacheRoot()', env);
      expect(found).to.equal(
        env.HOME !== undefined && !('XDG_CACHE_HOME' in env) ? '/h/.cache/meshstor' : cacheRoot(env),
      );
    }
  });

  it('miss a package when one of its programs is not there', () => {
    const folder = mkdtempSync(join(tmpdir(), 'meshstor-path-'));
    try {
      writeFileSync(join(folder, 'g++'), '');
      writeFileSync(join(folder, 'python3'), '');
      const bare = `process.env.PATH = '${folder}', missingPackages('build')`;
      expect(evaluate('missingPackages', 'setup.mjs', bare, {})).to.deep.equal(['build-essential']);
      writeFileSync(join(folder, 'make'), '');
      expect(evaluate('missingPackages', 'setup.mjs', bare, {})).to.deep.equal([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('keep what was built under its key, whole, and only the entries used last', () => {
    const cache = mkdtempSync(join(tmpdir(), 'meshstor-cache-'));
    try {
      const file = join(cache, 'program');
      writeFileSync(file, 'x');
      const work = `['a', 'b', 'c'].map((key) => { keep('kind', key, ['${file}'], { most: 2 }); return cached('kind', key); })`;
      const folders = evaluate('keep, cached', 'native-cache.mjs', work, { MESHSTOR_CACHE: cache });
      expect(folders).to.deep.equal(['a', 'b', 'c'].map((key) => join(cache, 'kind', key)));
      expect(readdirSync(join(cache, 'kind'))).to.have.length(2);
      expect(readdirSync(join(cache, 'kind', 'c'))).to.deep.equal(['program']);
    } finally {
      rmSync(cache, { recursive: true });
    }
  });

  it('hand on the lines that tests have for people, and no others, whatever came of the tests', () => {
    const folder = mkdtempSync(join(tmpdir(), 'meshstor-told-'));
    try {
      writeFileSync(join(folder, 'lines.test.ts'), TELLING);
      const path = relative(REPO_ROOT, folder);
      const work = `await mochaLayer('told-self-test', ['${path}'])`;
      const { PATH = '', HOME = '' } = process.env;
      const result = evaluate('mochaLayer', 'mocha-layer.mjs', work, { PATH, HOME });
      expect(result).to.deep.include({ passed: 1, failed: 1, told: ['it took 17 ms', 'it took 4711 ms'] });
    } finally {
      rmSync(folder, { recursive: true });
    }
  }).timeout(60_000);

  it('refuse the lab where its nodes could not run', () => {
    expect(evaluate('labRefusal', 'setup.mjs', "labRefusal({ platform: 'linux', arch: 'x64' }) ?? ''", {})).to.equal(
      '',
    );
    expect(evaluate('labRefusal', 'setup.mjs', "labRefusal({ platform: 'linux', arch: 'arm64' })", {})).to.include(
      'arm64',
    );
  });
});
