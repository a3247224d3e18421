/** What happens to a staged volume between the calls: paths go and come back, and nobody calls. */
import { expect } from 'chai';
import type { Log } from '../../src/support/log.ts';
import { MIB } from '../../src/support/units.ts';
import { InProcessCluster } from './in-process-cluster.ts';

const VOLUME = 'pvc-5d2c7f10-9a4b-4c1e-8d3f-2b6a9e0c7d51';
const MARK = new Uint8Array(4096).fill(0x5a);

describe('a staged volume whose path is lost', () => {
  let cluster: InProcessCluster;
  let volumeId: string;

  beforeEach(async () => {
    cluster = new InProcessCluster(['node1', 'node2']);
    await cluster.ready();
    volumeId = await cluster.create(VOLUME, 'node1');
    const request = await cluster.stageRequest(volumeId, 'node1');
    await cluster.role('node1').operations.stage(request, AbortSignal.timeout(10_000));
  });

  afterEach(() => cluster.stop());

  const arrayOf = async (): Promise<string> => (await cluster.fake('node1').kernel.mdArrays())[0]?.path ?? 'none';

  /** A write of a pod: it ends when every member has it. */
  async function write(): Promise<{ readonly ended: Promise<void>; readonly isDone: () => boolean }> {
    let done = false;
    const ended = cluster.fake('node1').kernel.writeBytes(await arrayOf(), 64 * MIB, MARK);
    void ended.then(() => {
      done = true;
    });
    return { ended, isDone: () => done };
  }

  it('goes on by itself when the path is back under the same connection', async () => {
    cluster.fabric.cut('node1', 'node2');
    const pending = await write();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(pending.isDone(), 'the guard holds the write').to.equal(false);
    cluster.fabric.heal('node1', 'node2');
    await pending.ended;
    const [array] = await cluster.fake('node1').kernel.mdArrays();
    expect(array?.degraded, 'MD never noticed').to.equal(0);
  });

  it('connects anew when the kernel has given the connection up, and goes on', async () => {
    cluster.fabric.cut('node1', 'node2');
    const pending = await write();
    cluster.fabric.expire();
    expect(await cluster.fake('node1').kernel.nvmeControllers()).to.satisfy((list: readonly { transport: string }[]) =>
      list.every(({ transport }) => transport === 'pcie'),
    );
    expect(pending.isDone()).to.equal(false);
    cluster.fabric.heal('node1', 'node2');
    await pending.ended;
    const [array] = await cluster.fake('node1').kernel.mdArrays();
    expect(array?.degraded).to.equal(0);
    expect(cluster.volume(volumeId)?.status?.partitions.map(({ state }) => state)).to.deep.equal(['Synced', 'Synced']);
  });

  it('goes on without the API, too, when the path is back', async () => {
    cluster.volumes.isDown = true;
    cluster.fabric.cut('node1', 'node2');
    const pending = await write();
    cluster.fabric.expire();
    cluster.fabric.heal('node1', 'node2');
    await pending.ended;
    const [array] = await cluster.fake('node1').kernel.mdArrays();
    expect(array?.degraded).to.equal(0);
    cluster.volumes.isDown = false;
  });

  it('is unstaged in order once the path is back, and not through a guard that holds its writes', async () => {
    cluster.fabric.cut('node1', 'node2');
    cluster.fabric.expire();
    let done = false;
    const unstaged = cluster.unstage(volumeId, 'node1').then(() => {
      done = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(done).to.equal(false);
    cluster.fabric.heal('node1', 'node2');
    await unstaged;
    const { status } = cluster.volume(volumeId) ?? {};
    expect(status?.releasedEpoch, 'the hand-over is clean').to.equal(status?.attachmentEpoch);
  });
});

describe('a staged volume whose holder is gone for long', () => {
  let cluster: InProcessCluster;
  let volumeId: string;
  const steps: string[] = [];
  const warnings: string[] = [];
  const log: Log = {
    debug: () => undefined,
    info: () => undefined,
    warn: (message) => warnings.push(message),
    error: (message) => warnings.push(message),
  };

  beforeEach(async () => {
    steps.length = 0;
    warnings.length = 0;
    const onStep = (node: string, { operation, step }: { readonly operation: string; readonly step: string }): void => {
      if (node === 'node1' && operation === 'mend') steps.push(step);
    };
    const rests = { firstMs: 20, longestMs: 100 };
    cluster = new InProcessCluster(['node1', 'node2'], { dropGraceMs: 100, rests, onStep, log });
    await cluster.ready();
    volumeId = await cluster.create(VOLUME, 'node1');
    const request = await cluster.stageRequest(volumeId, 'node1');
    await cluster.role('node1').operations.stage(request, AbortSignal.timeout(10_000));
  });

  afterEach(() => cluster.stop());

  const statesOf = (): Record<string, string> =>
    Object.fromEntries(
      (cluster.volume(volumeId)?.status?.partitions ?? []).map(({ nodeID, state }) => [nodeID, state]),
    );
  const write = async (): Promise<void> => {
    const [array] = await cluster.fake('node1').kernel.mdArrays();
    await cluster.fake('node1').kernel.writeBytes(array?.path ?? 'none', 64 * MIB, MARK);
  };

  it('is written on without it once that is recorded, and takes it back', async () => {
    cluster.fabric.cut('node1', 'node2');
    await write();
    expect(statesOf()).to.deep.equal({ node1: 'Synced', node2: 'Missing' });
    cluster.fabric.expire();
    cluster.fabric.heal('node1', 'node2');
    await cluster.until('both members are Synced', () => statesOf()['node2'] === 'Synced', 20_000);
    const [array] = await cluster.fake('node1').kernel.mdArrays();
    expect(array?.degraded).to.equal(0);
    expect(array?.members.map(({ state }) => state.includes('write_mostly'))).to.have.members([true, false]);
    expect(steps, 'by its bitmap').to.not.include('wipeSuperblocks');
  });

  it('is dropped without a write, too: MD is told', async () => {
    cluster.fabric.cut('node1', 'node2');
    cluster.fabric.expire();
    await cluster.until('the member is missing', () => statesOf()['node2'] === 'Missing');
    await cluster.until('it is taken out', () => steps.includes('removeMember'));
    const [array] = await cluster.fake('node1').kernel.mdArrays();
    expect(array?.members).to.have.length(1);
  });

  it('is told of once, however often it is tried to be reached', async () => {
    const { kernel } = cluster.fake('node1');
    const connect = kernel.nvmeConnect.bind(kernel);
    let tries = 0;
    kernel.nvmeConnect = (options) => {
      tries += 1;
      return connect(options);
    };
    cluster.fabric.cut('node1', 'node2');
    cluster.fabric.expire();
    await cluster.until('it is taken out', () => steps.includes('removeMember'));
    const before = tries;
    await cluster.until('it was tried again', () => tries >= before + 3);
    expect(warnings.filter((message) => message === 'member out of reach')).to.have.length(1);
    expect(warnings).to.not.include('reconcile failed');
  });

  it('takes it back also when the process that dropped it was started anew meanwhile', async () => {
    cluster.fabric.cut('node1', 'node2');
    await write();
    cluster.fabric.expire();
    await cluster.until('it is taken out', () => steps.includes('removeMember'));
    cluster.restart('node1');
    await new Promise((resolve) => setTimeout(resolve, 500));
    cluster.fabric.heal('node1', 'node2');
    await cluster.until('both members are Synced', () => statesOf()['node2'] === 'Synced', 20_000);
  });

  it('fills a member anew whose holder has restarted meanwhile', async () => {
    cluster.fabric.cut('node1', 'node2');
    await write();
    cluster.fake('node2').crash();
    cluster.restart('node2');
    cluster.fabric.expire();
    cluster.fabric.heal('node1', 'node2');
    await cluster.until('both members are Synced', () => statesOf()['node2'] === 'Synced', 20_000);
    expect(steps).to.include.members(['recordStale', 'wipeSuperblocks', 'addMember']);
  });

  it('waits when nobody can record it', async () => {
    const { kernel } = cluster.fake('node1');
    cluster.volumes.isDown = true;
    cluster.fabric.cut('node1', 'node2');
    let isDone = false;
    const pending = write().then(() => {
      isDone = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(isDone).to.equal(false);
    expect((await kernel.mdArrays())[0]?.degraded).to.equal(0);
    cluster.volumes.isDown = false;
    await pending;
    expect(statesOf()).to.deep.equal({ node1: 'Synced', node2: 'Missing' });
  });
});
