/** What the cluster's PersistentVolumes name, over the stand-in of the API server. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect } from 'chai';
import { DRIVER_NAME } from '../../src/api/names.ts';
import { KubeClaimedVolumes } from '../../src/kube/index.ts';
import type { Harness } from './harness.ts';
import { createHarness, QUICK, until } from './harness.ts';

const PERSISTENT_VOLUMES = '/api/v1/persistentvolumes';

function persistentVolume(name: string, volumeHandle: string, driver = DRIVER_NAME): object {
  const spec = { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], csi: { driver, volumeHandle } };
  return { apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name }, spec };
}

describe('the volumes that PersistentVolumes name', () => {
  let harness: Harness;
  let claimed: KubeClaimedVolumes;
  const heard: string[] = [];

  beforeEach(async () => {
    harness = await createHarness();
    claimed = new KubeClaimedVolumes({ client: harness.client, log: harness.log, watch: QUICK });
    heard.length = 0;
    claimed.onChange((volumeId) => heard.push(volumeId));
  });

  afterEach(async () => {
    await claimed.stop();
    await harness.close();
  });

  const put = (name: string, handle: string, driver?: string): Promise<unknown> =>
    harness.api.create(PERSISTENT_VOLUMES, persistentVolume(name, handle, driver));

  it('are told by driver and handle, not by name: one made by hand counts', async () => {
    await put('made-by-hand', 'pvc-1');
    await put('pvc-2', 'pvc-2', 'other.example.org');
    const hostPath = {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'pvc-3' },
      spec: { hostPath: {} },
    };
    await harness.api.create(PERSISTENT_VOLUMES, hostPath);
    expect(claimed.isSynced).to.equal(false);
    claimed.start();
    await claimed.synced;
    expect(['pvc-1', 'pvc-2', 'pvc-3', 'made-by-hand'].map((id) => claimed.has(id))).to.deep.equal([
      true,
      false,
      false,
      false,
    ]);
    expect(heard).to.deep.equal(['pvc-1']);
  });

  it('are those of now: they come, and go with the last PersistentVolume of them', async () => {
    claimed.start();
    await claimed.synced;
    await put('one', 'pvc-1');
    await until('it is there', () => claimed.has('pvc-1'));
    await put('two', 'pvc-1');
    await harness.api.patch(`${PERSISTENT_VOLUMES}/one`, { metadata: { labels: { some: 'thing' } } });
    await harness.api.delete(`${PERSISTENT_VOLUMES}/one`);
    await put('mark', 'mark');
    await until('all of it is told', () => claimed.has('mark'));
    expect([claimed.has('pvc-1'), claimed.size]).to.deep.equal([true, 2]);
    await harness.api.delete(`${PERSISTENT_VOLUMES}/two`);
    await until('it is gone', () => !claimed.has('pvc-1'));
    expect(heard.filter((id) => id === 'pvc-1').length).to.be.greaterThan(1);
    expect(claimed.size).to.equal(1);
  });

  it('are right after the watch was lost, and what came and went meanwhile is told', async () => {
    await put('goes', 'pvc-1');
    await put('stays', 'pvc-2');
    claimed.start();
    await claimed.synced;
    heard.length = 0;
    const isOurs = (method: string, path: string): boolean => method === 'GET' && path === PERSISTENT_VOLUMES;
    harness.server.faults.fail({ status: 503, match: isOurs });
    harness.server.dropWatches();
    await harness.api.delete(`${PERSISTENT_VOLUMES}/goes`);
    await put('comes', 'pvc-3');
    harness.server.compact();
    harness.server.faults.heal();
    await until('the new list', () => claimed.has('pvc-3'));
    expect([claimed.has('pvc-1'), claimed.has('pvc-2')]).to.deep.equal([false, true]);
    expect([...heard].sort()).to.deep.equal(['pvc-1', 'pvc-3']);
  });

  it('are not synced as long as the API refuses to list them', async () => {
    harness.server.faults.fail({ status: 403, match: (_method, path) => path === PERSISTENT_VOLUMES });
    claimed.start();
    const isRefused = (): boolean => harness.lines.some(({ message }) => message === 'watch interrupted');
    await until('a refusal', isRefused);
    expect(claimed.isSynced).to.equal(false);
  });
});

describe('ten thousand PersistentVolumes', () => {
  const COUNT = 10_000;
  const PAGE = 500;

  /** As big as real ones: 4 KiB of fields that nobody here reads. */
  function page(from: number): unknown {
    const items = Array.from({ length: PAGE }, (_, at) => {
      const name = `pvc-${String(from + at)}`;
      const driver = (from + at) % 2 === 0 ? DRIVER_NAME : 'other.example.org';
      const managedFields = Array.from({ length: 64 }, (__, index) => ({ manager: `${name}-${index}`, fieldsV1: {} }));
      return { metadata: { name, managedFields }, spec: { csi: { driver, volumeHandle: name } } };
    });
    const next = from + PAGE < COUNT ? { continue: String(from + PAGE) } : {};
    return { metadata: { resourceVersion: '7', ...next }, items };
  }

  it('are kept as the names of their volumes alone, also while they are listed', async () => {
    const alive: WeakRef<object>[] = [];
    let mostAlive = 0;
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const client = {
      request: async ({ query }: { readonly query?: Readonly<Record<string, string>> }) => {
        // Settled promises let go of what they gave only after a turn of the loop.
        await new Promise((resolve) => setImmediate(resolve));
        collect();
        mostAlive = Math.max(mostAlive, alive.filter((ref) => ref.deref() !== undefined).length);
        const made = page(Number(query?.['continue'] ?? 0)) as { readonly items: readonly object[] };
        for (const item of made.items) alive.push(new WeakRef(item));
        return made;
      },
      stream: () => new Promise<never>(() => undefined),
      onNetworkFailure: () => () => undefined,
      close: () => undefined,
    };
    const quiet = () => undefined;
    const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
    const claimed = new KubeClaimedVolumes({ client, log });
    claimed.start();
    await claimed.synced;
    expect(claimed.size).to.equal(COUNT / 2);
    expect([claimed.has('pvc-0'), claimed.has('pvc-1'), claimed.has('pvc-9998')]).to.deep.equal([true, false, true]);
    expect(mostAlive, 'objects in memory when the next page was asked for').to.be.at.most(PAGE);
  });
});
