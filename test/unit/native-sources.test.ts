import { expect } from 'chai';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..', '..');

/** Paths in quotes inside `'name': [ … ]` of binding.gyp. */
function gypList(name: string): string[] {
  const text = readFileSync(join(ROOT, 'binding.gyp'), 'utf8').replace(/#.*$/gm, '');
  const body = new RegExp(`'${name}':\\s*\\[([^\\]]*)\\]`).exec(text)?.[1];
  if (body === undefined) throw new Error(`binding.gyp has no list ${name}`);
  return [...body.matchAll(/'([^']+)'/g)].map((match) => match[1] ?? '');
}

/** Words inside `set(NAME … )` of CMakeLists.txt. */
function cmakeList(name: string): string[] {
  const text = readFileSync(join(ROOT, 'CMakeLists.txt'), 'utf8').replace(/#.*$/gm, '');
  const body = new RegExp(`set\\(${name}\\s([^)]*)\\)`).exec(text)?.[1];
  if (body === undefined) throw new Error(`CMakeLists.txt has no list ${name}`);
  return body.split(/\s+/).filter((word) => word !== '');
}

function sourcesIn(folder: string): string[] {
  const names = readdirSync(join(ROOT, folder)).filter((name) => name.endsWith('.cc'));
  return names.map((name) => `${folder}/${name}`).sort();
}

describe('native source lists', () => {
  it('are the same for the core in binding.gyp and CMakeLists.txt', () => {
    expect(gypList('core_sources')).to.deep.equal(cmakeList('CORE_SOURCES'));
  });

  it('name every file of native/core and native/addon', () => {
    expect(gypList('core_sources').sort()).to.deep.equal(sourcesIn('native/core'));
    expect(gypList('addon_sources').sort()).to.deep.equal(sourcesIn('native/addon'));
  });

  it('name every test and every fuzzer of native/test', () => {
    const fuzzers = cmakeList('FUZZERS').map((name) => `native/test/fuzz_${name}.cc`);
    expect([...cmakeList('TEST_SOURCES'), ...fuzzers].sort()).to.deep.equal(sourcesIn('native/test'));
  });
});
