import { expect } from 'chai';
import type { Api, ContractServer } from './server.ts';
import { collect, failure, freshName, volume, VOLUMES } from './server.ts';

export function describeWatches(api: () => Api, server: () => ContractServer): void {
  describe('watches', () => {
    it('tell every change after a version once, in order', async () => {
      const name = freshName();
      const { metadata } = await api().list(VOLUMES);
      await api().create(VOLUMES, volume(name));
      await api().patch(`${VOLUMES}/${name}`, { metadata: { labels: { n: '1' } } });
      await api().patch(`${VOLUMES}/${name}/status`, { status: { phase: 'New' } });
      await api().delete(`${VOLUMES}/${name}`);
      const query = { resourceVersion: metadata.resourceVersion, fieldSelector: `metadata.name=${name}` };
      const events = await collect(api(), VOLUMES, query, 4);
      expect(events.map((event) => event.type)).to.deep.equal(['ADDED', 'MODIFIED', 'MODIFIED', 'DELETED']);
      const versions = events.map((event) => Number(event.object.metadata.resourceVersion));
      expect(versions).to.deep.equal([...new Set(versions)].sort((a, b) => a - b));
    });

    it('go on after any version seen, with nothing lost or told twice', async () => {
      const name = freshName();
      const made = await api().create(VOLUMES, volume(name));
      for (let n = 0; n < 5; n += 1)
        await api().patch(`${VOLUMES}/${name}`, { metadata: { labels: { n: String(n) } } });
      const query = (resourceVersion: string) => ({ resourceVersion, fieldSelector: `metadata.name=${name}` });
      const all = await collect(api(), VOLUMES, query(made.metadata.resourceVersion), 5);
      const second = all[1]?.object.metadata.resourceVersion ?? '';
      const rest = await collect(api(), VOLUMES, query(second), 3);
      expect(rest).to.deep.equal(all.slice(2));
    });

    it('begin with what there is where no version is named', async () => {
      const made = await api().create(VOLUMES, volume(freshName()));
      const [event] = await collect(api(), VOLUMES, { fieldSelector: `metadata.name=${made.metadata.name}` }, 1);
      expect(event).to.deep.equal({ type: 'ADDED', object: made });
    });

    it('show an object that stops to be selected as deleted', async () => {
      const made = await api().create(VOLUMES, volume(freshName(), {}, { labels: { kept: 'yes' } }));
      const name = made.metadata.name;
      await api().patch(`${VOLUMES}/${name}`, { metadata: { labels: { kept: 'no' } } });
      const query = { resourceVersion: made.metadata.resourceVersion, labelSelector: 'kept=yes' };
      const [event] = await collect(api(), VOLUMES, query, 1);
      expect([event?.type, event?.object.metadata.name]).to.deep.equal(['DELETED', name]);
    });

    it('end in order after the time that was asked for', async () => {
      const { metadata } = await api().list(VOLUMES);
      const query = { watch: '1', resourceVersion: metadata.resourceVersion, timeoutSeconds: '1' };
      const startedAt = Date.now();
      for await (const line of await api().client.stream({ path: VOLUMES, query, doing: 'watch' })) line;
      expect(Date.now() - startedAt).to.be.within(700, 4000);
    });

    it('refuse a version that was forgotten, in the stream or before it', async function () {
      const { compact } = server();
      if (compact === undefined) {
        this.skip(); // This server cannot be asked to forget its history.
      }
      const { metadata } = await api().list(VOLUMES);
      await api().create(VOLUMES, volume(freshName()));
      await compact();
      const query = { resourceVersion: metadata.resourceVersion };
      let status: number | undefined;
      try {
        const [event] = await collect(api(), VOLUMES, query, 1);
        status = event?.type === 'ERROR' ? event.object.code : 200;
      } catch {
        status = (await failure(collect(api(), VOLUMES, query, 1))).status;
      }
      expect(status).to.equal(410);
    });

    it('refuse a version that does not exist yet', async () => {
      const { metadata } = await api().list(VOLUMES);
      const resourceVersion = String(Number(metadata.resourceVersion) + 1_000_000);
      const error = await failure(api().list(VOLUMES, { resourceVersion }));
      expect(error.status).to.equal(504);
      expect(error.message).to.contain('Too large resource version');
    });
  });
}
