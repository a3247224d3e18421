import { expect } from 'chai';
import { errorFromAnswer, errorFromNetwork, isConflict, isVersionGone } from '../../src/kube/api-error.ts';
import { BackOff } from '../../src/kube/back-off.ts';
import { compileRule } from '../lab/api-server/cel.ts';
import { humanDuration } from '../lab/api-server/index.ts';

describe('rules of the stand-in', () => {
  for (const [rule, self, oldSelf, holds] of [
    ['self == oldSelf', 'a', 'a', true],
    ['self == oldSelf', 'a', 'b', false],
    ['self >= oldSelf', 1, 2, false],
    ['self % 4 == 0', 8, undefined, true],
    ['self % 4 == 0', 9, undefined, false],
    ['!has(oldSelf.x) || self.x == oldSelf.x', { x: 1 }, {}, true],
    ['!has(oldSelf.x) || (has(self.x) && self.x == oldSelf.x)', {}, { x: 1 }, false],
    ['self.a.b in [1, 2 + 1]', { a: { b: 3 } }, undefined, true],
    ['size(self) > 2 ? self == "abc" : false', 'abc', undefined, true],
    ['-self + 2 * 3 == 5 - -0', 1, undefined, true],
    ['has(self.a.b)', { a: { b: 1 } }, undefined, true],
    ['has(self.a.b)', { a: {} }, undefined, false],
    ["self != 'it\\'s'", "it's", undefined, false],
  ] as const) {
    it(`evaluates ${rule} on ${JSON.stringify(self)} after ${JSON.stringify(oldSelf) ?? 'nothing'}`, () => {
      expect(compileRule(rule).evaluate(self, oldSelf)).to.equal(holds);
    });
  }

  it('knows which rules are about changes', () => {
    expect(compileRule('self == oldSelf').isTransition).to.equal(true);
    expect(compileRule('self == 1').isTransition).to.equal(false);
  });

  for (const rule of [
    'self.all(x, x > 0)',
    'foo == 1',
    'self ==',
    'self[0] == 1',
    'self # 1',
    '(self == 1',
    'self 1',
  ]) {
    it(`refuses ${rule}`, () => {
      expect(() => compileRule(rule)).to.throw(/cannot be evaluated here/);
    });
  }
});

describe('ages', () => {
  const minute = 60;
  const hour = 60 * minute;
  const day = 24 * hour;
  for (const [seconds, text] of [
    [-5, '<invalid>'],
    [-1, '0s'],
    [0, '0s'],
    [119, '119s'],
    [120, '2m'],
    [9 * minute + 5, '9m5s'],
    [11 * minute + 5, '11m'],
    [3 * hour, '3h'],
    [7 * hour + 30 * minute, '7h30m'],
    [30 * hour, '30h'],
    [3 * day + 4 * hour, '3d4h'],
    [30 * day, '30d'],
    [3 * 365 * day + 5 * day, '3y5d'],
    [9 * 365 * day, '9y'],
  ] as const) {
    it(`shows ${seconds} s as ${text}`, () => {
      expect(humanDuration(seconds * 1000)).to.equal(text);
    });
  }
});

describe('errors of the API', () => {
  for (const [status, reason, kind] of [
    [400, 'BadRequest', 'invalid'],
    [401, 'Unauthorized', 'internal'],
    [403, 'Forbidden', 'internal'],
    [404, 'NotFound', 'notFound'],
    [409, 'AlreadyExists', 'conflict'],
    [409, 'Conflict', 'unavailable'],
    [410, 'Expired', 'unavailable'],
    [422, 'Invalid', 'invalid'],
    [429, 'TooManyRequests', 'unavailable'],
    [500, 'InternalError', 'unavailable'],
    [503, '', 'unavailable'],
    [418, '', 'internal'],
  ] as const) {
    it(`takes ${status} ${reason} for "${kind}"`, () => {
      const error = errorFromAnswer('doing it', status, { reason, message: 'because' });
      expect([error.kind, error.status, error.reason]).to.deep.equal([kind, status, reason]);
      expect(error.message).to.match(/^doing it: because/);
      expect(error).not.to.have.property('code');
    });
  }

  it('keeps messages short and on one line', () => {
    const error = errorFromAnswer('doing it', 500, { message: `a\n${'b'.repeat(10_000)}` });
    expect(error.message.length).to.be.lessThan(330);
    expect(error.message).not.to.contain('\n');
    expect(errorFromAnswer('doing it', 502, '<html>secret</html>').message).to.equal('doing it: HTTP 502');
  });

  it('says how long the server wants to be left alone', () => {
    expect(errorFromAnswer('doing it', 429, {}, '3').retryAfterMs).to.equal(3000);
    expect(errorFromAnswer('doing it', 429, {}, 'Wed, 21 Oct').retryAfterMs).to.equal(0);
  });

  it('tells lost races and forgotten versions from everything else', () => {
    const error = (status: number, reason: string, message = '') => errorFromAnswer('x', status, { reason, message });
    expect([isConflict(error(409, 'Conflict')), isConflict(error(409, 'AlreadyExists'))]).to.deep.equal([true, false]);
    expect(isVersionGone(error(410, 'Expired'))).to.equal(true);
    expect(isVersionGone(error(504, 'Timeout', 'Too large resource version: 9, current: 1'))).to.equal(true);
    expect(isVersionGone(error(504, 'Timeout', 'upstream'))).to.equal(false);
  });

  it('names the code when no answer came', () => {
    const cause = Object.assign(new Error('connect ECONNREFUSED 10.0.0.1:6443'), { code: 'ECONNREFUSED' });
    expect(errorFromNetwork('doing it', cause).message).to.equal(
      'doing it: API server cannot be reached (ECONNREFUSED)',
    );
  });
});

describe('BackOff', () => {
  it('doubles up to its cap, jittered within the upper half, and begins anew after a reset', () => {
    for (const [random, factor] of [
      [0, 0.5],
      [0.5, 0.75],
    ] as const) {
      const backOff = new BackOff({ baseMs: 100, capMs: 500, random: () => random });
      const delays = [0, 1, 2, 3, 4].map(() => backOff.next());
      expect(delays).to.deep.equal([100, 200, 400, 500, 500].map((step) => step * factor));
      backOff.reset();
      expect(backOff.next()).to.equal(100 * factor);
    }
  });
});
