/**
 * The roles of the chart against what the program asks of the API. Everything it asks for is recorded while the real roles run;
 * the chart's rules must allow exactly that.
 */
import { expect } from 'chai';
import type { Manifest } from './helm.ts';
import { BUILD_LIMIT_MS, objects, toolPath } from './helm.ts';
import type { Recordings } from './recorded-cluster.ts';
import { recordEverything } from './recorded-cluster.ts';
import { allowed, distinct, line, rulesOf } from './rules.ts';

describe('the roles of the chart', () => {
  let chart: readonly Manifest[];
  let recorded: Recordings;

  before(async function () {
    this.timeout(BUILD_LIMIT_MS);
    toolPath('helm');
    chart = objects('--kube-version', '1.36.0');
    recorded = await recordEverything();
  });

  it('allow the controller role what it asks for, and nothing else', () => {
    const asked = recorded.controller.accesses.map((access) =>
      // The lab's namespace for leases is called otherwise than the release's.
      line(access.resource === 'leases' ? { ...access, namespace: 'storage' } : access),
    );
    const own = allowed(chart, 'release-meshstor-controller', (role) => /-controller(-events)?$/.test(role));
    expect(distinct(asked)).to.deep.equal(own);
  });

  it('allow the node role what it asks for, and nothing else', () => {
    const asked = [...recorded.nodes.values()].flatMap(({ accesses }) => accesses);
    // Events about claims go to the namespaces of the claims, so a rule for all is what it needs.
    const lines = asked.map((access) => line(access.resource === 'events' ? { ...access, namespace: '' } : access));
    expect(asked.map(({ namespace }) => namespace)).to.include('default');
    expect(distinct(lines)).to.deep.equal(allowed(chart, 'release-meshstor-node', () => true));
  });

  it('give no account a wildcard, a secret, or a way to more rights', () => {
    const rules = chart.filter(({ kind }) => kind.endsWith('Role')).flatMap(rulesOf);
    const words = rules.flatMap(({ apiGroups, resources, verbs }) => [...apiGroups, ...resources, ...verbs]);
    const tooMuch = ['*', 'secrets', 'pods/exec', 'serviceaccounts/token', 'escalate', 'bind', 'impersonate'];
    expect(words.filter((word) => tooMuch.includes(word))).to.deep.equal([]);
    expect(words).to.include('meshstorvolumes/status');
  });

  it('keep what is namespaced to its namespaces', () => {
    const clusterWide = chart.filter(({ kind }) => kind === 'ClusterRole').flatMap(rulesOf);
    const resources = clusterWide.flatMap((rule) => rule.resources);
    for (const resource of ['leases', 'csistoragecapacities', 'pods', 'replicasets']) {
      expect(resources, resource).not.to.include(resource);
    }
  });
});
