import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MeshStorVolume } from '../../src/api/volume.ts';
import type { KubeClient, KubeStore, Log } from '../../src/kube/index.ts';
import { createKubeClient, createVolumeStore, loadParsers } from '../../src/kube/index.ts';
import type { KubeStoreOptions } from '../../src/kube/store.ts';
import type { ApiServer, ApiServerOptions } from '../lab/api-server/index.ts';
import { createApiServer } from '../lab/api-server/index.ts';
import { Api } from './contract/server.ts';

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A stand-in, clients of it, and everything that is said to the log; closed as a whole. */
export interface Harness {
  readonly server: ApiServer;
  readonly api: Api;
  readonly client: KubeClient;
  readonly kubeconfig: string;
  readonly log: Log;
  readonly lines: LogLine[];
  /** A client of its own, as another process has. */
  newClient(): KubeClient;
  /** A store that watches; quick to retry. */
  volumes(options?: Partial<KubeStoreOptions<MeshStorVolume>>): KubeStore<MeshStorVolume>;
  close(): Promise<void>;
}

const parsers = loadParsers();
export const QUICK = { backOff: { baseMs: 10, capMs: 100 }, pageSize: 7 };

export async function createHarness(options: ApiServerOptions = {}): Promise<Harness> {
  const folder = mkdtempSync(join(tmpdir(), 'meshstor-kube-'));
  const server = await createApiServer({ bookmarkMs: 50, ...options });
  const kubeconfig = join(folder, 'kubeconfig');
  server.writeKubeconfig(kubeconfig);
  const lines: LogLine[] = [];
  const say =
    (level: string) =>
    (message: string, fields: Readonly<Record<string, unknown>> = {}) => {
      lines.push({ level, message, fields });
    };
  const log = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') };
  const stores: KubeStore<MeshStorVolume>[] = [];
  const api = new Api(kubeconfig);
  const clients: KubeClient[] = [api.client];
  const newClient = () => {
    const made = createKubeClient({ kubeconfig });
    clients.push(made);
    return made;
  };
  const client = newClient();
  return {
    server,
    api,
    client,
    kubeconfig,
    log,
    lines,
    newClient,
    volumes: (given = {}) => {
      const store = createVolumeStore({ client, log, parsers, watch: QUICK, ...(given as object) });
      store.start();
      stores.push(store);
      return store;
    },
    close: async () => {
      server.faults.heal();
      await Promise.all(stores.map((store) => store.stop()));
      for (const made of clients) made.close();
      await server.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** Waits until it holds; fails with what it was waiting for. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 8000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited ${limitMs} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A log that swallows everything. */
export const quiet: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
