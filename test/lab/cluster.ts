import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureKernel } from './cache.ts';
import type { KernelSeries, LabKernel, Progress } from './cache.ts';
import { cleanLeftovers, createRunFolders, removeRunFolders, writeRunRecord } from './leftovers.ts';
import type { RunFolders } from './leftovers.ts';
import { Machine } from './machine.ts';
import { createNetwork, removeNetwork } from './network.ts';
import { resultsRoot } from './paths.ts';
import { HOST_ADDRESS, addressOf, envFileText } from './qemu-args.ts';
import type { DriveSpec, MachineSpec } from './qemu-args.ts';

const GIB = 1024 ** 3;
const AGENT = fileURLToPath(new URL('guest-agent.mjs', import.meta.url));

export interface ClusterOptions {
  /** They are called node1, node2, … Default 3, at most 9. */
  readonly nodes?: number;
  /** Drives of every node, blank. Default: three of 4 GiB, one with 512-byte and two with 4096-byte sectors. */
  readonly drives?: readonly DriveSpec[];
  /** Default 6.1. */
  readonly kernel?: KernelSeries;
  /** Memory of a node. Default 1024. */
  readonly memoryMiB?: number;
  /** Goes into the name of the folder with the logs. */
  readonly name: string;
  /** Told about what takes time. Default: nothing. */
  readonly progress?: Progress;
  /** Time until every agent must have answered. Default 240 s: emulation shares the machine with whatever else it does. */
  readonly bootTimeoutMs?: number;
}

function accelFromEnv(): 'tcg' | 'kvm' {
  const wanted = process.env.MESHSTOR_LAB_ACCEL ?? 'tcg';
  if (wanted !== 'tcg' && wanted !== 'kvm') throw new Error(`MESHSTOR_LAB_ACCEL is "${wanted}": expected tcg or kvm`);
  return wanted;
}

async function createSparseFile(path: string, sizeBytes: number): Promise<void> {
  const file = await open(path, 'wx');
  await file.truncate(sizeBytes).finally(() => file.close());
}

/** A booted lab. Made by `bootCluster`, which must run inside `enterLabNamespace`. */
export class Cluster {
  /** Folder with the logs: serial consoles, background processes, kernel messages. */
  readonly results: string;
  readonly kernel: LabKernel;
  readonly nodes: readonly Machine[];
  /** The host's address as the nodes see it: where an API server of the lab listens. */
  readonly hostAddress = HOST_ADDRESS;
  readonly #folders: RunFolders;

  constructor(results: string, kernel: LabKernel, nodes: readonly Machine[], folders: RunFolders) {
    this.results = results;
    this.kernel = kernel;
    this.nodes = nodes;
    this.#folders = folders;
  }

  /** The node called `name`; throws if there is none. */
  node(name: string): Machine {
    const found = this.nodes.find((node) => node.name === name);
    if (!found) throw new Error(`the lab has no node ${name}`);
    return found;
  }

  /** Powers every node off and removes everything except the logs. Idempotent. */
  async destroy(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.saveDmesg()));
    await Promise.all(this.nodes.map((node) => node.destroy()));
    await removeNetwork(this.nodes.length);
    await removeRunFolders(this.#folders);
  }

  /** Boots all nodes at once; destroys the lab again if one of them fails. */
  async boot(timeoutMs: number): Promise<void> {
    try {
      await createNetwork(this.nodes.length);
      const booting = this.nodes.map((node) => node.boot(timeoutMs));
      await writeRunRecord(this.#folders, this.#pids());
      const results = await Promise.allSettled(booting);
      const failed = results.find((result) => result.status === 'rejected');
      if (failed) throw failed.reason as Error;
    } catch (error) {
      await this.destroy();
      throw error;
    }
  }

  #pids(): number[] {
    return this.nodes.map((node) => node.pid).filter((pid) => pid !== undefined);
  }
}

async function makeSpecs(
  options: ClusterOptions,
  kernel: LabKernel,
  folders: RunFolders,
  results: string,
): Promise<MachineSpec[]> {
  const count = options.nodes ?? 3;
  if (!Number.isInteger(count) || count < 1 || count > 9) throw new Error(`boot ${count} nodes: expected 1 to 9`);
  const drives = options.drives ?? [
    { sizeBytes: 4 * GIB, sectorSize: 512 },
    { sizeBytes: 4 * GIB, sectorSize: 4096 },
    { sizeBytes: 4 * GIB, sectorSize: 4096 },
  ];
  const indexes = Array.from({ length: count }, (_, index) => index + 1);
  const hosts = indexes.map((index) => ({ name: `node${index}`, address: addressOf(index) }));
  const specs = indexes.map((index): MachineSpec => {
    const name = `node${index}`;
    const file = (drive: number): string => join(folders.state, `${name}-drive${drive}.img`);
    return {
      name,
      index,
      drives: drives.map((drive, at) => ({ ...drive, file: file(at), serial: `LAB-${name.toUpperCase()}-${at}` })),
      memoryMiB: options.memoryMiB ?? 1024,
      vmlinux: kernel.vmlinux,
      initramfs: kernel.initramfs,
      accel: accelFromEnv(),
      envFile: join(folders.state, `${name}.env`),
      serialLog: join(results, `${name}-serial.log`),
      qmpSocket: join(folders.sockets, `${name}.qmp`),
      agentSocket: join(folders.sockets, `${name}.agent`),
    };
  });
  for (const { name, index, envFile, drives: images } of specs) {
    const { modulesDir } = kernel;
    const text = envFileText({ name, index, hosts, modulesDir, nodeBinary: process.execPath, agent: AGENT });
    await writeFile(envFile, text);
    for (const image of images) await createSparseFile(image.file, image.sizeBytes);
  }
  return specs;
}

/**
 * Boots a lab: cleans up after killed runs, gets the kernel, starts every node and waits until all of them answer.
 * The caller must call `destroy` in the end, whatever happens.
 */
export async function bootCluster(options: ClusterOptions): Promise<Cluster> {
  const progress = options.progress ?? (() => undefined);
  if (process.getuid?.() !== 0) throw new Error('boot the lab: it needs root, for network namespaces and taps');
  await cleanLeftovers(progress);
  const kernel = await ensureKernel(options.kernel ?? '6.1', progress);
  const run = `${options.name}-${new Date().toISOString().replace(/[-:]|\..*/g, '')}-${process.pid}`;
  const results = join(resultsRoot(), run);
  await mkdir(results, { recursive: true });
  const folders = await createRunFolders(run);
  const specs = await makeSpecs(options, kernel, folders, results);
  const nodes = specs.map((spec) => new Machine(spec, { results, sockets: folders.sockets }));
  const cluster = new Cluster(results, kernel, nodes, folders);
  await cluster.boot(options.bootTimeoutMs ?? 240_000);
  return cluster;
}
