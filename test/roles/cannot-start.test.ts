/** A role that cannot start ends: kubelet starts it again, and the reason is the last thing it said. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { createApiServer } from '../lab/api-server/index.ts';
import type { ApiServer } from '../lab/api-server/index.ts';

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts');
/** Loading the sources takes most of it; one that hangs takes for ever. */
const LIMIT_MS = 40_000;

interface End {
  readonly code: number | null;
  readonly lines: readonly string[];
}

/** Runs the program from its source until it ends; one that does not is killed and has no code. */
async function run(args: readonly string[], limitMs: number): Promise<End> {
  const child = spawn(process.execPath, ['--import', 'tsx', MAIN, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { code, lines: said.split('\n').filter((line) => line !== '') };
}

/** All but the log's. */
function ownLines(lines: readonly string[]): readonly string[] {
  return lines.filter((line) => !line.startsWith('{'));
}

describe('a controller role', () => {
  let folder: string;
  let api: ApiServer;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'role-'));
    api = await createApiServer();
    api.writeKubeconfig(join(folder, 'kubeconfig'));
  });
  afterEach(async () => {
    await api.close();
    rmSync(folder, { recursive: true });
  });

  const start = (more: readonly string[]): Promise<End> =>
    run(
      ['controller', '--kubeconfig', join(folder, 'kubeconfig'), '--metrics-address', '127.0.0.1:0', ...more],
      LIMIT_MS,
    );

  it('whose socket is a plain file ends with 1 and one clear line', async () => {
    const path = join(folder, 'csi.sock');
    writeFileSync(path, 'not a socket');
    const { code, lines } = await start(['--csi-endpoint', `unix://${path}`]);
    expect(code, lines.join('\n')).to.equal(1);
    expect(ownLines(lines)).to.deep.equal([`meshstor: listen on ${path}: it exists and is no socket`]);
  }).timeout(2 * LIMIT_MS);

  it('whose metrics port is taken ends with 1 and names the port', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const endpoint = `unix://${join(folder, 'csi.sock')}`;
    const { code, lines } = await start(['--csi-endpoint', endpoint, '--metrics-address', `127.0.0.1:${port}`]);
    other.close();
    expect(code, lines.join('\n')).to.equal(1);
    const why = `listen EADDRINUSE: address already in use 127.0.0.1:${port}`;
    const told = `meshstor: serving metrics: ${why}; give another address with --metrics-address`;
    expect(ownLines(lines)).to.deep.equal([told]);
  }).timeout(2 * LIMIT_MS);
});
