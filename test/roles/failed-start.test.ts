import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';

const LIMIT_MS = 30_000;
const KUBECONFIG = JSON.stringify({
  apiVersion: 'v1',
  kind: 'Config',
  clusters: [{ name: 'a', cluster: { server: 'http://127.0.0.1:9' } }],
  users: [{ name: 'a', user: {} }],
  contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
  'current-context': 'a',
});

interface Ended {
  readonly code: number | null;
  readonly said: string;
}

function run(args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'src/main.ts', ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: LIMIT_MS,
      killSignal: 'SIGKILL',
    });
    let said = '';
    child.stderr.on('data', (data: Buffer) => (said += data.toString()));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, said }));
  });
}

describe('a role of which one part cannot start', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'start-'));
    await writeFile(join(folder, 'kubeconfig'), KUBECONFIG);
  });

  afterEach(() => rm(folder, { recursive: true }));

  const flags = (more: Readonly<Record<string, string>>): string[] =>
    Object.entries({
      '--kubeconfig': join(folder, 'kubeconfig'),
      '--csi-endpoint': `unix://${join(folder, 'csi.sock')}`,
      '--metrics-address': '127.0.0.1:0',
      ...more,
    }).flat();

  it('ends with code 1 when its socket is taken', async () => {
    await writeFile(join(folder, 'csi.sock'), 'no socket');
    const { code, said } = await run(['controller', ...flags({})]);
    expect(said).to.match(/exists and is no socket/);
    expect(code).to.equal(1);
  }).timeout(LIMIT_MS + 5000);

  it('stops what was started, the socket of the node role too, when its port is taken', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const { port } = taken.address() as AddressInfo;
    const lockFile = join(folder, 'lock', 'node.lock');
    const more = { '--node-name': 'n1', '--lock-file': lockFile, '--metrics-address': `127.0.0.1:${port}` };
    const { code, said } = await run(['node', ...flags(more)]);
    taken.close();
    expect(said).to.match(/EADDRINUSE/);
    expect(code).to.equal(1);
    expect(await readdir(folder)).to.not.include('csi.sock');
  }).timeout(LIMIT_MS + 5000);
});
