import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentClient } from './agent-client.ts';
import type { ExecEnd, RunningExec } from './agent-client.ts';
import { hostRun, spawnBound } from './processes.ts';
import { addressOf, driveNode, nvmeDevice, qemuArgs, tapName } from './qemu-args.ts';
import type { MachineSpec } from './qemu-args.ts';
import { Qmp } from './qmp.ts';

/** A command for a guest: a line for /bin/sh, or a program with its arguments. */
export type Command = string | readonly string[];

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: string | Buffer;
  /** Default 30 s. When it is over, everything the command started is killed. */
  readonly timeoutMs?: number;
}

export interface StartOptions extends RunOptions {
  /** Told of what the process prints to its standard output, as it comes. */
  readonly onOutput?: (data: Buffer) => void;
}

export interface RunResult extends ExecEnd {
  readonly stdout: string;
  readonly stderr: string;
}

/** A process in a guest that goes on after the call that started it. */
export interface GuestProcess {
  readonly pid: number;
  /** Both outputs, on the host. */
  readonly logFile: string;
  /** Resolves with how it ended; rejects if the guest was reset or powered off. */
  readonly ended: Promise<ExecEnd>;
  /** Signals its process group, SIGKILL if not told otherwise, and waits until the process has ended. */
  kill(signal?: NodeJS.Signals): Promise<void>;
}

/** A command ended with something else than exit code 0. */
export class CommandFailed extends Error {
  readonly result: RunResult;

  constructor(machine: string, command: Command, result: RunResult) {
    const text = typeof command === 'string' ? command : command.join(' ');
    const how = result.timedOut ? 'timed out' : result.signal ? `ended by ${result.signal}` : `exit ${result.code}`;
    super(`${machine}: ${text}: ${how}: ${(result.stderr || result.stdout).trim().slice(-2000)}`);
    this.name = 'CommandFailed';
    this.result = result;
  }
}

const HOST_GRACE_MS = 10_000;

function argvOf(command: Command): readonly string[] {
  return typeof command === 'string' ? ['/bin/sh', '-c', command] : command;
}

/** One virtual node. Everything is idempotent only where it says so; all calls may be made concurrently. */
export class Machine {
  readonly spec: MachineSpec;
  readonly #resultsFolder: string;
  readonly #socketFolder: string;
  readonly #agent: AgentClient;
  readonly #servers: Server[] = [];
  /** Block nodes that inject errors at present, by drive. */
  readonly #faults = new Map<number, string>();
  #lastFault = 0;
  #process: ChildProcess | undefined;
  #qmp: Qmp | undefined;
  #errorOutput = '';

  constructor(spec: MachineSpec, folders: { readonly results: string; readonly sockets: string }) {
    this.spec = spec;
    this.#resultsFolder = folders.results;
    this.#socketFolder = folders.sockets;
    this.#agent = new AgentClient(spec.agentSocket);
  }

  get name(): string {
    return this.spec.name;
  }

  get address(): string {
    return addressOf(this.spec.index);
  }

