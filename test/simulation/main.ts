/** `npm run simulate`: many runs, what they met, and the shortest way to whatever broke a rule. */
import { parseArgs } from 'node:util';
import { Rules } from './rules.ts';
import { Simulation, simulate } from './simulation.ts';
import { Tally } from './tally.ts';

const { values } = parseArgs({
  options: { runs: { type: 'string' }, seed: { type: 'string' }, without: { type: 'string' }, replay: { type: 'string' } },
});
const runs = Number(values.runs ?? 1000);
const seed = Number(values.seed ?? 1);
const rules = new Rules(values.without === undefined ? [] : values.without.split(',').map(Number));
const tally = new Tally();
if (values.replay !== undefined) {
  const [one, kept] = values.replay.split(':');
  const simulation = new Simulation(Number(one), rules, tally, kept?.split(',').map(Number));
  console.log(simulation.cluster.shape);
  simulation.cluster.tell = (line) => console.log(line);
  console.log(simulation.run().found);
  process.exit(0);
}
let violations = 0;
const start = performance.now();
let steps = 0;
for (let run = 0; run < runs; run += 1) {
  const outcome = simulate(seed + run, rules, tally);
  steps += outcome.steps;
  if (outcome.found === undefined) continue;
  violations += 1;
  if (violations < 15) console.log(seed + run, outcome.found.rule, '|', outcome.found.message, outcome.found.atMs, outcome.faults);
}
console.log(tally.faults, tally.things, tally.transitions, steps / runs);
console.log(`simulate: ${runs} runs, ${violations} violations`, `${Math.round(performance.now() - start)} ms`);
