// Builds the container image (deploy/image/Dockerfile) with buildah or podman.
//
//   npm run image                                   from the public images of Node and Debian
//   npm run image -- --tag registry.example.org/meshstor/meshstor:0.1.0 --push
//   npm run image -- --arch arm64                   needs an emulator for one stage (binfmt); compiles here
//   npm run image -- --local-base                   without a registry: on a base made here, into the cache folder
//   npm run image -- --local-base --rootfs          the same, unpacked: the last line is the folder
//   npm run image -- --local-base --addon arm64     compiles the addon alone: the last line is the file
//
// What --rootfs and --addon make is kept in the cache folder under a hash of the sources. Buildah isolates by chroot there, which
// works in containers and virtual machines without namespaces for users.

import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { arch as machineArch } from 'node:os';
import { join } from 'node:path';
import { DOCKERFILE, ensureBases, imageCache, localBuildah, must } from './image-base.mjs';
import { dropOldEntries, keyOf } from './native-cache.mjs';
import { ensurePackages, exitOn, SetupError } from './setup.mjs';
import { filesBelow, flagsOf, has, root, run, seconds } from './steps.mjs';

/** Names that images and Node use, and e_machine of ELF. */
const ARCHITECTURES = { amd64: { node: 'x64', elf: 0x3e }, arm64: { node: 'arm64', elf: 0xb7 } };
const ADDON = 'meshstor_native.node';
const print = (line) => void process.stdout.write(`${line}\n`);

const options = flagsOf({
  tag: { type: 'string', multiple: true, default: [] },
  arch: { type: 'string', default: ownArchitecture() },
  push: { type: 'boolean', default: false },
  'local-base': { type: 'boolean', default: false },
  rootfs: { type: 'boolean', default: false },
  addon: { type: 'string' },
});

/** As the world of images calls it. */
function ownArchitecture() {
  return Object.keys(ARCHITECTURES).find((name) => ARCHITECTURES[name].node === machineArch()) ?? machineArch();
}

function check() {
  for (const arch of [options.arch, options.addon ?? 'amd64']) {
    if (!(arch in ARCHITECTURES)) throw new SetupError(`no image for ${arch}: one of ${Object.keys(ARCHITECTURES)}`);
  }
  if (!options['local-base'] && (options.rootfs || options.addon !== undefined))
    throw new SetupError('--rootfs and --addon go with --local-base');
  if (options['local-base'] && options.push)
    throw new SetupError('what is made with --local-base is not for a registry');
  if (options['local-base'] && options.arch !== ownArchitecture())
    throw new SetupError(
      `--local-base makes no image for ${options.arch} on ${ownArchitecture()}: its programs must run`,
    );
}

/** Every file that .dockerignore lets through, and what says how they are used. */
function sources() {
  const lines = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n');
  const allowed = lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
  const isFolder = (path) => statSync(join(root, path)).isDirectory();
  return [
    DOCKERFILE,
    '.dockerignore',
    ...allowed.flatMap((path) => (isFolder(path) ? filesBelow(path, ['']) : [path])),
  ];
}

function version() {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version;
}

/** What both builders understand. Those before TARGETARCH was known to them get it told. */
function buildArguments(arch) {
  const facts = ['--build-arg', `TARGETARCH=${arch}`, '--build-arg', `VERSION=${version()}`];
  return ['--layers', ...facts, '--file', DOCKERFILE];
}

/** For a registry: from public images, in the builder's own storage. */
async function buildFromPublic() {
  const builder = ['buildah', 'podman'].find(has);
  if (builder === undefined)
    throw new SetupError('neither buildah nor podman is here; docs/install.md has the line for docker');
  const tags = options.tag.length > 0 ? options.tag : [`meshstor/meshstor:${version()}`];
  const names = tags.flatMap((tag) => ['--tag', tag]);
  const args = ['build', ...buildArguments(options.arch), '--platform', `linux/${options.arch}`, ...names, '.'];
  print(`${builder} ${args.join(' ')}`);
  await must(builder, args, { live: true });
  for (const tag of options.push ? tags : []) await must(builder, ['push', tag], { live: true });
}

/** Builds up to a stage on the bases of this machine and hands the mounted result over. */
async function buildLocally(arch, stage, take) {
  const { buildah, driver } = await localBuildah();
  mkdirSync(imageCache(), { recursive: true });
  const bases = await ensureBases(buildah, print);
  const name = `localhost/meshstor:${stage === undefined ? version() : `${stage}-${version()}`}`;
  const start = performance.now();
  print(`building ${name} with buildah (chroot, ${driver}): minutes when native/ has changed, else seconds`);
  const target = stage === undefined ? [] : ['--target', stage];
  const tags = [name, ...options.tag].flatMap((tag) => ['--tag', tag]);
  const how = ['--isolation', 'chroot', '--pull-never', ...bases, ...buildArguments(arch), ...target, ...tags];
  await buildah('build', ...how, '.');
  print(`built ${name} in ${seconds(performance.now() - start)}`);
  const { config } = JSON.parse(await buildah('inspect', '--type', 'image', name)).OCIv1;
  const container = (await buildah('from', '--pull-never', name)).trim();
  try {
    await take({ mounted: (await buildah('mount', container)).trim(), config });
  } finally {
    // With those that buildah 1.28 leaves behind, mounted: of stages that are another one under a second name.
    await buildah('rm', '--all');
  }
}

