/** What a class may ask for instead of waiting: `onWitnessLoss: continue` and `onLastCopyLoss: fail` (SPEC §7). */
import { expect } from 'chai';
import { MIB } from '../../src/support/units.ts';
import type { ClassParameters } from '../../src/controller/operations.ts';
import { InProcessCluster } from './in-process-cluster.ts';

const VOLUME = 'pvc-3e8a1b20-5c7d-4e9f-8a1b-6d5e4f3a2b1c';
const MARK = new Uint8Array(4096).fill(0x5a);
const GRACE_MS = 300;

describe('the policies of a class', () => {
  let cluster: InProcessCluster;
  let consumer: string;

  beforeEach(async () => {
    const rests = { firstMs: 20, longestMs: 100 };
    cluster = new InProcessCluster(['node1', 'node2'], { dropGraceMs: 50, policyGraceMs: GRACE_MS, rests });
    await cluster.ready();
  });

  afterEach(() => cluster.stop());

  async function staged(node: string, parameters: Partial<ClassParameters>): Promise<void> {
    consumer = node;
    await cluster.create(VOLUME, 'node1', parameters);
    const request = await cluster.stageRequest(VOLUME, node);
    await cluster.role(node).operations.stage(request, AbortSignal.timeout(10_000));
  }

  /** How a write of a pod ended, or that it has not. */
  interface Write {
    readonly outcome: () => string;
  }

  async function write(): Promise<Write> {
    const { kernel } = cluster.fake(consumer);
    const [array] = await kernel.mdArrays();
    let outcome = 'waits';
    kernel.writeBytes(array?.path ?? 'none', 64 * MIB, MARK).then(
      () => (outcome = 'done'),
      (error: unknown) => (outcome = (error as { code?: string }).code ?? 'failed'),
    );
    return { outcome: () => outcome };
  }

  const untilEnded = ({ outcome }: Write): Promise<void> =>
    cluster.until('the write has ended', () => outcome() !== 'waits', 15_000);
  const statesOf = (): readonly string[] =>
    (cluster.volume(VOLUME)?.status?.partitions ?? []).map(({ state }) => state);
  const afterGrace = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 8 * GRACE_MS));

  it('without the API a member whose path is lost is dropped unrecorded by `continue`, and recorded once it is back', async () => {
    await staged('node1', { onWitnessLoss: 'continue' });
    cluster.volumes.isDown = true;
    cluster.fabric.cut('node1', 'node2');
    const pending = await write();
    await untilEnded(pending);
    expect(pending.outcome()).to.equal('done');
    expect(statesOf()).to.deep.equal(['Synced', 'Synced']);
    cluster.volumes.isDown = false;
    cluster.fabric.expire();
    await cluster.until('the drop is on record', () => statesOf().includes('Missing'));
    cluster.fabric.heal('node1', 'node2');
    await cluster.until('it is back', () => statesOf().every((state) => state === 'Synced'), 20_000);
  }).timeout(60_000);

  it('what MD drops by itself holds the others back for the grace alone under `continue`', async () => {
    await staged('node1', { onWitnessLoss: 'continue' });
    cluster.volumes.isDown = true;
    cluster.fake('node2').disk('nvme0n1').failing = 'ENODATA';
    await untilEnded(await write());
    await new Promise((resolve) => setTimeout(resolve, 100));
    const pending = await write();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(pending.outcome(), 'the grace has only begun').to.equal('waits');
    await untilEnded(pending);
    expect(pending.outcome()).to.equal('done');
    cluster.volumes.isDown = false;
    await cluster.until('the drop is on record', () => statesOf().includes('Faulty'));
  }).timeout(60_000);

  it('with the API there `continue` records first, as everybody does', async () => {
    await staged('node1', { onWitnessLoss: 'continue' });
    cluster.fabric.cut('node1', 'node2');
    const pending = await write();
    await untilEnded(pending);
    expect(statesOf()).to.deep.equal(['Synced', 'Missing']);
  }).timeout(60_000);

  it('by default a write waits for the API as long as it takes', async () => {
    await staged('node1', {});
    cluster.volumes.isDown = true;
    cluster.fabric.cut('node1', 'node2');
    const pending = await write();
    await afterGrace();
    expect(pending.outcome()).to.equal('waits');
    cluster.volumes.isDown = false;
    await untilEnded(pending);
    expect(statesOf()).to.deep.equal(['Synced', 'Missing']);
  }).timeout(60_000);

  it('by `fail` writes end with an error when the last copy is out of reach, and work when it is back', async () => {
    await staged('node2', { numberOfCopies: 1, onLastCopyLoss: 'fail' });
    cluster.fabric.cut('node2', 'node1');
    const pending = await write();
    await untilEnded(pending);
    expect(pending.outcome()).to.equal('EIO');
    expect(statesOf(), 'it still holds everything').to.deep.equal(['Synced']);
    cluster.fabric.expire();
    cluster.fabric.heal('node2', 'node1');
    const isWhole = async (): Promise<boolean> => {
      const guards = await cluster.fake('node2').kernel.dmDevices('meshstor-');
      return guards.some(({ table }) => table[0]?.params.includes('queue_if_no_path') === true);
    };
    for (let turn = 0; turn < 500 && !(await isWhole()); turn += 1)
      await new Promise((resolve) => setTimeout(resolve, 10));
    const next = await write();
    await untilEnded(next);
    expect(next.outcome()).to.equal('done');
  }).timeout(60_000);

  it('by `hold`, the default, they wait for it', async () => {
    await staged('node2', { numberOfCopies: 1 });
    cluster.fabric.cut('node2', 'node1');
    const pending = await write();
    await afterGrace();
    expect(pending.outcome()).to.equal('waits');
    cluster.fabric.heal('node2', 'node1');
    await untilEnded(pending);
    expect(pending.outcome()).to.equal('done');
  }).timeout(60_000);
});
