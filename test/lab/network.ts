import { readlink } from 'node:fs/promises';
import { endOnSignals, exitCodeOf, hostRun, spawnBound } from './processes.ts';
import { withSystemFolders } from './paths.ts';
import { HOST_ADDRESS, tapName } from './qemu-args.ts';

const MARK = 'MESHSTOR_LAB_OUTER_NETNS';
/** For what the lab started, once it is told to end: QEMU and the controller role take less than a second. */
const END_LIMIT_MS = 5_000;
/** For the lab itself. */
const LAB_END_LIMIT_MS = 10_000;

/**
 * Makes sure that this program runs in a network namespace of its own. In the first process it starts the same program
 * again inside a new namespace, waits for it and exits with its code, so it returns only in the second. Nothing that the
 * lab sends leaves that namespace, and it vanishes with its last process. `prepare` is run in the first process only:
 * it is the place for what needs the real network, such as fetching the kernel. SIGINT and SIGTERM end both with all they started.
 */
export async function enterLabNamespace(prepare: () => Promise<unknown>): Promise<void> {
  process.env.PATH = withSystemFolders(process.env.PATH ?? '');
  const current = await readlink('/proc/self/ns/net');
  const outer = process.env[MARK];
  const isInside = outer !== undefined && outer !== current;
  endOnSignals(isInside ? { limitMs: END_LIMIT_MS } : { limitMs: LAB_END_LIMIT_MS, passOn: true });
  if (isInside) return;
  await prepare();
  const again = ['--net', '--', process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawnBound('unshare', again, { stdio: 'inherit', env: { ...process.env, [MARK]: current } });
  const code = await new Promise<number>((resolve) => {
    child.on('error', (error) => {
      process.stderr.write(`start the lab in a network namespace: ${error.message}\n`);
      resolve(1);
    });
    child.on('exit', (status, signal) => resolve(signal === null ? (status ?? 1) : exitCodeOf(signal)));
  });
  process.exit(code);
}

/** Makes the bridge and one tap per node in the current namespace. */
export async function createNetwork(nodes: number): Promise<void> {
  if (process.env[MARK] === undefined) throw new Error('make the lab network: not inside a namespace of the lab');
  await hostRun('ip', 'link', 'set', 'lo', 'up');
  await hostRun('ip', 'link', 'add', 'br0', 'type', 'bridge');
  await hostRun('ip', 'addr', 'add', `${HOST_ADDRESS}/24`, 'dev', 'br0');
  for (let index = 1; index <= nodes; index++) {
    await hostRun('ip', 'tuntap', 'add', 'dev', tapName(index), 'mode', 'tap');
    await hostRun('ip', 'link', 'set', tapName(index), 'master', 'br0', 'up');
  }
  await hostRun('ip', 'link', 'set', 'br0', 'up');
}

/** Removes what `createNetwork` made, so that another lab can be booted in this process. Idempotent. */
export async function removeNetwork(nodes: number): Promise<void> {
  for (const link of ['br0', ...Array.from({ length: nodes }, (_, index) => tapName(index + 1))]) {
    await hostRun('ip', 'link', 'del', link).catch(() => undefined);
  }
}
