// Builds the components of a real Kubernetes from pinned Go modules, each once: the binaries stay in the cache folder.
//
//   node scripts/kube-tools.mjs [tool …]      prints where each is and builds what is missing
//
// A binary of the same minor release in the folder that KUBEBUILDER_ASSETS names, or on the PATH, is used instead.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isSameMinor, requireGo } from './go-modules.mjs';
import { recipeOf, TOOLS, versionIn } from './kube-tools-table.mjs';
import { cached, dropOldEntries } from './native-cache.mjs';
import { exitOn, SetupError } from './setup.mjs';
import { cacheRoot, run, seconds } from './steps.mjs';

const LIMIT_MS = 45 * 60_000;
const KINDS = 'kube-tools';

/** The version that a binary says it has; undefined when it does not run or says none. */
export function askVersion(path, name) {
  const { status, stdout, stderr } = spawnSync(path, TOOLS[name].ask, { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? versionIn(`${stdout}\n${stderr}`) : undefined;
}

/** A binary that is on the machine already and may stand in for the pinned one. */
export function findInstalled(name, pinned, env = process.env, ask = askVersion) {
  const folders = [env.KUBEBUILDER_ASSETS ?? '', ...(env.PATH ?? '').split(':')].filter((folder) => folder !== '');
  for (const folder of folders) {
    const path = join(folder, name);
    if (!existsSync(path)) continue;
    const version = ask(path, name);
    if (version !== undefined && isSameMinor(version, pinned)) return { path, version };
  }
  return undefined;
}

/** Folders of builds that were killed. Those of processes that still run are left alone. */
export function sweep(parent) {
  if (!existsSync(parent)) return;
  for (const entry of readdirSync(parent)) {
    const pid = /^\.[0-9a-f]+\.(\d+)$/.exec(entry)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join(parent, entry), { recursive: true, force: true });
  }
}

function goEnvironment() {
  const own = { CGO_ENABLED: '0', GOTOOLCHAIN: 'local', GOWORK: 'off', GOFLAGS: '-buildvcs=false' };
  return { ...process.env, ...own };
}

/** `go build`, a second time if the first fails: a registry that does not answer is not worth a lost run. */
async function compile(recipe, output) {
  const flags = ['-p', '2', '-mod=readonly', '-trimpath', '-ldflags', recipe.ldflags, '-o', output];
  const build = () =>
    run('go', ['build', ...flags, recipe.package], { cwd: recipe.folder, env: goEnvironment(), limitMs: LIMIT_MS });
  let result = await build();
  if (!result.ok) result = await build();
  if (!result.ok) throw new SetupError(`building ${recipe.name}: ${result.reason}\n${result.output.slice(-4000)}`);
}

/**
 * Builds a tool into the cache, whole or not at all: it is made in a folder of its own that gets its name when the binary is
 * there, runs and has the pinned version.
 */
export async function buildTool(recipe, goRelease, make = compile, ask = askVersion) {
  const parent = join(cacheRoot(), KINDS, recipe.name);
  mkdirSync(parent, { recursive: true });
  sweep(parent);
  const fresh = join(parent, `.${recipe.key}.${process.pid}`);
  const start = performance.now();
  try {
    mkdirSync(fresh, { recursive: true });
    const binary = join(fresh, recipe.name);
    await make(recipe, binary);
    const version = ask(binary, recipe.name);
    if (version !== recipe.version) {
      throw new SetupError(`${recipe.name} was built as ${recipe.version} and calls itself ${version ?? 'nothing'}`);
    }
    const buildSeconds = Math.round((performance.now() - start) / 1000);
    const facts = { name: recipe.name, version, go: goRelease, sizeBytes: statSync(binary).size, buildSeconds };
    writeFileSync(join(fresh, 'version.json'), `${JSON.stringify(facts, undefined, 2)}\n`);
    if (!existsSync(join(parent, recipe.key))) renameSync(fresh, join(parent, recipe.key));
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  dropOldEntries(parent, 2);
}

let hasWarned = false;

function warnOnce(say) {
  if (hasWarned) return;
  hasWarned = true;
  say('building what is missing: the first time twenty to forty minutes on two cores, and 8 GB in the caches of Go');
}

async function provide(name, say) {
  const { version: pinned, goLeast } = recipeOf(name, '');
  const installed = findInstalled(name, pinned);
  if (installed !== undefined) return { ...installed, origin: 'installed' };
  const goRelease = requireGo(goLeast);
  const recipe = recipeOf(name, goRelease);
  const kind = join(KINDS, name);
  const entry = () => cached(kind, recipe.key);
  if (entry() !== undefined) return { path: join(entry(), name), version: pinned, origin: 'cache' };
  warnOnce(say);
  say(`${name} ${pinned}: building with Go ${goRelease}`);
  const start = performance.now();
  await buildTool(recipe, goRelease);
  say(`${name} ${pinned}: built in ${seconds(performance.now() - start)}`);
  return { path: join(entry(), name), version: pinned, origin: 'built' };
}

/** Finds or builds the tools, one after the other; resolves to name → {path, version, origin}. */
export async function ensureTools(names, say = (line) => process.stdout.write(`kube-tools: ${line}\n`)) {
  const unknown = names.find((name) => !(name in TOOLS));
  if (unknown !== undefined)
    throw new SetupError(`no tool is called ${unknown}: one of ${Object.keys(TOOLS).join(', ')}`);
  const found = {};
  for (const name of names) found[name] = await provide(name, say);
  return found;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = process.argv.slice(2);
  try {
    const found = await ensureTools(names.length > 0 ? names : Object.keys(TOOLS));
    for (const [name, { path, version, origin }] of Object.entries(found)) {
      process.stdout.write(`${name.padEnd(24)} ${version.padEnd(10)} ${origin.padEnd(10)} ${path}\n`);
    }
  } catch (error) {
    exitOn(error);
  }
}
