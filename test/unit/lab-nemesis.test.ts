/** What the nemesis decides by: the order of its faults, its records, and the judgement of lost records and double writers. */
import { expect } from 'chai';
import fc from 'fast-check';
import { Ledger } from '../lab/nemesis/ledger.ts';
import { RECORD_BYTES, crc32, decodeRecord, encodeRecord, rangesOf, readRecords } from '../lab/nemesis/records.ts';
import type { Found, Range } from '../lab/nemesis/records.ts';
import type { Track } from '../lab/nemesis/schedule.ts';
import { KINDS_OF, chosen, strikes } from '../lab/nemesis/schedule.ts';
import { formatVerdict, isGood } from '../lab/nemesis/verdict.ts';

const record = (number: number, writer = 'node1-e1-1', volume = 'vol-1'): Buffer =>
  encodeRecord({ volume, writer, number, timeMs: 1_700_000_000_000 });

function found(writers: Readonly<Record<string, readonly Range[]>>): Found {
  return { writers, unreadable: 0 };
}

describe('records of the nemesis', () => {
  it('come back as they were written, all of one size', () => {
    const data = record(7);
    expect(data.length).to.equal(RECORD_BYTES);
    expect(decodeRecord(data)).to.deep.equal({
      volume: 'vol-1',
      writer: 'node1-e1-1',
      number: 7,
      timeMs: 1_700_000_000_000,
    });
  });

  it('have the checksum that everybody knows', () => {
    expect(crc32(Buffer.from('123456789'))).to.equal(0xcbf43926);
  });

  it('are not read with any one byte changed', () => {
    const data = record(7);
    const change = fc.tuple(fc.nat(RECORD_BYTES - 1), fc.integer({ min: 1, max: 255 }));
    fc.assert(
      fc.property(change, ([at, by]) => {
        const damaged = Buffer.from(data);
        damaged[at] = (damaged[at] ?? 0) ^ by;
        expect(decodeRecord(damaged)).to.equal(undefined);
      }),
    );
  });

  it('must be of words that fit', () => {
    expect(() => record(1, 'two words')).to.throw(/not a word/);
    expect(() => record(1, 'w'.repeat(100))).to.throw(/too long/);
  });

  it('are found by writer, and what is torn, empty or of another volume is counted', () => {
    const torn = record(3).subarray(0, 60);
    const file = Buffer.concat([record(1), record(2), record(1, 'node2-e3-2'), Buffer.alloc(RECORD_BYTES), torn]);
    expect(readRecords(file, 'vol-1')).to.deep.equal({
      writers: { 'node1-e1-1': [[1, 2]], 'node2-e3-2': [[1, 1]] },
      unreadable: 2,
    });
    expect(readRecords(file, 'vol-2')).to.deep.equal({ writers: {}, unreadable: 5 });
  });

  it('that follow each other are one range', () => {
    expect(rangesOf([3, 1, 2, 2, 7, 9, 8])).to.deep.equal([
      [1, 3],
      [7, 9],
    ]);
    expect(rangesOf([])).to.deep.equal([]);
  });
});