/** A folder of the cache that is made under another name and gets its own when it is whole. */
async function kept(kind, key, make) {
  const parent = join(imageCache(), kind);
  const folder = join(parent, key);
  if (!existsSync(folder)) {
    const fresh = join(parent, `.${key}.${process.pid}`);
    mkdirSync(parent, { recursive: true });
    try {
      await make(fresh);
      renameSync(fresh, folder);
    } finally {
      rmSync(fresh, { recursive: true, force: true });
    }
  }
  utimesSync(folder, new Date(), new Date());
  dropOldEntries(parent, 3);
  return folder;
}

async function sizeOf(...paths) {
  const shown = await must('du', ['-skc', ...paths]);
  return Number(shown.trimEnd().split('\n').at(-1).split('\t')[0]) / 1024;
}

/** What the image weighs, and by what. */
async function sizes(folder) {
  const whole = await sizeOf(folder);
  const parts = { node: 'usr/local/bin/node', 'programs and libraries': 'usr', 'the program itself': 'opt' };
  const found = {};
  for (const [what, path] of Object.entries(parts)) found[what] = await sizeOf(join(folder, path));
  found['programs and libraries'] -= found.node;
  const each = Object.entries(found).map(([what, size]) => `${what} ${size.toFixed(1)}`);
  return `${whole.toFixed(1)} MiB: ${each.join(', ')}`;
}

/** The image's root directory as files, in `root`, and what it says of itself, in `config.json`. */
async function unpack() {
  const key = keyOf(sources(), 'root, config.json', options.arch, process.version);
  const folder = await kept('rootfs', key, (fresh) =>
    buildLocally(options.arch, undefined, async ({ mounted, config }) => {
      mkdirSync(fresh);
      await must('cp', ['-a', mounted, join(fresh, 'root')]);
      chmodSync(join(fresh, 'root'), 0o755);
      checkAddon(join(fresh, 'root', 'opt', 'meshstor', 'dist', ADDON), options.arch);
      writeFileSync(join(fresh, 'config.json'), JSON.stringify(config, undefined, 2));
      print(await sizes(join(fresh, 'root')));
    }),
  );
  print(folder);
}

/** A compiler that was called by the wrong name makes a file as well. */
function checkAddon(file, arch) {
  const machine = readFileSync(file).readUInt16LE(18);
  if (machine !== ARCHITECTURES[arch].elf) throw new SetupError(`${file} is not for ${arch}: ELF machine ${machine}`);
}

/** The addon as compiled for an architecture, this machine's or the other. */
async function compileAddon(arch) {
  const inputs = sources().filter((path) => /^(native|deploy\/image)\/|^(binding\.gyp|package.*\.json)$/.test(path));
  const folder = await kept('addon', keyOf(inputs, arch, process.version), (fresh) =>
    buildLocally(arch, `addon-${arch}`, async ({ mounted }) => {
      mkdirSync(fresh);
      await must('cp', ['-a', join(mounted, 'build', 'build', 'Release', ADDON), join(fresh, ADDON)]);
      checkAddon(join(fresh, ADDON), arch);
    }),
  );
  print(join(folder, ADDON));
}

/**
 * One build at a time in the storage of the cache folder: the same call, by flock, which ends with it. Anybody but root makes it in
 * a namespace of users of their own, where what is built may belong to many.
 */
async function inTurn() {
  const mark = 'MESHSTOR_IMAGE_TURN';
  if (process.env[mark] !== undefined) return;
  mkdirSync(imageCache(), { recursive: true });
  ensurePackages('image');
  const around = process.getuid() === 0 ? [] : ['buildah', 'unshare'];
  const call = [join(imageCache(), '.lock'), ...around, process.execPath, ...process.argv.slice(1)];
  const { ok } = await run('flock', call, { live: true, env: { ...process.env, [mark]: '1' } });
  process.exit(ok ? 0 : 1);
}

try {
  check();
  if (options['local-base']) await inTurn();
  if (!options['local-base']) await buildFromPublic();
  else if (options.addon !== undefined) await compileAddon(options.addon);
  else if (options.rootfs) await unpack();
  else await buildLocally(options.arch, undefined, async ({ mounted }) => print(await sizes(mounted)));
} catch (error) {
  exitOn(error);
}
