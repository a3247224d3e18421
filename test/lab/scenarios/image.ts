import { readFile } from 'node:fs/promises';
import { TOOLS } from '../../../src/node/preflight.ts';
import { connectCsi } from '../../csi/client.ts';
import type { Deployment } from '../deployment.ts';
import type { ContainerWanted } from '../image/container.ts';
import { containerCommand, forgetContainers, prepareForContainers } from '../image/container.ts';
import { roleContainer } from '../image/pod.ts';
import { builtImage, provideImage } from '../image/rootfs.ts';
import { createVolume } from '../kubelet.ts';
import type { GuestProcess, Machine } from '../machine.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import { until } from '../wait.ts';
import type { Driver } from '../with-driver.ts';
import { untilUsable, withDriver } from '../with-driver.ts';

const MIB = 1024 * 1024;
const PLUGIN = '/var/lib/kubelet/plugins/io.meshstor.csi.mesh';
/** Starting Node in an emulated machine, beside others. */
const START_LIMIT_MS = 120_000;
const REFUSED_WRITE = /EROFS|read-only file ?system/i;

interface Finding {
  readonly id: string;
  readonly severity: string;
  readonly what: string;
}

let containers = 0;

function nodeContainer(machine: Machine, kubeconfig: string): ContainerWanted {
  const container = roleContainer('node');
  containers += 1;
  // What `node.initializeBlank` and `node.driveSelectors` of the chart's values make of it.
  const args = [
    ...container.args.filter((arg) => !arg.startsWith('--initialize-blank=')),
    '--initialize-blank=true',
    '--drive-selector=model=QEMU*',
  ];
  const env = { NODE_NAME: machine.name };
  return { name: `node-${containers}`, image: builtImage(), container, env, kubeconfig, args };
}

/** Runs a command where the node role would run, as with `kubectl exec`. */
async function runInside(machine: Machine, command: readonly string[]) {
  const wanted = { ...nodeContainer(machine, '/etc/hostname'), command };
  return machine.tryRun(containerCommand(wanted), { timeoutMs: START_LIMIT_MS });
}

async function checkDoctor({ note }: ScenarioContext, machine: Machine): Promise<void> {
  const { Entrypoint } = builtImage().config;
  const result = await runInside(machine, [...Entrypoint, 'doctor', '--host-root=/host', '--output=json']);
  if (result.code !== 0) throw new Error(`doctor: exit ${String(result.code)}: ${result.stdout}${result.stderr}`);
  const { findings } = JSON.parse(result.stdout) as { readonly findings: readonly Finding[] };
  for (const tool of Object.keys(TOOLS)) {
    const found = findings.find(({ id }) => id === `tool-${tool}`);
    if (found?.severity !== 'ok') throw new Error(`doctor says of ${tool}: ${found?.what ?? 'nothing'}`);
    note(found.what);
  }
  note(
    findings
      .filter(({ severity }) => severity !== 'ok')
      .map(({ what }) => what)
      .join('; '),
  );
}

/** The root directory is read-only, and what people look with works. */
async function checkInside(machine: Machine): Promise<void> {
  const written = await runInside(machine, ['sh', '-c', 'echo x > /opt/meshstor/x']);
  if (written.code === 0 || !REFUSED_WRITE.test(written.stderr))
    throw new Error(`the root directory can be written: ${written.stderr}`);
  // As the node role starts `mdadm --add`: with a configuration of its own over the image's.
  const script = 'echo "$1" > /run/meshstor/own.conf && mount --bind /run/meshstor/own.conf "$2" && cat "$2"';
  const around = ['unshare', '--mount', '--propagation', 'private', '/bin/sh', '-c', script, 'sh'];
  const own = await runInside(machine, [...around, 'CREATE bbl=no', '/etc/mdadm/mdadm.conf']);
  if (own.stdout.trim() !== 'CREATE bbl=no') throw new Error(`mounting over mdadm.conf: ${own.stdout}${own.stderr}`);
  const seen = await runInside(machine, ['nvme', 'list', '--output-format=json']);
  if (seen.code !== 0 || !seen.stdout.includes('LAB-NODE1-0'))
    throw new Error(`nvme list: ${seen.stdout}${seen.stderr}`);
}

async function checkLog({ logFile }: GuestProcess): Promise<void> {
  const log = await readFile(logFile, 'utf8');
  if (REFUSED_WRITE.test(log)) throw new Error(`a role wants to write where it may not:\n${log}`);
}

