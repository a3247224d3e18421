// Builds the native addon and bundles the program into dist/meshstor.mjs. Installs first what is missing for that.
//
//   node scripts/build.mjs [--force] [--bundle-only] [--entry FILE --out FILE]
//
// Why a bundle (docs/adr/0001): the Kubernetes client library exports some thousand generated classes, of which we use the
// configuration and the plain request. Unbundled they cost 60 MB of memory in every process. Its modules have no side
// effects but do not say so; told so here, the bundler leaves out what nobody uses.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ensureNpm, ensurePackages } from './setup.mjs';
import { filesBelow, flagsOf, root, run, seconds } from './steps.mjs';

const options = flagsOf({
  force: { type: 'boolean', default: false },
  'bundle-only': { type: 'boolean', default: false },
  entry: { type: 'string', default: 'src/main.ts' },
  out: { type: 'string', default: 'dist/meshstor.mjs' },
});
const out = join(root, options.out);
let bytes = 0;

/** CommonJS packages inside the bundle expect these three. */
const BANNER = [
  "import { createRequire as __meshstorCreateRequire } from 'node:module';",
  "import { dirname as __meshstorDirname } from 'node:path';",
  "import { fileURLToPath as __meshstorFileURLToPath } from 'node:url';",
  'const require = __meshstorCreateRequire(import.meta.url);',
  'const __filename = __meshstorFileURLToPath(import.meta.url);',
  'const __dirname = __meshstorDirname(__filename);',
].join('\n');

const CLIENT = '@kubernetes/client-node';

/** Marks every module of the client library as free of side effects, so that unused ones are dropped. */
const droppableClient = {
  name: 'droppable-kubernetes-client',
  setup(build) {
    const resolving = Symbol('resolving');
    build.onResolve({ filter: new RegExp(`^${CLIENT}`) }, async (args) => {
      if (args.pluginData === resolving) return undefined;
      const { kind, resolveDir, importer } = args;
      const found = await build.resolve(args.path, { kind, resolveDir, importer, pluginData: resolving });
      return found.errors.length > 0 ? { errors: found.errors } : { path: found.path, sideEffects: false };
    });
    // Its own modules name each other with the extension: no search is needed for these thousand files.
    build.onResolve({ filter: /^\.{1,2}\/.*\.js$/ }, (args) => {
      if (!args.importer.includes(`/node_modules/${CLIENT}/`)) return undefined;
      const path = join(args.resolveDir, args.path);
      return existsSync(path) ? { path, sideEffects: false } : undefined;
    });
  },
};

/**
 * What a start would only spend time on. The schemas are compiled here and not there. node-fetch, which the client library
 * loads and we do not call, brings a URL parser with 300 KB of tables for runtimes that have none.
 */
const quickStart = {
  name: 'quick-start',
  setup(build) {
    build.onLoad({ filter: /[/]src[/]kube[/]schema-validators\.ts$/ }, async () => {
      const { compiledSchemas } = await import('./compile-schemas.mjs'); // it needs node_modules
      return { contents: compiledSchemas(), loader: 'js', resolveDir: root };
    });
    build.onResolve({ filter: /^whatwg-url$/ }, () => ({ path: 'whatwg-url', namespace: 'built-in-url' }));
    build.onLoad({ filter: /.*/, namespace: 'built-in-url' }, () => ({
      contents: 'module.exports = { URL, URLSearchParams };',
      loader: 'js',
    }));
    // grpc-js loads it for its own diagnostic services, when one is added to a server: nobody does.
    build.onResolve({ filter: /^@grpc[/]proto-loader$/ }, () => ({ path: 'proto-loader', namespace: 'left-out' }));
    build.onLoad({ filter: /.*/, namespace: 'left-out' }, ({ path }) => ({
      contents: `throw new Error('${path} is not in the bundle');`,
      loader: 'js',
    }));
  },
};

function isFresh() {
  if (!existsSync(out)) return false;
  const inputs = [...filesBelow('src', ['.ts', '.json']), ...filesBelow('proto', ['.proto'])];
  inputs.push(...filesBelow('deploy/crds', ['.yaml']), 'scripts/compile-schemas.mjs');
  inputs.push('scripts/build.mjs', 'package.json', 'package-lock.json', 'tsconfig.json', options.entry);
  const made = statSync(out).mtimeMs;
  return inputs.every((path) => !existsSync(join(root, path)) || statSync(join(root, path)).mtimeMs <= made);
}

async function bundle() {
  const { build } = await import('esbuild');
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  // The bundler keeps a #! line of the entry file on top by itself.
  const hasShebang = readFileSync(join(root, options.entry), 'utf8').startsWith('#!');
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [{ in: options.entry, out: basename(out, '.mjs') }],
    outdir: dirname(out),
    outExtension: { '.js': '.mjs' },
    chunkNames: '[name]-[hash]',
    // Roles are loaded on demand. Without chunks of their own the bundler keeps everything that they could reach.
    splitting: true,
    write: false,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    legalComments: 'none',
    // Half the text is half the time to compile it. Names stay as they are, for stack traces, but for the few that two modules
    // share; keeping those as well (keepNames) is a call for every function at every start.
    minifyWhitespace: true,
    minifySyntax: true,
    external: ['*.node'],
    banner: { js: hasShebang ? BANNER : `#!/usr/bin/env node\n${BANNER}` },
    define: {
      'process.env.MESHSTOR_VERSION': JSON.stringify(version),
      'process.env.NODE_ENV': JSON.stringify('production'), // winston's dependencies bring coloured diagnostics otherwise
    },
    plugins: [droppableClient, quickStart],
    logLevel: 'warning',
  });
  writeOutputs(outputFiles);
}

/**
 * Chunks first, then the entry, put in place by rename: whoever starts the program meanwhile gets the old one or the new one,
 * whole. Chunks of an earlier build go last.
 */
function writeOutputs(outputFiles) {
  const folder = dirname(out);
  mkdirSync(folder, { recursive: true });
  const chunks = outputFiles.filter((file) => file.path !== out);
  const entry = outputFiles.find((file) => file.path === out);
  for (const file of chunks) writeFileSync(file.path, file.contents);
  const fresh = `${out}.${process.pid}.new`;
  writeFileSync(fresh, entry.contents, { mode: 0o755 });
  renameSync(fresh, out);
  const current = new Set(outputFiles.map((file) => basename(file.path)));
  const stale = readdirSync(folder).filter((name) => /-[A-Z0-9]{8}\.mjs$/.test(name) && !current.has(name));
  for (const name of stale) rmSync(join(folder, name), { force: true });
  bytes = outputFiles.reduce((sum, file) => sum + file.contents.length, 0);
}

/** Ends this process when it cannot be built. */
async function buildAddon() {
  const script = ['scripts/build-addon.mjs', ...(options.force ? ['--force'] : [])];
  const addon = await run(process.execPath, script, { live: true });
  if (addon.ok) return;
  process.stderr.write(`building the native addon failed (${addon.reason})\n`);
  process.exit(1);
}

// An image is built with the packages of its own stages, and its addon in another one of them.
if (!options['bundle-only']) ensurePackages('build');
ensureNpm();
if (!options['bundle-only']) await buildAddon();
if (options.force || !isFresh()) {
  const start = performance.now();
  try {
    await bundle();
  } catch (error) {
    process.stderr.write(`bundling ${options.entry} failed: ${error.message}\n`);
    process.exit(1);
  }
  const kib = Math.round(bytes / 1024);
  process.stdout.write(`bundled ${options.out} (${kib} KiB, ${seconds(performance.now() - start)})\n`);
}
