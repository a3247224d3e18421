// Everything there is to test, from cheap to dear, on a fresh checkout too.
//
//   node scripts/test.mjs [--only lint,unit,simulation,csi,kube,chart,native,kube-real,lab,sanity,kubernetes,image]
//
// The last line is `N passed, N failed, N skipped`; the exit code is 1 when anything failed. With CI=true whatever could not
// run counts as failed.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { GoMissing } from './go-modules.mjs';
import { ensureTools } from './kube-tools.mjs';
import { mochaLayer } from './mocha-layer.mjs';
import { ensureNpm, ensurePackages, labRefusal, missingPackages } from './setup.mjs';
import { flagsOf, inCi, parseCounts, root, run, seconds } from './steps.mjs';

const isRoot = process.getuid?.() === 0;

/** Debian packages that a layer needs besides those to build, by their group in setup.mjs. */
const GROUPS = {
  lint: ['native-test'],
  native: ['native-test'],
  kube: ['kube'],
  lab: ['lab'],
  sanity: ['lab'],
  kubernetes: ['lab'],
  image: ['lab', 'image'],
};
/** They boot virtual nodes. */
const IN_LAB = ['lab', 'sanity', 'kubernetes', 'image'];
/** The dearest to build for. A run on a cold cache that has taken long by then leaves them to the next one, and says so. */
const WITH_TIME_LEFT = ['kubernetes', 'image'];
const TIME_LEFT_UNTIL_S = 50 * 60;

/** Everything that needs neither tools nor root: all folders of tests but those with a layer of their own. */
function unitFolders() {
  const own = new Set(['simulation', 'csi', 'kube', 'chart', 'native', 'lab', 'fixtures', 'fakes', 'support']);
  const folders = readdirSync(join(root, 'test'), { withFileTypes: true });
  return folders.filter((entry) => entry.isDirectory() && !own.has(entry.name)).map((entry) => `test/${entry.name}`);
}

/** Each layer resolves to {passed, failed, skipped, failures[], skips[]}; `told`: lines for people that were not printed yet. */
const LAYERS = {
  lint: () => scriptLayer('scripts/lint.mjs'),
  unit: () => mochaLayer('unit', unitFolders()),
  // A bounded run; more of it: npm run simulate.
  simulation: () => mochaLayer('simulation', ['test/simulation']),
  csi: () => mochaLayer('csi', ['test/csi']),
  kube: () => mochaLayer('kube', ['test/kube'], { without: 'test/kube/real' }),
  chart: chartLayer,
  native: async () => {
    const core = sum(await scriptLayer('scripts/lint.mjs', '--native'), await scriptLayer('scripts/native-test.mjs'));
    return sum(core, await mochaLayer('native', ['test/native']));
  },
  // Builds its components the first time, as whoever comes first: all of them take twenty to forty minutes on two cores.
  'kube-real': () => scriptLayer('scripts/test-kube.mjs'),
  lab: () => labLayer('lab', 'scripts/lab.mjs'),
  // CSI's own conformance suite.
  sanity: () => labLayer('sanity', 'scripts/test-sanity.mjs'),
  // Volumes of each kind live under a real control plane.
  kubernetes: () =>
    withTools('kubernetes', CONTROL_PLANE, () =>
      labLayer('kubernetes', 'scripts/lab.mjs', '--control-plane=kubernetes'),
    ),
  // The image is built on a base made here; its roles run in virtual nodes.
  image: async () => {
    const crossed = await stepLayer('the addon for arm64', 'scripts/image.mjs', '--local-base', '--addon', 'arm64');
    return sum(crossed, await labLayer('image', 'scripts/lab.mjs', '--scenario', 'image'));
  },
};

function labLayer(name, script, ...args) {
  const reason = labRefusal() ?? (isRoot ? undefined : 'needs root for its network namespace (sudo npm test)');
  return reason === undefined ? scriptLayer(script, ...args) : skippedLayer(`${name}: ${reason}`);
}

const SIDECARS = ['csi-provisioner', 'csi-attacher', 'csi-resizer'];
const CONTROL_PLANE = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kubectl',
  'helm',
  ...SIDECARS,
];

/** Builds helm and an API server the first time: some minutes. */
function chartLayer() {
  const tools = ['helm', 'kubeconform', 'etcd', 'kube-apiserver', 'kubectl', ...SIDECARS];
  return withTools('chart', tools, () => mochaLayer('chart', ['test/chart']));
}

async function withTools(name, tools, layer) {
  try {
    await ensureTools(tools);
  } catch (error) {
    if (!(error instanceof GoMissing)) throw error;
    return skippedLayer(`${name}: ${error.message}`);
  }
  return layer();
}

/** A script that is one test by itself. */
async function stepLayer(what, path, ...args) {
  const { ok, reason } = await run(process.execPath, [path, ...args], { live: true, limitMs: 3_600_000 });
  const failures = ok ? [] : [`${what}: ${reason}`];
  return { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0, failures, skips: [] };
}

