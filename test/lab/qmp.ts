import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { connectWithRetry, readLines } from './line-socket.ts';

interface QmpMessage {
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
  readonly data?: unknown;
}

interface Waiting {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** QEMU's control connection. Emits QMP events under their own names, such as `DEVICE_DELETED`. */
export class Qmp extends EventEmitter {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  private constructor(socket: Socket) {
    super();
    this.#socket = socket;
    readLines(socket, (line) => this.#receive(line));
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      for (const { command, reject } of this.#waiting.values()) reject(new Error(`${command}: QEMU has ended`));
      this.#waiting.clear();
    });
  }

  static async connect(path: string, timeoutMs: number): Promise<Qmp> {
    const qmp = new Qmp(await connectWithRetry(path, timeoutMs));
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  /** Runs one command and returns its result; rejects with QEMU's description of what is wrong. */
  execute(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    if (this.#socket.destroyed) return Promise.reject(new Error(`${command}: QEMU has ended`));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { command, resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(line: string): void {
    const message = JSON.parse(line) as QmpMessage;
    if (message.event !== undefined) {
      this.emit(message.event, message.data);
      return;
    }
    const waiting = message.id === undefined ? undefined : this.#waiting.get(message.id);
    if (waiting === undefined || message.id === undefined) return; // the greeting
    this.#waiting.delete(message.id);
    if (message.error) waiting.reject(new Error(`${waiting.command}: ${message.error.desc}`));
    else waiting.resolve(message.return);
  }
}
