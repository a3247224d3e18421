import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { cacheRoot } from './paths.ts';
import { identify, isRunning } from './processes.ts';
import type { ProcessIdentity } from './processes.ts';

const RECORD = 'run.json';
const SOCKET_PREFIX = 'mslab-';

/** What a running lab notes down about itself, so that a later one can clean up after it. */
export interface RunRecord {
  readonly owner: ProcessIdentity;
  /** Processes it has started. Each has the run's folder in its command line. */
  readonly processes: readonly ProcessIdentity[];
  readonly socketFolder: string;
}

export interface RunFolders {
  /** Drive images, node settings and the record. Its name is the run's id. */
  readonly state: string;
  /** A short path, since the path of a unix socket holds at most about 100 bytes. */
  readonly sockets: string;
}

function runsRoot(): string {
  return join(cacheRoot(), 'runs');
}

/** Checks the shape of a record; undefined if it is not one. */
export function parseRunRecord(text: string): RunRecord | undefined {
  const isIdentity = (value: unknown): value is ProcessIdentity => {
    const { pid, startTicks } = (value ?? {}) as Partial<ProcessIdentity>;
    return Number.isInteger(pid) && Number(pid) > 1 && typeof startTicks === 'string';
  };
  let value: Partial<RunRecord>;
  try {
    value = JSON.parse(text) as Partial<RunRecord>;
  } catch {
    return undefined;
  }
  const { owner, processes, socketFolder } = value;
  if (!isIdentity(owner) || !Array.isArray(processes) || !processes.every(isIdentity)) return undefined;
  if (typeof socketFolder !== 'string' || !basename(socketFolder).startsWith(SOCKET_PREFIX)) return undefined;
  return { owner, processes, socketFolder };
}

/** Makes the folders of a new run and its first record. They go when this process exits, unless it is killed. */
export async function createRunFolders(run: string): Promise<RunFolders> {
  const state = join(runsRoot(), run);
  await mkdir(state, { recursive: true, mode: 0o700 });
  const sockets = await mkdtemp(join(tmpdir(), SOCKET_PREFIX));
  await writeRunRecord({ state, sockets }, []);
  process.on('exit', () => {
    for (const folder of [state, sockets]) rmSync(folder, { recursive: true, force: true });
  });
  return { state, sockets };
}

/** Notes down the processes of this run. Atomic: a reader sees the old record or the new one. */
export async function writeRunRecord(folders: RunFolders, pids: readonly number[]): Promise<void> {
  const owner = await identify(process.pid);
  const known = await Promise.all(pids.map(identify));
  const processes = known.filter((identity) => identity !== undefined);
  const record = { owner, processes, socketFolder: folders.sockets };
  const temp = join(folders.state, `${RECORD}.new`);
  await writeFile(temp, `${JSON.stringify(record, undefined, 2)}\n`);
  await rename(temp, join(folders.state, RECORD));
}

export async function removeRunFolders(folders: RunFolders): Promise<void> {
  await rm(folders.sockets, { recursive: true, force: true });
  await rm(folders.state, { recursive: true, force: true });
}

/** True only if the process with the recorded id is the recorded one and was started for this run. */
export async function isOurs(identity: ProcessIdentity, runFolder: string): Promise<boolean> {
  if (!(await isRunning(identity))) return false;
  const commandLine = await readFile(`/proc/${identity.pid}/cmdline`, 'utf8').catch(() => '');
  return commandLine.includes(`${runFolder}/`);
}

async function cleanRun(state: string, record: RunRecord): Promise<number> {
  let killed = 0;
  for (const identity of record.processes) {
    if (!(await isOurs(identity, state))) continue;
    process.kill(identity.pid, 'SIGKILL');
    killed++;
  }
  await removeRunFolders({ state, sockets: record.socketFolder });
  return killed;
}

/**
 * Cleans up after labs whose process is gone: ends machines that are still running and removes their files. Labs that are
 * running are left alone. Their namespaces, bridges and taps need no cleaning: they vanish with the last process.
 */
export async function cleanLeftovers(progress: (message: string) => void): Promise<void> {
  const runs = await readdir(runsRoot()).catch(() => []);
  for (const run of runs) {
    const state = join(runsRoot(), run);
    const text = await readFile(join(state, RECORD), 'utf8').catch(() => undefined);
    const record = text === undefined ? undefined : parseRunRecord(text);
    if (record === undefined) {
      // Either killed before its first record, or being made right now: give it a minute.
      const made = await stat(state).catch(() => undefined);
      if (made && Date.now() - made.mtimeMs > 60_000) await rm(state, { recursive: true, force: true });
      continue;
    }
    if (await isRunning(record.owner)) continue;
    const killed = await cleanRun(state, record);
    progress(`cleaned up after the killed run ${run} (${killed} machines were still running)`);
  }
}
