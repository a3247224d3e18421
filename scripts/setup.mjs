// The one place that installs what the project needs and the machine lacks: Debian packages and the npm packages.
// Every function returns at once, without a word, when nothing is missing.
//   node scripts/setup.mjs [group …]     groups: build, native-test, kube, image, lab
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root } from './steps.mjs';

/** package → programs, or patterns for files, that it brings; the package is needed only if one of them is not there. */
const GROUPS = {
  build: {
    'build-essential': ['g++', 'make'],
    python3: 'python3',
  },
  'native-test': {
    'build-essential': ['g++', 'make'],
    cmake: 'cmake',
    clang: 'clang++',
    'clang-format': 'clang-format',
    'clang-tidy': 'clang-tidy',
    'libclang-rt-dev': '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a',
    'libgtest-dev': '/usr/include/gtest/gtest.h',
    gdisk: 'sgdisk',
    fdisk: 'sfdisk',
    mdadm: 'mdadm',
    xfsprogs: 'mkfs.xfs',
    e2fsprogs: 'mkfs.ext4',
    dmsetup: 'dmsetup',
  },
  kube: {
    'kubernetes-client': 'kubectl',
  },
  image: {
    buildah: 'buildah',
    mmdebstrap: 'mmdebstrap',
    uidmap: 'newuidmap',
    'debian-archive-keyring': '/usr/share/keyrings/debian-archive-keyring.*',
  },
  lab: {
    'qemu-system-x86': 'qemu-system-x86_64',
    'debian-archive-keyring': '/usr/share/keyrings/debian-archive-keyring.*',
    kmod: 'modprobe',
    procps: 'pgrep',
    'xz-utils': 'xz',
    'util-linux': 'unshare',
    iproute2: 'ip',
    mdadm: 'mdadm',
    'nvme-cli': 'nvme',
    xfsprogs: 'mkfs.xfs',
    e2fsprogs: 'mkfs.ext4',
    gdisk: 'sgdisk',
    fdisk: 'sfdisk',
    fio: 'fio',
    dmsetup: 'dmsetup',
    'kubernetes-client': 'kubectl',
  },
};

/** What the reader of the message can mend. */
export class SetupError extends Error {}

function isPresent(programOrFile) {
  if (programOrFile.startsWith('/')) return spawnSync('sh', ['-c', `ls -d ${programOrFile}`]).status === 0;
  return process.env.PATH.split(':').some((folder) => existsSync(join(folder, programOrFile)));
}

function run(command, args, extraEnv = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...extraEnv },
  });
  if (error || status !== 0) {
    throw new SetupError(`${[command, ...args].join(' ')}: ${error ? error.message : `exit ${status}`}`);
  }
}

function aptKnows(packages) {
  return packages.every((name) => {
    const { status, stdout } = spawnSync('apt-cache', ['policy', name], { encoding: 'utf8' });
    return status === 0 && /Candidate: (?!\(none\))/.test(stdout);
  });
}

/** Packages of the groups that are not on this machine. */
export function missingPackages(...groups) {
  const missing = new Set();
  for (const group of groups) {
    const packages = GROUPS[group];
    if (!packages) throw new SetupError(`no group of packages is called ${group}: expected ${Object.keys(GROUPS)}`);
    for (const [name, brings] of Object.entries(packages)) if (![brings].flat().every(isPresent)) missing.add(name);
  }
  return [...missing];
}

/** Installs Debian packages; throws a SetupError with the command where that takes root or another system. */
export function installPackages(packages) {
  const command = `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  if (process.platform !== 'linux' || !isPresent('apt-get')) {
    throw new SetupError(
      `this machine lacks ${packages.join(', ')} (names of Debian's packages): install them yourself`,
    );
  }
  if (process.getuid() !== 0) {
    throw new SetupError(
      `these Debian packages are missing; install them with:\n  sudo apt-get update && sudo ${command}`,
    );
  }
  console.log(`setup: installing ${packages.join(' ')}`);
  const quiet = { DEBIAN_FRONTEND: 'noninteractive' };
  if (!aptKnows(packages)) run('apt-get', ['-qq', 'update'], quiet);
  const args = ['-qq', '-y', '-o', 'Dpkg::Use-Pty=0', 'install', '--no-install-recommends', ...packages];
  try {
    run('apt-get', args, quiet);
  } catch {
    run('apt-get', ['-qq', 'update'], quiet); // the lists may name versions that have been replaced since
    run('apt-get', args, quiet);
  }
}

/** Why this machine cannot run the lab whatever is installed; undefined when it can. */
export function labRefusal({ platform, arch } = process) {
  if (platform === 'linux' && arch === 'x64') return undefined;
  return `the lab needs Linux on amd64, since its virtual nodes run programs of this machine: this is ${platform} on ${arch}`;
}

/** Installs the Debian packages of the groups that are missing. Needs root only if something is. */
export function ensurePackages(...groups) {
  exitOnSetupError(() => {
    const refusal = groups.includes('lab') ? labRefusal() : undefined;
    if (refusal !== undefined) throw new SetupError(refusal);
    const packages = missingPackages(...groups);
    if (packages.length === 0) return;
    installPackages(packages);
    const still = missingPackages(...groups);
    if (still.length > 0) throw new SetupError(`installed, but still not found: ${still.join(', ')}`);
  });
}

/** True if node_modules holds exactly the versions that package-lock.json names (optional ones may be absent). */
function npmIsCurrent() {
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const have = JSON.parse(readFileSync(installed, 'utf8')).packages;
  const want = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(want).every(
    ([path, { version, optional, peer }]) =>
      path === '' || (!have[path] && (optional || peer)) || have[path]?.version === version,
  );
}

/** Installs the npm packages if node_modules is absent or does not match the lock file. */
export function ensureNpm() {
  exitOnSetupError(() => {
    if (npmIsCurrent()) return;
    console.log('setup: installing npm packages');
    run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  });
}

function exitOnSetupError(work) {
  try {
    work();
  } catch (error) {
    exitOn(error);
  }
}

/** Ends this process with what the reader can mend; anything else is thrown on. */
export function exitOn(error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`setup: ${error.message}`);
  process.exit(1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const groups = process.argv.slice(2);
  ensurePackages(...(groups.length > 0 ? groups : Object.keys(GROUPS)));
  ensureNpm();
}
