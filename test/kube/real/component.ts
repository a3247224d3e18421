import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

/** A program of the control plane that runs. It ends with this process, however this one ends. */
export interface Component {
  readonly name: string;
  readonly pid: number;
  /** True until it has ended. */
  readonly runs: boolean;
  /** The last lines that it wrote. */
  log(lines?: number): string;
  /** Ends it, by force after ten seconds; resolves when it is gone. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

const PATIENCE_MS = 10_000;

/** Starts a program with its output in `folder/name.log`, which is written on when it is started again. */
export async function startComponent(
  name: string,
  program: string,
  args: readonly string[],
  folder: string,
): Promise<Component> {
  const file = join(folder, `${name}.log`);
  const output = openSync(file, 'a');
  // The kernel kills it when the thread that started it ends: a run that is killed leaves nothing behind.
  const bound = ['--pdeathsig', 'KILL', '--', program, ...args];
  const child = spawn('setpriv', bound, { cwd: folder, stdio: ['ignore', output, output] });
  closeSync(output);
  await new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    name,
    pid: child.pid ?? 0,
    get runs() {
      return isAlive(child);
    },
    log: (lines = 20) => readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n'),
    stop: async (signal = 'SIGTERM') => {
      if (!isAlive(child)) return;
      child.kill(signal);
      const force = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
      await ended;
      clearTimeout(force);
    },
  };
}

function isAlive(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** Waits until a component serves; fails at once, with what it said last, when it has ended. */
export async function untilReady(
  component: Component,
  isReady: () => Promise<boolean>,
  limitMs: number,
): Promise<void> {
  const end = Date.now() + limitMs;
  let cause: unknown;
  const fails = (error: unknown) => {
    cause = error;
    return false;
  };
  while (!(await isReady().catch(fails))) {
    const problem = component.runs ? `not ready after ${limitMs} ms (${String(cause)})` : 'ended';
    const isLate = Date.now() > end || !component.runs;
    if (isLate) throw new Error(`${component.name} ${problem}:\n${component.log()}`, { cause });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Ports that nobody listens on now, all different. */
export async function freePorts(count: number, host: string): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(0, host, resolve);
      });
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
