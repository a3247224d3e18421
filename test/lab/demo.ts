/**
 * The main job, from nothing: three virtual nodes with real kernels and emulated NVMe drives, the driver's two roles, and one
 * replicated volume through its whole life, driven through the CSI sockets in the order in which the sidecars and kubelet call.
 * `npm run demo` sets everything up and runs this.
 */
import { ensureKernel } from './cache.ts';
import type { Cluster } from './cluster.ts';
import { bootCluster } from './cluster.ts';
import type { Deployment } from './deployment.ts';
import { deploy } from './deployment.ts';
import { Kubelet, createVolume } from './kubelet.ts';
import { enterLabNamespace } from './network.ts';
import { remainsAnywhere } from './remains.ts';
import { untilUsable } from './with-driver.ts';

const MIB = 1024 * 1024;
const VOLUME = 'pvc-5f0c6a1e-7b8d-4c3f-9a21-0d4e8c6b7a90';
const startedAt = Date.now();

function say(line: string): void {
  const elapsed = ((Date.now() - startedAt) / 1000).toFixed(1).padStart(6);
  process.stdout.write(`${elapsed} s  ${line}\n`);
}

function show(text: string): void {
  process.stdout.write(`${text.trimEnd().replace(/^/gm, '          ')}\n`);
}

async function showObjects(deployment: Deployment): Promise<void> {
  say('kubectl get msvol');
  show(await deployment.kubectl('get', 'msvol'));
  say('kubectl get msnd');
  show(await deployment.kubectl('get', 'msnd'));
}

async function life(cluster: Cluster, deployment: Deployment): Promise<void> {
  const kubelet = new Kubelet(deployment);
  const volumeId = await createVolume(deployment.controller, {
    name: VOLUME,
    sizeBytes: 1024 * MIB,
    consumer: 'node1',
    parameters: { numberOfCopies: '2' },
  });
  say(`CreateVolume: ${volumeId}, 1 GiB in two copies, consumer node1`);

  const first = await kubelet.attach(volumeId, 'node1');
  say('ControllerPublishVolume: attached to node1');
  await kubelet.stage(first);
  say('NodeStageVolume: zeroed, exported, connected, guarded, mirrored, formatted, mounted');
  await kubelet.publish(first);
  say("NodePublishVolume: bound to the pod's path");
  const node1 = cluster.node('node1');
  const checksum = await node1.run(
    `cd ${first.targetPath} && head -c 64M /dev/urandom > data && sync && sha256sum data | tee data.sha256`,
    { timeoutMs: 120_000 },
  );
  say(`file written: 64 MiB, sha256 ${checksum.slice(0, 16)}…`);
  show(await node1.run('cat /proc/mdstat; dmsetup ls; df -h -t xfs'));
  await showObjects(deployment);

  await kubelet.takeDown(first);
  say('NodeUnpublishVolume, NodeUnstageVolume, ControllerUnpublishVolume: let go by node1');

  const second = await kubelet.bringUp(volumeId, 'node3');
  say('attached, staged and published on node3');
  const verified = await cluster
    .node('node3')
    .run(`cd ${second.targetPath} && sha256sum -c data.sha256`, { timeoutMs: 120_000 });
  say(`file verified on node3: ${verified.trim()}`);
  show(await deployment.kubectl('get', 'msvol', '-o', 'wide'));
  await kubelet.takeDown(second);
  await kubelet.deleteVolume(volumeId);
  say('let go by node3 and deleted: every holder wiped and removed its partition');

  const remains = await remainsAnywhere(cluster.nodes);
  if (remains.length > 0) throw new Error(`something is left over:\n${remains.join('\n')}`);
  say('no partition, array, guard, connection, export or mount is left on any node');
}

async function main(): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new Error('the demo needs root, for network namespaces and virtual machines: run it with sudo');
  await enterLabNamespace(() => ensureKernel('6.1', say));
  const cluster = await bootCluster({ nodes: 3, name: 'demo', progress: say });
  try {
    say(`three nodes with Linux ${cluster.kernel.release} answer`);
    const deployment = await deploy(cluster);
    try {
      say('controller and node roles serve CSI');
      await untilUsable(deployment, cluster.nodes);
      await life(cluster, deployment);
    } finally {
      await deployment.stop();
    }
  } catch (error) {
    say(`logs: ${cluster.results}`);
    throw error;
  } finally {
    await cluster.destroy();
  }
}

try {
  await main();
  process.stdout.write(`demo: ok in ${Math.round((Date.now() - startedAt) / 1000)} s\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.stdout.write(`demo: FAILED after ${Math.round((Date.now() - startedAt) / 1000)} s\n`);
  process.exitCode = 1;
}
