// How much of src the quick layers of tests (unit, properties, roles, csi) run through: c8's table, and pages in coverage/.
//
//   node scripts/coverage.mjs

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensureNpm, ensurePackages } from './setup.mjs';
import { bin, filesBelow, root, run } from './steps.mjs';

/** Folders whose tests have a layer of their own and are not quick, or hold no tests. */
const LEFT_OUT = new Set(['kube', 'native', 'lab', 'fixtures', 'fakes', 'support']);

ensurePackages('build');
ensureNpm();
const built = await run(process.execPath, ['scripts/build.mjs'], { live: true });
if (!built.ok) process.exit(1);
const folders = readdirSync(join(root, 'test'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
const files = folders
  .filter(({ name }) => !LEFT_OUT.has(name))
  .flatMap(({ name }) => filesBelow(`test/${name}`, ['.test.ts']));
const reports = ['text', 'html'].flatMap((kind) => ['--reporter', kind]);
const scope = ['--all', '--src', 'src', '--include', 'src/**', '--exclude', 'src/csi/generated/**'];
const result = await run(bin('c8'), [...reports, ...scope, bin('mocha'), ...files], { live: true, limitMs: 900_000 });
if (!result.ok) process.stderr.write(`coverage: ${result.reason}\n`);
process.exit(result.ok ? 0 : 1);
