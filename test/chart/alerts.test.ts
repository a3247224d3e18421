/** The alerts of the chart against the series that the program shows. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse } from 'yaml';
import { Metrics } from '../../src/observability/metrics.ts';
import type { Manifest } from './helm.ts';
import { BUILD_LIMIT_MS, CHART, MONITORING_APIS, named, objects, toolPath } from './helm.ts';

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

interface Group {
  readonly name: string;
  readonly rules: readonly Alert[];
}

/** Labels that the scrape adds. */
const SCRAPED = ['pod'];
const WORDS = new Set(['by', 'max', 'min', 'sum', 'and', 'or', 'rate', 'increase', 'absent']);

const VOLUME = { volume: 'pvc-1', pv: 'pvc-1', pvc: 'data', namespace: 'apps', node: 'node1' };
const MEMBERS = { total: 2, active: 2, failed: 0, down: 0, degraded: 0 };
const DRIVE = { node: 'node1', device: 'nvme0n1', model: 'm', serial: 's', sizeBytes: 1, freeBytes: 1, usable: true };
const PARTITIONS = { biggestFreeBytes: 1, localPartitions: 0, remotePartitions: 0, unknownPartitions: 0 };

/** Everything that the controller role shows, as text. */
async function shown(): Promise<string> {
  const metrics = new Metrics({ role: 'controller', version: '1.0.0' });
  const phases = ['New', 'Requested', 'Syncing', 'Synced', 'Expanding', 'Replacing', 'Deleting'] as const;
  metrics.showVolumes(() =>
    phases.map((phase) => ({
      ...VOLUME,
      phase,
      mdState: 'clean',
      members: MEMBERS,
      syncRatio: 1,
      partitionStates: ['Synced'],
      unclaimed: false,
    })),
  );
  metrics.showDrives(() => [{ ...DRIVE, ...PARTITIONS, heartbeatAtMs: 0 }]);
  metrics.watchAges(() => ({ volumes: 1 }));
  metrics.logLinesDropped(() => 0);
  metrics.reconciled('volumes', 1, true);
  return (await metrics.render()).text;
}

/** Name of each series → the labels that it carries → their values. */
function seriesIn(text: string): ReadonlyMap<string, ReadonlyMap<string, ReadonlySet<string>>> {
  const all = new Map<string, Map<string, Set<string>>>();
  for (const [, name = '', labels = ''] of text.matchAll(/^(meshstor_\w+)\{([^}]*)\}/gm)) {
    const known = all.get(name) ?? new Map<string, Set<string>>();
    for (const [, label = '', value = ''] of labels.matchAll(/(\w+)="([^"]*)"/g)) {
      known.set(label, (known.get(label) ?? new Set()).add(value));
    }
    all.set(name, known);
  }
  return all;
}

describe('the alerts of the chart', () => {
  const { groups } = parse(readFileSync(join(CHART, 'files', 'alerts.yaml'), 'utf8')) as { readonly groups: Group[] };
  const alerts = groups.flatMap(({ rules }) => rules);
  let series: ReturnType<typeof seriesIn>;

  before(async function () {
    this.timeout(BUILD_LIMIT_MS);
    toolPath('helm');
    series = seriesIn(await shown());
  });

  for (const { alert, expr } of alerts) {
    it(`${alert} asks for series, labels and values that there are`, () => {
      const selectors = [...expr.matchAll(/(meshstor_\w+)(?:\{([^}]*)\})?/g)];
      expect(selectors).not.to.have.length(0);
      for (const [, name = '', matchers = ''] of selectors) {
        const labels = series.get(name);
        if (labels === undefined) throw new Error(`no series ${name}`);
        for (const [, label = '', how, wanted = ''] of matchers.matchAll(/(\w+)(=~?)"([^"]*)"/g)) {
          const values = [...(labels.get(label) ?? [])];
          for (const value of how === '=~' ? wanted.split('|') : [wanted]) {
            expect(values, `${name}{${label}}`).to.include(value);
          }
        }
        for (const [, by = ''] of expr.matchAll(/\bby \(([^)]*)\)/g)) {
          for (const label of by.split(', ')) expect([...labels.keys(), ...SCRAPED], `${name} by`).to.include(label);
        }
      }
    });
  }

  for (const { alert, expr, annotations } of alerts) {
    it(`${alert} is worded with labels that are left after its sums`, () => {
      const groupings = [...expr.matchAll(/\bby \(([^)]*)\)/g)].map(([, by = '']) => by.split(', '));
      const used = [
        ...Object.values(annotations)
          .join(' ')
          .matchAll(/\$labels\.(\w+)/g),
      ].map(([, label = '']) => label);
      expect(groupings[0] ?? []).to.include.members(used);
      expect(annotations).to.have.all.keys('summary', 'description');
    });
  }

  it('use no functions that were never looked at', () => {
    const bare = alerts.flatMap(({ expr }) =>
      [...expr.replace(/\{[^}]*\}|\([a-z, ]*\)|\[[^\]]*\]/g, ' ').matchAll(/\b([a-z]+)\b(?!_)/g)].map(
        ([, word = '']) => word,
      ),
    );
    expect(bare.filter((word) => !WORDS.has(word))).to.deep.equal([]);
  });

  it('can be left out one by one, and get labels of the user', () => {
    const disabled = ['MeshStorLogLinesDropped', 'MeshStorUnknownPartitions'];
    const args = MONITORING_APIS.concat(
      '--kube-version',
      '1.36.0',
      '--set',
      `monitoring.prometheusRule.disabledAlerts={${disabled.join()}}`,
    );
    const rendered = objects(...args, '--set', 'monitoring.prometheusRule.alertLabels.team=storage');
    const rule = named(rendered, 'PrometheusRule', 'release-meshstor') as Manifest & {
      readonly spec: { readonly groups: Group[] };
    };
    const left = rule.spec.groups.flatMap(({ rules }) => rules);
    expect(left.map(({ alert }) => alert)).to.deep.equal(
      alerts.map(({ alert }) => alert).filter((alert) => !disabled.includes(alert)),
    );
    for (const { alert, labels, expr } of left) {
      const source = alerts.find((other) => other.alert === alert);
      expect(labels).to.deep.equal({ ...source?.labels, team: 'storage' });
      expect(expr).to.equal(source?.expr);
    }
  });

  it('have the severities of the contract', () => {
    const critical = alerts.filter(({ labels }) => labels['severity'] === 'critical').map(({ alert }) => alert);
    expect(critical).to.deep.equal(['MeshStorMemberFailed', 'MeshStorReplacingForLong', 'MeshStorControllerAbsent']);
    const others = alerts.filter(({ labels }) => labels['severity'] !== 'critical');
    expect(new Set(others.map(({ labels }) => labels['severity']))).to.deep.equal(new Set(['warning']));
  });
});
