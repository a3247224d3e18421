import { expect } from 'chai';
import { createServer } from 'node:net';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { HttpEndpoint, HttpOptions } from '../../src/observability/http.ts';
import { serveHttp } from '../../src/observability/http.ts';

describe('http endpoint', () => {
  let endpoint: HttpEndpoint;
  let reason: string | undefined;
  let metrics: HttpOptions['metrics'];
  const logged: string[] = [];

  const put = (message: string): void => void logged.push(message);
  const options: HttpOptions = {
    host: '127.0.0.1',
    port: 0,
    log: { debug: put, info: put, warn: put, error: put },
    metrics: () => metrics(),
    notReady: () => reason,
  };

  beforeEach(async () => {
    reason = undefined;
    logged.length = 0;
    metrics = () => Promise.resolve({ text: 'a 1\n', contentType: 'text/plain; version=0.0.4' });
    endpoint = await serveHttp(options);
  });

  afterEach(() => endpoint.close());

  function get(path: string, init?: RequestInit): Promise<Response> {
    return fetch(`http://127.0.0.1:${endpoint.address.port}${path}`, init);
  }

  /** What the server says to bytes that are no request. */
  function raw(bytes: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(endpoint.address.port, '127.0.0.1', () => socket.write(bytes));
      let text = '';
      socket.on('data', (chunk) => (text += chunk.toString()));
      socket.on('close', () => resolve(text));
      socket.on('error', reject);
    });
  }

  it('serves metrics with the type they have', async () => {
    const response = await get('/metrics?x=1');
    expect(response.status).to.equal(200);
    expect(response.headers.get('content-type')).to.equal('text/plain; version=0.0.4');
    expect(await response.text()).to.equal('a 1\n');
  });

  it('is alive whether it is ready or not', async () => {
    reason = 'the API does not answer';
    expect((await get('/healthz')).status).to.equal(200);
    const ready = await get('/readyz');
    expect(ready.status).to.equal(503);
    expect(await ready.text()).to.equal('not ready: the API does not answer\n');
    reason = undefined;
    expect((await get('/readyz')).status).to.equal(200);
  });

  it('stays alive when metrics cannot be rendered, and logs why', async () => {
    metrics = () => Promise.reject(new Error('broken'));
    const response = await get('/metrics');
    expect(response.status).to.equal(500);
    expect(await response.text()).to.not.include('broken');
    expect(logged).to.include('http request failed');
    expect((await get('/healthz')).status).to.equal(200);
  });

  it('answers HEAD without a body, other methods with 405, other paths with 404', async () => {
    const head = await get('/healthz', { method: 'HEAD' });
    expect([head.status, await head.text()]).to.deep.equal([200, '']);
    const post = await get('/metrics', { method: 'POST', body: 'x'.repeat(100_000) });
    expect([post.status, post.headers.get('allow')]).to.deep.equal([405, 'GET, HEAD']);
    expect((await get('/secret')).status).to.equal(404);
  });

  it('survives clients that send rubbish or vanish', async () => {
    expect(await raw('\x16\x03\x01 this is no request\r\n\r\n')).to.match(/^HTTP\/1\.1 400 /);
    const socket = connect(endpoint.address.port, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.write('GET /metrics HTTP/1.1\r\n');
    socket.resetAndDestroy();
    expect((await get('/healthz')).status).to.equal(200);
  });

  it('says so when its address is taken', async () => {
    const squatter = createServer();
    await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve));
    const { port } = squatter.address() as AddressInfo;
    const error = await serveHttp({ ...options, port }).then(
      () => undefined,
      (problem: unknown) => problem,
    );
    expect(error).to.be.an('error').with.property('code', 'EADDRINUSE');
    await new Promise((resolve) => squatter.close(resolve));
  });

  it('closes at once, also while a client keeps its connection', async () => {
    await (await get('/healthz')).text();
    const start = performance.now();
    await endpoint.close();
    expect(performance.now() - start).to.be.lessThan(1000);
  });
});
