/**
 * `npm run simulate`: many runs, what they met, and the shortest way to whatever broke a rule.
 *
 *   npm run simulate -- --runs 20000 --seed 1
 *   npm run simulate -- --replay 4711:0,3        that run, with these of its happenings alone, told step by step
 *   npm run simulate -- --runs 500 --without 5   without a rule of SPEC §7: it has to find something
 */
import { parseArgs } from 'node:util';
import { describeSchedule, minimise, scheduleOf } from './minimise.ts';
import { Rules } from './rules.ts';
import { Simulation } from './simulation.ts';
import { summaryOf } from './summary.ts';
import { Tally } from './tally.ts';

/** Of so many violations the shortest schedule is looked for. */
const MOST_EXPLAINED = 5;

const OPTIONS = {
  runs: { type: 'string', default: '1000' },
  seed: { type: 'string', default: '1' },
  without: { type: 'string' },
  replay: { type: 'string' },
} as const;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

function numberFrom(text: string, name: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name}: expected a whole number, got "${text}"`);
  return value;
}

function replay(schedule: string, rules: Rules): number {
  const [seed = '', kept] = schedule.split(':');
  const indices = kept === undefined || kept === '' ? [] : kept.split(',').map((text) => numberFrom(text, 'replay'));
  const simulation = new Simulation(
    numberFrom(seed, 'replay'),
    rules,
    new Tally(),
    kept === undefined ? undefined : indices,
  );
  simulation.cluster.tell = say;
  const { found } = simulation.run();
  say(found === undefined ? 'no rule was broken' : `VIOLATION ${found.message} (at ${Math.round(found.atMs)} ms)`);
  return found === undefined ? 0 : 1;
}

function explain(seed: number, rules: Rules, rule: string): void {
  const kept = minimise(seed, rules, rule);
  for (const line of describeSchedule(seed, rules, kept)) say(`  ${line}`);
  say(`  again: --replay ${scheduleOf(seed, kept)}`);
}

function many(runs: number, seed: number, rules: Rules): number {
  const tally = new Tally();
  let violations = 0;
  let faults = 0;
  const startedAt = process.cpuUsage();
  for (let run = seed; run < seed + runs; run += 1) {
    const outcome = new Simulation(run, rules, tally).run();
    faults += outcome.faults;
    if (outcome.found === undefined) continue;
    violations += 1;
    say(`VIOLATION in seed ${run}: ${outcome.found.message}`);
    if (violations <= MOST_EXPLAINED) explain(run, rules, outcome.found.rule);
  }
  const { user, system } = process.cpuUsage(startedAt);
  for (const line of summaryOf(tally)) say(line);
  say(
    `${(faults / runs).toFixed(1)} faults a run, ${Math.round((runs * 60_000_000) / (user + system))} runs a minute of one core`,
  );
  say(`simulate: ${runs} runs, ${violations} violations`);
  return violations === 0 ? 0 : 1;
}

const { values } = parseArgs({ options: OPTIONS });
const rules = new Rules(
  (values.without ?? '')
    .split(',')
    .filter((rule) => rule !== '')
    .map((rule) => numberFrom(rule, 'without')),
);
process.exitCode =
  values.replay === undefined
    ? many(numberFrom(values.runs, 'runs'), numberFrom(values.seed, 'seed'), rules)
    : replay(values.replay, rules);
