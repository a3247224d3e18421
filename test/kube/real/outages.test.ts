import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { DomainError } from '../../../src/api/errors.ts';
import { EMPTY_STATUS } from '../../../src/api/volume.ts';
import type { MeshStorVolume, VolumeStatus } from '../../../src/api/volume.ts';
import type { KubeClient, KubeStore } from '../../../src/kube/index.ts';
import { createKubeClient, createVolumeStore, loadParsers } from '../../../src/kube/index.ts';
import { freshName, volume, VOLUMES } from '../contract/server.ts';
import { quiet, until } from '../harness.ts';
import type { ControlPlane } from './control-plane.ts';
import { startControlPlane } from './control-plane.ts';
import { tell } from '../../support/tell.ts';

const parsers = loadParsers();
const SEEN_MS = 60_000;

function epoch(attachmentEpoch: number): VolumeStatus {
  return { ...EMPTY_STATUS, attachmentEpoch };
}

/** Says how long it took from now until it holds. */
async function timed(what: string, holds: () => boolean): Promise<void> {
  const startedAt = Date.now();
  await until(what, holds, SEEN_MS);
  tell(`${what}: ${Date.now() - startedAt} ms`);
}

describe('stores through outages of a real API server', function () {
  this.timeout(300_000);
  let plane: ControlPlane;
  const clients: KubeClient[] = [];
  const stores: KubeStore<MeshStorVolume>[] = [];

  before(async () => {
    plane = await startControlPlane();
    await plane.installDefinitions();
  });

  afterEach(async () => {
    await Promise.all(stores.splice(0).map((store) => store.stop()));
    for (const client of clients.splice(0)) client.close();
  });

  after(async () => {
    await (plane as ControlPlane | undefined)?.stop();
  });

  function open(watch: { readonly stallMs?: number } = {}): KubeStore<MeshStorVolume> {
    const client = createKubeClient({ kubeconfig: plane.kubeconfig });
    const store = createVolumeStore({ client, log: quiet, parsers, watch });
    clients.push(client);
    stores.push(store);
    return store;
  }

  async function watching(watch: { readonly stallMs?: number } = {}): Promise<KubeStore<MeshStorVolume>> {
    const store = open(watch);
    store.start();
    await store.synced;
    return store;
  }

  it('see what is written after the API server was killed', async () => {
    const store = await watching();
    await plane.stopApiServer('SIGKILL');
    await plane.startApiServer();
    const name = freshName('after');
    await plane.api.create(VOLUMES, volume(name));
    await timed('seen after a killed API server', () => store.get(name) !== undefined);
  });

  it('keep what they know while etcd is stopped, say that writes fail, and go on by themselves', async () => {
    const before = freshName('before');
    await plane.api.create(VOLUMES, volume(before));
    const store = await watching();
    await plane.stopEtcd();
    const failed = await store
      .mutateStatus(before, () => epoch(9))
      .then(
        () => undefined,
        (error: unknown) => error,
      );
    expect(failed).to.be.instanceOf(DomainError);
    expect((failed as DomainError).kind).to.equal('unavailable');
    expect(store.get(before)?.metadata.name).to.equal(before);
    await plane.startEtcd();
    const writable = () => store.mutateStatus(before, () => epoch(1));
    await until(
      'writes again',
      () =>
        writable().then(
          () => true,
          () => false,
        ),
      SEEN_MS,
    );
    const name = freshName('after');
    await plane.api.create(VOLUMES, volume(name));
    await timed('seen after a stopped etcd', () => store.get(name) !== undefined);
  });

  it('lose no update when two of them count while the API server is killed twice', async () => {
    const name = freshName('counted');
    await plane.api.create(VOLUMES, volume(name));
    let done = 0;
    let unknown = 0;
    let over = false;
    const count = async (store: KubeStore<MeshStorVolume>) => {
      while (!over) {
        try {
          await store.mutateStatus(name, ({ status }) => epoch((status ?? EMPTY_STATUS).attachmentEpoch + 1));
          done += 1;
        } catch (error) {
          if (!(error instanceof DomainError) || error.kind !== 'unavailable') throw error;
          unknown += 1; // Not said whether it was written.
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }
    };
    const counting = [open(), open()].map(count);
    for (let kills = 0; kills < 2; kills += 1) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      await plane.stopApiServer('SIGKILL');
      await plane.startApiServer();
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    over = true;
    await Promise.all(counting);
    const counted = (await open().read(name))?.status?.attachmentEpoch ?? -1;
    expect(done).to.be.greaterThan(20);
    expect(counted).to.be.within(done, done + unknown);
  });

  it('see what there is after a backup of etcd was restored', async () => {
    const data = join(plane.folder, 'etcd');
    const stopped = async (work: () => void) => {
      await plane.stopApiServer();
      await plane.stopEtcd();
      work();
      await plane.startEtcd();
      await plane.startApiServer();
    };
    await stopped(() => cpSync(data, `${data}-backup`, { recursive: true }));
    const lost = freshName('lost');
    await plane.api.create(VOLUMES, volume(lost));
    // Real servers send a bookmark each minute: here the silence counts much sooner.
    const store = await watching({ stallMs: 3_000 });
    expect(store.get(lost)).not.to.equal(undefined);
    for (let n = 0; n < 200; n += 1)
      await plane.api.patch(`${VOLUMES}/${lost}`, { metadata: { labels: { n: String(n) } } });
    await stopped(() => {
      rmSync(data, { recursive: true });
      cpSync(`${data}-backup`, data, { recursive: true });
    });
    await timed('forgotten after a restored backup', () => store.get(lost) === undefined);
    const name = freshName('new');
    await plane.api.create(VOLUMES, volume(name));
    await timed('seen after a restored backup', () => store.get(name) !== undefined);
  });
});
