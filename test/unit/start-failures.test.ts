/** A role that cannot start says what it takes: the option to change, or the right that is missing. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { DomainError } from '../../src/api/errors.ts';
import { serveMetrics, takeNodeLock } from '../../src/main/start-failures.ts';
import { SILENT } from '../roles/in-process-cluster.ts';

/** As the kernel refuses. */
function refusal(code: string): Error {
  return Object.assign(new Error(`${code}: open '/run/meshstor/node.lock'`), { code, errno: -1, syscall: 'open' });
}

const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('a role that cannot start', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meshstor-lock-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const take = (code: string, isRoot: boolean): Promise<unknown> => {
    const acquireNodeLock = () => Promise.reject(refusal(code));
    return caught(takeNodeLock({ acquireNodeLock }, join(folder, 'deeper', 'node.lock'), isRoot));
  };

  it('for lack of rights says that the node role needs root', async () => {
    for (const code of ['EACCES', 'EPERM']) {
      const error = await take(code, false);
      expect(error).to.be.instanceOf(DomainError).with.property('message').that.includes(code);
      expect((error as Error).message).to.match(/node\.lock: .*; the node role needs root$/);
    }
  });

  it('for another reason, or as root, says the reason', async () => {
    expect(await take('EROFS', false))
      .to.be.an('error')
      .with.property('message', refusal('EROFS').message);
    expect(await take('EACCES', true))
      .to.be.an('error')
      .with.property('message', refusal('EACCES').message);
  });

  it('for another node process says so', async () => {
    const error = await take('EWOULDBLOCK', true);
    expect(error).to.be.instanceOf(DomainError);
    expect((error as Error).message).to.include('another node process of this node holds it');
  });

  it('for the address of its metrics names the option', async () => {
    const metrics = () => Promise.resolve({ text: '', contentType: 'text/plain' });
    // Documentation's address (RFC 5737): nobody has it.
    const serving = serveMetrics({ host: '192.0.2.1', port: 9810, log: SILENT, metrics, notReady: () => undefined });
    const error = await caught(serving);
    expect(error).to.be.instanceOf(DomainError);
    expect((error as Error).message).to.match(/EADDRNOTAVAIL.*192\.0\.2\.1:9810; .*--metrics-address$/);
  });
});
