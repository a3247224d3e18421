import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readFile, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { promisify } from 'node:util';
import { buildCpio } from './cpio.ts';
import { aptDepends, aptOptionsFor, refuseOtherArchitectures, unpackPackage } from './debian.ts';
import type { AptOptions } from './debian.ts';
import {
  BOOT_MODULES,
  INIT_SCRIPT,
  initramfsEntries,
  isStaticElf,
  parseModuleOrder,
  withoutSignature,
  xzPayload,
} from './initramfs.ts';
import type { ModuleFile } from './initramfs.ts';
import { cacheRoot } from './paths.ts';

const run = promisify(execFile);
const EXEC = { maxBuffer: 64 * 1024 * 1024, timeout: 600_000 } as const;

export const KERNELS = ['6.1', '6.12'] as const;
export type KernelSeries = (typeof KERNELS)[number];

const IMAGE = 'linux-image-amd64';

/** Suite of Debian in which a series is found when the machine's own sources do not have it. */
const SUITES: Record<KernelSeries, string> = { '6.1': 'bookworm', '6.12': 'bookworm-backports' };

/** A kernel ready to boot. `modulesDir` goes to /lib/modules of a guest. */
export interface LabKernel {
  readonly series: KernelSeries;
  /** As `uname -r` prints it. */
  readonly release: string;
  /** The kernel as QEMU takes it. */
  readonly vmlinux: string;
  readonly modulesDir: string;
  readonly initramfs: string;
}

export type Progress = (message: string) => void;

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Moves a finished folder or file into place. Another run may have been faster: then its equal result stays. */
async function publish(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!(await exists(to))) throw error;
    await rm(from, { recursive: true, force: true });
  }
}

