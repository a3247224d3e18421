import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The directory of this program's package.json, searched upward from the calling module (`import.meta.url`): the same from a
 * source file and from the bundle in `dist/`. Throws when there is none.
 */
export function packageRoot(moduleUrl: string): string {
  const start = dirname(fileURLToPath(moduleUrl));
  for (let directory = start; ; directory = dirname(directory)) {
    const manifest = join(directory, 'package.json');
    if (existsSync(manifest) && nameIn(readFileSync(manifest, 'utf8')) === 'meshstor') return directory;
    if (directory === dirname(directory)) {
      throw new Error(`find the package of meshstor: no package.json with that name in ${start} or above it`);
    }
  }
}

function nameIn(manifest: string): unknown {
  const value: unknown = JSON.parse(manifest);
  return typeof value === 'object' && value !== null && 'name' in value ? value.name : undefined;
}
