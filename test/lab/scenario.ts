import { bootCluster } from './cluster.ts';
import type { Cluster, ClusterOptions } from './cluster.ts';

/** What the command line may say to scenarios. */
export interface Settings {
  /** How many volumes live. */
  readonly lives?: number;
  /** How many of them at a time. */
  readonly atOnce?: number;
}

/** Who answers as the Kubernetes API: our stand-in, or a real control plane. */
export type ControlPlaneKind = 'stand-in' | 'kubernetes';

/** What a scenario gets to work with. */
export interface ScenarioContext {
  readonly cluster: Cluster;
  readonly settings: Settings;
  /** Announces and times one step; returns what `work` returns. */
  step<T>(title: string, work: () => Promise<T>): Promise<T>;
  /** Prints one measured fact. */
  note(text: string): void;
}

/** One story told on real kernels. It must leave the lab as it found it, so that the next can use the same boot. */
export interface Scenario {
  /** Word for the command line, such as `kernel-facts`. */
  readonly name: string;
  /** One sentence: what it proves. */
  readonly title: string;
  /** The fewest nodes it can work with. */
  readonly nodes: number;
  /** Default: the stand-in, or none at all. */
  readonly controlPlane?: ControlPlaneKind;
  /** Says why it cannot run here; undefined if it can. */
  skip?(cluster: Cluster): string | undefined;
  run(context: ScenarioContext): Promise<void>;
  /** Gets what it needs from the network, before the lab's namespace is entered: there is no way out of that. */
  prepare?(print: Print): Promise<void>;
}

export interface Totals {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export type Print = (line: string) => void;

export function formatTotals({ passed, failed, skipped }: Totals): string {
  return `lab: ${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/** Picks scenarios by name, all if no name is given; throws at a name that does not exist. */
export function selectScenarios(all: readonly Scenario[], names: readonly string[]): readonly Scenario[] {
  for (const name of names) {
    if (all.some((scenario) => scenario.name === name)) continue;
    throw new Error(`no scenario is called ${name}; there are: ${all.map((scenario) => scenario.name).join(', ')}`);
  }
  return names.length === 0 ? all : all.filter((scenario) => names.includes(scenario.name));
}

/** What is to run: with no names, all of the control plane's that are run without being named; with the real one, all of its. */
export function scenariosFor(
  { usual, long }: { readonly usual: readonly Scenario[]; readonly long: readonly Scenario[] },
  controlPlane: ControlPlaneKind,
  names: readonly string[],
): readonly Scenario[] {
  const all = [...usual, ...long];
  if (controlPlane === 'stand-in') return selectScenarios(names.length === 0 ? usual : all, names);
  const real = all.filter((scenario) => scenario.controlPlane === controlPlane);
  const other = all.find(({ name }) => names.includes(name) && !real.some((scenario) => scenario.name === name));
  if (other !== undefined)
    throw new Error(`${other.name} cannot run with --control-plane=${controlPlane}: leave the option out`);
  return selectScenarios(real, names);
}

function seconds(sinceMs: number): string {
  return `${((Date.now() - sinceMs) / 1000).toFixed(1)} s`;
}

async function runOne(
  scenario: Scenario,
  { cluster, settings, print }: { readonly cluster: Cluster; readonly settings: Settings; readonly print: Print },
): Promise<'passed' | 'failed' | 'skipped'> {
  const why = cluster.nodes.length < scenario.nodes ? `needs ${scenario.nodes} nodes` : scenario.skip?.(cluster);
  if (why !== undefined) {
    print(`skipped ${scenario.name}: ${why}`);
    return 'skipped';
  }
  print(`${scenario.name}: ${scenario.title}`);
  const start = Date.now();
  let at = 'its start';
  const step = async <T>(title: string, work: () => Promise<T>): Promise<T> => {
    at = title;
    const stepStart = Date.now();
    const result = await work();
    print(`  ${seconds(stepStart).padStart(8)}  ${title}`);
    return result;
  };
  try {
    await scenario.run({ cluster, settings, step, note: (text) => print(`            ${text}`) });
    print(`ok ${scenario.name} in ${seconds(start)}`);
    return 'passed';
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    print(`FAILED ${scenario.name} at "${at}" after ${seconds(start)}`);
    print(text.replace(/^/gm, '    '));
    return 'failed';
  }
}

export interface RunScenariosOptions {
  readonly scenarios: readonly Scenario[];
  readonly cluster: Omit<ClusterOptions, 'nodes'>;
  readonly settings?: Settings;
  readonly print: Print;
  /** Called before the lab is destroyed if a scenario has failed, to look around in it. */
  readonly onFailure?: (cluster: Cluster) => Promise<void>;
}

/**
 * Boots one lab big enough for all the scenarios, runs them one after another, destroys the lab and returns how it went.
 * After a failed scenario the others get a freshly booted lab, since nobody knows what the failed one left behind.
 */
export async function runScenarios({
  scenarios,
  cluster: options,
  settings = {},
  print,
  onFailure,
}: RunScenariosOptions): Promise<Totals> {
  const totals = { passed: 0, failed: 0, skipped: 0 };
  const nodes = Math.max(...scenarios.map((scenario) => scenario.nodes));
  let cluster: Cluster | undefined;
  try {
    for (const scenario of scenarios) {
      cluster ??= await bootAndTell({ ...options, nodes }, print);
      const outcome = await runOne(scenario, { cluster, settings, print });
      totals[outcome]++;
      if (outcome !== 'failed') continue;
      print(`    logs: ${cluster.results}`);
      await onFailure?.(cluster);
      const broken = cluster;
      cluster = undefined;
      await broken.destroy();
    }
  } finally {
    await cluster?.destroy();
  }
  return totals;
}

async function bootAndTell(options: ClusterOptions, print: Print): Promise<Cluster> {
  const start = Date.now();
  const cluster = await bootCluster({ progress: print, ...options });
  print(`${cluster.nodes.length} nodes with kernel ${cluster.kernel.release} answer after ${seconds(start)}`);
  return cluster;
}
