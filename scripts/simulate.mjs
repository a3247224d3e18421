// Runs the simulator: `npm run simulate -- --runs N --seed S`. Needs no root, no kernel, no build.
import { ensureNpm } from './setup.mjs';

ensureNpm();
// tsx comes from node_modules, so it must not be imported before that is complete.
const { register } = await import('tsx/esm/api');
register();
await import('../test/simulation/main.ts');
