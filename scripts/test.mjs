// Everything there is to test, from cheap to dear, on a fresh checkout too.
//
//   node scripts/test.mjs [--only lint,unit,csi,kube,native,lab]
//
// The last line is `N passed, N failed, N skipped`; the exit code is 1 when anything failed. With CI=true whatever could not
// run counts as failed.

import { parseArgs } from 'node:util';
import { mochaLayer } from './mocha-layer.mjs';
import { ensureNpm, ensurePackages } from './setup.mjs';
import { inCi, parseCounts, run, seconds } from './steps.mjs';

const isRoot = process.getuid?.() === 0;

/** Each layer resolves to {passed, failed, skipped, failures[], skips[]}. */
const LAYERS = {
  lint: () => scriptLayer('scripts/lint.mjs'),
  unit: () => mochaLayer('unit', ['test/unit', 'test/property', 'test/simulation', 'test/golden', 'test/contract']),
  csi: () => mochaLayer('csi', ['test/csi']),
  kube: () => mochaLayer('kube', ['test/kube']),
  native: async () => sum(await scriptLayer('scripts/native-test.mjs'), await mochaLayer('native', ['test/native'])),
  lab: () =>
    isRoot ? scriptLayer('scripts/lab.mjs') : skippedLayer('lab: needs root for its network namespace (sudo npm test)'),
};

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
  };
}

/** A script that prints its own progress and, as its last count, `N passed, N failed, N skipped`. */
async function scriptLayer(path) {
  const result = await run(process.execPath, [path], { live: true, limitMs: 3_600_000 });
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
  const { values } = parseArgs({ options: { only: { type: 'string' } } });
  const names = values.only === undefined ? Object.keys(LAYERS) : values.only.split(',');
  const unknown = names.find((name) => !(name in LAYERS));
  if (unknown !== undefined) {
    process.stderr.write(`unknown layer "${unknown}": one of ${Object.keys(LAYERS).join(', ')}\n`);
    process.exit(2);
  }
  return names;
}

function report(name, result, ms) {
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
    result = await LAYERS[name]();
  } catch (error) {
    result = { passed: 0, failed: 1, skipped: 0, failures: [`layer ${name} broke: ${error.stack}`], skips: [] };
  }
  // Under CI nothing may be left out silently.
  if (inCi) result = { ...result, failed: result.failed + result.skipped, skipped: 0 };
  report(name, result, performance.now() - start);
  return result;
}

async function prepare() {
  await ensurePackages();
  await ensureNpm();
  const script = 'scripts/build.mjs';
  const built = await run(process.execPath, [script], { live: true, limitMs: 900_000 });
  if (!built.ok) throw new Error(`${script}: ${built.reason}`);
}

async function main() {
  const layers = chosenLayers();
  let total = { passed: 0, failed: 0, skipped: 0, failures: [], skips: [] };
  try {
    await prepare();
    for (const name of layers) total = sum(total, await runLayer(name));
  } catch (error) {
    process.stdout.write(`FAILED to prepare: ${error.stack}\n`);
    total.failed += 1;
  }
  process.stdout.write(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
  process.exitCode = total.failed === 0 ? 0 : 1;
}

await main();
