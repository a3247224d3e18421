import { expect } from 'chai';
import type { Api } from './server.ts';
import { failure, freshName, partition, volume, VOLUMES } from './server.ts';

const path = (name: string, subresource = '') => `${VOLUMES}/${name}${subresource}`;

export function describeObjects(api: () => Api): void {
  describe('objects', () => {
    it('gives a new object identity, version, generation 1 and no status', async () => {
      const name = freshName();
      const made = await api().create(VOLUMES, { ...volume(name), status: { phase: 'Synced' } });
      expect(made.metadata.uid).to.match(/^[0-9a-f-]{36}$/);
      expect(made.metadata.generation).to.equal(1);
      expect(made.status).to.equal(undefined);
      expect(await api().get(path(name))).to.deep.equal(made);
    });

    it('refuses a second object of the same name as AlreadyExists', async () => {
      const name = freshName();
      await api().create(VOLUMES, volume(name));
      const error = await failure(api().create(VOLUMES, volume(name)));
      expect([error.status, error.reason, error.kind]).to.deep.equal([409, 'AlreadyExists', 'conflict']);
    });

    it('answers NotFound for what is not there', async () => {
      for (const request of [() => api().get(path('nobody')), () => api().delete(path('nobody'))]) {
        const error = await failure(request());
        expect([error.status, error.reason, error.kind]).to.deep.equal([404, 'NotFound', 'notFound']);
      }
    });

    it('refuses a write that is based on an old version', async () => {
      const old = await api().create(VOLUMES, volume(freshName()));
      const name = old.metadata.name;
      await api().patch(path(name), { metadata: { labels: { a: 'b' } } });
      for (const subresource of ['', '/status']) {
        const error = await failure(api().put(path(name, subresource), { ...old, status: { phase: 'New' } }));
        expect([error.status, error.reason]).to.deep.equal([409, 'Conflict']);
      }
    });

    it('refuses to replace an object without naming the version', async () => {
      const made = await api().create(VOLUMES, volume(freshName()));
      const { resourceVersion: _, ...metadata } = made.metadata;
      const error = await failure(api().put(path(made.metadata.name), { ...made, metadata }));
      expect(error.status).to.equal(422);
    });

    it('writes only the status through the subresource, and never through the object', async () => {
      const made = await api().create(VOLUMES, volume(freshName()));
      const name = made.metadata.name;
      const changed = { ...made, spec: { ...made.spec, memberMissingTimeout: 60 }, status: { phase: 'New' } };
      const byStatus = await api().put(path(name, '/status'), changed);
      expect(byStatus.spec).to.deep.equal(made.spec);
      expect(byStatus.status).to.deep.equal({ phase: 'New' });
      const byObject = await api().put(path(name), { ...byStatus, status: { phase: 'Synced' } });
      expect(byObject.status).to.deep.equal({ phase: 'New' });
    });

    it('counts the generation up when the spec changes, and only then', async () => {
      const made = await api().create(VOLUMES, volume(freshName()));
      const name = made.metadata.name;
      const status = await api().patch(path(name, '/status'), { status: { phase: 'New' } });
      const label = await api().patch(path(name), { metadata: { labels: { a: 'b' } } });
      const spec = await api().patch(path(name), { spec: { memberMissingTimeout: 120 } });
      expect([status, label, spec].map((object) => object.metadata.generation)).to.deep.equal([1, 1, 2]);
    });

    it('leaves the version alone when a write changes nothing', async () => {
      const made = await api().create(VOLUMES, volume(freshName()));
      const same = await api().put(path(made.metadata.name), made);
      expect(same.metadata.resourceVersion).to.equal(made.metadata.resourceVersion);
    });

    it('removes with a merge patch what is null in it and replaces lists', async () => {
      const made = await api().create(VOLUMES, volume(freshName(), {}, { annotations: { a: '1', b: '2' } }));
      const patch = { metadata: { annotations: { a: null } }, spec: { nvmeofNamespaceIDs: [7] } };
      const patched = await api().patch(path(made.metadata.name), patch);
      expect(patched.metadata.annotations).to.deep.equal({ b: '2' });
      expect(patched.spec['nvmeofNamespaceIDs']).to.deep.equal([7]);
    });

    it('understands a JSON patch', async () => {
      const made = await api().create(VOLUMES, volume(freshName()));
      const steps = [{ op: 'replace', path: '/spec/memberMissingTimeout', value: 61 }];
      const patched = await api().patch(path(made.metadata.name), steps, 'application/json-patch+json');
      expect(patched.spec['memberMissingTimeout']).to.equal(61);
    });

    it('refuses a merge patch that names an old version', async () => {
      const made = await api().create(VOLUMES, volume(freshName()));
      const patch = { metadata: { resourceVersion: made.metadata.resourceVersion }, status: { phase: 'New' } };
      await api().patch(path(made.metadata.name, '/status'), patch);
      const late = { ...patch, status: { phase: 'Synced' } };
      expect((await failure(api().patch(path(made.metadata.name, '/status'), late))).status).to.equal(409);
    });

    describeDeletion(api);
    describeLists(api);

    it('keeps partitions and conditions as they were written', async () => {
      const made = await api().create(VOLUMES, volume(freshName()));
      const partitions = [partition(), partition({ slot: 1, stale: true, missingEpoch: 3, state: 'Missing' })];
      const status = { phase: 'Requested', partitions, attachmentEpoch: 3 };
      const written = await api().put(path(made.metadata.name, '/status'), { ...made, status });
      expect(written.status).to.deep.equal(status);
    });
  });
}

