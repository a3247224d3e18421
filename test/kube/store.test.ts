import { expect } from 'chai';
import { DomainError } from '../../src/api/errors.ts';
import { EMPTY_STATUS } from '../../src/api/volume.ts';
import type { VolumeSpec } from '../../src/api/volume.ts';
import { createVolumeStore } from '../../src/kube/index.ts';
import { VOLUMES, freshName, volume, volumeSpec } from './contract/server.ts';
import type { Harness } from './harness.ts';
import { createHarness, until } from './harness.ts';

async function problemOf(work: Promise<unknown>): Promise<DomainError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof DomainError) return error;
    throw error;
  }
  throw new Error('it succeeded');
}

describe('KubeStore', () => {
  let harness: Harness;

  beforeEach(async () => {
    harness = await createHarness();
  });

  afterEach(async () => {
    await harness.close();
  });

  it('reads a page at a time and has everything when it says so', async () => {
    const names = Array.from({ length: 20 }, (_, index) => `v-${String(index).padStart(2, '0')}`);
    for (const name of names) await harness.api.create(VOLUMES, volume(name));
    const store = harness.volumes();
    expect(store.isSynced).to.equal(false);
    await store.synced;
    expect(
      store
        .list()
        .map((entry) => entry.metadata.name)
        .sort(),
    ).to.deep.equal(names);
    expect(harness.server.counts.get('GET')).to.equal(3);
  });

  it('with a label selector lists and watches what carries the label, and nothing else', async () => {
    const labels = { 'meshstor.io/node': 'n1' };
    await harness.api.create(VOLUMES, volume('mine', {}, { labels }));
    await harness.api.create(VOLUMES, volume('other'));
    const store = harness.volumes({ watch: { labelSelector: 'meshstor.io/node=n1' } });
    await store.synced;
    await harness.api.create(VOLUMES, volume('other-2'));
    await harness.api.create(VOLUMES, volume('mine-2', {}, { labels }));
    await until('the watch', () => store.get('mine-2') !== undefined);
    expect(store.list().map((entry) => entry.metadata.name)).to.have.members(['mine', 'mine-2']);
  });

  it('hands out frozen objects with every field of the status filled in', async () => {
    await harness.api.create(VOLUMES, volume('v'));
    await harness.api.patch(`${VOLUMES}/v/status`, { status: { phase: 'Synced' } });
    const store = harness.volumes();
    await store.synced;
    const found = store.get('v');
    expect(found?.status).to.deep.equal({ ...EMPTY_STATUS, phase: 'Synced' });
    expect(() => {
      (found as { spec: { capacityBytes: number } }).spec.capacityBytes = 1;
    }).to.throw(TypeError);
  });

  it('tells listeners of every change until they unsubscribe, even if one of them throws', async () => {
    const store = harness.volumes();
    await store.synced;
    const heard: string[] = [];
    store.onChange(() => {
      throw new Error('listener is broken');
    });
    const unsubscribe = store.onChange((name) => heard.push(name));
    await harness.api.create(VOLUMES, volume('one'));
    await until('one', () => heard.includes('one'));
    unsubscribe();
    await harness.api.create(VOLUMES, volume('two'));
    await until('two', () => store.get('two') !== undefined);
    expect(heard).to.deep.equal(['one']);
  });

  it('shows an own write at once, before any watch has told it', async () => {
    const store = harness.volumes();
    await store.synced;
    harness.server.dropWatches();
    const spec = volumeSpec() as unknown as VolumeSpec;
    await store.create({ name: 'own' }, spec);
    expect(store.get('own')?.spec.volumeUUID).to.equal(spec.volumeUUID);
    await store.mutateStatus('own', () => ({ ...EMPTY_STATUS, phase: 'Requested' }));
    expect(store.get('own')?.status?.phase).to.equal('Requested');
  });

  it('does not bring an object back to life when the answer to a write comes after its end', async () => {
    const store = harness.volumes();
    await store.synced;
    await store.create({ name: 'gone' }, volumeSpec());
    const late = await store.mutateStatus('gone', () => ({ ...EMPTY_STATUS, phase: 'Requested' }));
    await harness.api.delete(`${VOLUMES}/gone`);
    await until('the end', () => store.get('gone') === undefined);
    const other = harness.volumes();
    await other.synced;
    expect(late.metadata.name).to.equal('gone');
    expect(store.list()).to.deep.equal([]);
  });

  it('writes nothing when the change is none', async () => {
    await harness.api.create(VOLUMES, volume('v'));
    const store = harness.volumes();
    const before = await store.read('v');
    const after = await store.mutateStatus('v', () => undefined);
    expect(after.metadata.resourceVersion).to.equal(before?.metadata.resourceVersion);
    expect(harness.server.counts.get('PUT')).to.equal(undefined);
  });

  it('shows what a change that was none has read', async () => {
    const store = createVolumeStore({ client: harness.client, log: harness.log });
    await harness.api.create(VOLUMES, volume('v'));
    expect(store.get('v'), 'nothing watches').to.equal(undefined);
    await store.mutateStatus('v', () => undefined);
    expect(store.get('v')?.metadata.name).to.equal('v');
  });

  it('loses no update when many writers compute from what they read', async () => {
    await harness.api.create(VOLUMES, volume('v'));
    await harness.api.patch(`${VOLUMES}/v/status`, { status: { phase: 'New' } });
    const stores = [0, 1, 2].map(() => harness.volumes({ client: harness.newClient() }));
    const add = (store: (typeof stores)[number]) =>
      store.mutateStatus('v', (current) => {
        const status = current.status ?? EMPTY_STATUS;
        return { ...status, attachmentEpoch: status.attachmentEpoch + 1 };
      });
    for (let round = 0; round < 10; round += 1) await Promise.all(stores.map((store) => add(store)));
    expect((await stores[0]?.read('v'))?.status?.attachmentEpoch).to.equal(30);
  });

  it('computes again from the new state after a conflict', async () => {
    await harness.api.create(VOLUMES, volume('v'));
    const store = harness.volumes();
    const seen: string[] = [];
    harness.server.faults.fail({ status: 409, count: 2, match: (method) => method === 'PUT' });
    const result = await store.mutateStatus('v', (current) => {
      seen.push(current.metadata.resourceVersion);
      return { ...EMPTY_STATUS, phase: 'Requested' };
    });
    expect(seen.length).to.equal(3);
    expect(result.status?.phase).to.equal('Requested');
  });

  it('gives up after some lost races with "unavailable"', async () => {
    await harness.api.create(VOLUMES, volume('v'));
    const store = harness.volumes();
    harness.server.faults.fail({ status: 409, match: (method) => method === 'PUT' });
    const problem = await problemOf(store.mutateStatus('v', () => ({ ...EMPTY_STATUS, phase: 'Requested' })));
    expect(problem.kind).to.equal('unavailable');
    expect(harness.server.counts.get('PUT') ?? 0).to.be.at.most(8);
  });

  it('lets what the change throws end the attempt', async () => {
    await harness.api.create(VOLUMES, volume('v'));
    const store = harness.volumes();
    const refusal = new DomainError('precondition', 'the state forbids it');
    const problem = await problemOf(
      store.mutateStatus('v', () => {
        throw refusal;
      }),
    );
    expect(problem).to.equal(refusal);
  });

  it('changes spec and metadata, and keeps what it does not read', async () => {
    await harness.api.create(
      VOLUMES,
      volume('v', {}, { ownerReferences: [{ kind: 'Node', name: 'n', uid: 'u', apiVersion: 'v1' }] }),
    );
    const store = harness.volumes();
    const after = await store.mutate('v', (current) => ({
      ...current,
      metadata: { ...current.metadata, finalizers: ['csi.meshstor.io/partitions'], annotations: { a: 'b' } },
      spec: { ...current.spec, sectorSize: 4096 },
    }));
    expect(after.spec.sectorSize).to.equal(4096);
    const raw = await harness.api.get(`${VOLUMES}/v`);
    expect(raw.metadata.finalizers).to.deep.equal(['csi.meshstor.io/partitions']);
    expect(raw.metadata).to.have.property('ownerReferences').that.has.length(1);
  });

  it('shows people which nodes hold partitions', async () => {
    await harness.api.create(VOLUMES, volume('v'));
    const store = harness.volumes();
    const entry = { nodeID: 'n1', partitionUUID: '6b1e0e3a-5f57-4f0c-9a43-0d7d5a3b9c11', nvmeofNamespaceID: 1 };
    const rest = {
      state: 'Requested',
      sizeBytes: 1,
      updatedAt: '2026-08-01T10:00:00Z',
      device: 'd',
      serial: 's',
    } as const;
    const partition = { ...entry, ...rest, slot: 0, generation: 0, transport: 'tcp', epoch: 0 } as const;
    await store.mutateStatus('v', () => ({
      ...EMPTY_STATUS,
      partitions: [partition, { ...partition, nodeID: 'n2', slot: 1 }],
    }));
    expect((await harness.api.get(`${VOLUMES}/v`)).status?.['partitionNodes']).to.equal('n1,n2');
  });

  it('takes what is gone already for deleted, and spares another incarnation', async () => {
    const store = harness.volumes();
    await store.delete('nobody');
    const made = await store.create({ name: 'v' }, volumeSpec());
    await store.delete('v', { uid: '00000000-0000-4000-8000-000000000000' });
    expect(await store.read('v')).not.to.equal(undefined);
    await store.delete('v', { uid: made.metadata.uid });
    expect(await store.read('v')).to.equal(undefined);
  });

  it('says in few words what went wrong, by kind', async () => {
    const store = harness.volumes();
    await store.create({ name: 'v' }, volumeSpec());
    const cases: readonly (readonly [Promise<unknown>, string])[] = [
      [store.create({ name: 'v' }, volumeSpec()), 'conflict'],
      [store.create({ name: freshName() }, volumeSpec({ numberOfCopies: 0 })), 'invalid'],
      [store.mutateStatus('nobody', () => undefined), 'notFound'],
    ];
    for (const [work, kind] of cases) expect((await problemOf(work)).kind).to.equal(kind);
    for (const status of [429, 500, 503]) {
      harness.server.faults.fail({ status, count: 1, match: (method) => method === 'POST' });
      const problem = await problemOf(store.create({ name: 'w' }, volumeSpec()));
      expect([problem.kind, problem.message]).to.deep.equal(['unavailable', 'creating volume w: the test wants it so']);
    }
    await harness.server.stop();
    const away = await problemOf(store.read('v'));
    expect(away.kind).to.equal('unavailable');
    expect(away.message).to.match(/^reading volume v: API server cannot be reached \(ECONN(REFUSED|RESET)\)$/);
  });

  describe('with a broken object', () => {
    const broken = {
      apiVersion: 'csi.meshstor.io/v1alpha1',
      kind: 'MeshStorVolume',
      metadata: { name: 'broken', uid: 'u-1', generation: 1, creationTimestamp: '2026-08-01T10:00:00Z' },
      spec: { ...volumeSpec(), memberMissingTimeout: 'soon' },
    } as const;

    it('goes on with the others, and writes the condition Malformed once', async () => {
      harness.server.putRaw(broken);
      await harness.api.create(VOLUMES, volume('whole'));
      const stores = [harness.volumes(), harness.volumes({ client: harness.newClient() })];
      for (const store of stores) await store.synced;
      await until('the condition', async () => (await harness.api.get(`${VOLUMES}/broken`)).status !== undefined);
      await harness.api.patch(`${VOLUMES}/whole`, { metadata: { labels: { seen: 'yes' } } });
      for (const store of stores) {
        await until('the other', () => store.get('whole')?.metadata.labels['seen'] === 'yes');
        expect(store.list().map((entry) => entry.metadata.name)).to.deep.equal(['whole']);
        expect(store.get('broken')).to.equal(undefined);
      }
      const { status, metadata } = await harness.api.get(`${VOLUMES}/broken`);
      const [condition] = status?.['conditions'] as readonly { type: string; status: string; message: string }[];
      expect([condition?.type, condition?.status]).to.deep.equal(['Malformed', 'True']);
      expect(condition?.message).to.equal('spec.memberMissingTimeout: must be integer');
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect((await harness.api.get(`${VOLUMES}/broken`)).metadata.resourceVersion).to.equal(metadata.resourceVersion);
    });

    it('names it among all that there are, page by page', async () => {
      harness.server.putRaw(broken);
      const names = Array.from({ length: 20 }, (_, index) => `v-${index}`);
      for (const name of names) await harness.api.create(VOLUMES, volume(name));
      expect(await harness.volumes().names()).to.have.members(['broken', ...names]);
    });

    it('refuses to read or change it as "internal", naming the field', async () => {
      harness.server.putRaw(broken);
      const store = harness.volumes();
      for (const work of [store.read('broken'), store.mutateStatus('broken', () => EMPTY_STATUS)]) {
        const problem = await problemOf(work);
        expect(problem.kind).to.equal('internal');
        expect(problem.message).to.contain('spec.memberMissingTimeout');
      }
    });

    it('takes it in again, without the condition and without a status, once it is repaired', async () => {
      harness.server.putRaw(broken);
      const store = harness.volumes();
      await until('the condition', async () => (await harness.api.get(`${VOLUMES}/broken`)).status !== undefined);
      await harness.api.patch(`${VOLUMES}/broken`, { spec: { memberMissingTimeout: 900 } });
      await until('the object', () => store.get('broken') !== undefined);
      await until('no condition', async () => {
        const { status } = await harness.api.get(`${VOLUMES}/broken`);
        return (status?.['conditions'] as readonly unknown[]).length === 0;
      });
      expect(store.get('broken')?.status).to.equal(undefined);
    });
  });
});
