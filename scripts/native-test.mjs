// Builds and runs the tests of native/core: gtest under AddressSanitizer and UBSan, then each fuzzer for a bounded time.
//
//   node scripts/native-test.mjs [--no-fuzz]
//
// NATIVE_BUILD_DIR  where to build (build-cmake)
// FUZZ_SECONDS      how long each fuzzer runs (20)
//
// Exits 0 when all passed; the last line is `native: N passed, N failed, N skipped`.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const out = join(root, process.env.NATIVE_BUILD_DIR ?? 'build-cmake');
const seconds = Number(process.env.FUZZ_SECONDS ?? '20');
const counts = { passed: 0, failed: 0, skipped: 0 };

function has(program) {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
}

function finish() {
  process.stdout.write(`native: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
  process.exit(counts.failed === 0 ? 0 : 1);
}

/** Runs quietly; prints everything when it fails. */
function must(command, args, options = {}) {
  const run = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, ...options });
  if (run.error === undefined && run.status === 0) return true;
  process.stdout.write(`${command} ${args.join(' ')} failed (${run.error?.message ?? run.signal ?? run.status})\n`);
  process.stdout.write((run.stdout ?? '') + (run.stderr ?? ''));
  counts.failed += 1;
  return false;
}

function buildIn(folder, ...flags) {
  const compiler = has('clang++') ? ['-DCMAKE_CXX_COMPILER=clang++'] : [];
  const configure = ['-S', root, '-B', folder, '-DCMAKE_BUILD_TYPE=Debug', ...compiler, ...flags];
  return must('cmake', configure) && must('cmake', ['--build', folder, '-j', '2']);
}

function runTests(folder) {
  const report = join(folder, 'report.xml');
  rmSync(report, { force: true });
  const args = ['--output-on-failure', '--output-junit', report, '-j', '2', '--timeout', '120'];
  const run = spawnSync('ctest', args, { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 28 });
  const suite = existsSync(report) ? /<testsuite\b[^>]*>/.exec(readFileSync(report, 'utf8'))?.[0] : undefined;
  if (suite === undefined) {
    process.stdout.write(run.stdout + run.stderr);
    counts.failed += 1;
    return;
  }
  const number = (name) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(suite)?.[1] ?? '0');
  const skipped = number('skipped') + number('disabled');
  const failed = number('failures');
  counts.skipped += skipped;
  counts.failed += failed;
  counts.passed += number('tests') - skipped - failed;
  if (run.status !== 0) process.stdout.write(run.stdout);
}

function fuzzerNames() {
  const text = readFileSync(join(root, 'CMakeLists.txt'), 'utf8');
  const body = /set\(FUZZERS\s([^)]*)\)/.exec(text)?.[1] ?? '';
  return body.split(/\s+/).filter((word) => word !== '');
}

function runFuzzer(folder, name) {
  const corpus = join(folder, `corpus-${name}`);
  mkdirSync(corpus, { recursive: true });
  const seeds = join(root, 'native', 'test', 'seeds', name);
  const limits = [
    `-max_total_time=${seconds}`,
    '-runs=2000000',
    '-rss_limit_mb=1024',
    '-timeout=5',
    '-print_final_stats=1',
  ];
  const args = [...limits, `-artifact_prefix=${folder}/${name}-`, corpus, ...(existsSync(seeds) ? [seeds] : [])];
  const run = spawnSync(join(folder, `fuzz_${name}`), args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (run.status === 0) {
    const runs = /number_of_executed_units:\s*(\d+)/.exec(run.stderr)?.[1] ?? '?';
    process.stdout.write(`fuzz_${name}: ${runs} inputs, no finding\n`);
    counts.passed += 1;
  } else {
    process.stdout.write(run.stderr.slice(-8000));
    counts.failed += 1;
  }
}

const tests = join(out, 'test');
if (!buildIn(tests, '-DSANITIZE=ON', '-DFUZZ=OFF')) finish();
runTests(tests);

if (!process.argv.includes('--no-fuzz')) {
  const fuzzers = fuzzerNames();
  if (!has('clang++')) {
    process.stdout.write('no clang++: fuzzers not run\n');
    counts.skipped += fuzzers.length;
  } else if (fuzzers.length > 0) {
    const folder = join(out, 'fuzz');
    if (!buildIn(folder, '-DFUZZ=ON', '-DSANITIZE=OFF')) finish();
    for (const name of fuzzers) runFuzzer(folder, name);
  }
}
finish();
