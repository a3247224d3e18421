import { expect } from 'chai';
import { describeSchedule, minimise, scheduleOf } from './minimise.ts';
import { Random } from './random.ts';
import { Rules } from './rules.ts';
import { Scheduler } from './scheduler.ts';
import { Simulation } from './simulation.ts';
import { missed, RARE } from './summary.ts';
import { Tally } from './tally.ts';
import { MUTATIONS, WITHOUT_SEED } from './mutations.ts';

/** Less than a minute of one core. `npm run simulate` does as many as one likes. */
const RUNS = 600;

const found = (seed: number, off: readonly number[], kept?: readonly number[]) =>
  new Simulation(seed, new Rules(off), new Tally(), kept).run().found;

describe('the simulated cluster', function () {
  this.timeout(840_000);

  it('breaks no rule in any run, meets every fault and makes every transition that there is', () => {
    const tally = new Tally();
    let faults = 0;
    for (let seed = 1; seed <= RUNS; seed += 1) {
      const outcome = new Simulation(seed, new Rules(), tally).run();
      faults += outcome.faults;
      expect(outcome.found, `npm run simulate -- --replay ${seed}`).to.equal(undefined);
    }
    expect(missed(tally).filter((each) => !RARE.includes(each))).to.deep.equal([]);
    expect(faults / RUNS).to.be.at.least(3);
  });

  for (const { rule, what, seed } of MUTATIONS) {
    it(`finds a violation without rule ${rule} (${what}), and none with it`, () => {
      expect(found(seed, [rule])).to.not.equal(undefined);
      expect(found(seed, [])).to.equal(undefined);
    });
  }

  it('has a seed for each of the rules 1 to 13, or a sentence that says why not', () => {
    const rules = [...MUTATIONS.map(({ rule }) => rule), ...Object.keys(WITHOUT_SEED).map(Number)];
    expect(rules.sort((a, b) => a - b)).to.deep.equal(Array.from({ length: 13 }, (_, index) => index + 1));
  });

  it('finds the shortest schedule of a violation, and it replays', () => {
    const { rule, seed } = MUTATIONS.find((each) => each.rule === 2)!;
    const broken = found(seed, [rule])!;
    const kept = minimise(seed, new Rules([rule]), broken.rule);
    expect(found(seed, [rule], kept)?.rule).to.equal(broken.rule);
    for (const index of kept) {
      const fewer = kept.filter((each) => each !== index);
      expect(found(seed, [rule], fewer)?.rule, `${index} is needed`).to.not.equal(broken.rule);
    }
    expect(describeSchedule(seed, new Rules([rule]), kept)).to.have.lengthOf(kept.length + 1);
    expect(scheduleOf(seed, kept)).to.equal(`${seed}:${kept.join(',')}`);
  });

  it('does the same again from the same seed', () => {
    const told = (): readonly string[] => {
      const lines: string[] = [];
      const simulation = new Simulation(7, new Rules(), new Tally());
      simulation.cluster.tell = (line) => lines.push(line);
      simulation.run();
      return lines;
    };
    const first = told();
    expect(first.length).to.be.above(50);
    expect(told()).to.deep.equal(first);
  });
});

describe('virtual time', () => {
  it('runs what is due in its order, whatever the order of asking', () => {
    const time = new Scheduler();
    const random = new Random(5);
    const due: number[] = [];
    for (let count = 0; count < 200; count += 1) {
      const at = random.between(0, 50);
      time.after(at, () => due.push(at));
    }
    time.runUntil(100);
    expect(due).to.have.lengthOf(200);
    expect(due).to.deep.equal([...due].sort((a, b) => a - b));
  });

  it('lets nothing go on that died, and what is paused later', () => {
    const time = new Scheduler();
    const host = { life: 1, pausedUntil: 0 };
    const done: string[] = [];
    time.after(10, () => done.push(`paused ${time.now}`), host);
    host.pausedUntil = 50;
    time.runUntil(60);
    time.after(10, () => done.push('dead'), host);
    host.life = 2;
    time.runUntil(100);
    expect(done).to.deep.equal(['paused 50']);
  });
});
