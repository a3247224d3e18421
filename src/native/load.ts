import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { DomainError } from '../api/errors.ts';
import { ABI_VERSION, RAW_EXPORTS } from './raw.ts';
import type { RawAddon } from './raw.ts';

export const ADDON_FILE = 'meshstor_native.node';
const ADDON_ENV = 'MESHSTOR_NATIVE_ADDON';

/**
 * Where the addon may lie, best first. `here` is the folder of the running program: `src/native` in a checkout, `dist` (or
 * whatever the image calls it) when the program is one bundled file.
 */
export function addonCandidates(here: string, env: Readonly<Record<string, string | undefined>>): readonly string[] {
  const override = env[ADDON_ENV];
  if (override !== undefined && override !== '') return [override];
  // Nearest first, so that a stray build folder above the checkout never wins over the checkout's own.
  const roots = [join(here, '..'), join(here, '..', '..')];
  const built = roots.flatMap((root) => ['Release', 'Debug'].map((kind) => join(root, 'build', kind, ADDON_FILE)));
  return [join(here, ADDON_FILE), ...built];
}

/** What is wrong with a loaded module, or undefined when it is the addon that this program was built with. */
export function addonFault(loaded: unknown): string | undefined {
  if (typeof loaded !== 'object' || loaded === null) return 'it does not export an object';
  const exported = loaded as Readonly<Record<string, unknown>>;
  if (exported['abiVersion'] !== ABI_VERSION) {
    return `it has abiVersion ${String(exported['abiVersion'])}, this program needs ${String(ABI_VERSION)}`;
  }
  const missing = RAW_EXPORTS.filter((name) => name !== 'abiVersion' && typeof exported[name] !== 'function');
  return missing.length === 0 ? undefined : `it lacks ${missing.join(', ')}`;
}

/** Tries every candidate and throws one error, of one line, that names each cause. Loading happens on the first call, never on import. */
export function loadFrom(candidates: readonly string[], load: (path: string) => unknown): RawAddon {
  const causes: string[] = [];
  for (const path of candidates) {
    try {
      const loaded = load(path);
      const fault = addonFault(loaded);
      if (fault === undefined) return loaded as RawAddon;
      causes.push(`${path}: ${fault}`);
    } catch (error: unknown) {
      causes.push(`${path}: ${firstLine(error)}`);
    }
  }
  throw new DomainError(
    'precondition',
    `loading the native addon on ${process.platform}-${process.arch}, Node.js ${process.version}: ${causes.join('; ')}; ` +
      `build it with "npm run build" on this machine, or set ${ADDON_ENV} to the file to use`,
  );
}

let loadedAddon: RawAddon | undefined;

export function loadAddon(): RawAddon {
  if (loadedAddon === undefined) {
    const here = dirname(fileURLToPath(import.meta.url));
    const require = createRequire(import.meta.url);
    loadedAddon = loadFrom(addonCandidates(here, process.env), (path) => require(path) as unknown);
  }
  return loadedAddon;
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n', 1)[0] ?? text;
}
