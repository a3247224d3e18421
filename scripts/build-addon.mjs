// Builds build/Release/meshstor_native.node when it is missing or older than what it is made of. One that was built from
// equal sources before, in another clone, is taken from the cache folder.
//
//   node scripts/build-addon.mjs [--force]
//
// Headers: those that were installed with the running Node (`<prefix>/include/node/node_api.h`, true for Debian's nodejs
// package of NodeSource, the official tarball and the official container images). Elsewhere node-gyp downloads them.

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { cached, keep, keyOf, nativeSources, versionOf } from './native-cache.mjs';
import { root } from './steps.mjs';

const target = join(root, 'build', 'Release', 'meshstor_native.node');
const lock = join(root, 'build', '.building');
const LOCK_LIMIT_MS = 180_000;

function newest(folder) {
  let time = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    time = Math.max(time, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs);
  }
  return time;
}

function isFresh() {
  if (!existsSync(target)) return false;
  const inputs = [newest(join(root, 'native', 'core')), newest(join(root, 'native', 'addon'))];
  inputs.push(statSync(join(root, 'binding.gyp')).mtimeMs);
  return statSync(target).mtimeMs >= Math.max(...inputs);
}

function holderLives() {
  const pid = Number(readFileSync(lock, 'utf8'));
  return Number.isInteger(pid) && pid > 0 && existsSync(`/proc/${pid}`);
}

/** One build at a time: test runners started side by side would tear each other's object files. */
function takeLock() {
  mkdirSync(dirname(lock), { recursive: true });
  const start = Date.now();
  for (;;) {
    try {
      const fd = openSync(lock, 'wx');
      writeSync(fd, String(process.pid));
      closeSync(fd);
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    let alive = false;
    try {
      alive = holderLives();
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
      continue;
    }
    const age = Date.now() - start;
    if (!alive && age > 1000) rmSync(lock, { force: true });
    if (age > LOCK_LIMIT_MS) throw new Error(`another build holds ${lock} for more than ${LOCK_LIMIT_MS / 1000} s`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
}

function build() {
  const gyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  const prefix = dirname(dirname(process.execPath));
  const hasHeaders = existsSync(join(prefix, 'include', 'node', 'node_api.h'));
  const args = [gyp, ...(hasHeaders ? [`--nodedir=${prefix}`] : []), '--jobs=2'];
  const configured = existsSync(join(root, 'build', 'Makefile'));
  const steps = configured ? [['configure'], ['build']] : [['rebuild']];
  for (const step of steps) {
    const run = spawnSync(process.execPath, [...args, ...step], { cwd: root, encoding: 'utf8' });
    if (run.status !== 0) {
      process.stderr.write(run.stdout + run.stderr);
      if (!hasHeaders)
        process.stderr.write(`no ${prefix}/include/node: install Node's headers or allow the download\n`);
      return false;
    }
  }
  return true;
}

function cacheKey() {
  const { version } = createRequire(import.meta.url)('node-addon-api/package.json');
  return keyOf([...nativeSources('native/core', 'native/addon'), 'binding.gyp'], version, versionOf('g++'));
}

function takeFrom(folder) {
  mkdirSync(dirname(target), { recursive: true });
  const fresh = `${target}.${process.pid}.new`;
  copyFileSync(join(folder, 'meshstor_native.node'), fresh);
  renameSync(fresh, target); // a process that has the old one loaded keeps it
}

function buildOrTake() {
  const key = cacheKey();
  const found = force ? undefined : cached('addon', key);
  if (found !== undefined) {
    takeFrom(found);
    return true;
  }
  process.stdout.write('building the native addon\n');
  if (!build()) return false;
  // Sources that were saved meanwhile would be kept under the wrong name.
  if (cacheKey() === key && !force) keep('addon', key, [target]);
  return true;
}

const force = process.argv.includes('--force');
if (!force && isFresh()) process.exit(0);
takeLock();
let ok = true;
try {
  if (force || !isFresh()) ok = buildOrTake();
} finally {
  rmSync(lock, { force: true });
}
process.exit(ok ? 0 : 1);
