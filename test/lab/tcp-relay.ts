import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';

/** Passes TCP connections on to a unix socket, so that a node reaches a program of the host that has no other door. */
export class TcpRelay {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens at a port that the system chooses. */
  static async listen(host: string, socketPath: string): Promise<TcpRelay> {
    const server = createServer();
    const relay = new TcpRelay(server);
    server.on('connection', (incoming) => relay.#join(incoming, connect(socketPath)));
    server.listen(0, host);
    await once(server, 'listening');
    return relay;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Ends every connection and waits until the port is free. */
  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** One end's end is the other's: neither outlives it. */
  #join(incoming: Socket, outgoing: Socket): void {
    const pair = [incoming, outgoing];
    for (const socket of pair) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined); // 'close' follows, and that is what counts here
      socket.on('close', () => {
        this.#sockets.delete(socket);
        for (const each of pair) each.destroy();
      });
    }
    incoming.pipe(outgoing).pipe(incoming);
  }
}
