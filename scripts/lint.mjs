// Every check that needs no running code.
//
//   node scripts/lint.mjs                all of them, two at a time
//   node scripts/lint.mjs --only types,eslint
//   node scripts/lint.mjs --native       clang-tidy over native/ (minutes the first time, hence on its own: npm run lint:native)
//   node scripts/lint.mjs --self-test    proves on a small tree of violations that every import rule fires
//
// The last line is `lint: N passed, N failed, N skipped`. A tool that is missing is a skip, under CI=true a failure.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { importRulesFire } from './lint-self-test.mjs';
import { cached, keep, keyOf } from './native-cache.mjs';
import { ensureNpm } from './setup.mjs';
import { bin, filesBelow, has, inCi, root, run, seconds } from './steps.mjs';

const MAX_LINES = 400;
/** Lines of one check's output that are printed. */
const MAX_SHOWN = process.argv.includes('--only') ? Infinity : 80;

/** A check resolves to what went wrong (empty when nothing), or to the reason for which it could not run. */
const CHECKS = {
  types: () => program(bin('tsc'), ['-p', '.', '--noEmit']),
  eslint: () => program(bin('eslint'), ['.', '--max-warnings', '0']),
  prettier: () => program(bin('prettier'), ['--check', '--log-level', 'warn', '.']),
  imports: () => program(bin('depcruise'), ['--config', '.dependency-cruiser.cjs', 'src', 'test']),
  'import-rules': async () => ({ problem: await importRulesFire() }),
  'clang-format': () =>
    has('clang-format')
      ? program(process.execPath, ['scripts/clang-format.mjs'])
      : { skipped: 'clang-format is not installed (apt-get install clang-format)' },
  proto: () =>
    existsSync(join(root, 'scripts/generate-proto.mjs'))
      ? program(process.execPath, ['scripts/generate-proto.mjs', '--check'])
      : { problem: 'scripts/generate-proto.mjs is missing' },
  lengths: () => ({ problem: tooLong().join('\n') }),
  words: () => ({ problem: forbiddenWords().join('\n') }),
};

const NATIVE_CHECKS = {
  'clang-tidy': () =>
    has('clang-tidy') ? clangTidy() : { skipped: 'clang-tidy is not installed (apt-get install clang-tidy)' },
};

async function program(command, args) {
  const result = await run(command, args, { limitMs: 600_000 });
  return { problem: result.ok ? '' : `${result.output.trimEnd()}\n(${result.reason})` };
}

function sources() {
  return [
    ...filesBelow('src', ['.ts']),
    ...filesBelow('native', ['.cc', '.h']),
    ...filesBelow('scripts', ['.mjs']),
    ...filesBelow('test', ['.ts', '.mjs']),
  ].filter((path) => !path.includes('/generated/') && !path.includes('/fixtures/'));
}

/** What eslint does not count. Tests are tables and may be longer. */
function tooLong() {
  return [...filesBelow('native', ['.cc', '.h']), ...filesBelow('scripts', ['.mjs'])]
    .filter((path) => !path.startsWith('native/test/'))
    .map((path) => ({ path, lines: readFileSync(join(root, path), 'utf8').split('\n').length - 1 }))
    .filter(({ lines }) => lines > MAX_LINES)
    .map(({ path, lines }) => `${path}: ${lines} lines, at most ${MAX_LINES} are allowed`);
}

