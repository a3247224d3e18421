// Runs the virtual lab: `npm run lab -- --help`. Installs what is missing and builds the program first.
import { spawnSync } from 'node:child_process';
import { ensureNpm, ensurePackages } from './setup.mjs';
import { root } from './steps.mjs';

ensureNpm();
const asksOnly = process.argv.slice(2).some((word) => ['-h', '--help', '--list'].includes(word));
if (!asksOnly) {
  ensurePackages('build', 'lab');
  // The nodes run the program of this tree, not one that was built before the last change.
  const { status } = spawnSync(process.execPath, ['scripts/build.mjs'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

// tsx comes from node_modules, so it must not be imported before that is complete.
const { register } = await import('tsx/esm/api');
register();
await import('../test/lab/main.ts');
