import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine } from '../machine.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';

const ECHO_SERVER = `
  const server = require('net').createServer((socket) => socket.pipe(socket));
  server.listen('/run/echo.sock', () => console.log('listening'));`;

function expectEqual(what: string, found: unknown, wanted: unknown): void {
  if (JSON.stringify(found) === JSON.stringify(wanted)) return;
  throw new Error(`${what}: expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}`);
}

async function commands(node: Machine): Promise<void> {
  const result = await node.tryRun('cat; echo "$GREETING" >&2; exit 3', { env: { GREETING: 'hi' }, stdin: 'in\n' });
  expectEqual('a command', result, { code: 3, signal: null, timedOut: false, stdout: 'in\n', stderr: 'hi\n' });
  const many = await Promise.all(Array.from({ length: 20 }, (_, index) => node.run(`echo ${index}`)));
  expectEqual('20 commands at once', many.map(Number), Array.from(many.keys()));
  const big = await node.run('head -c 3000000 /dev/zero | tr "\\0" x');
  expectEqual('length of a long output', big.length, 3_000_000);
  const missing = await node.tryRun(['/no/such/program']).catch((error: unknown) => String(error));
  expectEqual('a program that is not there', missing, 'Error: spawn /no/such/program ENOENT');
  const late = await node.tryRun('sleep 300 & wait', { timeoutMs: 500 });
  expectEqual('a command that takes too long', late.timedOut, true);
  expectEqual('what it has left running', (await node.tryRun('pgrep -x sleep')).stdout, '');
}

async function forwarding(node: Machine): Promise<void> {
  const server = await node.start('echo', ['node', '-e', ECHO_SERVER]);
  await node.run('until [ -S /run/echo.sock ]; do sleep 0.1; done');
  const path = await node.forwardUnixSocket('/run/echo.sock');
  const sent = Buffer.alloc(300_000, 'abcdefg');
  const received = await new Promise<Buffer>((resolve, reject) => {
    const socket = createConnection({ path });
    const parts: Buffer[] = [];
    socket.on('data', (data: Buffer) => {
      parts.push(data);
      if (parts.reduce((sum, part) => sum + part.length, 0) === sent.length) resolve(Buffer.concat(parts));
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the connection to the guest has ended early')));
    socket.write(sent);
  });
  expectEqual('bytes through a forwarded socket are unchanged', received.equals(sent), true);
  await server.kill('SIGTERM');
  expectEqual('how the background process has ended', (await server.ended).signal, 'SIGTERM');
}

async function pausing(node: Machine): Promise<void> {
  await node.pause();
  const answer = node.run('echo awake');
  const first = await Promise.race([answer, sleep(1500).then(() => 'nothing')]);
  expectEqual('what a paused guest says', first, 'nothing');
  await node.resume();
  expectEqual('what it says afterwards', await answer, 'awake\n');
}

async function cutting(node: Machine, other: Machine): Promise<void> {
  const ping = async (): Promise<boolean> =>
    (await node.tryRun(`/.lab/busybox ping -c 1 -W 2 ${other.address}`)).code === 0;
  expectEqual('node2 answers', await ping(), true);
  await other.cutNetwork();
  expectEqual('node2 answers while it is cut off', await ping(), false);
  expectEqual('commands still reach it', await other.run('echo here'), 'here\n');
  await other.restoreNetwork();
  expectEqual('node2 answers again', await ping(), true);
}

async function drives(node: Machine): Promise<void> {
  const device = async (): Promise<string> => {
    const find = `for i in $(seq 100); do s=$(grep -ls LAB-NODE1-1 /sys/class/nvme/*/serial) && break; sleep 0.1; done
      ls -d "$(dirname "$s")"/nvme*n* | sed s,.*/,/dev/,`;
    return (await node.run(find)).trim();
  };
  const name = await device();
  const write = async (to: string): Promise<number | null> => {
    const command = `dd if=/dev/urandom of=${to} bs=4096 count=1 oflag=direct status=none`;
    return (await node.tryRun(command)).code;
  };
  await node.failDrive(1, 'write');
  expectEqual('writing to a failing drive', await write(name), 1);
  expectEqual('reading from it', (await node.tryRun(`head -c 4096 ${name} | wc -c`)).stdout, '4096\n');
  await node.failDrive(1, undefined);
  expectEqual('writing to the healed drive', await write(name), 0);
  await node.throttleDrive(1, 10);
  const slow = Date.now();
  await node.run(`dd if=/dev/zero of=${name} bs=4096 count=30 oflag=direct status=none`);
  if (Date.now() - slow < 1500) throw new Error(`30 writes took ${Date.now() - slow} ms at 10 a second`);
  await node.throttleDrive(1, 0);
  await node.pullDrive(1);
  expectEqual('a pulled drive', (await node.tryRun('cat /sys/class/nvme/*/serial')).stdout.includes('-1'), false);
  await node.plugDrive(1);
  expectEqual('writing to the drive put back', await write(await device()), 0);
}

async function resetting(node: Machine): Promise<void> {
  const before = await node.run('cat /proc/sys/kernel/random/boot_id');
  const background = await node.start('sleeper', 'sleep 1000');
  const lost = background.ended.catch((error: unknown) => String(error));
  await node.reset();
  expectEqual('what a background process says', await lost, `Error: ${node.name} has been reset`);
  expectEqual('another boot', (await node.run('cat /proc/sys/kernel/random/boot_id')) === before, false);
}

async function identity(nodes: readonly Machine[]): Promise<void> {
  for (const file of ['/sys/class/dmi/id/product_uuid', '/etc/machine-id', '/etc/nvme/hostnqn', '/etc/hostname']) {
    const values = await Promise.all(nodes.map((node) => node.run(`cat ${file}`)));
    expectEqual(`${file} differs`, new Set(values).size, nodes.length);
  }
}

async function modules(node: Machine): Promise<void> {
  await node.run(`set -e
    dmsetup create slow --table "0 2048 delay /dev/nvme0n1 0 100"
    dmsetup remove slow
    modprobe loop
    tc qdisc add dev lo root netem delay 10ms
    tc qdisc del dev lo root`);
}

async function run({ cluster, step }: ScenarioContext): Promise<void> {
  const [node, other] = [cluster.node('node1'), cluster.node('node2')];
  await step('commands: output, exit code, input, time limit, many at once', () => commands(node));
  await step('every node has an identity of its own', () => identity(cluster.nodes));
  await step('modules load on demand', () => modules(node));
  await step('unix sockets and background processes', () => forwarding(node));
  await step('a paused node is silent and wakes up', () => pausing(node));
  await step('a node is cut off and comes back', () => cutting(node, other));
  await step('a drive fails, heals, slows down, is pulled and put back', () => drives(node));
  await step('a node is reset', () => resetting(node));
}

/** Faults that the other scenarios rely on do what they say. */
export const labTools: Scenario = {
  name: 'lab-tools',
  title: "the lab's own means: commands, sockets, pauses, cuts, drive faults, resets",
  nodes: 2,
  run,
};