function describeDeletion(api: () => Api): void {
  it('keeps a deleted object until its last finalizer is gone', async () => {
    const made = await api().create(VOLUMES, volume(freshName(), {}, { finalizers: ['csi.meshstor.io/partitions'] }));
    const name = made.metadata.name;
    await api().delete(path(name));
    const marked = await api().get(path(name));
    expect(marked.metadata.deletionTimestamp).to.be.a('string');
    const more = { metadata: { finalizers: ['csi.meshstor.io/partitions', 'csi.meshstor.io/more'] } };
    expect((await failure(api().patch(path(name), more))).status).to.equal(422);
    await api().patch(path(name), { metadata: { finalizers: null } });
    expect((await failure(api().get(path(name)))).status).to.equal(404);
  });

  it('deletes only the incarnation that a precondition names', async () => {
    const made = await api().create(VOLUMES, volume(freshName()));
    const name = made.metadata.name;
    const other = { preconditions: { uid: '00000000-0000-4000-8000-000000000000' } };
    const error = await failure(api().delete(path(name), { apiVersion: 'v1', kind: 'DeleteOptions', ...other }));
    expect([error.status, error.reason]).to.deep.equal([409, 'Conflict']);
    const own = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid: made.metadata.uid } };
    await api().delete(path(name), own);
    expect((await failure(api().get(path(name)))).status).to.equal(404);
  });
}

function describeLists(api: () => Api): void {
  it('hands out lists in pages that show one moment', async () => {
    const prefix = freshName('page');
    for (const index of [0, 1, 2, 3, 4]) {
      await api().create(VOLUMES, volume(`${prefix}-${index}`, {}, { labels: { page: prefix } }));
    }
    const query = { limit: '2', labelSelector: `page=${prefix}` };
    const names: string[] = [];
    const versions = new Set<string>();
    let token = '';
    do {
      const page = await api().list(VOLUMES, { ...query, ...(token === '' ? {} : { continue: token }) });
      expect(page.items.length).to.be.at.most(2);
      names.push(...page.items.map((item) => item.metadata.name));
      versions.add(page.metadata.resourceVersion);
      token = page.metadata.continue ?? '';
      if (names.length === 2) await api().delete(`${VOLUMES}/${prefix}-4`);
    } while (token !== '');
    expect(names).to.deep.equal([0, 1, 2, 3, 4].map((index) => `${prefix}-${index}`));
    expect(versions.size).to.equal(1);
  });

  it('selects by name', async () => {
    const made = await api().create(VOLUMES, volume(freshName()));
    const found = await api().list(VOLUMES, { fieldSelector: `metadata.name=${made.metadata.name}` });
    expect(found.items.map((item) => item.metadata.uid)).to.deep.equal([made.metadata.uid]);
  });
}
