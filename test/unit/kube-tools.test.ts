import { expect } from 'chai';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { evaluate } from '../support/evaluate-script.ts';

const GO_MOD = `// A comment.
module example/tool

go 1.26.0

tool example.org/thing/cmd/thing

require example.org/thing v1.2.3 // pinned
require (
	k8s.io/api v0.0.0
	example.org/other v0.1.0 // indirect
)
replace (
	k8s.io/api => k8s.io/api v0.36.3
)
replace example.org/other => example.org/fork v0.2.0
`;

/** A program that prints its version and nothing else. */
function program(folder: string, name: string, says: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), `#!/bin/sh\necho "${says}"\n`);
  chmodSync(join(folder, name), 0o755);
}

describe('the tools of a real Kubernetes', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'meshstor-tools-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('have the versions of their go.mod, replacements included', () => {
    const asked = `(({ go, requires }) => ({ go, requires: [...requires] }))(parseGoMod(${JSON.stringify(GO_MOD)}))`;
    expect(evaluate('parseGoMod', 'go-modules.mjs', asked, {})).to.deep.equal({
      go: '1.26.0',
      requires: [
        ['example.org/thing', 'v1.2.3'],
        ['k8s.io/api', 'v0.36.3'],
        ['example.org/other', 'v0.2.0'],
      ],
    });
  });

  it('are all pinned, built as one release of Kubernetes, and cached under one key a recipe', () => {
    const asked = `Object.keys(TOOLS).map((name) => recipeOf(name, '1.26.8'))`;
    const recipes = evaluate('recipeOf, TOOLS', 'kube-tools-table.mjs', asked, {}) as Record<string, string>[];
    for (const { name, version, ldflags } of recipes) {
      expect(version, name).to.match(/^v\d+\.\d+\.\d+$/);
      if (name !== 'etcd') expect(ldflags, name).to.contain(`=${String(version)}`);
    }
    expect(new Set(recipes.map(({ key }) => key)).size).to.equal(recipes.length);
    const other = evaluate('recipeOf, TOOLS', 'kube-tools-table.mjs', `recipeOf('etcd', '1.27.0').key`, {});
    expect(recipes.map(({ key }) => key)).not.to.contain(other);
  });

  it('are compared by numbers, not by letters', () => {
    const asked = `[isAtLeast('1.26.8', '1.26.0'), isAtLeast('1.9', '1.26.0'), isAtLeast('1.26', '1.26.1'),
      isAtLeast('2.0', '1.26'), isSameMinor('v1.36.0', 'v1.36.3'), isSameMinor('v1.3.6', 'v1.36.3'),
      isSameMinor('v2.36.3', 'v1.36.3'), isSameMinor('', 'v1.36.3')]`;
    const expected = [true, false, false, true, true, false, false, false];
    expect(evaluate('isAtLeast, isSameMinor', 'go-modules.mjs', asked, {})).to.deep.equal(expected);
  });

  it('are understood when they say their version', () => {
    const said = ['Kubernetes v1.36.3', 'etcd Version: 3.6.16\nGo Version: go1.26.8', 'v3.21.4+g7cb', 'unknown'];
    const asked = `${JSON.stringify(said)}.map(versionIn)`;
    const expected = ['v1.36.3', 'v3.6.16', 'v3.21.4', null];
    expect(evaluate('versionIn', 'kube-tools-table.mjs', asked, {})).to.deep.equal(expected);
  });

  it('are taken from the machine where the minor release fits, from KUBEBUILDER_ASSETS first', () => {
    program(join(folder, 'old'), 'etcd', 'etcd Version: 3.5.9');
    program(join(folder, 'path'), 'etcd', 'etcd Version: 3.6.1');
    const find = (env: NodeJS.ProcessEnv) =>
      evaluate('findInstalled', 'kube-tools.mjs', `findInstalled('etcd', 'v3.6.16') ?? ''`, env);
    const onPath = { path: join(folder, 'path', 'etcd'), version: 'v3.6.1' };
    expect(find({ PATH: `${folder}/old:${folder}/path:/bin` })).to.deep.equal(onPath);
    expect(find({ PATH: `${folder}/old:/bin` })).to.equal('');
    program(join(folder, 'assets'), 'etcd', 'etcd Version: 3.6.2');
    const assets = { path: join(folder, 'assets', 'etcd'), version: 'v3.6.2' };
    expect(find({ PATH: `${folder}/path:/bin`, KUBEBUILDER_ASSETS: join(folder, 'assets') })).to.deep.equal(assets);
  });

  it('need a Go that is new enough, install one that Debian has, and else say what to do', () => {
    const ask = (found: string, offered: string) =>
      evaluate(
        'requireGo',
        'go-modules.mjs',
        `(() => { let now = ${found}; const installed = []; const install = (names) => { installed.push(...names); now = '1.27'; };
          try { return [requireGo('1.26.0', { found: () => now, offered: () => ${offered}, install }), installed]; }
          catch (error) { return error.message; } })()`,
        {},
      );
    expect(ask(`'1.26.8'`, 'undefined')).to.deep.equal(['1.26.8', []]);
    expect(ask('undefined', `'1.27'`)).to.deep.equal(['1.27', ['golang-go']]);
    expect(ask('undefined', `'1.19'`)).to.contain('there is none').and.contain('1.19');
    expect(ask(`'1.19'`, `'1.19'`)).to.contain('this machine has 1.19');
    const policy = JSON.stringify('golang-go:\n  Installed: (none)\n  Candidate: 2:1.19~1\n');
    expect(evaluate('goOffered', 'go-modules.mjs', `goOffered(${policy})`, {})).to.equal('1.19');
  });

  describe('in the cache', () => {
    const RECIPE = `{ name: 'etcd', version: 'v3.6.16', key: 'abc' }`;
    const build = (make: string) =>
      evaluate(
        'buildTool',
        'kube-tools.mjs',
        `await buildTool(${RECIPE}, '1.26.8', async (recipe, output) => { const fs = await import('node:fs'); ${make} })
          .then(() => 'built', (error) => error.message)`,
        { MESHSTOR_CACHE: folder, PATH: '/bin:/usr/bin' },
      );
    const says = (text: string) => `fs.writeFileSync(output, '#!/bin/sh\\necho ${text}\\n', { mode: 0o755 });`;
    const kept = () => readdirSync(join(folder, 'kube-tools', 'etcd'));

    it('are whole, with a record of what they are', () => {
      expect(build(says('etcd Version: 3.6.16'))).to.equal('built');
      expect(kept()).to.deep.equal(['abc']);
      const record = readFileSync(join(folder, 'kube-tools', 'etcd', 'abc', 'version.json'), 'utf8');
      expect(JSON.parse(record)).to.include({ name: 'etcd', version: 'v3.6.16', go: '1.26.8' });
    });

    it('are not there when the build fails, or ends as another version', () => {
      expect(build(`${says('x')} throw new Error('no compiler');`)).to.equal('no compiler');
      expect(build(says('etcd Version: 3.6.15'))).to.contain('calls itself v3.6.15');
      expect(kept()).to.deep.equal([]);
    });

    it('lose the halves that killed builds left, and no others', () => {
      const parent = join(folder, 'kube-tools', 'etcd');
      for (const name of ['.abc.4194305', `.abc.${process.pid}`]) mkdirSync(join(parent, name), { recursive: true });
      expect(build(says('etcd Version: 3.6.16'))).to.equal('built');
      expect(kept().sort()).to.deep.equal([`.abc.${process.pid}`, 'abc']);
    });
  });
});
