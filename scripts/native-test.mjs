// Builds and runs the tests of native/core: gtest under AddressSanitizer and UBSan, then each fuzzer for a bounded time.
//
//   node scripts/native-test.mjs [--no-fuzz]
//
// NATIVE_BUILD_DIR  where to build (build-cmake)
// FUZZ_SECONDS      how long each fuzzer runs (20)
//
// What was built from equal sources before, in another clone too, is taken from the cache folder.
// Exits 0 when all passed; the last line is `native: N passed, N failed, N skipped`.

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cached, keep, keyOf, nativeSources, versionOf } from './native-cache.mjs';
import { has, root, seconds } from './steps.mjs';

const out = join(root, process.env.NATIVE_BUILD_DIR ?? 'build-cmake');
const fuzzSeconds = Number(process.env.FUZZ_SECONDS ?? '20');
const compiler = has('clang++') ? 'clang++' : 'g++';
const counts = { passed: 0, failed: 0, skipped: 0 };
/** The programs are run from here: what they write is no part of the checkout or the cache. */
const work = mkdtempSync(join(tmpdir(), 'meshstor-native-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));

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

function sourceKey(flags) {
  const sources = nativeSources('native/core', 'native/test');
  return keyOf([...sources, 'CMakeLists.txt'], flags, versionOf(compiler), versionOf('cmake'));
}

/** Copies of the programs in `work`, built unless they are in the cache; false when building failed. */
function provide(names, kind, flags) {
  const key = sourceKey(flags);
  const found = cached('native-tests', key);
  if (found !== undefined) {
    process.stdout.write(`${kind}: built before from equal sources\n`);
    for (const name of names) copyFileSync(join(found, name), join(work, name));
    return true;
  }
  const start = performance.now();
  const folder = join(out, kind);
  const configure = ['-S', root, '-B', folder, '-DCMAKE_BUILD_TYPE=Debug', `-DCMAKE_CXX_COMPILER=${compiler}`];
  if (!must('cmake', [...configure, ...flags])) return false;
  if (!must('cmake', ['--build', folder, '-j', '2'])) return false;
  process.stdout.write(`${kind}: built in ${seconds(performance.now() - start)}\n`);
  const programs = names.map((name) => join(folder, name));
  for (const [index, name] of names.entries()) copyFileSync(programs[index], join(work, name));
  // Sources that were saved meanwhile would be kept under the wrong name.
  if (sourceKey(flags) === key) keep('native-tests', key, programs);
  return true;
}

/** Names of the tests as `--gtest_list_tests` prints them: `Suite.` and, indented, what is in it. */
function listTests(program) {
  const listed = spawnSync(program, ['--gtest_list_tests'], { cwd: work, encoding: 'utf8' });
  if (listed.status !== 0) return [];
  const names = [];
  let suite = '';
  for (const line of listed.stdout.split('\n').map((text) => text.replace(/\s+#.*$/, ''))) {
    if (/^\S+\.$/.test(line)) suite = line;
    else if (/^ {2}\S/.test(line)) names.push(suite + line.trim());
  }
  return names;
}

/** A process for every test, so that a finding of a sanitizer ends that one alone. */
function runTests(program) {
  const names = listTests(program);
  const rules = names.map(
    (name) =>
      `add_test([==[${name}]==] [==[${program}]==] [==[--gtest_filter=${name}]==])\n` +
      `set_tests_properties([==[${name}]==] PROPERTIES TIMEOUT 120 SKIP_REGULAR_EXPRESSION [==[\\[  SKIPPED \\]]==])\n`,
  );
  writeFileSync(join(work, 'CTestTestfile.cmake'), rules.join(''));
  const report = join(work, 'report.xml');
  const args = ['--output-on-failure', '--output-junit', report, '-j', '2', '--no-tests=error'];
  const run = spawnSync('ctest', args, { cwd: work, encoding: 'utf8', maxBuffer: 1 << 28 });
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

/** New inputs go to the build folder and are used again; the seeds are only read. What crashes is left there too. */
function runFuzzer(name) {
  const folder = join(out, 'corpus', name);
  mkdirSync(folder, { recursive: true });
  const seeds = join(root, 'native', 'test', 'seeds', name);
  const limits = [
    `-max_total_time=${fuzzSeconds}`,
    '-runs=2000000',
    '-rss_limit_mb=1024',
    '-timeout=5',
    '-print_final_stats=1',
  ];
  const args = [...limits, `-artifact_prefix=${out}/${name}-`, folder, ...(existsSync(seeds) ? [seeds] : [])];
  const run = spawnSync(join(work, `fuzz_${name}`), args, { cwd: work, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (run.status === 0) {
    const runs = /number_of_executed_units:\s*(\d+)/.exec(run.stderr)?.[1] ?? '?';
    process.stdout.write(`fuzz_${name}: ${runs} inputs, no finding\n`);
    counts.passed += 1;
  } else {
    process.stdout.write((run.stderr ?? String(run.error)).slice(-8000));
    counts.failed += 1;
  }
}

if (!provide(['core_test'], 'test', ['-DSANITIZE=ON', '-DFUZZ=OFF'])) finish();
runTests(join(work, 'core_test'));

if (!process.argv.includes('--no-fuzz')) {
  const fuzzers = fuzzerNames();
  if (compiler !== 'clang++') {
    process.stdout.write('no clang++: fuzzers not run\n');
    counts.skipped += fuzzers.length;
  } else if (fuzzers.length > 0) {
    const programs = fuzzers.map((name) => `fuzz_${name}`);
    if (!provide(programs, 'fuzz', ['-DFUZZ=ON', '-DSANITIZE=OFF'])) finish();
    for (const name of fuzzers) runFuzzer(name);
  }
}
finish();
