/** `meshstor takeover` against an API server: what it says, what it refuses, what it writes. */
import { expect } from 'chai';
import { runTakeover } from '../../src/main/run-takeover.ts';
import type { Wire } from './contract/server.ts';
import { DEVICES, freshName, partition, volume, VOLUMES } from './contract/server.ts';
import { device } from './contract/rules.ts';
import type { Harness } from './harness.ts';
import { createHarness, until } from './harness.ts';

const [OLD, WHOLE] = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'] as const;
const EVENTS = '/api/v1/namespaces/default/events';

describe('meshstor takeover', () => {
  let harness: Harness;
  let name: string;

  async function beat(node: string, updatedAt: string): Promise<void> {
    const object = `${node}-nvme0n1`;
    await harness.api.delete(`${DEVICES}/${object}`).catch(() => undefined);
    const made = await harness.api.create(DEVICES, device(object, { node }));
    await harness.api.put(`${DEVICES}/${object}/status`, { ...made, status: { updatedAt } });
  }

  /** `node1` has what was left out, `node2` everything. */
  async function make(status: Record<string, unknown> = {}): Promise<void> {
    name = freshName();
    const made = await harness.api.create(VOLUMES, volume(name, { activatedAt: '2026-08-01T10:00:00Z' }));
    const partitions = [
      partition({ nodeID: 'node1', partitionUUID: OLD, state: 'Missing', slot: 0, missingEpoch: 1, stale: true }),
      partition({ nodeID: 'node2', partitionUUID: WHOLE, state: 'Synced', slot: 1, epoch: 2 }),
    ];
    const whole = { phase: 'Synced', attachmentEpoch: 2, partitions, ...status };
    await harness.api.put(`${VOLUMES}/${name}/status`, { ...made, status: whole });
  }

  async function run(more: { readonly acceptDataLoss?: boolean; readonly members?: readonly string[] } = {}) {
    const said = { out: '', err: '' };
    const options = { volume: name, acceptDataLoss: false, members: [], kubeconfig: harness.kubeconfig, ...more };
    const code = await runTakeover(
      options,
      (text) => (said.out += text),
      (text) => (said.err += text),
    );
    return { code, ...said };
  }

  const statusOf = async (): Promise<Wire['status']> => (await harness.api.get(`${VOLUMES}/${name}`)).status;

  before(async () => {
    harness = await createHarness();
  });
  after(() => harness.close());
  beforeEach(async () => {
    await beat('node1', new Date().toISOString());
    await beat('node2', '2026-08-01T10:00:00Z');
    await make();
  });

  it('only says what would be given up, as long as nobody accepts it', async () => {
    const before = await statusOf();
    const { code, out } = await run();
    expect(code).to.equal(1);
    expect(out).to.match(/goes on with\n {2}member 0 on node1.*Missing.*\ngives up|and gives up/su);
    expect(out).to.contain(WHOLE).and.contain('Nothing was changed').and.contain('--accept-data-loss');
    expect(await statusOf()).to.deep.equal(before);
  });

  it('makes the older copy the truth, what held more comes back only wiped, and everybody can see it', async () => {
    expect(await run({ acceptDataLoss: true })).to.include({ code: 0, err: '' });
    const status = await statusOf();
    const [old, whole] = status?.['partitions'] as readonly Record<string, unknown>[];
    expect(old).to.include({ partitionUUID: OLD, state: 'Synced' }).and.not.have.any.keys('stale', 'missingEpoch');
    expect(whole).to.include({ partitionUUID: WHOLE, state: 'Missing', stale: true });
    expect(status).to.include({ ready: '1/2', releasedEpoch: 0, attachmentEpoch: 2 });
    const [condition] = status?.['conditions'] as readonly Record<string, string>[];
    expect(condition).to.include({ type: 'TakenOver', status: 'True', reason: 'DataLossAccepted' });
    expect(condition?.['message']).to.contain(OLD).and.contain(WHOLE);
    const isTold = async (): Promise<boolean> =>
      (await harness.api.list(EVENTS)).items.some((event) => {
        const { reason, involvedObject } = event as unknown as { reason: string; involvedObject: { name: string } };
        return reason === 'TakenOver' && involvedObject.name === name;
      });
    await until('the event', isTold, 10_000);
    expect((await run({ acceptDataLoss: true })).err, 'again').to.contain('nothing is lost');
  });

  const REFUSED: readonly (readonly [string, () => Promise<unknown>, readonly string[], RegExp])[] = [
    ['a volume in use', () => make({ nodeName: 'node3', mdState: 'degraded' }), [], /node3 has it.*delete the pod/u],
    ['what is not lost', () => beat('node2', new Date().toISOString()), [], /nothing is lost.*--member/u],
    ['a copy whose node is away, unless it is named', () => beat('node1', '2026-08-01T10:00:00Z'), [], /no copy/u],
    ['a member that is none', () => Promise.resolve(), ['33333333-3333-4333-8333-333333333333'], /has no member 3333/u],
    ['a member that holds everything', () => Promise.resolve(), [WHOLE], /holds every write/u],
    ['a volume that is deleted', () => make({ phase: 'Deleting' }), [], /being deleted/u],
  ];
  for (const [what, prepare, members, why] of REFUSED) {
    it(`refuses ${what}, and changes nothing`, async () => {
      await prepare();
      const before = await statusOf();
      const { code, err, out } = await run({ acceptDataLoss: true, members });
      expect({ code, out }).to.deep.equal({ code: 1, out: '' });
      expect(err)
        .to.match(why)
        .and.match(/^meshstor: taking over volume [^\n]+\n$/u);
      expect(await statusOf()).to.deep.equal(before);
    });
  }

  it('goes on with a copy whose node is away when it is named', async () => {
    await beat('node1', '2026-08-01T10:00:00Z');
    expect(await run({ acceptDataLoss: true, members: [OLD] })).to.include({ code: 0 });
  });

  it('refuses a volume that does not exist', async () => {
    name = 'none';
    expect((await run()).err).to.equal('meshstor: taking over volume none: there is none\n');
  });
});
