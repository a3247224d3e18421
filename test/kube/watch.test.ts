import { expect } from 'chai';
import type { ObjectMeta } from '../../src/api/object.ts';
import { createKubeClient } from '../../src/kube/index.ts';
import { Watch } from '../../src/kube/watch.ts';
import { volume, VOLUMES } from './contract/server.ts';
import type { Harness } from './harness.ts';
import { createHarness, QUICK, quiet, until } from './harness.ts';

/** Name to version, of a cache and of the server. */
function versions(objects: readonly { readonly metadata: Pick<ObjectMeta, 'name' | 'resourceVersion'> }[]): object {
  const entries = objects.map((object) => [object.metadata.name, object.metadata.resourceVersion] as const);
  return Object.fromEntries(entries.sort());
}

describe('Watch', () => {
  let harness: Harness;

  beforeEach(async () => {
    harness = await createHarness();
  });

  afterEach(async () => {
    await harness.close();
  });

  const serverState = async () => versions((await harness.api.list(VOLUMES)).items);

  /** Creates, changes and deletes; `count` writes over ten names. */
  async function writeALot(count: number): Promise<void> {
    for (let n = 0; n < count; n += 1) {
      const path = `${VOLUMES}/v-${n % 10}`;
      const exists = await harness.api.get(path).then(
        () => true,
        () => false,
      );
      if (!exists) await harness.api.create(VOLUMES, volume(`v-${n % 10}`));
      else if (n % 7 === 0) await harness.api.delete(path);
      else await harness.api.patch(path, { metadata: { labels: { n: String(n) } } });
    }
  }

  it('ends with the very state of the server when it is cut every 50 ms during 200 writes', async () => {
    const store = harness.volumes();
    await store.synced;
    let cuts = 0;
    const timer = setInterval(() => {
      cuts += harness.server.dropWatches();
    }, 50);
    await writeALot(200);
    clearInterval(timer);
    expect(cuts).to.be.greaterThan(3);
    const expected = await serverState();
    await until('the same state', () => JSON.stringify(versions(store.list())) === JSON.stringify(expected));
  });

  it('lists anew when the server has forgotten its version, and misses no deletion', async () => {
    await harness.api.create(VOLUMES, volume('stays'));
    await harness.api.create(VOLUMES, volume('goes'));
    const store = harness.volumes();
    await store.synced;
    const heard: string[] = [];
    store.onChange((name) => heard.push(name));
    harness.server.faults.fail({ status: 503, match: (method, path) => method === 'GET' && path === VOLUMES });
    harness.server.dropWatches();
    await harness.api.delete(`${VOLUMES}/goes`);
    await harness.api.create(VOLUMES, volume('comes'));
    harness.server.compact();
    harness.server.faults.heal();
    await until('the new list', () => store.get('comes') !== undefined);
    expect(
      store
        .list()
        .map((entry) => entry.metadata.name)
        .sort(),
    ).to.deep.equal(['comes', 'stays']);
    expect(heard).to.include.members(['stays', 'goes', 'comes']);
  });

  it('goes on after the server was restarted', async () => {
    const store = harness.volumes();
    await store.synced;
    await harness.server.stop();
    await until('a failure', () => harness.lines.some((line) => line.message === 'watch interrupted'));
    await harness.server.start();
    await harness.api.create(VOLUMES, volume('after'));
    await until('the object', () => store.get('after') !== undefined);
  });

  it('goes on after the server answered 429, 500 and rubbish for a while', async () => {
    for (const status of [429, 500]) {
      harness.server.faults.fail({ status, count: 5, match: (method, path) => method === 'GET' && path === VOLUMES });
    }
    const store = harness.volumes();
    await store.synced;
    harness.server.faults.fail({
      status: 200,
      count: 2,
      match: (method, path) => method === 'GET' && path === VOLUMES,
    });
    harness.server.dropWatches();
    await harness.api.create(VOLUMES, volume('after'));
    await until('the object', () => store.get('after') !== undefined);
  });

  // Such a server does not refuse the watch: it is silent until it has come as far.
  it('lists anew when the server is younger than the version seen, as after a restored backup', async () => {
    for (const name of ['a', 'b', 'c']) await harness.api.create(VOLUMES, volume(name));
    const store = harness.volumes({ watch: { ...QUICK, stallMs: 500 } });
    await store.synced;
    const other = await createHarness({ port: 0 });
    const port = Number(new URL(harness.server.url).port);
    await other.server.stop();
    await harness.server.stop();
    const restored = await createHarness({ port });
    try {
      await until('the empty list', () => store.list().length === 0);
      await restored.api.create(VOLUMES, volume('new'));
      await until('the new object', () => store.get('new') !== undefined);
    } finally {
      await restored.close();
      await other.close();
    }
  });

  it('gives up a watch on which nothing comes, and takes a new one', async () => {
    const store = harness.volumes({ watch: { ...QUICK, stallMs: 200 } });
    await store.synced;
    harness.server.faults.pause();
    await until('the stall', () => harness.lines.some((line) => String(line.fields['error']).includes('nothing came')));
    expect(store.watchAgeMs).to.be.greaterThan(150);
    harness.server.faults.resume();
    await harness.api.create(VOLUMES, volume('after'));
    await until('the object', () => store.get('after') !== undefined);
    expect(store.watchAgeMs).to.be.lessThan(1000);
  });

  it('keeps a quiet watch open while bookmarks come, without asking for anything', async () => {
    const store = harness.volumes({ watch: { ...QUICK, stallMs: 300 } });
    await store.synced;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(harness.server.counts.get('WATCH')).to.equal(1);
    expect(harness.server.counts.get('GET')).to.equal(1);
    expect(store.watchAgeMs).to.be.lessThan(300);
  });

  it('gives up a watch when another request of its client got no answer', async () => {
    const client = harness.newClient();
    const store = harness.volumes({ client });
    await store.synced;
    await until('a watch', () => harness.server.openWatches === 1);
    harness.server.faults.pause();
    const slow = client.request({ method: 'GET', path: '/readyz', doing: 'asking', timeoutMs: 100 });
    await slow.catch(() => undefined);
    await until('the reason', () =>
      harness.lines.some((line) => String(line.fields['error']).includes('got no answer')),
    );
  });

  it('does not storm a server that ends every watch at once', async () => {
    const store = harness.volumes({ watch: { ...QUICK, backOff: { baseMs: 50, capMs: 200 } } });
    await store.synced;
    const timer = setInterval(() => harness.server.dropWatches(), 1);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    clearInterval(timer);
    expect(harness.server.counts.get('WATCH') ?? 0).to.be.lessThan(20);
  });

  it('lists again after a while even if the watch says nothing', async () => {
    const store = harness.volumes({ watch: { ...QUICK, relistMs: 200, watchSeconds: 1 } });
    await store.synced;
    await until('more lists', () => (harness.server.counts.get('GET') ?? 0) >= 3);
  });

  it('stops at once and leaves nothing open', async () => {
    const store = harness.volumes();
    await store.synced;
    await until('a watch', () => harness.server.openWatches === 1);
    await store.stop();
    await until('no watch', () => harness.server.openWatches === 0);
  });

  it('tells changes in the order of their versions over all cuts', async () => {
    const seen: bigint[] = [];
    let isListed = false;
    const client = harness.newClient();
    const watch = new Watch({
      client,
      path: VOLUMES,
      what: 'volumes',
      log: quiet,
      ...QUICK,
      sink: {
        replace: () => {
          isListed = true;
        },
        apply: (_type, object) => seen.push(BigInt((object as { metadata: ObjectMeta }).metadata.resourceVersion)),
        progress: () => undefined,
      },
    });
    watch.start();
    await until('the list', () => isListed);
    const timer = setInterval(() => harness.server.dropWatches(), 20);
    await writeALot(100);
    clearInterval(timer);
    const last = BigInt((await harness.api.create(VOLUMES, volume('last'))).metadata.resourceVersion);
    await until('the last change', () => seen.at(-1) === last);
    expect(seen).to.deep.equal([...new Set(seen)].sort((a, b) => (a < b ? -1 : 1)));
    await watch.stop();
  });
});

