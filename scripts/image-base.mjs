// Bases of the image made on this machine, for one without a registry: Debian from its packages, and that with the Node of
// this machine for the stages that compile and bundle. They are kept in a container storage of their own in the cache folder.

import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { keyOf } from './native-cache.mjs';
import { SetupError } from './setup.mjs';
import { cacheRoot, root, run } from './steps.mjs';

export const DOCKERFILE = 'deploy/image/Dockerfile';
const LIMIT_MS = 20 * 60_000;
/** Layers of old builds stay; beyond this all are dropped and made anew. */
const STORAGE_LIMIT_MIB = 8192;

/** Folder of everything about images that may be deleted. */
export function imageCache() {
  return join(cacheRoot(), 'image');
}

/** Runs a program to its end and returns what it printed; throws with the end of that. */
export async function must(command, args, { live = false } = {}) {
  const { ok, reason, output } = await run(command, args, { live, limitMs: LIMIT_MS });
  if (ok) return output;
  throw new SetupError(
    `${command} ${args.join(' ')}: ${reason}\n${output.trimEnd().split('\n').slice(-40).join('\n')}`,
  );
}

/** By buildah itself, which knows what is mounted and what another build uses. */
async function dropWhenBig(storage, buildah) {
  // What is mounted in there for a container that is worked on is not counted twice.
  const used = Number((await must('du', ['-smx', storage])).split('\t')[0]);
  if (used <= STORAGE_LIMIT_MIB) return;
  await buildah('rm', '--all');
  await buildah('rmi', '--all', '--force');
}

/** Buildah on the storage in the cache folder: `overlay` where the kernel lets it, else `vfs`, which copies every layer. */
export async function localBuildah() {
  const [storage, state] = ['storage', 'run'].map((name) => join(imageCache(), name));
  const flags = (driver) => ['--root', storage, '--runroot', state, '--storage-driver', driver];
  const { ok } = await run('buildah', [...flags('overlay'), 'info'], { limitMs: 60_000 });
  const driver = ok ? 'overlay' : 'vfs';
  const buildah = (...args) => must('buildah', [...flags(driver), ...args]);
  await dropWhenBig(storage, buildah);
  return { buildah, driver };
}

/** Release of Debian that the Dockerfile takes its programs from. */
export function suiteIn(dockerfile) {
  const suite = /^ARG BASE_IMAGE=debian:([a-z]+)-slim$/m.exec(dockerfile)?.[1];
  if (suite === undefined) throw new SetupError(`${DOCKERFILE}: its BASE_IMAGE is not debian:SUITE-slim`);
  return suite;
}

/** This machine's way to the mirrors, such as a proxy, as apt takes it. */
export function aptSettings(dump) {
  return dump.split('\n').filter((line) => /^Acquire::(https?|Check-|Retries|ForceIPv)\S* "[^"]+";$/.test(line));
}

/** As small as debian:SUITE-slim: no manuals, no translations, but what a package's licence is. */
const SLIM = [
  'path-exclude=/usr/share/man/*',
  'path-exclude=/usr/share/locale/*',
  'path-exclude=/usr/share/doc/*',
  'path-include=/usr/share/doc/*/copyright',
];

async function makeDebian(buildah, suite, name) {
  const { register } = await import('tsx/esm/api');
  register();
  const { findKeyring, findMirror } = await import('../test/lab/debian.ts');
  const source = `deb [signed-by=${await findKeyring()}] ${await findMirror(suite)} ${suite} main`;
  const settings = aptSettings(await must('apt-config', ['dump', 'Acquire']));
  const options = [...settings.map((line) => `--aptopt=${line}`), ...SLIM.map((line) => `--dpkgopt=${line}`)];
  const archive = join(imageCache(), `debian-${process.pid}.tar`);
  try {
    await must('mmdebstrap', ['--variant=minbase', ...options, suite, archive, source]);
    await commit(buildah, 'scratch', name, (container) => buildah('add', '--quiet', container, archive, '/'));
  } finally {
    rmSync(archive, { force: true });
  }
}

/** A container of an image, changed and kept under a name. */
async function commit(buildah, from, name, change) {
  const container = (await buildah('from', '--pull-never', from)).trim();
  try {
    await change(container);
    await buildah('commit', '--quiet', container, name);
  } finally {
    await buildah('rm', container);
  }
}

/** Where this machine's npm gets packages, and whom it trusts. */
async function npmSettings(trusted) {
  const registry = (await must('npm', ['config', 'get', 'registry', '--loglevel=error'])).trim();
  return [`registry=${registry}`, ...(existsSync(trusted) ? [`cafile=${trusted}`] : []), ''].join('\n');
}

const TRUSTED = '/etc/ssl/certs/ca-certificates.crt';

/** Laid out as in the official images: below /usr/local. */
async function addNode(folder) {
  const prefix = dirname(dirname(process.execPath));
  const parts = ['include/node', 'lib/node_modules/npm'];
  const missing = parts.filter((part) => !existsSync(join(prefix, part)));
  if (missing.length > 0) throw new SetupError(`${prefix} has no ${missing.join(', ')}: install Node with both`);
  const local = join(folder, 'usr', 'local');
  await cp(process.execPath, join(local, 'bin', 'node'));
  for (const part of parts) await cp(join(prefix, part), join(local, part), { recursive: true, dereference: true });
  for (const name of ['npm', 'npx'])
    symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, join(local, 'bin', name));
  mkdirSync(join(local, 'etc'), { recursive: true });
  writeFileSync(join(local, 'etc', 'npmrc'), await npmSettings(TRUSTED));
  if (existsSync(TRUSTED)) await cp(TRUSTED, join(folder, TRUSTED), { dereference: true });
}

/** Makes what is missing and returns the build arguments that name the bases. */
export async function ensureBases(buildah, print) {
  const suite = suiteIn(readFileSync(join(root, DOCKERFILE), 'utf8'));
  const key = keyOf(['scripts/image-base.mjs'], suite, process.version).slice(0, 8);
  const [debian, node] = [`localhost/meshstor-debian:${suite}-${key}`, `localhost/meshstor-node:${suite}-${key}`];
  const names = (await buildah('images', '--format', '{{.Name}}:{{.Tag}}')).split('\n');
  if (!names.includes(debian)) {
    print(`making a base of Debian's ${suite} from its packages (about a minute, once)`);
    await makeDebian(buildah, suite, debian);
  }
  if (!names.includes(node)) {
    print(`adding Node ${process.version} of this machine to it`);
    await commit(buildah, debian, node, async (container) => {
      await addNode((await buildah('mount', container)).trim());
      await buildah('umount', container);
    });
  }
  return ['--build-arg', `BASE_IMAGE=${debian}`, '--build-arg', `NODE_IMAGE=${node}`];
}