async function inTempFolder<T>(parent: string, work: (folder: string) => Promise<T>): Promise<T> {
  await mkdir(parent, { recursive: true });
  const folder = await mkdtemp(join(parent, '.build-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Picks the image package out of `apt-cache depends linux-image-amd64`, if it is of the wanted series. */
export function parseImagePackage(depends: string, series: KernelSeries): string | undefined {
  const match = /Depends:\s+(linux-image-(\S+))/.exec(depends);
  return match?.[2]?.startsWith(`${series}.`) || match?.[2]?.startsWith(`${series}+`) ? match[1] : undefined;
}

async function findImagePackage(
  series: KernelSeries,
  folder: string,
): Promise<{ name: string; aptOptions: AptOptions }> {
  const own = parseImagePackage(await aptDepends(IMAGE, []), series);
  if (own) return { name: own, aptOptions: [] };
  const aptOptions = await aptOptionsFor(SUITES[series], folder);
  const shown = await aptDepends(IMAGE, aptOptions);
  const name = parseImagePackage(shown, series);
  if (!name) throw new Error(`look for a ${series} kernel: ${SUITES[series]} has none: ${shown.trim()}`);
  return { name, aptOptions };
}

async function fetchKernel(series: KernelSeries, target: string, progress: Progress): Promise<void> {
  await inTempFolder(join(cacheRoot(), 'kernel'), async (folder) => {
    progress(`looking for Debian's ${series} kernel`);
    const { name, aptOptions } = await findImagePackage(series, folder);
    progress(`downloading ${name} (about 70 MB, once)`);
    const root = await unpackPackage(name, aptOptions, folder);
    progress(`preparing ${name}`);
    if (!(await exists(join(root, 'lib', 'modules')))) await symlink('usr/lib', join(root, 'lib'));
    const release = (await readdir(join(root, 'lib', 'modules')))[0];
    if (!release) throw new Error(`unpack ${name}: it has no modules`);
    await run('depmod', ['-b', root, release], EXEC);
    await unpackKernel(join(root, 'boot', `vmlinuz-${release}`), join(root, 'boot', 'vmlinux'), folder);
    await writeFile(join(root, 'release'), `${release}\n`);
    await publish(root, target);
  });
}

/**
 * The busybox that nodes start with. It comes from a package of its own, unpacked into the cache: the one that is installed
 * needs libraries more often than not, and replacing it is not for us to do.
 */
async function ensureBusybox(progress: Progress): Promise<Buffer> {
  const folder = join(cacheRoot(), 'busybox');
  const target = join(folder, 'busybox');
  if (!(await exists(target))) {
    await inTempFolder(folder, async (temp) => {
      progress('downloading busybox-static (about 1 MB, once)');
      const root = await unpackPackage('busybox-static', [], temp).catch(async () =>
        unpackPackage('busybox-static', await aptOptionsFor('bookworm', temp), temp),
      );
      const places = ['bin', 'usr/bin'].map((place) => join(root, place, 'busybox'));
      const found = await Promise.all(places.map(exists));
      const program = places.find((_, index) => found[index]);
      if (program === undefined) throw new Error('unpack busybox-static: it has no busybox');
      await publish(program, target);
    });
  }
  const busybox = await readFile(target);
  if (!isStaticElf(busybox))
    throw new Error(`build the initramfs: ${target} is no program that runs without libraries`);
  return busybox;
}

async function readUnpacked(path: string): Promise<Buffer> {
  const tool = { '.xz': 'xz', '.zst': 'zstd' }[extname(path)];
  if (!tool) return readFile(path);
  return (await run(tool, ['-dc', path], { ...EXEC, encoding: 'buffer' })).stdout;
}

async function unpackModule(path: string): Promise<ModuleFile> {
  return { name: basename(path).replace(/\.(xz|zst)$/, ''), data: withoutSignature(await readUnpacked(path)) };
}

/**
 * Unpacks the kernel once on the host, which saves every emulated machine the seconds that doing it itself takes. A kernel
 * that is not packed with xz unpacks itself fast enough and is taken as it is.
 */
async function unpackKernel(bzImage: string, target: string, folder: string): Promise<void> {
  const payload = xzPayload(await readFile(bzImage));
  if (!payload) return copyFile(bzImage, target);
  const packed = join(folder, 'kernel.xz');
  await writeFile(packed, payload);
  await writeFile(target, await readUnpacked(packed));
}

async function buildInitramfs(root: string, release: string, progress: Progress): Promise<string> {
  const busybox = await ensureBusybox(progress);
  const inputs = JSON.stringify([release, BOOT_MODULES, INIT_SCRIPT, initramfsEntries(Buffer.alloc(0), [])]);
  const key = createHash('sha256').update(inputs).update(busybox).digest('hex').slice(0, 16);
  const folder = join(cacheRoot(), 'initramfs');
  const target = join(folder, `${release}-${key}.cpio`);
  if (await exists(target)) return target;
  await inTempFolder(folder, async (temp) => {
    progress(`building the initramfs for ${release}`);
    const config = join(temp, 'modprobe.d'); // empty: the host's module options are not the guests'
    await mkdir(config);
    let shown = '';
    for (const module of BOOT_MODULES) {
      const args = ['-C', config, '-d', root, '-S', release, '--show-depends', module];
      shown += `${(await run('modprobe', args, EXEC)).stdout}\n`;
    }
    const modules = await Promise.all(parseModuleOrder(shown).map(unpackModule));
    await writeFile(join(temp, 'image'), buildCpio(initramfsEntries(busybox, modules)));
    await publish(join(temp, 'image'), target);
  });
  return target;
}

/**
 * Returns a bootable kernel of the series, from the cache or, the first time, from Debian's packages (seconds to minutes,
 * reported through `progress`); for that it needs the real network. Two runs may call it at once.
 */
export async function ensureKernel(series: KernelSeries, progress: Progress): Promise<LabKernel> {
  refuseOtherArchitectures();
  const root = join(cacheRoot(), 'kernel', series);
  if (!(await exists(root))) await fetchKernel(series, root, progress);
  const release = (await readFile(join(root, 'release'), 'utf8')).trim();
  const initramfs = await buildInitramfs(root, release, progress);
  return {
    series,
    release,
    vmlinux: join(root, 'boot', 'vmlinux'),
    modulesDir: join(root, 'lib', 'modules'),
    initramfs,
  };
}
