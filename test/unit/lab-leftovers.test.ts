import { expect } from 'chai';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cleanLeftovers, isOurs, parseRunRecord } from '../lab/leftovers.ts';
import { identify, parseStartTicks } from '../lab/processes.ts';
import type { ProcessIdentity } from '../lab/processes.ts';

describe('leftovers of killed labs', () => {
  const before = process.env.MESHSTOR_CACHE;
  let cache: string;
  let sockets: string;
  let state: string;
  const children: ChildProcess[] = [];

  beforeEach(() => {
    cache = mkdtempSync(join(tmpdir(), 'lab-leftovers-'));
    sockets = mkdtempSync(join(tmpdir(), 'mslab-'));
    state = join(cache, 'runs', 'lab-1');
    mkdirSync(state, { recursive: true });
    process.env.MESHSTOR_CACHE = cache;
  });

  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    for (const folder of [cache, sockets]) rmSync(folder, { recursive: true, force: true });
    if (before === undefined) delete process.env.MESHSTOR_CACHE;
    else process.env.MESHSTOR_CACHE = before;
  });

  /** A process that has `word` in its command line, as a machine has the folder of its run. */
  async function startMachine(word: string): Promise<{ child: ChildProcess; identity: ProcessIdentity }> {
    const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000); console.log()', word]);
    children.push(child);
    await once(child.stdout, 'data');
    const identity = await identify(child.pid ?? 0);
    if (!identity) throw new Error('the process has ended at once');
    return { child, identity };
  }

  function writeRecord(owner: ProcessIdentity, processes: readonly ProcessIdentity[]): void {
    writeFileSync(join(state, 'run.json'), JSON.stringify({ owner, processes, socketFolder: sockets }));
  }

  async function clean(): Promise<string[]> {
    const said: string[] = [];
    await cleanLeftovers((message) => said.push(message));
    return said;
  }

  const gone: ProcessIdentity = { pid: process.pid, startTicks: '1' };

  it('ends the machines of a run whose process is gone and removes its files', async () => {
    const { child, identity } = await startMachine(`${state}/node1.env`);
    const exited = once(child, 'exit');
    writeRecord(gone, [identity]);
    expect((await clean())[0]).to.match(/lab-1 \(1 machines/);
    expect((await exited)[1]).to.equal('SIGKILL');
    expect([existsSync(state), existsSync(sockets)]).to.deep.equal([false, false]);
  });

  it('leaves a run alone whose process is there', async () => {
    const { child, identity } = await startMachine(`${state}/node1.env`);
    const owner = await identify(process.pid);
    writeRecord(owner ?? gone, [identity]);
    expect(await clean()).to.deep.equal([]);
    expect([existsSync(state), child.exitCode, child.signalCode]).to.deep.equal([true, null, null]);
  });

  it('never ends a process that has the recorded id but was started for something else', async () => {
    const other = await startMachine('/somewhere/else');
    writeRecord(gone, [other.identity]);
    expect(await isOurs(other.identity, state)).to.equal(false);
    expect((await clean())[0]).to.match(/lab-1 \(0 machines/);
    const ours = await startMachine(`${state}/node1.env`);
    expect(await isOurs(ours.identity, state)).to.equal(true);
    expect(await isOurs({ ...ours.identity, startTicks: '1' }, state)).to.equal(false);
  });

  it('gives a run that has no record yet a minute before its folder goes', async () => {
    await clean();
    expect(existsSync(state)).to.equal(true);
    utimesSync(state, 1, 1);
    await clean();
    expect(existsSync(state)).to.equal(false);
  });

  it('does not trust a record that names another kind of folder or process', () => {
    const record = { owner: gone, processes: [gone], socketFolder: '/tmp/mslab-abc' };
    expect(parseRunRecord(JSON.stringify(record))).to.deep.equal(record);
    expect(parseRunRecord(JSON.stringify({ ...record, socketFolder: '/etc' }))).to.equal(undefined);
    expect(parseRunRecord(JSON.stringify({ ...record, processes: [{ pid: 1, startTicks: '1' }] }))).to.equal(undefined);
    expect(parseRunRecord('{"owner":')).to.equal(undefined);
  });

  it('reads the start time of a process whose name holds spaces and parentheses', () => {
    const fields = Array.from({ length: 40 }, (_, index) => String(index + 3)).join(' ');
    expect(parseStartTicks(`77 (a) b (c)) ${fields}`)).to.equal('22');
  });
});
