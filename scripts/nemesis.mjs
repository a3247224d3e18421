// Faults of all kinds on volumes that are written to, in the virtual lab: `npm run nemesis -- --help`. The last line is
// `nemesis: W acknowledged, L lost, D double writers, F faults, T takeovers`; exit code 1 if L or D is not 0 or a volume did not come
// back.
import { spawnSync } from 'node:child_process';
import { ensureNpm, ensurePackages } from './setup.mjs';
import { root } from './steps.mjs';

ensureNpm();
const asksOnly = process.argv.slice(2).some((word) => ['-h', '--help'].includes(word));
if (!asksOnly) {
  ensurePackages('build', 'lab');
  const { status } = spawnSync(process.execPath, ['scripts/build.mjs'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

// tsx comes from node_modules, so it must not be imported before that is complete.
const { register } = await import('tsx/esm/api');
register();
await import('../test/lab/nemesis/main.ts');
