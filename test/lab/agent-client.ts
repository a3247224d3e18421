import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { connectWithRetry, readLines } from './line-socket.ts';

/** What the agent in a guest says. */
interface AgentMessage {
  readonly session: string;
  readonly type: 'hello' | 'started' | 'stdout' | 'stderr' | 'exit' | 'error' | 'data' | 'closed';
  readonly id?: number;
  readonly pid?: number;
  readonly data?: string;
  readonly code?: number | string | null;
  readonly signal?: string | null;
  readonly timedOut?: boolean;
  readonly message?: string;
}

/** A request that waits for messages with its id. `lost` is called once if the agent goes away before the end. */
interface Stream {
  readonly onMessage: (message: AgentMessage) => void;
  readonly onLost: (why: Error) => void;
}

export interface ExecRequest {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly stdin?: Buffer;
  /** 0: no limit. */
  readonly timeoutMs: number;
}

export interface ExecEvents {
  onStarted?(pid: number): void;
  onOutput(from: 'stdout' | 'stderr', data: Buffer): void;
}

export interface ExecEnd {
  /** Exit code; null when a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly timedOut: boolean;
}

export interface RunningExec {
  /** Resolves with how it ended; rejects when it could not be started or the guest was reset. */
  readonly ended: Promise<ExecEnd>;
  /** Sends a signal to the command's process group. No effect once it has ended. */
  signal(name: NodeJS.Signals): void;
}

function toError(message: AgentMessage): Error {
  return Object.assign(new Error(message.message ?? 'unknown error'), { code: message.code });
}

/** The host's end of the connection to one guest's agent (test/lab/guest-agent.mjs has the other end). */
export class AgentClient {
  readonly #path: string;
  readonly #streams = new Map<number, Stream>();
  #socket: Socket | undefined;
  #session: string | undefined;
  #helloWaiters: (() => void)[] = [];
  #lastId = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Connects and waits until the agent answers. */
  async open(timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    const socket = await connectWithRetry(this.#path, timeoutMs);
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => this.#lose('the connection to the guest has ended'));
    readLines(socket, (line) => this.#receive(line));
    this.#socket = socket;
    const answered = new Promise<void>((resolve) => this.#helloWaiters.push(resolve));
    this.#write({ op: 'hello' });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const fail = (): void => reject(new Error(`the guest's agent did not answer within ${timeoutMs} ms`));
      timer = setTimeout(fail, Math.max(0, deadline - Date.now()));
    });
    await Promise.race([answered, late]).finally(() => clearTimeout(timer));
  }

  /** Drops the connection; everything that is running is reported as lost. */
  close(why: string): void {
    this.#lose(why);
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  exec(request: ExecRequest, events: ExecEvents): RunningExec {
    const id = this.#newId();
    const ended = new Promise<ExecEnd>((resolve, reject) => {
      const onMessage = (message: AgentMessage): void => {
        const data = (): Buffer => Buffer.from(message.data ?? '', 'base64');
        if (message.type === 'started') events.onStarted?.(message.pid ?? 0);
        else if (message.type === 'stdout' || message.type === 'stderr') events.onOutput(message.type, data());
        else this.#streams.delete(id);
        if (message.type === 'error') reject(toError(message));
        if (message.type === 'exit') {
          const code = typeof message.code === 'number' ? message.code : null;
          resolve({ code, signal: message.signal ?? null, timedOut: message.timedOut ?? false });
        }
      };
      this.#streams.set(id, { onMessage, onLost: reject });
      this.#write({ op: 'exec', id, ...request, stdin: request.stdin?.toString('base64') });
    });
    const signal = (name: NodeJS.Signals): void => this.#write({ op: 'signal', target: id, signal: name });
    return { ended, signal };
  }

  /** Serves `hostPath` on the host; each connection to it becomes one to `guestPath` in the guest. */
  async forward(hostPath: string, guestPath: string): Promise<Server> {
    await rm(hostPath, { force: true });
    const server = createServer((socket) => this.#carry(socket, guestPath));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(hostPath, resolve);
    });
    return server;
  }

  #carry(socket: Socket, guestPath: string): void {
    const id = this.#newId();
    const onMessage = (message: AgentMessage): void => {
      if (message.type === 'data') socket.write(Buffer.from(message.data ?? '', 'base64'));
      if (message.type !== 'closed' && message.type !== 'error') return;
      this.#streams.delete(id);
      socket.end();
    };
    this.#streams.set(id, { onMessage, onLost: () => socket.destroy() });
    this.#write({ op: 'connect', id, path: guestPath });
    socket.on('data', (data: Buffer) => this.#write({ op: 'data', id, data: data.toString('base64') }));
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      if (this.#streams.delete(id)) this.#write({ op: 'close', id });
    });
  }

  #newId(): number {
    return ++this.#lastId;
  }

  #write(request: Readonly<Record<string, unknown>>): void {
    this.#socket?.write(`${JSON.stringify({ session: this.#session, ...request })}\n`);
  }

  #receive(line: string): void {
    let message: AgentMessage;
    try {
      message = JSON.parse(line) as AgentMessage;
    } catch {
      return; // the guest was reset in the middle of a line
    }
    if (message.session !== this.#session) {
      if (message.type !== 'hello') return;
      if (this.#session !== undefined) this.#lose('the guest has been restarted');
      this.#session = message.session;
    }
    if (message.type === 'hello') {
      for (const resolve of this.#helloWaiters.splice(0)) resolve();
    } else if (message.id !== undefined) {
      this.#streams.get(message.id)?.onMessage(message);
    }
  }

  #lose(why: string): void {
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const stream of streams) stream.onLost(new Error(why));
  }
}
