// The conformance suite of CSI, csi-sanity, in the virtual lab: builds or finds the program, then runs the scenario.
//
//   node scripts/test-sanity.mjs [--copies 1] [--kernel 6.12]
//
// Volumes have two copies on three nodes. `--copies 1` takes one node, for machines too busy to keep links between nodes alive.
// The reports are test-results/csi-sanity-mount.xml and -block.xml. With CI=true a run that was skipped counts as failed.

import { GoMissing } from './go-modules.mjs';
import { ensureTools } from './kube-tools.mjs';
import { ensureNpm, ensurePackages, exitOn, SetupError } from './setup.mjs';
import { flagsOf, inCi, parseCounts, run } from './steps.mjs';

const LIMIT_MS = 60 * 60_000;
const FLAGS = {
  copies: { type: 'string', default: '2' },
  kernel: { type: 'string', default: '6.1' },
};

/** Path of the program; undefined, with the reason printed, where there is no Go to build it. */
async function findSuite() {
  try {
    const { 'csi-sanity': tool } = await ensureTools(['csi-sanity']);
    process.stdout.write(`csi-sanity ${tool.version} (${tool.origin})\n`);
    return tool.path;
  } catch (error) {
    if (!(error instanceof GoMissing)) throw error;
    process.stdout.write(`${error.message}\n`);
    return undefined;
  }
}

async function build() {
  const { ok, reason, output } = await run(process.execPath, ['scripts/build.mjs'], { limitMs: LIMIT_MS });
  if (!ok) throw new Error(`the build failed: ${reason}\n${output.slice(-4000)}`);
}

try {
  const flags = flagsOf(FLAGS);
  if (!['1', '2'].includes(flags.copies)) throw new SetupError(`--copies ${flags.copies}: expected 1 or 2`);
  ensureNpm();
  ensurePackages('build', 'lab');
  const suite = await findSuite();
  if (suite === undefined) {
    process.stdout.write(
      inCi ? 'csi-sanity: 0 passed, 1 failed, 0 skipped\n' : 'csi-sanity: 0 passed, 0 failed, 1 skipped\n',
    );
    process.exitCode = inCi ? 1 : 0;
  } else {
    await build();
    const args = ['scripts/lab.mjs', '--scenario', 'csi-sanity', '--kernel', flags.kernel];
    const env = { ...process.env, MESHSTOR_CSI_SANITY: suite, MESHSTOR_CSI_SANITY_COPIES: flags.copies };
    const { ok, output } = await run(process.execPath, args, { env, live: true, limitMs: LIMIT_MS });
    const passed = parseCounts(output)?.failed === 0 && ok;
    process.exitCode = passed ? 0 : 1;
  }
} catch (error) {
  exitOn(error);
}
