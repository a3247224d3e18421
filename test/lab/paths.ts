import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout that this file belongs to. */
export const REPO_ROOT = resolve(fileURLToPath(new URL('../..', import.meta.url)));

/** Folder for things that are dear to make and safe to delete: kernels, initramfs images, the state of running labs. */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  if (env.MESHSTOR_CACHE) return resolve(env.MESHSTOR_CACHE);
  return join(env.XDG_CACHE_HOME ? resolve(env.XDG_CACHE_HOME) : join(homedir(), '.cache'), 'meshstor');
}

/** Folder that receives the logs of lab runs, one folder a run. */
export function resultsRoot(): string {
  return join(REPO_ROOT, 'test-results', 'lab');
}

/** The PATH with the folders of mkfs, mdadm, ip and modprobe, which are missing after `su` without `-`. */
export function withSystemFolders(path: string): string {
  const folders = path.split(':').filter((folder) => folder !== '');
  const missing = ['/usr/local/sbin', '/usr/sbin', '/sbin'].filter((folder) => !folders.includes(folder));
  return [...folders, ...missing].join(':');
}
