// The tests against a real Kubernetes: builds the program, builds or finds the components, then runs test/kube/real.
//
//   node scripts/test-kube.mjs
//
// The last line is `N passed, N failed, N skipped`; the exit code is 1 when anything failed. With CI=true a test that could
// not run counts as failed.

import { GoMissing } from './go-modules.mjs';
import { ensureTools } from './kube-tools.mjs';
import { mochaLayer } from './mocha-layer.mjs';
import { ensureNpm, exitOn } from './setup.mjs';
import { inCi, run, seconds } from './steps.mjs';

/** What the tests of test/kube/real start; helm tells what the chart allows the roles. */
const NEEDED = ['etcd', 'kube-apiserver', 'kubectl', 'kube-controller-manager', 'kube-scheduler', 'helm'];
const LIMIT_MS = 20 * 60_000;

/** The tests start the controller as it is shipped. */
async function build() {
  const { ok, reason, output } = await run(process.execPath, ['scripts/build.mjs'], { limitMs: LIMIT_MS });
  if (!ok) throw new Error(`the build failed: ${reason}\n${output.slice(-4000)}`);
}

async function prepare() {
  ensureNpm();
  await build();
  const start = performance.now();
  const tools = await ensureTools(NEEDED);
  const versions = Object.entries(tools).map(([name, { version, origin }]) => `${name} ${version} (${origin})`);
  process.stdout.write(`kube: ${versions.join(', ')} in ${seconds(performance.now() - start)}\n`);
  return Object.fromEntries(Object.entries(tools).map(([name, { path }]) => [name, path]));
}

/** Resolves to {passed, failed, skipped, failures[], skips[], told[]}. */
async function testKube() {
  let tools;
  try {
    tools = await prepare();
  } catch (error) {
    if (!(error instanceof GoMissing)) throw error;
    return { passed: 0, failed: 0, skipped: 1, failures: [], skips: [error.message], told: [] };
  }
  const env = { ...process.env, MESHSTOR_KUBE_TOOLS: JSON.stringify(tools) };
  return mochaLayer('kube-real', ['test/kube/real'], { env, limitMs: LIMIT_MS });
}

try {
  const { passed, failed, skipped, failures, skips, told } = await testKube();
  for (const line of told) process.stdout.write(`kube: ${line}\n`);
  for (const failure of failures) process.stdout.write(`\nFAILED ${failure}\n`);
  for (const reason of skips) process.stdout.write(`${inCi ? 'FAILED (could not run)' : 'skipped'}: ${reason}\n`);
  const lost = inCi ? skipped : 0;
  process.stdout.write(`${passed} passed, ${failed + lost} failed, ${skipped - lost} skipped\n`);
  process.exitCode = failed + lost === 0 ? 0 : 1;
} catch (error) {
  exitOn(error);
}
