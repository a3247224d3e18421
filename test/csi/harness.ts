/** A real server and a real client on a socket in a directory of their own; what is behind the server is the test's. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { CsiServer, CsiServerOptions } from '../../src/csi/server.ts';
import { startCsiServer } from '../../src/csi/server.ts';
import type { NodeOperations } from '../../src/node/operations.ts';
import { KeyedLock } from '../../src/support/keyed-lock.ts';
import type { Log, LogFields } from '../../src/support/log.ts';
import type { CsiClient } from './client.ts';
import { connectCsi, CsiError } from './client.ts';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: LogFields;
}

export class LogKeeper implements Log {
  readonly lines: LogLine[] = [];

  debug(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'debug', message, fields });
  }

  info(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'info', message, fields });
  }

  warn(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'warn', message, fields });
  }

  error(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'error', message, fields });
  }

  text(): string {
    return JSON.stringify(this.lines);
  }
}

export interface Harness {
  readonly directory: string;
  readonly socketPath: string;
  readonly server: CsiServer;
  readonly client: CsiClient;
  readonly log: LogKeeper;
  readonly lock: KeyedLock;
  stop(): Promise<void>;
}

export async function startHarness(options: Partial<CsiServerOptions>): Promise<Harness> {
  const directory = await mkdtemp(join(tmpdir(), 'csi-'));
  const socketPath = join(directory, 'csi.sock');
  const log = new LogKeeper();
  const lock = new KeyedLock();
  const server = await startCsiServer({ endpoint: `unix://${socketPath}`, version: '1.2.3', log, lock, ...options });
  const client = connectCsi(socketPath);
  return {
    directory,
    socketPath,
    server,
    client,
    log,
    lock,
    stop: async () => {
      client.close();
      await server.stop(2000);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** The call must fail with this code; its details hold every one of these words. */
export async function expectRefusal(
  call: Promise<unknown>,
  code: CsiError['code'],
  ...words: readonly string[]
): Promise<CsiError> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error, `the call succeeded, expected ${code}`).to.be.instanceOf(CsiError);
  const refused = error as CsiError;
  expect(refused.code, refused.details).to.equal(code);
  for (const word of words) expect(refused.details, refused.details).to.include(word);
  return refused;
}

/** Node operations that succeed and are written down; a test replaces what it needs. */
export function fakeNode(more: Partial<NodeOperations> = {}): NodeOperations & { readonly calls: unknown[][] } {
  const calls: unknown[][] = [];
  const noted =
    (name: string) =>
    async (...args: readonly unknown[]): Promise<void> => {
      calls.push([name, ...args.filter((argument) => !(argument instanceof AbortSignal))]);
    };
  return {
    calls,
    nodeName: 'n1',
    stage: noted('stage'),
    unstage: noted('unstage'),
    publish: noted('publish'),
    unpublish: noted('unpublish'),
    expand: async (request) => {
      calls.push(['expand', request]);
      return 2 ** 30;
    },
    stats: async () => ({
      usage: { totalBytes: 100, usedBytes: 40, availableBytes: 60, totalInodes: 10, freeInodes: 7 },
      deviceBytes: 128,
      abnormal: true,
      message: 'array is degraded; down: member 1',
    }),
    ...more,
  };
}

export const WRITER = { mount: { fsType: 'xfs' }, accessMode: { mode: 'SINGLE_NODE_WRITER' } } as const;
export const BLOCK = { block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } } as const;
