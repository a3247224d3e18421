import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { REPO_ROOT } from '../paths.ts';
import { spawnBound } from '../processes.ts';

const FOLDER = 'MESHSTOR_IMAGE_FOLDER';

/** What the image says of itself. */
export interface ImageConfig {
  readonly Entrypoint: readonly string[];
  readonly Env: readonly string[];
  readonly User: string;
}

export interface BuiltImage {
  /** Its root directory. */
  readonly root: string;
  readonly config: ImageConfig;
}

/**
 * Builds the image, or finds that of equal sources, and tells this process and those that it starts where it is. Call it outside
 * the lab's namespace: npm and Debian's packages come from the network. MESHSTOR_IMAGE_FOLDER names one to take instead: its root
 * directory in `root`, its OCI configuration in `config.json`.
 */
export async function provideImage(print: (line: string) => void): Promise<void> {
  const given = process.env[FOLDER];
  if (given !== undefined) return print(`the image in ${given}`);
  const script = join(REPO_ROOT, 'scripts', 'image.mjs');
  const child = spawnBound(process.execPath, [script, '--local-base', '--rootfs'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (child.stdout === null) throw new Error('building the image: its output cannot be read');
  let last = '';
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    last = line;
    print(line);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`building the image: exit ${String(code)}`);
  process.env[FOLDER] = last;
}

export function builtImage(): BuiltImage {
  const folder = process.env[FOLDER];
  if (folder === undefined) throw new Error('the image was not built');
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as ImageConfig;
  return { root: join(folder, 'root'), config };
}
