/** The socket, and HTTP/2 below gRPC. */
import { mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:http2';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { startCsiServer } from '../../src/csi/server.ts';
import { KeyedLock } from '../../src/support/keyed-lock.ts';
import { connectCsi } from './client.ts';
import { expectRefusal, fakeNode, LogKeeper, startHarness, WRITER } from './harness.ts';

describe('the socket of a CSI server', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sock-'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  const start = (endpoint: string) =>
    startCsiServer({ endpoint, version: '1', log: new LogKeeper(), lock: new KeyedLock(), node: fakeNode() });
  const refusal = async (endpoint: string): Promise<string> => {
    const result = await start(endpoint).then(
      () => 'it started',
      (error: unknown) => String(error),
    );
    return result;
  };

  it('may have a path of 100 bytes and not of 101: Node would cut it silently', async () => {
    const fill = 'x'.repeat(100 - directory.length - 1);
    const server = await start(join(directory, fill));
    expect((await stat(join(directory, fill))).isSocket()).to.be.true;
    await server.stop(1000);
    expect(await refusal(`unix://${join(directory, `${fill}x`)}`))
      .to.include('101 bytes')
      .and.to.include('shorter path');
    expect(await refusal('csi.sock')).to.include('absolute path');
    expect(await refusal('tcp://127.0.0.1:1')).to.include('absolute path');
  });

  it('is for its owner only, and gone after stop', async () => {
    const path = join(directory, 'csi.sock');
    const server = await start(`unix:${path}`);
    expect((await stat(path)).mode & 0o777).to.equal(0o600);
    await server.stop(1000);
    expect(await stat(path).catch(() => 'gone')).to.equal('gone');
  });

  it('replaces a stale socket, never a file, a link or the socket of a process that lives', async () => {
    const stale = join(directory, 'stale.sock');
    const left = createServer();
    await new Promise<void>((resolve) => left.listen(stale, resolve));
    // A killed process leaves its socket; closing the server would remove it.
    const { link, unlink } = await import('node:fs/promises');
    await link(stale, `${stale}.keep`);
    await new Promise((resolve) => left.close(resolve));
    await link(`${stale}.keep`, stale);
    await unlink(`${stale}.keep`);
    expect((await stat(stale)).isSocket()).to.be.true;
    const first = await start(stale);
    expect(await refusal(stale)).to.include('another process serves it');
    await first.stop(1000);
    const file = join(directory, 'file');
    await writeFile(file, 'precious');
    expect(await refusal(file)).to.include('no socket');
    const linked = join(directory, 'link');
    await symlink(file, linked);
    expect(await refusal(linked)).to.include('no socket');
    expect((await stat(file)).size).to.equal(8);
  });

  it('stops with a limit: waits for calls, asks them to end, then cuts them off', async () => {
    const path = join(directory, 'csi.sock');
    const log = new LogKeeper();
    let isAsked = false;
    const node = fakeNode({
      stage: (_request, signal) =>
        new Promise(() => {
          signal.addEventListener('abort', () => (isAsked = true));
        }),
      unstage: (_id, _path, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error));
        }),
    });
    const server = await startCsiServer({ endpoint: path, version: '1', log, lock: new KeyedLock(), node });
    const client = connectCsi(path);
    const deaf = client.node.NodeStageVolume({ volumeId: 'a', stagingTargetPath: '/s', volumeCapability: WRITER });
    const polite = client.node.NodeUnstageVolume({ volumeId: 'b', stagingTargetPath: '/s' });
    const outcomes = Promise.all([
      deaf.then(
        () => 'OK',
        (error: unknown) => String(error),
      ),
      expectRefusal(polite, 'UNAVAILABLE', 'the driver is stopping'),
    ]);
    while (server.callsInFlight() < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    await server.stop(400);
    expect(isAsked).to.be.true;
    expect((await outcomes)[0]).not.to.equal('OK');
    expect(log.lines.map(({ message }) => message)).to.include('csi calls still in flight are cut off');
    client.close();
  });
});

