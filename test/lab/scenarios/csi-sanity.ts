import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GUEST_SOCKET } from '../deployment.ts';
import type { Machine } from '../machine.ts';
import { REPO_ROOT } from '../paths.ts';
import { remainsAnywhere } from '../remains.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import type { Access } from '../csi-sanity/report.ts';
import { ACCESSES, faultsIn, prepareReports, readReport, reportPath } from '../csi-sanity/report.ts';
import { SKIPS, skippedNames } from '../csi-sanity/skips.ts';
import { TcpRelay } from '../tcp-relay.ts';
import type { Driver } from '../with-driver.ts';
import { untilUsable, withDriver } from '../with-driver.ts';

/** Program of the suite, built from its pinned module by `scripts/test-sanity.mjs`. */
const PROGRAM = process.env['MESHSTOR_CSI_SANITY'];
/** One copy needs one node only, and no link that a busy machine is too slow for. */
const COPIES = Number(process.env['MESHSTOR_CSI_SANITY_COPIES'] ?? '2');
const VOLUME_BYTES = 512 * 1024 * 1024;
/** Cases that must pass with each kind of access. */
const LEAST_PASSED = 55;
const SUITE_LIMIT_MS = 20 * 60_000;
const REMOVAL_LIMIT_MS = 120_000;
/** Where kubelet has its volumes, so that a forgotten mount is seen. The suite makes the folders itself, not their parent. */
const FOLDER = '/var/lib/kubelet/csi-sanity';
const RESULTS = join(REPO_ROOT, 'test-results');

function commandFor(access: Access, controllerPort: number, hostAddress: string): readonly string[] {
  return [
    PROGRAM ?? '',
    `--csi.endpoint=unix://${GUEST_SOCKET}`,
    `--csi.controllerendpoint=dns:///${hostAddress}:${controllerPort}`,
    `--csi.testvolumeaccesstype=${access}`,
    `--csi.testvolumesize=${VOLUME_BYTES}`,
    `--csi.testvolumeparameters=${FOLDER}/parameters.yaml`,
    `--csi.stagingdir=${FOLDER}/staging`,
    `--csi.mountdir=${FOLDER}/mount`,
    `--ginkgo.junit-report=${FOLDER}/${access}.xml`,
    `--ginkgo.timeout=${SUITE_LIMIT_MS / 1000 - 60}s`,
    '--ginkgo.no-color',
    '--ginkgo.v',
  ];
}

/** Holders wipe and remove the partitions of deleted volumes after the call that deletes them. */
async function untilNothingRemains(driver: Driver, machines: readonly Machine[]): Promise<void> {
  const deadline = Date.now() + REMOVAL_LIMIT_MS;
  for (;;) {
    const volumes = (await driver.deployment.list('meshstorvolumes')).map(({ metadata }) => metadata.name);
    if (volumes.length === 0) return;
    if (Date.now() > deadline) {
      const remains = await remainsAnywhere(machines);
      throw new Error(`the suite has left volumes: ${volumes.join(', ')}\n${remains.join('\n')}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** One run of the suite on node1; returns what is wrong with it. */
async function runSuite(
  { cluster, step, note }: ScenarioContext,
  access: Access,
  controllerPort: number,
): Promise<readonly string[]> {
  const node = cluster.node('node1');
  const xml = await step(`${access}: the suite runs`, async () => {
    const command = commandFor(access, controllerPort, cluster.hostAddress);
    const suite = await node.start(`csi-sanity-${access}`, command, { timeoutMs: SUITE_LIMIT_MS });
    const end = await suite.ended;
    return node.readFile(`${FOLDER}/${access}.xml`).catch((error: unknown) => {
      throw new Error(`csi-sanity has ended (exit ${end.code}) without a report: see ${suite.logFile}`, {
        cause: error,
      });
    });
  });
  await writeFile(reportPath(RESULTS, access), xml);
  const cases = readReport(xml);
  const count = (status: string): number => cases.filter((each) => each.status === status).length;
  note(`${access}: ${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`);
  return faultsIn(cases, skippedNames(), LEAST_PASSED).map((fault) => `${access}: ${fault}`);
}

/** Returns what is wrong with the runs. */
async function bothWays(context: ScenarioContext, driver: Driver): Promise<readonly string[]> {
  const { cluster, step, note } = context;
  await step('every drive is usable', () => untilUsable(driver.deployment, cluster.nodes));
  for (const { because, cases } of SKIPS) note(`skipped, ${cases.length}: ${because}`);
  const node = cluster.node('node1');
  await node.run(`mkdir -p ${FOLDER}`);
  await node.writeFile(`${FOLDER}/parameters.yaml`, `numberOfCopies: "${COPIES}"\n`);
  const relay = await TcpRelay.listen(cluster.hostAddress, driver.deployment.controllerSocket);
  try {
    const faults: string[] = [];
    for (const access of ACCESSES) {
      faults.push(...(await runSuite(context, access, relay.port)));
      await step(`${access}: every volume is gone`, () => untilNothingRemains(driver, cluster.nodes));
    }
    return faults;
  } finally {
    await relay.close();
    await node.run(`rm -rf ${FOLDER}`);
  }
}

export const csiSanity: Scenario = {
  name: 'csi-sanity',
  title: 'the conformance suite of CSI passes against real drives, mounted and as block devices',
  nodes: COPIES === 1 ? 1 : 3,
  skip: () => (PROGRAM === undefined ? 'needs the csi-sanity program: run `npm run test:sanity`' : undefined),
  async run(context) {
    let faults: readonly string[] = [];
    await prepareReports(RESULTS);
    await withDriver(context, {}, async (driver) => {
      faults = await bothWays(context, driver);
    });
    if (faults.length > 0) throw new Error(faults.join('\n'));
  },
};
