// Keeps the chart in step with the files that it repeats: the custom resource definitions, the udev rule, the version.
//
//   node scripts/chart.mjs            copies them into deploy/chart
//   node scripts/chart.mjs --check    says what differs; exit code 1 when something does

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { filesBelow, flagsOf, root } from './steps.mjs';

const CHART = 'deploy/chart';
const CRDS = `${CHART}/files/crds`;

const text = (path) => readFileSync(join(root, path), 'utf8');

/** The chart's own version, the program's, and that of its image. */
function withVersion(chart, version) {
  return chart
    .replace(/^((?:appV|v)ersion): .*$/gm, `$1: ${version}`)
    .replace(/(image: meshstor\/meshstor):.*$/gm, `$1:${version}`);
}

/** Path in the chart → what should stand there. */
function wantedFiles() {
  const { version } = JSON.parse(text('package.json'));
  const wanted = new Map([
    [`${CHART}/files/60-meshstor.rules`, text('deploy/udev/60-meshstor.rules')],
    [`${CHART}/Chart.yaml`, withVersion(text(`${CHART}/Chart.yaml`), version)],
  ]);
  for (const path of filesBelow('deploy/crds', ['.yaml'])) wanted.set(`${CRDS}/${basename(path)}`, text(path));
  return wanted;
}

/** Definitions in the chart that are none any more. */
function leftOver(wanted) {
  if (!existsSync(join(root, CRDS))) return [];
  return readdirSync(join(root, CRDS))
    .map((name) => `${CRDS}/${name}`)
    .filter((path) => !wanted.has(path));
}

const values = flagsOf({ check: { type: 'boolean', default: false } });
const wanted = wantedFiles();
const surplus = leftOver(wanted);
const stale = [...wanted].filter(([path, content]) => !existsSync(join(root, path)) || text(path) !== content);
for (const path of [...stale.map(([path]) => path), ...surplus]) {
  process.stdout.write(values.check ? `${path} differs from its source: node scripts/chart.mjs\n` : `${path}\n`);
}
if (values.check) {
  process.exitCode = stale.length + surplus.length === 0 ? 0 : 1;
} else {
  for (const path of surplus) rmSync(join(root, path));
  for (const [path, content] of stale) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
}
