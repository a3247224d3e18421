import { expect } from 'chai';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TcpRelay } from '../lab/tcp-relay.ts';

describe('the relay from TCP to a unix socket', () => {
  let folder: string;
  let target: Server;
  let relay: TcpRelay;
  const served: Socket[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meshstor-relay-'));
    const path = join(folder, 'target.sock');
    target = createServer((socket) => {
      served.push(socket);
      socket.on('data', (data) => socket.write(`heard ${String(data)}`));
    });
    target.listen(path);
    await once(target, 'listening');
    relay = await TcpRelay.listen('127.0.0.1', path);
  });

  afterEach(async () => {
    await relay.close();
    for (const socket of served.splice(0)) socket.destroy();
    target.close();
    await rm(folder, { recursive: true });
  });

  it('carries both directions', async () => {
    const client = connect(relay.port, '127.0.0.1');
    client.write('hello');
    const [answer] = (await once(client, 'data')) as [Buffer];
    expect(String(answer)).to.equal('heard hello');
    client.destroy();
  });

  it('ends a connection whose other end has gone', async () => {
    const client = connect(relay.port, '127.0.0.1');
    client.write('hello');
    await once(client, 'data');
    served[0]?.destroy();
    await once(client, 'close');
  });

  it('ends every connection when it is closed', async () => {
    const client = connect(relay.port, '127.0.0.1');
    client.write('hello');
    await once(client, 'data');
    await relay.close();
    await once(client, 'close');
    relay = await TcpRelay.listen('127.0.0.1', join(folder, 'target.sock'));
  });
});
