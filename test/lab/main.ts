import { Command, InvalidArgumentError, Option } from 'commander';
import { KERNELS, ensureKernel } from './cache.ts';
import type { KernelSeries } from './cache.ts';
import { bootCluster } from './cluster.ts';
import type { ClusterOptions } from './cluster.ts';
import { enterLabNamespace } from './network.ts';
import { formatTotals, runScenarios, scenariosFor } from './scenario.ts';
import type { ControlPlaneKind } from './scenario.ts';
import { LONG_SCENARIOS, SCENARIOS } from './scenarios/index.ts';
import { shell } from './shell.ts';

interface Flags {
  readonly kernel: KernelSeries;
  readonly nodes: number;
  readonly controlPlane: ControlPlaneKind;
  readonly lives?: number;
  readonly atOnce?: number;
  readonly scenario: readonly string[];
  readonly run: readonly string[];
  readonly keep: boolean;
  readonly shell: boolean;
  readonly list: boolean;
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);
const collect = (word: string, before: readonly string[]): string[] => [...before, word];

function count(word: string): number {
  if (!/^[1-9]\d{0,5}$/.test(word)) throw new InvalidArgumentError('expected a whole number from 1 on');
  return Number(word);
}

function parseFlags(): Flags {
  return new Command('npm run lab --')
    .description('Runs scenarios on virtual nodes with real kernels. Needs root.')
    .addOption(new Option('--kernel <series>', "Debian's kernel to boot").choices(KERNELS).default('6.1'))
    .addOption(new Option('--nodes <count>', 'nodes, for --run and --shell').default(2).argParser(count))
    .addOption(
      new Option('--control-plane <kind>', 'who answers as the API; kubernetes: runs the scenario for a real one')
        .choices(['stand-in', 'kubernetes'])
        .default('stand-in'),
    )
    .option('--lives <count>', 'volumes that live under the real control plane (default: one of each kind)', count)
    .option('--at-once <count>', 'how many of them side by side (default: one)', count)
    .option('--scenario <name>', 'run only this one (may be repeated)', collect, [])
    .option('--run <command>', 'boot, run this shell command on node1, end (may be repeated)', collect, [])
    .option('--keep', 'open the shell when a scenario fails', false)
    .option('--shell', 'boot and read commands for the nodes from standard input', false)
    .option('--list', 'list the scenarios', false)
    .parse()
    .opts<Flags>();
}

async function runCommands(commands: readonly string[], options: ClusterOptions): Promise<number> {
  const cluster = await bootCluster(options);
  try {
    let worst = 0;
    for (const command of commands) {
      const result = await cluster.node('node1').tryRun(command, { timeoutMs: 600_000 });
      process.stdout.write(result.stdout);
      process.stderr.write(result.stderr);
      worst ||= result.code ?? 1;
    }
    return worst;
  } finally {
    await cluster.destroy();
  }
}

async function openShell(options: ClusterOptions): Promise<number> {
  const cluster = await bootCluster(options);
  await shell(cluster).finally(() => cluster.destroy());
  return 0;
}

async function main(): Promise<number> {
  const flags = parseFlags();
  if (flags.list) {
    for (const { name, title } of SCENARIOS) print(`${name.padEnd(24)}${title}`);
    for (const { name, title } of LONG_SCENARIOS) print(`${name.padEnd(24)}${title} (only by name)`);
    return 0;
  }
  const known = { usual: SCENARIOS, long: LONG_SCENARIOS };
  const scenarios = scenariosFor(known, flags.controlPlane, flags.scenario);
  if (process.getuid?.() !== 0)
    throw new Error('the lab needs root, for network namespaces and taps: run it with sudo');
  await enterLabNamespace(async () => {
    await ensureKernel(flags.kernel, print);
    for (const scenario of scenarios) await scenario.prepare?.(print);
  });
  const options = { kernel: flags.kernel, nodes: flags.nodes, name: 'lab', progress: print };
  if (flags.run.length > 0) return runCommands(flags.run, options);
  if (flags.shell) return openShell(options);
  const totals = await runScenarios({
    scenarios,
    cluster: options,
    settings: flags,
    print,
    ...(flags.keep ? { onFailure: shell } : {}),
  });
  print(formatTotals(totals));
  return totals.failed === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`lab: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
