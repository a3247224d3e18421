// The main job from nothing: sets the machine up, builds, and runs test/lab/demo.ts on virtual nodes.
//
//   node scripts/demo.mjs
//
// The last line is `demo: ok in N s`.

import { spawnSync } from 'node:child_process';
import { ensureNpm, ensurePackages } from './setup.mjs';
import { root } from './steps.mjs';

function must(args) {
  const result = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

if (process.getuid?.() !== 0) {
  process.stderr.write('demo: needs root for its network namespace: sudo npm run demo\n');
  process.exit(1);
}
ensurePackages('build', 'lab');
ensureNpm();
must(['scripts/build.mjs']);
must(['--import', 'tsx', 'test/lab/demo.ts']);
