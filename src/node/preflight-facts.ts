/** Gathers what preflight judges. Reads files below two roots and asks four programs for their version; changes nothing. */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import type { ModuleState, PreflightFacts, ToolSeen } from './preflight.ts';
import { MODULES, TOOLS } from './preflight.ts';
import { UDEV_RULE_VERSION } from './udev-rule.ts';

export interface PreflightSources {
  /** Where `sys` and `proc` are; `/` on real machines. */
  readonly sysRoot: string;
  /** The host's root directory: its modules, udev rules and mdadm.conf, which a container does not see as its own. */
  readonly hostRoot: string;
  readonly kernelRelease: string;
  readonly isRoot: boolean;
  /** UV_THREADPOOL_SIZE of the service; absent when it is not to be judged. */
  readonly threadPoolSize?: number;
  /** What `<tool> --version` says, on either stream; undefined when it does not run. */
  readonly askVersion: (tool: string) => Promise<string | undefined>;
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    // Not there, or not for us: either way nothing is known.
    return undefined;
  }
}

async function namesIn(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path);
  } catch {
    return [];
  }
}

async function exists(path: string): Promise<boolean> {
  const names = await namesIn(join(path, '..'));
  return names.includes(path.slice(path.lastIndexOf('/') + 1));
}

/** File names of modules use both characters, /sys/module only the second. */
function plain(module: string): string {
  return module.replaceAll('-', '_');
}

/** Names of the modules in `modules.builtin` or `modules.dep`: the part before `:`, without folder and ending. */
function moduleNames(text: string): ReadonlySet<string> {
  const names = text.split('\n').map((line) => {
    const path = line.split(':', 1)[0] ?? '';
    return plain(path.slice(path.lastIndexOf('/') + 1).replace(/\.ko(\.\w+)?$/, ''));
  });
  return new Set(names);
}

/** What the kernel lists as working, whatever file it came from: filesystems and RAID levels. */
async function featuresServed(sysRoot: string): Promise<ReadonlySet<string>> {
  const filesystems = (await textOf(join(sysRoot, 'proc/filesystems'))) ?? '';
  const mdstat = (await textOf(join(sysRoot, 'proc/mdstat'))) ?? '';
  const levels = [...(/^Personalities :(.*)$/m.exec(mdstat)?.[1] ?? '').matchAll(/\[(\w+)\]/g)];
  const names = filesystems.split('\n').map((line) => line.split('\t').at(-1)?.trim() ?? '');
  return new Set([...names, ...levels.map((match) => match[1] ?? '')].filter((name) => name !== ''));
}

async function moduleStates(sources: PreflightSources): Promise<Record<string, ModuleState>> {
  const loaded = new Set(await namesIn(join(sources.sysRoot, 'sys/module')));
  const folders = ['lib/modules', 'usr/lib/modules'].map((path) => join(sources.hostRoot, path, sources.kernelRelease));
  const read = async (file: string): Promise<string | undefined> => {
    const texts = await Promise.all(folders.map((folder) => textOf(join(folder, file))));
    return texts.find((text) => text !== undefined);
  };
  const [builtin, loadable] = await Promise.all([read('modules.builtin'), read('modules.dep')]);
  const builtinNames = moduleNames(builtin ?? '');
  const loadableNames = moduleNames(loadable ?? '');
  const serving = await featuresServed(sources.sysRoot);
  const stateOf = (name: string): ModuleState => {
    if (serving.has(name)) return loaded.has(plain(name)) ? 'loaded' : 'built in';
    if (builtinNames.has(plain(name))) return 'built in';
    if (loaded.has(plain(name))) return 'loaded';
    if (loadableNames.has(plain(name))) return 'loadable';
    return loadable === undefined ? 'unknown' : 'missing';
  };
  return Object.fromEntries(Object.keys(MODULES).map((name) => [name, stateOf(name)]));
}

async function isConfigfsMounted(sysRoot: string): Promise<boolean> {
  const mounts =
    (await textOf(join(sysRoot, 'proc/self/mounts'))) ?? (await textOf(join(sysRoot, 'proc/mounts'))) ?? '';
  return mounts.split('\n').some((line) => {
    const [, mountPoint, fsType] = line.split(' ');
    return fsType === 'configfs' && mountPoint === '/sys/kernel/config';
  });
}

async function toolsSeen(sources: PreflightSources): Promise<Record<string, ToolSeen>> {
  const entries = Object.keys(TOOLS).map(async (tool): Promise<[string, ToolSeen]> => {
    const said = await sources.askVersion(tool);
    const version = /(\d+\.\d+(?:\.\d+)?)/.exec(said ?? '')?.[1];
    return [tool, version === undefined ? {} : { version }];
  });
  return Object.fromEntries(await Promise.all(entries));
}

async function nvmeMultipath(sysRoot: string): Promise<PreflightFacts['nvmeMultipath']> {
  const text = (await textOf(join(sysRoot, 'sys/module/nvme_core/parameters/multipath')))?.trim();
  if (text === undefined) return 'absent';
  return text === 'Y' || text === '1' ? 'on' : 'off';
}

const RULE_FOLDERS = ['etc/udev/rules.d', 'run/udev/rules.d', 'usr/lib/udev/rules.d', 'lib/udev/rules.d'];

async function ourRule(hostRoot: string): Promise<PreflightFacts['ourUdevRule']> {
  const texts = await Promise.all(RULE_FOLDERS.map((folder) => textOf(join(hostRoot, folder, '60-meshstor.rules'))));
  const found = texts.find((text) => text !== undefined);
  if (found === undefined) return 'missing';
  return found.includes(UDEV_RULE_VERSION) ? 'current' : 'other version';
}

