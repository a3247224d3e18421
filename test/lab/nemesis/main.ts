import { Command, InvalidArgumentError, Option } from 'commander';
import { KERNELS, ensureKernel } from '../cache.ts';
import type { KernelSeries } from '../cache.ts';
import { bootCluster } from '../cluster.ts';
import { enterLabNamespace } from '../network.ts';
import { runNemesis } from './run.ts';
import { formatVerdict, isGood } from './verdict.ts';

interface Flags {
  readonly kernel: KernelSeries;
  readonly minutes: number;
  readonly volumes: number;
  readonly seed?: number;
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

function count(word: string): number {
  if (!/^[1-9]\d{0,8}$/.test(word)) throw new InvalidArgumentError('expected a whole number from 1 on');
  return Number(word);
}

function parseFlags(): Flags {
  return new Command('npm run nemesis --')
    .description('Faults of all kinds strike volumes that are written to, on virtual nodes. Needs root.')
    .addOption(new Option('--kernel <series>', "Debian's kernel to boot").choices(KERNELS).default('6.1'))
    .option('--minutes <count>', 'for how long faults strike', count, 20)
    .option('--volumes <count>', 'each with a checker of its own', count, 3)
    .option('--seed <number>', 'the same seed strikes in the same order (default: another one each time)', count)
    .parse()
    .opts<Flags>();
}

async function main(): Promise<number> {
  const { kernel, minutes, volumes, seed = (Date.now() % 1_000_000) + 1 } = parseFlags();
  if (process.getuid?.() !== 0)
    throw new Error('the nemesis needs root, for network namespaces and virtual machines: run it with sudo');
  await enterLabNamespace(() => ensureKernel(kernel, print));
  const cluster = await bootCluster({ nodes: 3, kernel, name: `nemesis-${seed}`, progress: print });
  try {
    const verdict = await runNemesis({ cluster, minutes, volumes, seed, print });
    const again = `npm run nemesis -- --minutes ${minutes} --volumes ${volumes} --seed ${seed} --kernel ${kernel}`;
    print(`logs: ${cluster.results}${isGood(verdict) ? '' : `; again: ${again}`}`);
    await cluster.destroy();
    print(formatVerdict(verdict));
    return isGood(verdict) ? 0 : 1;
  } catch (error) {
    print(`logs: ${cluster.results}`);
    throw error;
  } finally {
    await cluster.destroy();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`nemesis: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 1;
}