const WORDS = [
  { pattern: new RegExp('\\b(TO' + 'DO|FIX' + 'ME|XX' + 'X)\\b'), rule: 'unfinished work belongs in an issue' },
  { pattern: /meshstor_native(?!\.cc)/, rule: 'only src/native loads the addon', only: /^src\/(?!native\/)/ },
  { pattern: /\b(describe|it)\.only\(/, rule: 'leaves the other tests out', only: /^test\// },
];

function forbiddenWords() {
  const found = [];
  for (const path of sources()) {
    const lines = readFileSync(join(root, path), 'utf8').split('\n');
    for (const { pattern, rule, only } of WORDS) {
      if (only !== undefined && !only.test(path)) continue;
      lines.forEach((line, index) => {
        if (pattern.test(line)) found.push(`${path}:${index + 1}: ${line.trim()} (${rule})`);
      });
    }
  }
  return found;
}

/** Flags as binding.gyp and CMakeLists.txt give them, and where the addon's headers are. */
function tidyFlags() {
  const require = createRequire(import.meta.url);
  const headers = join(dirname(dirname(process.execPath)), 'include', 'node');
  if (!existsSync(join(headers, 'node_api.h'))) return { problem: `${headers} is missing: install Node's headers` };
  const api = dirname(require.resolve('node-addon-api/package.json'));
  const defines = ['_GNU_SOURCE', 'NAPI_VERSION=8', 'NAPI_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED'];
  const flags = ['-std=c++17', '-I.', ...defines.map((name) => `-D${name}`), '-isystem', headers, '-isystem', api];
  return { flags };
}

/** A file that passed is not looked at again until it, any header or a rule changes. */
async function clangTidy() {
  const { flags, problem } = tidyFlags();
  if (problem !== undefined) return { problem };
  const headers = filesBelow('native', ['.h']);
  const version = spawnSync('clang-tidy', ['--version'], { encoding: 'utf8' }).stdout;
  const files = [...filesBelow('native/core', ['.cc']), ...filesBelow('native/addon', ['.cc'])];
  const problems = [];
  const worker = async () => {
    for (let file = files.shift(); file !== undefined; file = files.shift()) {
      const key = keyOf([file, '.clang-tidy', ...headers], flags, version);
      if (cached('clang-tidy', key) !== undefined) continue;
      const result = await program('clang-tidy', ['--quiet', file, '--', ...flags]);
      if (result.problem === '') keep('clang-tidy', key, [], { most: 200 });
      else problems.push(result.problem);
    }
  };
  await Promise.all(Array.from({ length: Math.min(2, cpus().length) }, worker));
  return { problem: problems.join('\n') };
}

function excerpt(text) {
  const lines = text.split('\n');
  if (lines.length <= MAX_SHOWN) return text;
  return [
    ...lines.slice(0, MAX_SHOWN),
    `… ${lines.length - MAX_SHOWN} more lines: run the check alone with --only`,
  ].join('\n');
}

async function attempt(check) {
  try {
    return await check();
  } catch (error) {
    return { problem: String(error.stack) };
  }
}

async function runCheck(name, check, counts) {
  const start = performance.now();
  const { problem = '', skipped } = await attempt(check);
  const time = seconds(performance.now() - start);
  if (skipped !== undefined) {
    counts[inCi ? 'failed' : 'skipped'] += 1;
    process.stdout.write(`  ${inCi ? 'FAILED ' : 'skipped'} ${name}: ${skipped}\n`);
  } else if (problem === '') {
    counts.passed += 1;
    process.stdout.write(`  ok      ${name} (${time})\n`);
  } else {
    counts.failed += 1;
    process.stdout.write(`  FAILED  ${name} (${time})\n${excerpt(problem).replace(/^/gm, '          ')}\n`);
  }
}

function chosen() {
  if (process.argv.includes('--native')) return NATIVE_CHECKS;
  if (process.argv.includes('--self-test')) return { 'import-rules': CHECKS['import-rules'] };
  const only = process.argv.indexOf('--only');
  if (only === -1) return CHECKS;
  const names = (process.argv[only + 1] ?? '').split(',');
  const unknown = names.filter((name) => !(name in CHECKS));
  if (unknown.length > 0) {
    process.stderr.write(`unknown check "${unknown[0]}": one of ${Object.keys(CHECKS).join(', ')}\n`);
    process.exit(2);
  }
  return Object.fromEntries(names.map((name) => [name, CHECKS[name]]));
}

ensureNpm();
const counts = { passed: 0, failed: 0, skipped: 0 };
const queue = Object.entries(chosen());
const worker = async () => {
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) await runCheck(next[0], next[1], counts);
};
await Promise.all([worker(), worker()]);
process.stdout.write(`lint: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exit(counts.failed === 0 ? 0 : 1);
