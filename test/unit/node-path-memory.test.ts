import { expect } from 'chai';
import { PathMemory } from '../../src/node/path-memory.ts';

const [A, B] = ['11111111-1111-5111-8111-111111111111', '22222222-2222-5222-8222-222222222222'] as const;

describe('what a mender remembers of its members', () => {
  let now: number;
  let memory: PathMemory;

  beforeEach(() => {
    now = 1000;
    memory = new PathMemory(
      () => now,
      () => 0.5,
    );
  });

  it('since when each has had no path, and forgets it when the path is back', () => {
    memory.see([{ partitionUUID: A, isConnected: false }]);
    now += 700;
    memory.see([
      { partitionUUID: A, isConnected: false },
      { partitionUUID: B, isConnected: false },
    ]);
    expect(memory.recall().lostMs).to.deep.equal({ [A]: 700, [B]: 0 });
    expect(memory.isWell).to.equal(false);
    memory.see([{ partitionUUID: B, isConnected: false }]);
    memory.see([{ partitionUUID: A, isConnected: false }]);
    expect(memory.recall().lostMs).to.deep.equal({ [A]: 0 });
  });

  it('a drive whose path fails again and again under a connection that lives', () => {
    for (let count = 0; count < 3; count += 1) {
      memory.see([{ partitionUUID: A, isConnected: true }]);
      expect(memory.recall().failing).to.deep.equal([]);
      memory.reloaded(A);
      // Each failure may take as long as the drive's own time-out.
      now += 30_000;
    }
    expect(memory.recall().failing).to.deep.equal([A]);
  });

  it('nothing against a drive whose connection broke in between', () => {
    for (let count = 0; count < 6; count += 1) {
      memory.see([{ partitionUUID: A, isConnected: true }]);
      memory.reloaded(A);
      memory.see([{ partitionUUID: A, isConnected: false }]);
    }
    expect(memory.recall().failing).to.deep.equal([]);
  });

  it('nothing against a path that has held for a minute', () => {
    for (let count = 0; count < 6; count += 1) {
      memory.reloaded(A);
      now += 61_000;
      memory.see([]);
    }
    expect(memory.recall().failing).to.deep.equal([]);
  });

  it('lets what was tried in vain rest, longer each time, until it was reached', () => {
    const rests: number[] = [];
    for (let count = 0; count < 6; count += 1) {
      memory.failed(A);
      const from = now;
      while (memory.recall().resting.includes(A)) now += 100;
      rests.push(now - from);
    }
    expect(rests).to.deep.equal([1000, 2000, 4000, 8000, 10_000, 10_000]);
    memory.reached(A);
    memory.failed(A);
    now += 1000;
    expect(memory.recall().resting).to.deep.equal([]);
  });
});
