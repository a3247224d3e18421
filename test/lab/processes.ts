import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execFileAsync = promisify(execFile);

/** What tells one process from a later one that has got the same id. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot at which it started, as /proc/PID/stat has it. */
  readonly startTicks: string;
}

/** Start time out of the text of /proc/PID/stat. The name in parentheses may hold spaces and parentheses itself. */
export function parseStartTicks(statText: string): string {
  const fields = statText.slice(statText.lastIndexOf(')') + 2).split(' ');
  const ticks = fields[19];
  if (ticks === undefined) throw new Error('read process start time: the stat text is too short');
  return ticks;
}

/** Identity of a running process; undefined when there is none with this id (or it is only waiting to be reaped). */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  if (text === undefined || text.slice(text.lastIndexOf(')') + 2).startsWith('Z')) return undefined;
  return { pid, startTicks: parseStartTicks(text) };
}

export async function isRunning(identity: ProcessIdentity): Promise<boolean> {
  return (await identify(identity.pid))?.startTicks === identity.startTicks;
}

/** Runs a program of the host and returns what it printed; rejects with its error output. */
export async function hostRun(program: string, ...args: string[]): Promise<string> {
  try {
    return (await execFileAsync(program, args, { timeout: 30_000, maxBuffer: 16 * 1024 * 1024 })).stdout;
  } catch (error) {
    const stderr = (error as { stderr?: string }).stderr?.trim();
    throw new Error(`${[program, ...args].join(' ')}: ${stderr || String(error)}`, { cause: error });
  }
}

/** Starts a program that the kernel ends with SIGKILL when this process ends, however it ends. */
export function spawnBound(program: string, args: readonly string[], stdio: 'ignore' | 'inherit'): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', '--', program, ...args], { stdio: ['ignore', stdio, 'pipe'] });
}
