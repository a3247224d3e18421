import { expect } from 'chai';
import { formatBytes, formatQuantity, GIB, MIB } from '../../src/support/units.ts';

describe('sizes for people', () => {
  it('are rounded where an impression is enough', () => {
    expect([0, 1000, 512 * MIB, 1344 * MIB, 1340 * MIB].map(formatBytes)).to.deep.equal([
      '0',
      '1000',
      '512Mi',
      '1.3Gi',
      '1.3Gi',
    ]);
  });

  it('are exact where two that differ must not read alike', () => {
    const sizes = [0, 1000, 1536, 512 * MIB, 1344 * MIB, 1340 * MIB, GIB, 1024 * GIB, GIB + 1];
    const texts = ['0', '1000', '1536', '512Mi', '1344Mi', '1340Mi', '1Gi', '1Ti', '1073741825'];
    expect(sizes.map(formatQuantity)).to.deep.equal(texts);
  });
});
