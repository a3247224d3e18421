// What was built from native/ once is kept in the cache folder under the hash of all that it was made of, so that a fresh
// clone does not compile the same sources again. Node built-ins only.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { cacheRoot, filesBelow, root } from './steps.mjs';

/** First line of what a program says of itself; empty when it is not there. */
export function versionOf(program) {
  return (spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout ?? '').split('\n')[0];
}

/** Hash of the files (relative to the root) and of whatever else the product depends on. */
export function keyOf(files, ...facts) {
  const hash = createHash('sha256').update(JSON.stringify([process.arch, ...facts]));
  for (const file of files) hash.update(`\0${file}\0`).update(readFileSync(join(root, file)));
  return hash.digest('hex').slice(0, 24);
}

/** Everything that is compiled, with what says how. */
export function nativeSources(...folders) {
  return folders.flatMap((folder) => filesBelow(folder, ['.cc', '.h']));
}

/** The folder of an entry, marked as used now; undefined when it is not there. */
export function cached(kind, key) {
  const folder = join(cacheRoot(), kind, key);
  if (!existsSync(folder)) return undefined;
  utimesSync(folder, new Date(), new Date());
  return folder;
}

function store(parent, key, files) {
  const fresh = join(parent, `.${key}.${process.pid}`);
  mkdirSync(fresh, { recursive: true });
  try {
    for (const file of files) copyFileSync(file, join(fresh, basename(file)));
    if (!existsSync(join(parent, key))) renameSync(fresh, join(parent, key));
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

/** Removes all entries of a kind but those used last. */
export function dropOldEntries(parent, most) {
  const entries = readdirSync(parent).filter((name) => !name.startsWith('.'));
  const byUse = entries.map((name) => ({ name, usedAt: statSync(join(parent, name)).mtimeMs }));
  byUse.sort((a, b) => b.usedAt - a.usedAt);
  for (const { name } of byUse.slice(most)) rmSync(join(parent, name), { recursive: true, force: true });
}

/** Puts copies of the files into an entry, whole or not at all; the `most` used last are kept of a kind. A cache that cannot be written costs time only. */
export function keep(kind, key, files, { most = 6 } = {}) {
  const parent = join(cacheRoot(), kind);
  try {
    store(parent, key, files);
    dropOldEntries(parent, most);
  } catch (error) {
    process.stderr.write(`not kept in ${parent}: ${error.message}\n`);
  }
}
