/** What happens to a staged volume between the calls: paths go and come back, and nobody calls. */
import { expect } from 'chai';
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
