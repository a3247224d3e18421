import { execFile, spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
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

/** What `spawnBound` started and has not ended. */
const started = new Set<ChildProcess>();

export interface BoundOptions {
  readonly stdio: StdioOptions;
  readonly env?: NodeJS.ProcessEnv;
}

/** Starts a program that the kernel ends with SIGKILL when this process ends, however it ends. All the lab's programs start so. */
export function spawnBound(program: string, args: readonly string[], { stdio, env }: BoundOptions): ChildProcess {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', program, ...args], { stdio, env: env ?? process.env });
  started.add(child);
  for (const event of ['exit', 'error']) child.once(event, () => started.delete(child));
  return child;
}

/** Ends what `spawnBound` started: by this signal, after the limit by SIGKILL. */
async function endStarted(signal: NodeJS.Signals, limitMs: number): Promise<void> {
  const ends = [...started].map((child) => Promise.race([once(child, 'exit'), once(child, 'error')]));
  for (const child of started) child.kill(signal);
  await Promise.race([Promise.allSettled(ends), sleep(limitMs)]);
  for (const child of started) child.kill('SIGKILL');
}

const TOLD_TO_END = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** As a shell has it. */
export function exitCodeOf(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/**
 * From now on this process, told to end, ends first what it started, and then itself with 128 + signal. Told again it does not do
 * it again: a terminal tells every process of a pipeline, and so does the one that started it.
 */
export function endOnSignals(options: { readonly limitMs: number; readonly passOn?: true }): void {
  let isEnding = false;
  for (const signal of TOLD_TO_END) {
    process.on(signal, () => {
      if (isEnding) return;
      isEnding = true;
      const end = options.passOn === true ? signal : 'SIGTERM';
      void endStarted(end, options.limitMs).finally(() => process.exit(exitCodeOf(signal)));
    });
  }
}
