// Runs the virtual lab: `npm run lab -- --help`. Installs what is missing first.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ensureNpm, ensurePackages } from './setup.mjs';

ensurePackages('lab');
ensureNpm();
const main = fileURLToPath(new URL('../test/lab/main.ts', import.meta.url));
const root = fileURLToPath(new URL('..', import.meta.url));
const args = ['--import', 'tsx', main, ...process.argv.slice(2)];
const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', cwd: root });
process.exitCode = status ?? 1;