describe('KubeClient', () => {
  it('sends the token of now, and reads it again when it is refused', async () => {
    const harness = await createHarness({ tokens: ['first'] });
    try {
      await harness.api.list(VOLUMES);
      harness.server.setTokens(['second']);
      const tokens = ['first', 'second'];
      let loads = 0;
      const client = createKubeClient({
        access: {
          server: new URL(harness.server.url),
          load: async () => {
            const headers = { Authorization: `Bearer ${tokens[loads] ?? 'second'}` };
            loads += 1;
            return { tls: {}, headers };
          },
        },
      });
      await client.request({ method: 'GET', path: VOLUMES, doing: 'listing' });
      expect(loads).to.equal(2);
      const refused = await harness.api.list(VOLUMES).catch((error: unknown) => error);
      expect(String(refused)).to.equal(
        'ApiError: list: Unauthorized; check the credentials of the kubeconfig or service account',
      );
      client.close();
    } finally {
      await harness.close();
    }
  });

  it('survives a server that closes idle connections', async () => {
    const harness = await createHarness();
    try {
      await harness.api.list(VOLUMES);
      await harness.server.stop();
      await harness.server.start();
      expect((await harness.api.list(VOLUMES)).items).to.deep.equal([]);
    } finally {
      await harness.close();
    }
  });

  it('refuses a kubeconfig that cannot be read, in one line', () => {
    expect(() => createKubeClient({ kubeconfig: '/nonexistent/kubeconfig' })).to.throw(
      /^reading the kubeconfig: ENOENT[^\n]*$/,
    );
  });
});
