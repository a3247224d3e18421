import { expect } from 'chai';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentClient } from '../lab/agent-client.ts';
import { formatTotals, selectScenarios } from '../lab/scenario.ts';
import type { Scenario } from '../lab/scenario.ts';

describe('AgentClient', () => {
  let folder: string;
  let server: Server;
  let guest: Socket;
  let client: AgentClient;
  const requests: { op: string; id?: number }[] = [];

  const say = (message: object): void => void guest.write(`${JSON.stringify({ session: 'one', ...message })}\n`);

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'lab-agent-'));
    requests.length = 0;
    server = createServer((socket) => {
      guest = socket;
      socket.on('data', (data: Buffer) => {
        for (const line of data.toString().trim().split('\n')) {
          const request = JSON.parse(line) as { op: string; id?: number };
          requests.push(request);
          if (request.op === 'hello') socket.write('half a line of an old agent\n{"session":"one","type":"hello"}\n');
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(join(folder, 'agent'), resolve));
    client = new AgentClient(join(folder, 'agent'));
    await client.open(2000);
  });

  afterEach(() => {
    client.close('the test is over');
    server.close();
    rmSync(folder, { recursive: true });
  });

  function exec(output: string[] = []): ReturnType<AgentClient['exec']> {
    const request = { argv: ['true'], env: {}, cwd: '/', timeoutMs: 0 };
    return client.exec(request, { onOutput: (from, data) => output.push(`${from}:${data.toString()}`) });
  }

  it('keeps the answers to concurrent commands apart', async () => {
    const [first, second]: [string[], string[]] = [[], []];
    const ends = [exec(first).ended, exec(second).ended];
    say({ type: 'stdout', id: 2, data: Buffer.from('b').toString('base64') });
    say({ type: 'stderr', id: 1, data: Buffer.from('a').toString('base64') });
    say({ type: 'exit', id: 2, code: 0, signal: null, timedOut: false });
    say({ type: 'exit', id: 1, code: null, signal: 'SIGKILL', timedOut: true });
    expect(await Promise.all(ends)).to.deep.equal([
      { code: null, signal: 'SIGKILL', timedOut: true },
      { code: 0, signal: null, timedOut: false },
    ]);
    expect([first, second]).to.deep.equal([['stderr:a'], ['stdout:b']]);
  });

  it('reports what was running as lost when the guest has been restarted', async () => {
    const { ended } = exec();
    const failure = ended.catch((error: unknown) => String(error));
    say({ session: 'two', type: 'hello' });
    expect(await failure).to.equal('Error: the guest has been restarted');
  });

  it('ignores what an agent of an earlier boot still says', async () => {
    const { ended } = exec();
    say({ session: 'zero', type: 'exit', id: 1, code: 1 });
    say({ type: 'exit', id: 1, code: 0 });
    expect((await ended).code).to.equal(0);
  });

  it('says so when no agent answers in time', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(join(folder, 'silent'), resolve));
    const other = new AgentClient(join(folder, 'silent'));
    const failure = await other.open(50).catch((error: unknown) => String(error));
    other.close('the test is over');
    silent.close();
    expect(failure).to.match(/did not answer within 50 ms/);
  });
});

describe('scenarios', () => {
  const all: Scenario[] = ['a', 'b'].map((name) => ({ name, title: name, nodes: 1, run: () => Promise.resolve() }));

  it('are all taken when no name is given, else the named ones in the list order', () => {
    expect(selectScenarios(all, [])).to.equal(all);
    expect(selectScenarios(all, ['b', 'a']).map(({ name }) => name)).to.deep.equal(['a', 'b']);
  });

  it('are refused by a name that does not exist, telling those that do', () => {
    expect(() => selectScenarios(all, ['c'])).to.throw('no scenario is called c; there are: a, b');
  });

  it('end with a line that tells how many passed', () => {
    expect(formatTotals({ passed: 2, failed: 1, skipped: 0 })).to.equal('lab: 2 passed, 1 failed, 0 skipped');
  });
});