async function udevAssembles(hostRoot: string): Promise<boolean> {
  const names = await Promise.all(RULE_FOLDERS.map((folder) => namesIn(join(hostRoot, folder))));
  return names
    .flat()
    .some((name) => /^6[4-9]-md-raid-assembly\.rules$/.test(name) || /^65-md-incremental\.rules$/.test(name));
}

async function processRuns(sysRoot: string, name: string): Promise<boolean> {
  const pids = (await namesIn(join(sysRoot, 'proc'))).filter((entry) => /^\d+$/.test(entry));
  const names = await Promise.all(pids.map((pid) => textOf(join(sysRoot, 'proc', pid, 'comm'))));
  return names.some((text) => text?.trim() === name);
}

async function initramfsAssembles(hostRoot: string): Promise<boolean> {
  const hooks = ['usr/share/initramfs-tools/hooks/mdadm', 'usr/lib/dracut/modules.d/90mdraid'];
  return (await Promise.all(hooks.map((path) => exists(join(hostRoot, path))))).some(Boolean);
}

async function mdadmAutoOff(hostRoot: string): Promise<boolean> {
  const paths = ['etc/mdadm/mdadm.conf', 'etc/mdadm.conf'];
  const texts = await Promise.all(paths.map((path) => textOf(join(hostRoot, path))));
  return texts.some((text) => text?.split('\n').some((line) => /^\s*AUTO\s+-all\b/i.test(line)) === true);
}

const QUEUE_TIMEOUT = 'queue_if_no_path_timeout_secs';

/** The running module's value, seconds; undefined while it is not loaded. */
export async function liveQueueTimeout(sysRoot: string): Promise<number | undefined> {
  const live = await textOf(join(sysRoot, 'sys/module/dm_multipath/parameters', QUEUE_TIMEOUT));
  return live === undefined ? undefined : Number(live.trim()) || 0;
}

/** The running module's value; else what will be set when the module is loaded. */
async function queueTimeout(sources: PreflightSources): Promise<number> {
  const live = await liveQueueTimeout(sources.sysRoot);
  if (live !== undefined) return live;
  const folder = join(sources.hostRoot, 'etc/modprobe.d');
  const files = (await namesIn(folder)).filter((name) => name.endsWith('.conf'));
  const texts = await Promise.all(files.map((name) => textOf(join(folder, name))));
  const lines = texts.flatMap((text) => (text ?? '').split('\n')).filter((line) => !line.trimStart().startsWith('#'));
  lines.push((await textOf(join(sources.sysRoot, 'proc/cmdline'))) ?? '');
  const values = lines.map((line) => new RegExp(`\\b${QUEUE_TIMEOUT}=(\\d+)`).exec(line)?.[1]);
  return Math.max(0, ...values.filter((value) => value !== undefined).map(Number));
}

export async function gatherPreflightFacts(sources: PreflightSources): Promise<PreflightFacts> {
  const { sysRoot, hostRoot } = sources;
  return {
    isRoot: sources.isRoot,
    kernelRelease: sources.kernelRelease,
    modules: await moduleStates(sources),
    configfsMounted: await isConfigfsMounted(sysRoot),
    tools: await toolsSeen(sources),
    nvmeMultipath: await nvmeMultipath(sysRoot),
    udevRunning: await exists(join(hostRoot, 'run/udev/control')),
    udevAssembles: await udevAssembles(hostRoot),
    ourUdevRule: await ourRule(hostRoot),
    multipathdRunning: await processRuns(sysRoot, 'multipathd'),
    initramfsAssembles: await initramfsAssembles(hostRoot),
    mdadmAutoOff: await mdadmAutoOff(hostRoot),
    queueTimeoutSecs: await queueTimeout(sources),
    ...(sources.threadPoolSize === undefined ? {} : { threadPoolSize: sources.threadPoolSize }),
  };
}

const VERSION_FLAG: Readonly<Record<string, string>> = { mdadm: '--version' };
const ASK_LIMIT_MS = 5_000;

/** Runs the tool with its version flag; some print it on standard error, some fail after it. */
export function askToolVersion(tool: string): Promise<string | undefined> {
  const env = { PATH: `/usr/local/sbin:/usr/sbin:/sbin:${process.env['PATH'] ?? ''}`, LC_ALL: 'C' };
  return new Promise((resolve) => {
    execFile(tool, [VERSION_FLAG[tool] ?? '-V'], { env, timeout: ASK_LIMIT_MS }, (error, stdout, stderr) => {
      const text = `${stdout}${stderr}`.trim();
      resolve(error?.code === 'ENOENT' || text === '' ? undefined : text);
    });
  });
}

/** The sources of the machine this runs on. */
export function machineSources(options: { readonly hostRoot: string; readonly sysRoot?: string }): PreflightSources {
  return {
    sysRoot: options.sysRoot ?? '/',
    hostRoot: options.hostRoot,
    kernelRelease: release(),
    isRoot: process.getuid?.() === 0,
    askVersion: askToolVersion,
  };
}

/** How many threads the pool of this process has: libuv's default is 4. */
export function threadPoolSize(env: Readonly<Record<string, string | undefined>>): number {
  const size = Number(env['UV_THREADPOOL_SIZE'] ?? '4');
  return Number.isInteger(size) && size > 0 ? size : 4;
}
