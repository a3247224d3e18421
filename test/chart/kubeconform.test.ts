/** Every rendered object of a kind of Kubernetes' own, strictly against its schema. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { BUILD_LIMIT_MS, CHART, REPO_ROOT, toolPath } from './helm.ts';
import { schemaLocation, writeSchemas } from './schemas.ts';

const FIXTURES = join(REPO_ROOT, 'test', 'fixtures', 'chart');
/** Of the operator for Prometheus: Kubernetes has no schema for them. */
const FOREIGN = ['PodMonitor', 'PrometheusRule'];

interface Summary {
  readonly resources: readonly { readonly name: string; readonly status: string; readonly msg: string }[];
  readonly summary: {
    readonly valid: number;
    readonly invalid: number;
    readonly errors: number;
    readonly skipped: number;
  };
}

describe('kubeconform', () => {
  const folder = mkdtempSync(join(tmpdir(), 'meshstor-schemas-'));

  function check(text: string | undefined, ...files: readonly string[]): Summary {
    const flags = ['-strict', '-summary', '-output', 'json', '-skip', FOREIGN.join()];
    const args = [...flags, '-schema-location', schemaLocation(folder), ...files];
    const input = text === undefined ? {} : { input: text };
    const options = { encoding: 'utf8', timeout: 120_000, maxBuffer: 1 << 26, ...input } as const;
    const { stdout, stderr } = spawnSync(toolPath('kubeconform'), args, options);
    if (stdout === '') throw new Error(stderr);
    return JSON.parse(stdout) as Summary;
  }

  before(function () {
    this.timeout(BUILD_LIMIT_MS);
    toolPath('kubeconform');
    writeSchemas(folder);
  });

  after(() => rmSync(folder, { recursive: true }));

  for (const file of readdirSync(FIXTURES)) {
    it(`finds nothing wrong in ${file}`, () => {
      const { resources, summary } = check(undefined, join(FIXTURES, file));
      expect(resources).to.deep.equal([]);
      expect(summary).to.include({ invalid: 0, errors: 0, skipped: file === 'everything.yaml' ? 3 : 0 });
      expect(summary.valid).to.be.greaterThan(3);
    }).timeout(180_000);
  }

  it('finds nothing wrong in the definitions', () => {
    const { resources, summary } = check(undefined, join(CHART, 'files', 'crds'));
    expect(resources).to.deep.equal([]);
    expect(summary).to.include({ valid: 2, invalid: 0, errors: 0 });
  }).timeout(180_000);

  it('finds a field that no kind has, and a value of the wrong type', () => {
    const object = (spec: unknown): string =>
      JSON.stringify({ apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', metadata: { name: 'a' }, spec });
    expect(check(object({ maxUnavailable: 1 })).summary).to.include({ valid: 1, invalid: 0 });
    expect(check(object({ maxUnavalable: 1 })).resources[0]?.msg).to.match(/maxUnavalable/);
    expect(check(object({ minAvailable: { a: 1 } })).summary).to.include({ valid: 0, invalid: 1 });
  }).timeout(180_000);
});
