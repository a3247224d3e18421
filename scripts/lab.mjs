// Runs the virtual lab: `npm run lab -- --help`. Installs what is missing first.
import { ensureNpm, ensurePackages } from './setup.mjs';

ensureNpm();
const asksOnly = process.argv.slice(2).some((word) => ['-h', '--help', '--list'].includes(word));
if (!asksOnly) ensurePackages('lab');

// tsx comes from node_modules, so it must not be imported before that is complete.
const { register } = await import('tsx/esm/api');
register();
await import('../test/lab/main.ts');
