// A rule that never fires checks nothing. This writes a small tree in which every import rule of .dependency-cruiser.cjs is
// broken once, runs the checker over it, and says which rules kept silent; and a clean tree, over which all must.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { bin, root, run } from './steps.mjs';

const CLEAN = {
  'src/api/words.ts': 'export const word = 1;\n',
  'src/support/tool.ts': "import { createHash } from 'node:crypto';\nexport const tool = createHash;\n",
  'src/plan/decide.ts': "import { word } from '../api/words.ts';\nexport const decide = word;\n",
  'src/kube/client.ts': "import '@kubernetes/client-node';\nexport const client = 1;\n",
  'src/csi/server.ts': "import '@grpc/grpc-js';\nimport '../node/role.ts';\nexport const server = 1;\n",
  'src/node/role.ts': "import { decide } from '../plan/decide.ts';\nexport const role = decide;\n",
  'src/main.ts': "import './csi/server.ts';\nimport './kube/client.ts';\n",
};

const BROKEN = {
  'src/api/words.ts': 'export const word = 1;\n',
  'src/main.ts': 'export const main = 1;\n',
  'src/support/a.ts': "import '../main.ts';\n",
  'src/api/a.ts': "import '../plan/a.ts';\n",
  'src/plan/a.ts': "import '../node/a.ts';\nimport 'node:fs';\n",
  'src/observability/a.ts': "import '../node/a.ts';\n",
  'src/native/a.ts': "import '../plan/a.ts';\n",
  'src/kube/a.ts': "import '../controller/a.ts';\n",
  'src/node/a.ts': "import '../csi/a.ts';\nimport '@grpc/grpc-js';\n",
  'src/controller/a.ts': "import '../node/a.ts';\nimport '@kubernetes/client-node';\n",
  'src/csi/a.ts': "import '../kube/a.ts';\nimport '../../build/x.node';\n",
  'src/cli/a.ts': "import '../native/a.ts';\nimport '../../test/a.ts';\nimport 'mocha';\nimport './nowhere.ts';\n",
  'src/cli/one.ts': "import './two.ts';\n",
  'src/cli/two.ts': "import './one.ts';\n",
  'test/a.ts': 'export const a = 1;\n',
  'build/x.node': '',
};

function plant(files) {
  const folder = mkdtempSync(join(tmpdir(), 'meshstor-lint-'));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  for (const name of ['package.json', 'tsconfig.json', 'node_modules', '.dependency-cruiser.cjs']) {
    symlinkSync(join(root, name), join(folder, name));
  }
  return folder;
}

/** Names of the rules that fired over a tree. */
async function fired(files) {
  const folder = plant(files);
  try {
    const args = ['--config', '.dependency-cruiser.cjs', '--output-type', 'json', 'src'];
    const result = await run(bin('depcruise'), args, { cwd: folder, limitMs: 60_000 });
    const report = JSON.parse(result.output.slice(result.output.indexOf('{')));
    return new Set(report.summary.violations.map((violation) => violation.rule.name));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What is wrong with the rules; empty when each fires where it should and none where it should not. */
export async function importRulesFire() {
  const { forbidden } = createRequire(import.meta.url)(join(root, '.dependency-cruiser.cjs'));
  const loud = await fired(BROKEN);
  const silent = forbidden.map((rule) => rule.name).filter((name) => !loud.has(name));
  const wrong = await fired(CLEAN);
  return [
    ...silent.map((name) => `import rule "${name}" does not fire on a tree that breaks it`),
    ...[...wrong].map((name) => `import rule "${name}" fires on a clean tree`),
  ].join('\n');
}
