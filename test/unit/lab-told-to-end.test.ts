/** A lab that is told to end, or is killed, leaves no process of its own on the host. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { REPO_ROOT } from '../lab/paths.ts';
import { identify, isRunning } from '../lab/processes.ts';
import type { ProcessIdentity } from '../lab/processes.ts';

const LAB = join(REPO_ROOT, 'test', 'lab');
const LIMIT_MS = 300;

/** Starts one program that ends when it is told to and one that does not, and says when both run. */
const OWNER = `
  import { spawnBound, endOnSignals } from ${JSON.stringify(join(LAB, 'processes.ts'))};
  endOnSignals({ limitMs: ${LIMIT_MS}, ...JSON.parse(process.argv[2]) });
  const scripts = [
    "trap 'echo told SIGINT; exit' INT; trap 'echo told SIGTERM; exit' TERM; echo ready; while :; do sleep 0.05; done",
    "trap '' INT TERM HUP; echo ready; while :; do sleep 0.05; done",
  ];
  for (const script of scripts) {
    const child = spawnBound('sh', ['-c', script], { stdio: ['ignore', 'inherit', 'inherit'] });
    process.stdout.write(\`pid \${child.pid}\\n\`);
  }
`;

/** Goes into the lab's namespace as the lab does: that starts the file a second time. */
const LAB_OWNER = `
  import { enterLabNamespace } from ${JSON.stringify(join(LAB, 'network.ts'))};
  import { spawnBound } from ${JSON.stringify(join(LAB, 'processes.ts'))};
  await enterLabNamespace(async () => undefined);
  console.log('pid ' + process.pid);
  const stdio = ['ignore', 'inherit', 'inherit'];
  console.log('pid ' + spawnBound('sh', ['-c', 'echo ready; echo ready; exec sleep 1000'], { stdio }).pid);
`;

describe('a lab', () => {
  const owners: ChildProcess[] = [];
  const left: ProcessIdentity[] = [];
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'lab-told-'));
  });

  afterEach(async () => {
    for (const owner of owners.splice(0)) owner.kill('SIGKILL');
    for (const identity of left.splice(0)) if (await isRunning(identity)) process.kill(identity.pid, 'SIGKILL');
    rmSync(folder, { recursive: true });
  });

  interface Started {
    readonly owner: ChildProcess;
    readonly children: readonly ProcessIdentity[];
    readonly said: () => string;
  }

  async function start(options: object = {}, program = OWNER): Promise<Started> {
    const file = join(folder, 'owner.mjs');
    writeFileSync(file, program);
    const args = ['--import', 'tsx', file, JSON.stringify(options)];
    const owner = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], cwd: REPO_ROOT });
    owners.push(owner);
    let text = '';
    owner.stdout.on('data', (data: Buffer) => (text += data.toString()));
    while ((text.match(/^(ready|pid \d+)$/gm) ?? []).length < 4) await once(owner.stdout, 'data');
    const pids = [...text.matchAll(/^pid (\d+)$/gm)].map(([, pid]) => Number(pid));
    const children = (await Promise.all(pids.map(identify))).filter((identity) => identity !== undefined);
    left.push(...children);
    expect(children).to.have.length(2);
    return { owner, children, said: () => text };
  }

  async function untilGone(children: readonly ProcessIdentity[]): Promise<void> {
    const end = Date.now() + 5000;
    for (;;) {
      const running = await Promise.all(children.map(isRunning));
      if (!running.includes(true)) return;
      if (Date.now() > end) throw new Error(`still running: ${JSON.stringify(children)}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    it(`that gets ${signal} ends what it started, the deaf one too, and then itself with ${code}`, async () => {
      const { owner, children, said } = await start();
      const startedAt = Date.now();
      owner.kill(signal);
      // As from a terminal, which tells everybody, and then from whoever started it.
      owner.kill(signal);
      const [exitCode] = (await once(owner, 'exit')) as [number | null];
      expect(exitCode).to.equal(code);
      await untilGone(children);
      expect(said()).to.include('told SIGTERM');
      expect(Date.now() - startedAt).to.be.within(LIMIT_MS, LIMIT_MS + 4000);
    });
  }

  it('in a namespace is told the signal that its starter got', async () => {
    const { owner, said } = await start({ passOn: true });
    owner.kill('SIGINT');
    await once(owner, 'exit');
    expect(said()).to.include('told SIGINT');
  });

  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const) {
    it(`that gets ${signal} outside of its namespace ends inside of it too, with ${code}`, async function () {
      if (process.getuid?.() !== 0) this.skip(); // Network namespaces are root's.
      const { owner, children } = await start({}, LAB_OWNER);
      owner.kill(signal);
      const [exitCode] = (await once(owner, 'exit')) as [number | null];
      await untilGone(children);
      expect(exitCode).to.equal(code);
    });
  }

  it('that is killed takes with it what it started', async () => {
    const { owner, children } = await start();
    owner.kill('SIGKILL');
    await untilGone(children);
  });

  it('starts the programs of the host in no other way', () => {
    // Runs in guests.
    const files = readdirSync(LAB, { recursive: true, encoding: 'utf8' }).filter((file) =>
      /(?<!-guest)\.ts$/.test(file),
    );
    const spawning = files.filter((file) => /\bspawn\(/.test(readFileSync(join(LAB, file), 'utf8')));
    expect(spawning).to.deep.equal(['processes.ts']);
  });
});