  /** Process id of QEMU; undefined when it is not running. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts QEMU and waits until the guest's agent answers. */
  async boot(timeoutMs: number): Promise<void> {
    const child = spawnBound('qemu-system-x86_64', qemuArgs(this.spec), { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process = child;
    child.stderr?.on('data', (data: Buffer) => (this.#errorOutput += data.toString()));
    const died = once(child, 'exit').then(() => {
      throw new Error(`boot ${this.name}: QEMU has ended: ${this.#errorOutput.trim()}`);
    });
    died.catch(() => undefined); // of interest only until the agent has answered
    this.#qmp = await Promise.race([Qmp.connect(this.spec.qmpSocket, 10_000), died]);
    await Promise.race([this.#agent.open(timeoutMs), died]).catch((error: unknown) => {
      throw new Error(`boot ${this.name}: see ${this.spec.serialLog}`, { cause: error });
    });
  }

  /** Runs a command and returns what it printed; rejects with CommandFailed unless it exits 0. */
  async run(command: Command, options: RunOptions = {}): Promise<string> {
    const result = await this.tryRun(command, options);
    if (result.code !== 0) throw new CommandFailed(this.name, command, result);
    return result.stdout;
  }

  /** Runs a command to its end, whatever its exit code. Rejects if it cannot start or the guest does not answer. */
  async tryRun(command: Command, options: RunOptions = {}): Promise<RunResult> {
    const timeoutMs = options.timeoutMs ?? 30_000;
    const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    const running = this.#exec(command, options, timeoutMs, (from, data) => output[from].push(data));
    let timer: NodeJS.Timeout | undefined;
    const silent = new Promise<never>((_, reject) => {
      const fail = (): void => reject(new Error(`${this.name}: ${String(command)}: the guest does not answer`));
      timer = setTimeout(fail, timeoutMs + HOST_GRACE_MS);
    });
    running.ended.catch(() => undefined); // if the guest is silent for ever, the other promise tells
    const end = await Promise.race([running.ended, silent]).finally(() => clearTimeout(timer));
    const text = (parts: readonly Buffer[]): string => Buffer.concat(parts).toString();
    return { ...end, stdout: text(output.stdout), stderr: text(output.stderr) };
  }

  /** Starts a background process; its output goes to `<node>-<label>.log` of the run's results. */
  async start(label: string, command: Command, options: StartOptions = {}): Promise<GuestProcess> {
    const logFile = join(this.#resultsFolder, `${this.name}-${label}.log`);
    const log = createWriteStream(logFile, { flags: 'a' });
    let started: (pid: number) => void = () => undefined;
    const pid = new Promise<number>((resolve) => (started = resolve));
    const onOutput = (from: 'stdout' | 'stderr', data: Buffer): void => {
      log.write(data);
      if (from === 'stdout') options.onOutput?.(data);
    };
    const running = this.#exec(command, options, options.timeoutMs ?? 0, onOutput, (id) => started(id));
    const ended = running.ended.finally(() => log.end());
    ended.catch(() => undefined); // may be of no interest to the caller
    const kill = async (signal: NodeJS.Signals = 'SIGKILL'): Promise<void> => {
      running.signal(signal);
      await ended.catch(() => undefined);
    };
    const failed = ended.then(() => 0);
    return { pid: (await Promise.race([pid, failed])) || 0, logFile, ended, kill };
  }

  async writeFile(path: string, content: string | Buffer): Promise<void> {
    await this.run(['/bin/sh', '-c', 'cat > "$1"', 'sh', path], { stdin: content });
  }

  async readFile(path: string): Promise<string> {
    return this.run(['cat', path]);
  }

  /**
   * Returns the path of a unix socket on the host; each connection to it is carried to `guestPath` in the guest.
   * The guest's socket need not exist yet: connections fail until it does. It stays across a reset of the guest.
   */
  async forwardUnixSocket(guestPath: string): Promise<string> {
    const hostPath = join(this.#socketFolder, `${this.name}-f${this.#servers.length}.sock`);
    this.#servers.push(await this.#agent.forward(hostPath, guestPath));
    return hostPath;
  }

  /** Stops the guest's processors: it does nothing, answers nothing, and does not notice that time passes. */
  async pause(): Promise<void> {
    await this.qmp.execute('stop');
  }

  async resume(): Promise<void> {
    await this.qmp.execute('cont');
  }

  /** Takes the node off the network: packets are dropped both ways, no carrier change is seen. Idempotent. */
  async cutNetwork(): Promise<void> {
    await hostRun('ip', 'link', 'set', tapName(this.spec.index), 'down');
  }

  async restoreNetwork(): Promise<void> {
    await hostRun('ip', 'link', 'set', tapName(this.spec.index), 'up');
  }

  /** Resets the guest as a power cut would and waits until it has booted. Drives keep what the guest had written. */
  async reset(timeoutMs = 240_000): Promise<void> {
    this.#agent.close(`${this.name} has been reset`);
    await this.qmp.execute('system_reset');
    await this.#agent.open(timeoutMs);
  }

  /** Pulls an NVMe drive (0 is the first) and waits until the guest has let it go. */
  async pullDrive(index: number): Promise<void> {
    const signal = AbortSignal.timeout(10_000);
    const gone = once(this.qmp, 'DEVICE_DELETED', { signal });
    await this.qmp.execute('device_del', { id: `nvme${index}` });
    await gone.catch((error: unknown) => {
      throw new Error(`${this.name}: the guest does not let go of drive ${index}`, { cause: error });
    });
  }

  /** Puts a pulled drive back, with everything on it. The guest sees it a moment later, maybe under another name. */
  async plugDrive(index: number): Promise<void> {
    await this.qmp.execute('device_add', nvmeDevice(this.#drive(index), index));
  }

  /** Slows a drive down to so many requests a second; 0 takes the limit away. */
  async throttleDrive(index: number, iops: number): Promise<void> {
    const none = { bps: 0, bps_rd: 0, bps_wr: 0, iops_rd: 0, iops_wr: 0 };
    await this.qmp.execute('block_set_io_throttle', { id: `nvme${index}`, ...none, iops });
  }

  /**
   * Lets a drive answer every request of the kind with an I/O error, from now on; `undefined` heals it again.
   * The controller stays alive.
   */
  async failDrive(index: number, kind: 'read' | 'write' | 'flush' | undefined): Promise<void> {
    this.#drive(index);
    const fault = `fault${++this.#lastFault}`;
    if (kind !== undefined) {
      const rule = { event: 'none', iotype: kind, errno: 5, once: false, immediately: false };
      const filter = { driver: 'blkdebug', 'node-name': fault, image: `file${index}`, 'inject-error': [rule] };
      await this.qmp.execute('blockdev-add', filter);
    }
    const options = { ...driveNode(index), file: kind === undefined ? `file${index}` : fault };
    await this.qmp.execute('blockdev-reopen', { options: [options] });
    const before = this.#faults.get(index);
    if (before !== undefined) await this.qmp.execute('blockdev-del', { 'node-name': before });
    if (kind === undefined) this.#faults.delete(index);
    else this.#faults.set(index, fault);
  }

  /** QEMU's control connection, for faults that have no method here. */
  get qmp(): Qmp {
    if (!this.#qmp) throw new Error(`${this.name} is not running`);
    return this.#qmp;
  }

  /** Writes the kernel's messages to the run's results. Does nothing if the guest does not answer. */
  async saveDmesg(): Promise<void> {
    const text = await this.run('dmesg', { timeoutMs: 5000 }).catch(() => undefined);
    if (text === undefined) return;
    const file = await open(join(this.#resultsFolder, `${this.name}-dmesg.log`), 'w');
    await file.writeFile(text).finally(() => file.close());
  }

  /** Ends QEMU as a power cut would. Idempotent. */
  async powerOff(): Promise<void> {
    const child = this.#process;
    this.#agent.close(`${this.name} has been powered off`);
    if (child && child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      await Promise.race([this.#qmp?.execute('quit').catch(() => undefined), sleep(1000)]);
      const timer = setTimeout(() => child.kill('SIGKILL'), 2000);
      await exited.finally(() => clearTimeout(timer));
    }
    this.#qmp?.close();
    this.#qmp = undefined;
    this.#process = undefined;
  }

  /** Powers off and closes the forwarded sockets. */
  async destroy(): Promise<void> {
    await this.powerOff();
    for (const server of this.#servers.splice(0)) server.close();
  }

  #drive(index: number): MachineSpec['drives'][number] {
    const drive = this.spec.drives[index];
    if (!drive) throw new Error(`${this.name} has no drive ${index}`);
    return drive;
  }

  #exec(
    command: Command,
    options: RunOptions,
    timeoutMs: number,
    onOutput: (from: 'stdout' | 'stderr', data: Buffer) => void,
    onStarted: (pid: number) => void = () => undefined,
  ): RunningExec {
    const stdin = options.stdin === undefined ? {} : { stdin: Buffer.from(options.stdin) };
    const base = { argv: argvOf(command), env: options.env ?? {}, cwd: options.cwd ?? '/', timeoutMs, ...stdin };
    return this.#agent.exec(base, { onOutput, onStarted });
  }
}