function skippedLayer(reason) {
  return { passed: 0, failed: 0, skipped: 1, failures: [], skips: [reason] };
}

function sum(a, b) {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    failures: [...a.failures, ...b.failures],
    skips: [...a.skips, ...b.skips],
    told: [...(a.told ?? []), ...(b.told ?? [])],
  };
}

/** A script that prints its own progress and, as its last count, `N passed, N failed, N skipped`. */
async function scriptLayer(path, ...args) {
  const result = await run(process.execPath, [path, ...args], { live: true, limitMs: 3_600_000 });
  const counts = parseCounts(result.output);
  if (counts === undefined) {
    return {
      passed: 0,
      failed: 1,
      skipped: 0,
      failures: [`${path} ended without counts: ${result.reason}`],
      skips: [],
    };
  }
  const skips = counts.skipped > 0 ? [`${path}: ${counts.skipped} skipped, reasons above`] : [];
  if (!result.ok && counts.failed === 0) {
    return { ...counts, failed: 1, failures: [`${path} counted no failure but ended with ${result.reason}`], skips };
  }
  return { ...counts, failures: counts.failed > 0 ? [`${path}: ${counts.failed} failed, see above`] : [], skips };
}

function chosenLayers() {
  const values = flagsOf({ only: { type: 'string' } });
  if (values.only === undefined) return Object.keys(LAYERS);
  const names = values.only.split(',');
  const unknown = names.find((name) => !(name in LAYERS));
  if (unknown !== undefined) {
    process.stderr.write(`unknown layer "${unknown}": one of ${Object.keys(LAYERS).join(', ')}\n`);
    process.exit(2);
  }
  return names;
}

function report(name, result, ms) {
  for (const line of result.told ?? []) process.stdout.write(`${name}: ${line}\n`);
  for (const failure of result.failures) process.stdout.write(`\nFAILED ${failure}\n`);
  for (const reason of result.skips)
    process.stdout.write(`${inCi ? 'FAILED (could not run)' : 'skipped'}: ${reason}\n`);
  const { passed, failed, skipped } = result;
  process.stdout.write(`== ${name}: ${passed} passed, ${failed} failed, ${skipped} skipped in ${seconds(ms)}\n\n`);
}

async function runLayer(name) {
  process.stdout.write(`== ${name}\n`);
  const start = performance.now();
  let result;
  try {
    const refused = IN_LAB.includes(name) && labRefusal() !== undefined;
    const missing = isRoot || refused ? [] : missingPackages(...(GROUPS[name] ?? []));
    const install = `apt-get install ${missing.join(' ')}`;
    result = missing.length === 0 ? await LAYERS[name]() : skippedLayer(`${name}: needs packages (sudo ${install})`);
  } catch (error) {
    result = { passed: 0, failed: 1, skipped: 0, failures: [`layer ${name} broke: ${error.stack}`], skips: [] };
  }
  // Under CI nothing may be left out silently.
  if (inCi) result = { ...result, failed: result.failed + result.skipped, skipped: 0 };
  report(name, result, performance.now() - start);
  return result;
}

/** What was asked for by name is run. */
function isLeftOut(name, layers) {
  const isWhole = layers.length === Object.keys(LAYERS).length;
  if (!isWhole || !WITH_TIME_LEFT.includes(name) || process.uptime() < TIME_LEFT_UNTIL_S) return false;
  const minutes = Math.round(process.uptime() / 60);
  process.stdout.write(`== ${name}: left to a run with a warm cache, this one has taken ${minutes} minutes already: `);
  process.stdout.write(`npm test -- --only ${name}\n\n`);
  return true;
}

async function prepare(layers) {
  // Without root only what the build needs is insisted on; layers that lack packages are skipped with the command to run.
  const groups = layers
    .filter((name) => !IN_LAB.includes(name) || labRefusal() === undefined)
    .flatMap((name) => GROUPS[name] ?? []);
  ensurePackages('build', ...(isRoot ? groups : []));
  ensureNpm();
  const script = 'scripts/build.mjs';
  const built = await run(process.execPath, [script], { live: true, limitMs: 900_000 });
  if (!built.ok) throw new Error(`${script}: ${built.reason}`);
}

const total = { passed: 0, failed: 0, skipped: 0 };

/** Always the last line, also when setting up ended the process. */
process.on('exit', (code) => {
  if (code !== 0 && total.failed === 0) total.failed = 1;
  process.stdout.write(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
});

async function main() {
  const layers = chosenLayers();
  try {
    await prepare(layers);
    for (const name of layers) {
      if (isLeftOut(name, layers)) continue;
      const result = await runLayer(name);
      for (const kind of ['passed', 'failed', 'skipped']) total[kind] += result[kind];
    }
  } catch (error) {
    process.stdout.write(`FAILED to prepare: ${error.stack}\n`);
    total.failed += 1;
  }
  process.exitCode = total.failed === 0 ? 0 : 1;
}

await main();