async function liveWithVolume(
  { step }: ScenarioContext,
  { deployment, kubelet }: Driver,
  machine: Machine,
): Promise<void> {
  const role = deployment.node(machine.name);
  const volumeId = await createVolume(deployment.controller, {
    name: 'image-one-copy',
    sizeBytes: 512 * MIB,
    consumer: machine.name,
    parameters: { numberOfCopies: '1' },
  });
  const volume = await step('a volume of one copy is up', () => kubelet.bringUp(volumeId, machine.name));
  const file = `${volume.targetPath}/data`;
  const written = await step('the node, outside of the container, writes to it', async () => {
    await machine.run(`mountpoint -q ${volume.stagingPath} && mountpoint -q ${volume.targetPath}`);
    return machine.run(`head -c 8M /dev/urandom > ${file} && sync ${file} && sha256sum < ${file}`, {
      timeoutMs: 120_000,
    });
  });
  await step('the container is replaced by another, mounts and array stay', async () => {
    await checkLog(role.process);
    await role.stop();
    await role.start();
    const read = await machine.run(`sha256sum < ${file}`, { timeoutMs: 120_000 });
    if (read !== written) throw new Error(`the data is ${read.trim()}, ${written.trim()} was written`);
  });
  await step('it goes down by the new container', async () => {
    await kubelet.takeDown(volume);
    const mounts = await machine.run(`grep -c ${volumeId} /proc/mounts || true`);
    if (mounts.trim() !== '0') throw new Error(`the node still has ${mounts.trim()} mounts of it`);
    await kubelet.deleteVolume(volumeId);
  });
}

/** The controller role as the chart's user, with no capability, answers at the socket in the pod's empty folder. */
async function checkController({ note }: ScenarioContext, machine: Machine, deployment: Deployment): Promise<void> {
  const name = 'controller';
  const env = { POD_NAME: 'controller-0', POD_NAMESPACE: 'storage' };
  const container = roleContainer('controller');
  const user = `${container.uid}:${container.gid}`;
  const image = builtImage();
  if (image.config.User !== user) throw new Error(`the image's user is ${image.config.User}, the chart's is ${user}`);
  // On the node's network the node role has this port already.
  const args = container.args.map((arg) => arg.replace(/^--metrics-address=.*/, '--metrics-address=127.0.0.1:9820'));
  const wanted = { name, image, container, env, kubeconfig: deployment.kubeconfig, args };
  const running = await machine.start('controller-of-image', containerCommand(wanted));
  const csi = connectCsi(await machine.forwardUnixSocket(`/run/containers/${name}/empty/csi/csi.sock`));
  try {
    await until(
      'the controller answers',
      START_LIMIT_MS,
      () => csi.identity.Probe({}).then(() => 'yes', String),
      /yes/,
    );
    const status = await machine.run(`grep -E '^(Uid|CapEff|NoNewPrivs)' /proc/${running.pid}/status`);
    if (!/Uid:\s+65532\s+65532/.test(status) || !/CapEff:\s+0+$/m.test(status)) throw new Error(status);
    note(status.trim().replace(/\s+/g, ' '));
  } finally {
    csi.close();
    await running.kill('SIGTERM');
  }
  await checkLog(running);
}

async function run(context: ScenarioContext): Promise<void> {
  const { cluster, step } = context;
  const machine = cluster.node('node1');
  await Promise.all(cluster.nodes.map(prepareForContainers));
  try {
    await step('doctor in the image finds every program', () => checkDoctor(context, machine));
    await step('its root directory is read-only, what is started in it works', () => checkInside(machine));
    const options = {
      nodeSocket: `${PLUGIN}/csi.sock`,
      nodeCommand: (on: Machine, kubeconfig: string) => containerCommand(nodeContainer(on, kubeconfig)),
    };
    await withDriver(context, options, async (driver) => {
      await step('every drive is usable', () => untilUsable(driver.deployment, cluster.nodes));
      await liveWithVolume(context, driver, machine);
      await step('the controller role runs without root', () => checkController(context, machine, driver.deployment));
      await checkLog(driver.deployment.node(machine.name).process);
    });
  } finally {
    await Promise.all(cluster.nodes.map(forgetContainers));
  }
}

export const image: Scenario = {
  name: 'image',
  title: 'the container image, read-only and with the mounts of the chart, holds up a volume; its controller is nobody',
  nodes: 1,
  prepare: provideImage,
  run,
};
