/**
 * The rendered chart against committed files. After a change that is meant:
 *
 *   UPDATE_GOLDEN=1 npx mocha test/chart/golden.test.ts
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { BUILD_LIMIT_MS, MONITORING_APIS, REGISTRIES, REPO_ROOT, helm, CHART, render, toolPath } from './helm.ts';

const FIXTURES = join(REPO_ROOT, 'test', 'fixtures', 'chart');
const VALUES = join(import.meta.dirname, 'values');
const isUpdate = process.env['UPDATE_GOLDEN'] === '1' && process.env['CI'] === undefined;

/** File → how it is rendered: without the definitions, which are files of their own and compared with those. */
const SETS: Readonly<Record<string, readonly string[]>> = {
  'defaults.yaml': [...REGISTRIES, '--kube-version', '1.36.0'],
  'kubernetes-1.27.yaml': [...REGISTRIES, '--kube-version', '1.27.0'],
  'everything.yaml': [...['--values', join(VALUES, 'everything.yaml'), '--kube-version', '1.36.0'], ...MONITORING_APIS],
  'least.yaml': ['--values', join(VALUES, 'least.yaml'), '--kube-version', '1.27.0'],
};

describe('the rendered chart', () => {
  before(function () {
    this.timeout(BUILD_LIMIT_MS);
    toolPath('helm');
  });

  for (const [file, args] of Object.entries(SETS)) {
    it(`is for ${file.replace('.yaml', '')} what was committed`, () => {
      const rendered = render(...args, '--set', 'crds.install=false');
      const path = join(FIXTURES, file);
      if (isUpdate) writeFileSync(path, rendered);
      expect(rendered).to.equal(readFileSync(path, 'utf8'));
    });
  }

  for (const [file, args] of Object.entries(SETS)) {
    it(`passes helm lint --strict as ${file.replace('.yaml', '')}`, () => {
      // Lint cannot be told of APIs.
      const known = args.filter((arg) => !MONITORING_APIS.includes(arg));
      const { ok, stdout, stderr } = helm('lint', '--strict', CHART, ...known);
      expect(ok, stdout + stderr).to.equal(true);
    });
  }
});
