// Runs the mocha tests of some folders in one process and counts them from mocha's own JSON report.

import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { bin, filesBelow, root, run } from './steps.mjs';

const RESULTS = 'test-results';

/** The reason stands in the title where a test is skipped for one: mocha keeps no other place for it. */
function titles(tests) {
  return tests.map((test) => test.fullTitle);
}

/** mocha writes the report when it is through; without one it was killed or never came to run. */
function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

function describeFailures(report) {
  return report.failures.map((test) => {
    const file = test.file === undefined ? '' : ` (${relative(root, test.file)})`;
    const why = test.err?.stack ?? test.err?.message ?? 'no reason given';
    return `${test.fullTitle}${file}\n${why.replace(/^/gm, '    ')}`;
  });
}

/** What `tell` of test/support/tell.ts wrote: for people, whatever came of the tests. */
export function toldIn(output) {
  return [...output.matchAll(/^told: (.*)$/gm)].map((match) => match[1]);
}

/**
 * Resolves to {passed, failed, skipped, failures[], skips[], told[]}. Folders without tests count nothing. `limitMs` bounds it all: a
 * test process that does not end has a handle open, and that is a failure. `without` names a folder that is left out.
 */
export async function mochaLayer(name, folders, { limitMs = 900_000, env = process.env, without } = {}) {
  const found = folders.flatMap((folder) => filesBelow(folder, ['.test.ts']));
  const files = found.filter((file) => without === undefined || !file.startsWith(`${without}/`));
  if (files.length === 0) return { passed: 0, failed: 0, skipped: 0, failures: [], skips: [], told: [] };
  const reportPath = join(root, RESULTS, `${name}.json`);
  mkdirSync(join(root, RESULTS), { recursive: true });
  rmSync(reportPath, { force: true });
  const args = ['--reporter', 'json', '--reporter-option', `output=${reportPath}`, ...files];
  const result = await run(bin('mocha'), args, { env, limitMs });
  const report = readReport(reportPath);
  const told = toldIn(result.output);
  if (report === undefined) {
    const failures = [`the test process ended without a report: ${result.reason}\n${result.output.slice(-8000)}`];
    return { passed: 0, failed: 1, skipped: 0, failures, skips: [], told };
  }
  const { passes, failures: failed, pending } = report.stats;
  const failures = describeFailures(report);
  const skips = titles(report.pending);
  if (!result.ok && failed === 0) {
    failures.push(`all tests passed but the process did not end well: ${result.reason}\n${result.output.slice(-4000)}`);
    return { passed: passes, failed: 1, skipped: pending, failures, skips, told };
  }
  return { passed: passes, failed, skipped: pending, failures, skips, told };
}
