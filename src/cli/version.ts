import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../support/package-root.ts';

/** The version of this program: put in by the bundler, read from package.json in a checkout. */
export function programVersion(): string {
  const built = process.env['MESHSTOR_VERSION'];
  if (built !== undefined && built !== '') return built;
  const manifest: unknown = JSON.parse(readFileSync(join(packageRoot(import.meta.url), 'package.json'), 'utf8'));
  if (typeof manifest === 'object' && manifest !== null && 'version' in manifest) return String(manifest.version);
  throw new Error('read the version of this program: package.json has none');
}
