import { createConnection } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Connects to a unix socket that another process is about to open. Rejects when the time is over. */
export async function connectWithRetry(path: string, timeoutMs: number): Promise<Socket> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await new Promise<Socket>((resolve, reject) => {
        const socket = createConnection({ path });
        socket.once('connect', () => {
          socket.off('error', reject);
          resolve(socket);
        });
        socket.once('error', reject);
      });
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`connect to ${path}: nobody answers`, { cause: error });
      await sleep(20);
    }
  }
}

/** Calls `onLine` for every whole line the socket receives, without its line end. */
export function readLines(socket: Socket, onLine: (line: string) => void): void {
  let pending: Buffer = Buffer.alloc(0);
  socket.on('data', (data: Buffer) => {
    pending = pending.length === 0 ? data : Buffer.concat([pending, data]);
    for (let end = pending.indexOf(10); end !== -1; end = pending.indexOf(10)) {
      onLine(pending.subarray(0, end).toString());
      pending = pending.subarray(end + 1);
    }
  });
}
