/** What people are told to do can be done. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { packageRoot } from '../../src/support/package-root.ts';

const COMMANDS = ['controller', 'node', 'doctor'];
/** A command that somebody is told to run. */
const NAMED = /\b(?:run|runs|with|by) ["'`]?meshstor ([a-z][a-z-]*)/g;

function sources(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.startsWith('csi/generated'))
    .map((file) => join(folder, file));
}

describe('messages', () => {
  it('name no command that the program does not have', () => {
    const found = sources(join(packageRoot(import.meta.url), 'src')).flatMap((file) => {
      const named = [...readFileSync(file, 'utf8').matchAll(NAMED)].map(([, command = '']) => command);
      return named.filter((command) => !COMMANDS.includes(command)).map((command) => `${file}: meshstor ${command}`);
    });
    expect(found).to.deep.equal([]);
  });
});
