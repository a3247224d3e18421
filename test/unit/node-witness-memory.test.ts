import { expect } from 'chai';
import { WitnessMemory } from '../../src/node/witness-memory.ts';

describe('how long the API has been silent', () => {
  let now = 0;
  let memory: WitnessMemory;

  beforeEach(() => {
    now = 1000;
    memory = new WitnessMemory(() => now);
  });

  function failAfter(ms: number): number {
    now += ms;
    memory.failed();
    return memory.awayMs;
  }

  it('is the time between its first failure and its last', () => {
    expect(memory.awayMs).to.equal(0);
    expect(failAfter(500)).to.equal(0);
    expect(failAfter(20_000)).to.equal(20_000);
    now += 90_000;
    expect(memory.awayMs, 'nobody has asked since').to.equal(20_000);
  });

  it('begins anew after an answer', () => {
    failAfter(0);
    failAfter(40_000);
    memory.answered();
    expect(memory.awayMs).to.equal(0);
    expect(failAfter(1000)).to.equal(0);
  });

  it('begins anew when nobody asked for a minute: it may have been there', () => {
    failAfter(0);
    failAfter(30_000);
    expect(failAfter(60_001)).to.equal(0);
    expect(failAfter(60_000)).to.equal(60_000);
  });
});
