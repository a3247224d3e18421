/** Who has a block device, or a file on a filesystem of it, open or mounted anywhere on this machine (SPEC §7.10). */
import { readFileSync } from 'node:fs';
import { readFile, readdir, readlink, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { errnoCode } from '../api/errors.ts';

/** As `stat` gives it: Linux packs 12 bits of major and 20 of minor into `dev_t`. */
function makeDev(devNumber: string): number {
  const [major = 0, minor = 0] = devNumber.split(':').map(Number);
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch {
    return undefined; // The process, or its descriptor, has gone meanwhile.
  }
}

/** What a process holds of the file tree: its descriptors, where it stands, its root, its program. */
async function heldBy(folder: string): Promise<readonly string[]> {
  const fds = (await orUndefined(readdir(join(folder, 'fd')))) ?? [];
  return [...fds.map((fd) => join(folder, 'fd', fd)), ...['cwd', 'root', 'exe'].map((name) => join(folder, name))];
}

interface MountOf {
  readonly id: string;
  readonly mountPoint: string;
}

/** Mounts of a device in the process's mount namespace. Blanks in paths are escaped as `\\040` (fs/proc_namespace.c). */
async function mountsOf(folder: string, devNumber: string): Promise<readonly MountOf[]> {
  const text = (await orUndefined(readFile(join(folder, 'mountinfo'), 'utf8'))) ?? '';
  return text.split('\n').flatMap((line) => {
    const [id, , dev, , mountPoint = ''] = line.split(' ');
    if (id === undefined || dev !== devNumber) return [];
    const path = mountPoint.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
    return [{ id, mountPoint: path }];
  });
}

/** For a file that does not tell where it is: an XFS that was shut down answers EIO (fs/xfs/xfs_iops.c). */
async function isOnMountOf(folder: string, path: string, target: string, devNumber: string): Promise<boolean> {
  const mounts = await mountsOf(folder, devNumber);
  if (mounts.length === 0) return false;
  const info = (await orUndefined(readFile(join(folder, 'fdinfo', basename(path)), 'utf8'))) ?? '';
  const mountId = /^mnt_id:\s*(\d+)$/m.exec(info)?.[1];
  if (mountId !== undefined) return mounts.some(({ id }) => id === mountId);
  return mounts.some(({ mountPoint }) => target === mountPoint || target.startsWith(`${mountPoint}/`));
}

async function hasOpen(folder: string, devNumber: string): Promise<boolean> {
  const dev = makeDev(devNumber);
  for (const path of await heldBy(folder)) {
    const target = await orUndefined(readlink(path));
    // Only real files: stat on a socket or a pipe says nothing, and a file on a dead network filesystem could hang.
    if (target?.startsWith('/') !== true) continue;
    const seen = await orUndefined(stat(path));
    if (seen === undefined ? await isOnMountOf(folder, path, target, devNumber) : [seen.rdev, seen.dev].includes(dev)) {
      return true;
    }
  }
  return false;
}

async function hasMounted(folder: string, devNumber: string): Promise<boolean> {
  return (await mountsOf(folder, devNumber)).length > 0;
}

/** As `hasMounted`, which takes long where there are many mounts: one question for all processes of a mount namespace. */
function mountsSeen(devNumber: string): (folder: string) => Promise<boolean> {
  const answers = new Map<string, Promise<boolean>>();
  return async (folder) => {
    const namespace = (await orUndefined(readlink(join(folder, 'ns', 'mnt')))) ?? folder;
    const answer = answers.get(namespace) ?? hasMounted(folder, devNumber);
    answers.set(namespace, answer);
    return answer;
  };
}

/** include/linux/sched.h */
const PF_KTHREAD = 0x00200000;

/**
 * Threads of the kernel open no files, and a machine has hundreds of them. Their flags are the ninth field of `stat`, which the
 * kernel writes without waiting for anything (fs/proc/array.c): five trips to the thread pool for each would take far longer.
 */
function isKernelThread(folder: string): boolean {
  try {
    const text = readFileSync(join(folder, 'stat'), 'utf8');
    return (Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[6] ?? 0) & PF_KTHREAD) !== 0;
  } catch {
    return false; // The process has gone meanwhile.
  }
}

async function processes(procRoot: string, isWanted: (folder: string) => Promise<boolean>): Promise<readonly string[]> {
  const own = String(process.pid);
  const found: string[] = [];
  for (const pid of (await readdir(procRoot)).filter((name) => /^\d+$/.test(name) && name !== own)) {
    const folder = join(procRoot, pid);
    if (isKernelThread(folder) || !(await isWanted(folder))) continue;
    const name = ((await orUndefined(readFile(join(folder, 'comm'), 'utf8'))) ?? 'unknown').trim();
    found.push(`${name} (${pid})`);
  }
  return found;
}

/** `name (pid)` of every process but this one; mounts count for the processes in whose mount namespace they are. */
export async function findOpeners(devNumber: string, procRoot = '/proc'): Promise<readonly string[]> {
  const isMountSeen = mountsSeen(devNumber);
  return processes(procRoot, async (folder) => (await hasOpen(folder, devNumber)) || isMountSeen(folder));
}

/** As `findOpeners`, but who merely sees a mount of it does not count: those who keep that mount from being taken away. */
export async function findUsers(devNumber: string, procRoot = '/proc'): Promise<readonly string[]> {
  return processes(procRoot, (folder) => hasOpen(folder, devNumber));
}

/** Sends SIGKILL to each of `findUsers` as it is found, not to the first process; says to whom. Does not wait for their ends. */
export async function killUsers(devNumber: string, procRoot = '/proc'): Promise<readonly string[]> {
  return processes(procRoot, async (folder) => {
    const pid = Number(basename(folder));
    if (pid === 1 || !(await hasOpen(folder, devNumber))) return false;
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (errnoCode(error) !== 'ESRCH') throw error;
    }
    return true;
  });
}

/** What this role asks of the machine's processes; devices by `MAJOR:MINOR`. */
export interface Processes {
  findOpeners(devNumber: string): Promise<readonly string[]>;
  killUsers(devNumber: string): Promise<readonly string[]>;
}

export const PROCESSES: Processes = { findOpeners, killUsers };
