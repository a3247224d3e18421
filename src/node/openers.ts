/** Who has a block device, or a file on a filesystem of it, open or mounted anywhere on this machine (SPEC §7.10). */
import { readFile, readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';

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

async function hasOpen(folder: string, dev: number): Promise<boolean> {
  for (const fd of (await orUndefined(readdir(join(folder, 'fd')))) ?? []) {
    const path = join(folder, 'fd', fd);
    const target = await orUndefined(readlink(path));
    // Only real files: stat on a socket or a pipe says nothing, and a file on a dead network filesystem could hang.
    if (target?.startsWith('/') !== true) continue;
    const seen = await orUndefined(stat(path));
    if (seen !== undefined && (seen.rdev === dev || seen.dev === dev)) return true;
  }
  return false;
}

async function hasMounted(folder: string, devNumber: string): Promise<boolean> {
  const text = (await orUndefined(readFile(join(folder, 'mountinfo'), 'utf8'))) ?? '';
  return text.split('\n').some((line) => line.split(' ')[2] === devNumber);
}

/** `name (pid)` of every process but this one; mounts count for the processes in whose mount namespace they are. */
export async function findOpeners(devNumber: string, procRoot = '/proc'): Promise<readonly string[]> {
  const dev = makeDev(devNumber);
  const own = String(process.pid);
  const openers: string[] = [];
  for (const pid of (await readdir(procRoot)).filter((name) => /^\d+$/.test(name) && name !== own)) {
    const folder = join(procRoot, pid);
    if (!(await hasOpen(folder, dev)) && !(await hasMounted(folder, devNumber))) continue;
    const name = ((await orUndefined(readFile(join(folder, 'comm'), 'utf8'))) ?? 'unknown').trim();
    openers.push(`${name} (${pid})`);
  }
  return openers;
}