/** HEADERS frame of a request to Probe with this `:authority`, uncompressed; then an empty message. */
function rawProbe(authority: string | undefined): Buffer {
  const field = (name: string, value: string): Buffer =>
    Buffer.concat([
      Buffer.from([0x00, name.length]),
      Buffer.from(name),
      Buffer.from([value.length]),
      Buffer.from(value),
    ]);
  const block = Buffer.concat([
    field(':method', 'POST'),
    field(':scheme', 'http'),
    field(':path', '/csi.v1.Identity/Probe'),
    ...(authority === undefined ? [] : [field(':authority', authority)]),
    field('content-type', 'application/grpc'),
    field('te', 'trailers'),
  ]);
  const frame = (type: number, flags: number, stream: number, payload: Buffer): Buffer => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head.writeUInt8(type, 3);
    head.writeUInt8(flags, 4);
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, payload]);
  };
  const END_HEADERS = 0x4;
  const END_STREAM = 0x1;
  return Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    frame(0x4, 0, 0, Buffer.alloc(0)),
    frame(0x1, END_HEADERS, 1, block),
    frame(0x0, END_STREAM, 1, Buffer.alloc(5)),
  ]);
}

interface Frame {
  readonly type: number;
  readonly stream: number;
  readonly payload: Buffer;
}

function framesIn(bytes: Buffer): readonly Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at + 9 <= bytes.length;) {
    const length = bytes.readUIntBE(at, 3);
    const payload = bytes.subarray(at + 9, at + 9 + length);
    frames.push({ type: bytes.readUInt8(at + 3), stream: bytes.readUInt32BE(at + 5), payload });
    at += 9 + length;
  }
  return frames;
}

/** What stream 1 gets first: an answer (HEADERS) or a reset with its code. */
function answerTo(socketPath: string, authority: string | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(socketPath);
    let bytes = Buffer.alloc(0);
    const finish = (answer: string): void => {
      socket.end();
      socket.once('close', () => resolve(answer));
      socket.destroySoon();
    };
    socket.setTimeout(5000, () => reject(new Error('no answer')));
    socket.once('error', reject);
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      const frame = framesIn(bytes).find(({ type, stream }) => stream === 1 && (type === 0x1 || type === 0x3));
      if (frame?.type === 0x1) finish('answered');
      if (frame?.type === 0x3 && frame.payload.length === 4) finish(`reset ${frame.payload.readUInt32BE(0)}`);
    });
    socket.write(rawProbe(authority));
  });
}

describe('HTTP/2 below gRPC', () => {
  const PROTOCOL_ERROR = 'reset 1';

  it('serves :authority localhost and names, resets socket paths and missing ones before our code runs, and the log hints why', async () => {
    const harness = await startHarness({ node: fakeNode() });
    try {
      for (const [authority, expected] of [
        ['localhost', 'answered'],
        ['csi.sock', 'answered'],
        ['%2Fcsi%2Fcsi.sock', 'answered'],
        ['/csi/csi.sock', PROTOCOL_ERROR],
        ['', PROTOCOL_ERROR],
        [undefined, PROTOCOL_ERROR],
      ] as const) {
        harness.log.lines.length = 0;
        expect(await answerTo(harness.socketPath, authority), String(authority)).to.equal(expected);
        const isRefused = expected === PROTOCOL_ERROR;
        for (let waited = 0; isRefused && waited < 2000 && !harness.log.text().includes(':authority'); waited += 10) {
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        expect(harness.log.text().includes(':authority'), `hint for ${String(authority)}`).to.equal(isRefused);
        expect(harness.log.text().includes('"rpc":"Probe"'), `call for ${String(authority)}`).to.equal(!isRefused);
      }
    } finally {
      await harness.stop();
    }
  });

  it('logs a session that breaks', async () => {
    const harness = await startHarness({ node: fakeNode() });
    try {
      const session = connect('http://localhost', { createConnection: () => createConnection(harness.socketPath) });
      session.on('error', () => undefined);
      await new Promise<void>((resolve) => session.once('remoteSettings', () => resolve()));
      session.destroy();
      for (let waited = 0; waited < 2000 && !harness.log.text().includes('http/2 session'); waited += 10) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      expect(harness.log.text()).to.include('http/2 session');
    } finally {
      await harness.stop();
    }
  });
});
