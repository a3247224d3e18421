import { expect } from 'chai';
import type { Scenario } from '../lab/scenario.ts';
import { scenariosFor } from '../lab/scenario.ts';

function scenario(name: string, controlPlane?: 'kubernetes'): Scenario {
  const run = () => Promise.resolve();
  return { name, title: name, nodes: 1, run, ...(controlPlane === undefined ? {} : { controlPlane }) };
}

describe('what the lab runs', () => {
  const known = {
    usual: [scenario('tools'), scenario('life')],
    long: [scenario('idle'), scenario('real', 'kubernetes')],
  };
  const names = (controlPlane: 'stand-in' | 'kubernetes', ...asked: string[]) =>
    scenariosFor(known, controlPlane, asked).map(({ name }) => name);

  it('is without names what is neither long nor in need of a real control plane', () => {
    expect(names('stand-in')).to.deep.equal(['tools', 'life']);
  });

  it('is what was named, long or not, a real control plane or not', () => {
    expect(names('stand-in', 'real', 'tools')).to.deep.equal(['tools', 'real']);
  });

  it('is with a real control plane everything that is made for one', () => {
    expect(names('kubernetes')).to.deep.equal(['real']);
    expect(names('kubernetes', 'real')).to.deep.equal(['real']);
  });

  it('is nothing with a real control plane that cannot run with one, and no unknown name', () => {
    expect(() => names('kubernetes', 'life')).to.throw(/life cannot run with --control-plane=kubernetes/);
    expect(() => names('kubernetes', 'other')).to.throw(/no scenario is called other/);
    expect(() => names('stand-in', 'other')).to.throw(/no scenario is called other/);
  });
});
