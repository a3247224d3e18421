/** The shortest way to a violation that was found: what befalls is dropped one by one, as long as the same rule breaks. */
import { describeHappening } from './faults.ts';
import type { Rules } from './rules.ts';
import { Simulation } from './simulation.ts';
import { Tally } from './tally.ts';

/** The numbers of what has to happen, in the order of time. */
export function minimise(seed: number, rules: Rules, rule: string): readonly number[] {
  const breaks = (kept: readonly number[]): boolean =>
    new Simulation(seed, rules, new Tally(), kept).run().found?.rule === rule;
  const all = new Simulation(seed, rules, new Tally()).happenings.map((_, index) => index);
  let kept: readonly number[] = all;
  // What one needed may not be needed any more when another one is gone.
  for (let before = kept.length + 1; kept.length < before;) {
    before = kept.length;
    for (const index of [...kept].reverse()) {
      const without = kept.filter((each) => each !== index);
      if (breaks(without)) kept = without;
    }
  }
  return kept;
}

/** What `--replay` takes. */
export const scheduleOf = (seed: number, kept: readonly number[]): string => `${seed}:${kept.join(',')}`;

/** The schedule in words. */
export function describeSchedule(seed: number, rules: Rules, kept: readonly number[]): readonly string[] {
  const { happenings, cluster } = new Simulation(seed, rules, new Tally(), kept);
  const { copies, drives, nodes, mode, volatileCaches } = cluster.shape;
  const caches = volatileCaches ? 'volatile' : 'write-through';
  const shape = `${nodes} nodes, ${copies} copies, ${drives} drives each, ${mode}, ${caches} caches`;
  return [shape, ...happenings.filter((_, index) => kept.includes(index)).map(describeHappening)];
}
