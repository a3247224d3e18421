// What the scripts share: running a program with its output kept, counting, printing. Node built-ins only: on a fresh
// clone there is nothing else yet.

import { spawn, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** After `su` without `-` the folders of mkfs, mdadm, ip and modprobe are not on the PATH. */
const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin'];
const folders = (process.env.PATH ?? '').split(':').filter((folder) => folder !== '');
process.env.PATH = [...folders, ...SYSTEM_FOLDERS.filter((folder) => !folders.includes(folder))].join(':');

/** Folder for what is dear to make and safe to delete; the same one as in test/lab/paths.ts. */
export function cacheRoot(env = process.env) {
  if (env.MESHSTOR_CACHE) return resolve(env.MESHSTOR_CACHE);
  return join(env.XDG_CACHE_HOME ? resolve(env.XDG_CACHE_HOME) : join(homedir(), '.cache'), 'meshstor');
}
export const inCi = process.env.CI === 'true' || process.env.CI === '1';

/** Path of a program that an npm package brings. */
export function bin(name) {
  return join(root, 'node_modules', '.bin', name);
}

export function has(program) {
  return spawnSync('sh', ['-c', `command -v "${program}"`]).status === 0;
}

/**
 * Runs a program to its end and resolves, never rejects. `live` passes the output on as it comes; it is kept either way.
 * `limitMs` ends the program and its children (they share its process group).
 */
export function run(command, args, { cwd = root, env = process.env, live = false, limitMs = 0 } = {}) {
  return new Promise((resolve) => {
    const start = performance.now();
    const chunks = [];
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const forget = forwardSignals(child);
    const keep = (stream) => (chunk) => {
      chunks.push(chunk);
      if (live) stream.write(chunk);
    };
    child.stdout.on('data', keep(process.stdout));
    child.stderr.on('data', keep(process.stderr));
    let why = '';
    const timer =
      limitMs === 0
        ? undefined
        : setTimeout(() => {
            why = `no end after ${Math.round(limitMs / 1000)} s`;
            killGroup(child, 'SIGKILL');
          }, limitMs);
    const settle = (ok, reason) => {
      clearTimeout(timer);
      forget();
      const output = Buffer.concat(chunks).toString('utf8');
      resolve({ ok, reason: why === '' ? reason : why, output, ms: performance.now() - start });
    };
    child.on('error', (error) => settle(false, error.message));
    child.on('close', (code, signal) => settle(code === 0, signal === null ? `exit code ${code}` : `signal ${signal}`));
  });
}

function killGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

/** A Ctrl-C reaches the children too: they are in groups of their own. */
function forwardSignals(child) {
  const handlers = ['SIGINT', 'SIGTERM'].map((signal) => {
    const handler = () => {
      killGroup(child, signal);
      process.exit(130);
    };
    process.once(signal, handler);
    return () => process.off(signal, handler);
  });
  return () => handlers.forEach((off) => off());
}

/** The options of a script (`parseArgs` of node:util). A wrong one ends it with one line and code 2. */
export function flagsOf(options) {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    if (!String(error.code).startsWith('ERR_PARSE_ARGS')) throw error;
    const known = Object.keys(options).map((name) => `--${name}`);
    process.stderr.write(`${error.message.split(/[.\n]/, 1)[0]}: known are ${known.join(', ')}\n`);
    process.exit(2);
  }
}

/** `12.3 s` */
export function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** `tests` and `layers` report with such a line; the last one of an output counts. */
export function parseCounts(output) {
  const found = [...output.matchAll(/(\d+) passed, (\d+) failed, (\d+) skipped/g)].at(-1);
  if (found === undefined) return undefined;
  return { passed: Number(found[1]), failed: Number(found[2]), skipped: Number(found[3]) };
}

/** Files below a folder (relative to the root) whose name ends in one of the suffixes. A folder that is not there has none. */
export function filesBelow(folder, suffixes) {
  const found = [];
  const visit = (path) => {
    let entries;
    try {
      entries = readdirSync(join(root, path), { withFileTypes: true });
    } catch (error) {
      if (error.code === 'ENOENT') return;
      throw error;
    }
    for (const entry of entries) {
      const child = join(path, entry.name);
      if (entry.isDirectory()) {
        if (entry.name !== 'node_modules') visit(child);
      } else if (suffixes.some((suffix) => entry.name.endsWith(suffix))) found.push(child);
    }
  };
  visit(folder);
  return found.sort();
}
