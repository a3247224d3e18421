import { createInterface } from 'node:readline/promises';
import type { Cluster } from './cluster.ts';

const HELP = `Each line is a command for a node:  node2 cat /proc/mdstat
Also: cut NODE · restore NODE · pause NODE · resume NODE · reset NODE · exit`;

const ACTIONS = ['cut', 'restore', 'pause', 'resume', 'reset'] as const;
type Action = (typeof ACTIONS)[number];

async function act(cluster: Cluster, action: Action, name: string): Promise<void> {
  const node = cluster.node(name);
  if (action === 'cut') await node.cutNetwork();
  if (action === 'restore') await node.restoreNetwork();
  if (action === 'pause') await node.pause();
  if (action === 'resume') await node.resume();
  if (action === 'reset') await node.reset();
}

async function obey(cluster: Cluster, line: string): Promise<void> {
  const [word = '', ...rest] = line.split(/\s+/);
  const action = ACTIONS.find((name) => name === word);
  if (action) {
    await act(cluster, action, rest[0] ?? '');
    return;
  }
  const command = line.slice(word.length).trim();
  const result = await cluster.node(word).tryRun(command, { timeoutMs: 600_000 });
  process.stdout.write(result.stdout + result.stderr);
  if (result.code !== 0) process.stdout.write(`[exit ${result.code ?? result.signal}]\n`);
}

/** Reads commands from standard input and carries them out until it ends or says `exit`. */
export async function shell(cluster: Cluster): Promise<void> {
  process.stdout.write(`${HELP}\nlogs: ${cluster.results}\n`);
  const lines = createInterface({ input: process.stdin });
  for await (const line of lines) {
    const text = line.trim();
    if (text === 'exit') return;
    if (text === '') continue;
    await obey(cluster, text).catch((error: unknown) => {
      process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
    });
  }
}