describe('the judgement of the nemesis', () => {
  function afterOne(): Ledger {
    const ledger = new Ledger();
    ledger.begin('a');
    for (const number of [1, 2, 3]) ledger.acknowledge('a', number);
    ledger.begin('b');
    return ledger;
  }

  it('is good when a successor finds all that was acknowledged, and more', () => {
    const ledger = afterOne();
    ledger.found('b', found({ a: [[1, 4]] }));
    expect([ledger.lost, ledger.doubles, ledger.acknowledged]).to.deep.equal([[], [], 3]);
  });

  it('is a loss for each acknowledged record that is not found, counted once', () => {
    const ledger = afterOne();
    const left = found({ a: [[1, 1]] });
    ledger.found('b', left);
    ledger.begin('c');
    ledger.found('c', left);
    expect(ledger.lost).to.deep.equal(['a record 2', 'a record 3']);
    expect(ledger.doubles).to.deep.equal([]);
  });

  it('is a loss, too, when a later reader misses what the successor had found', () => {
    const ledger = afterOne();
    ledger.found('b', found({ a: [[1, 3]] }));
    ledger.found('reader', found({ a: [[2, 3]] }));
    expect(ledger.lost).to.deep.equal(['a record 1']);
  });

  it('does not mind an acknowledgement that comes late, of a record that the successor found', () => {
    const ledger = afterOne();
    ledger.found('b', found({ a: [[1, 4]] }));
    ledger.acknowledge('a', 4);
    expect([ledger.doubles, ledger.acknowledged]).to.deep.equal([[], 4]);
  });

  it('is a double writer when a record is acknowledged that the successor did not find', () => {
    const ledger = afterOne();
    ledger.found('b', found({ a: [[1, 3]] }));
    ledger.acknowledge('a', 4);
    expect(ledger.doubles).to.deep.equal(['a acknowledged record 4 after its hand-over']);
    expect(ledger.lost).to.deep.equal([]);
  });

  it('is a double writer when a record appears that the successor did not find', () => {
    const ledger = afterOne();
    ledger.found('b', found({ a: [[1, 3]] }));
    ledger.found('reader', found({ a: [[1, 4]] }));
    expect(ledger.doubles).to.deep.equal(['a wrote records after its hand-over']);
  });

  it('is a double writer when somebody wrote who never began', () => {
    const ledger = afterOne();
    ledger.found('b', found({ a: [[1, 3]], z: [[1, 1]] }));
    expect(ledger.doubles).to.deep.equal(['z wrote records and never began']);
  });

  it('leaves the reader alone: it goes on', () => {
    const ledger = afterOne();
    ledger.found('b', found({ a: [[1, 3]] }));
    ledger.acknowledge('b', 1);
    ledger.begin('c');
    ledger.found('c', found({ a: [[1, 3]], b: [[1, 2]] }));
    expect([ledger.lost, ledger.doubles, ledger.acknowledged, ledger.reads]).to.deep.equal([[], [], 4, 2]);
  });

  it('is told in the last line', () => {
    const verdict = { acknowledged: 10, lost: 1, doubles: 2, faults: 30, takeovers: 4, trouble: [] };
    expect(formatVerdict(verdict)).to.equal(
      'nemesis: 10 acknowledged, 1 lost, 2 double writers, 30 faults, 4 takeovers',
    );
    expect(isGood(verdict)).to.equal(false);
    expect(isGood({ ...verdict, lost: 0, doubles: 0 })).to.equal(true);
    expect(isGood({ ...verdict, lost: 0, doubles: 0, trouble: ['a volume did not come back'] })).to.equal(false);
  });
});

describe('the faults of the nemesis', () => {
  const first = (seed: number, track: Track, count: number) => {
    const all = strikes(seed, track);
    return Array.from({ length: count }, () => all.next().value);
  };
  const TRACKS = Object.keys(KINDS_OF) as Track[];

  it('are the same for the same seed and others for another', () => {
    for (const track of TRACKS) {
      expect(first(5, track, 50)).to.deep.equal(first(5, track, 50));
      expect(first(5, track, 50)).not.to.deep.equal(first(6, track, 50));
    }
  });

  it('are of every kind', () => {
    for (const track of TRACKS) {
      const kinds = new Set(first(1, track, 100).map(({ kind }) => kind));
      expect([...kinds].sort()).to.deep.equal([...KINDS_OF[track]].sort());
    }
  });

  it('end, and leave time for less than half a minute in between', () => {
    for (const track of TRACKS) {
      for (const { afterMs, lastsMs } of first(3, track, 200)) {
        expect(afterMs).to.be.within(0, 30_000);
        expect(lastsMs).to.be.within(0, 30_000);
      }
    }
  });

  it('are enough for the bar: a hundred in twenty minutes', () => {
    const inTime = (track: Track): number => {
      let atMs = 0;
      return first(1, track, 500).filter(({ afterMs, lastsMs }) => (atMs += afterMs + lastsMs) < 20 * 60_000).length;
    };
    expect(inTime('path') + inTime('process')).to.be.above(100);
  });

  it('choose one of what there is', () => {
    expect(chosen(['a', 'b', 'c'], 4)).to.equal('b');
    expect(chosen([], 4)).to.equal(undefined);
  });
});
