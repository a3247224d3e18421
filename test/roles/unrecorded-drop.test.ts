/** A medium error passes the guard and MD drops the member by itself: nothing more is acknowledged before that is on record (SPEC §7.3). */
import { expect } from 'chai';
import { MIB } from '../../src/support/units.ts';
import type { FakeNode } from '../fakes/fake-node.ts';
import { InProcessCluster } from './in-process-cluster.ts';

const VOLUME = 'pvc-7c1d2e3f-4a5b-4c6d-8e7f-9a0b1c2d3e4f';
const MARK = new Uint8Array(4096).fill(0x5a);

describe('a staged volume of which MD drops a member by itself', () => {
  let cluster: InProcessCluster;
  let volumeId: string;
  let consumer: FakeNode;

  beforeEach(async () => {
    cluster = new InProcessCluster(['node1', 'node2']);
    await cluster.ready();
    volumeId = await cluster.create(VOLUME, 'node1');
    const request = await cluster.stageRequest(volumeId, 'node1');
    await cluster.role('node1').operations.stage(request, AbortSignal.timeout(10_000));
    consumer = cluster.fake('node1');
  });

  afterEach(() => cluster.stop());

  async function write(): Promise<{ readonly ended: Promise<void>; readonly isDone: () => boolean }> {
    let done = false;
    const [array] = await consumer.kernel.mdArrays();
    const ended = consumer.kernel.writeBytes(array?.path ?? 'none', 64 * MIB, MARK);
    void ended.then(() => {
      done = true;
    });
    return { ended, isDone: () => done };
  }

  const suspended = async (): Promise<readonly boolean[]> => {
    const [array] = await consumer.kernel.mdArrays();
    const faulty = (array?.members ?? []).filter(({ state }) => state.includes('faulty')).map(({ name }) => name);
    const guards = await consumer.kernel.dmDevices('meshstor-');
    return guards.filter(({ kernelName }) => !faulty.includes(kernelName)).map((guard) => guard.suspended);
  };
  const stateOnNode2 = (): string | undefined =>
    cluster.volume(volumeId)?.status?.partitions.find(({ nodeID }) => nodeID === 'node2')?.state;

  /** The drive of the other node refuses a write for good; the write itself may be told to be done, MD was as quick as its event. */
  async function dropMember(): Promise<void> {
    cluster.fake('node2').disk('nvme0n1').failing = 'ENODATA';
    await (
      await write()
    ).ended;
  }

  /** Of the guards that MD still uses. */
  async function untilHeld(isHeld: boolean): Promise<void> {
    const deadline = Date.now() + 5000;
    while (!(await suspended()).every((each) => each === isHeld)) {
      if (Date.now() > deadline) throw new Error(`the guards did not become ${isHeld ? 'held' : 'open'} within 5 s`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  it('records it and goes on', async () => {
    await dropMember();
    await cluster.until('the drop is on record', () => stateOnNode2() === 'Faulty');
    await (
      await write()
    ).ended;
    await untilHeld(false);
  });

  it('is written no more without the API, and goes on once the API has the record', async () => {
    cluster.volumes.isDown = true;
    await dropMember();
    await untilHeld(true);
    const pending = await write();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(pending.isDone(), 'nobody knows that the other copy lacks it').to.equal(false);
    expect(stateOnNode2()).to.equal('Synced');
    cluster.volumes.isDown = false;
    await pending.ended;
    expect(stateOnNode2(), 'recorded before the write ended').to.equal('Faulty');
  });

  it('stays held when its process is killed meanwhile, and the next one lets go after the record', async () => {
    cluster.volumes.isDown = true;
    await dropMember();
    await untilHeld(true);
    cluster.restart('node1');
    const pending = await write();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(pending.isDone()).to.equal(false);
    expect(await suspended()).to.deep.equal([true]);
    cluster.volumes.isDown = false;
    await pending.ended;
    expect(stateOnNode2()).to.equal('Faulty');
    await untilHeld(false);
  });

  it('is held back, too, while other work on it waits for an API that does not answer', async () => {
    cluster.volumes.isSilent = true;
    const unstaged = cluster.unstage(volumeId, 'node1');
    await dropMember();
    await untilHeld(true);
    expect(stateOnNode2()).to.equal('Synced');
    cluster.volumes.isSilent = false;
    await unstaged;
    expect(stateOnNode2()).to.equal('Faulty');
  });

  it('is taken down when it is called off while it is held: what is suspended is let go before it is let fail', async () => {
    cluster.volumes.isDown = true;
    await dropMember();
    await untilHeld(true);
    await cluster.role('node1').stop();
    cluster.volumes.isDown = false;
    const taint = { key: 'node.kubernetes.io/out-of-service', value: '', effect: 'NoExecute' };
    cluster.nodeStore.set('node1', { taints: [taint] });
    await cluster.controller.operations.unpublishVolume(volumeId, 'node1');
    expect(await suspended()).to.deep.equal([true]);
    cluster.restart('node1');
    const left = async (): Promise<number> =>
      (await consumer.kernel.mdArrays()).length +
      (await consumer.kernel.dmDevices('meshstor-')).filter(({ table }) => table[0]?.type === 'multipath').length;
    for (let turn = 0; turn < 1000 && (await left()) > 0; turn += 1)
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect(await left()).to.equal(0);
  }).timeout(30_000);

  it('is unstaged in order once the drop is on record, and not before', async () => {
    cluster.volumes.isDown = true;
    await dropMember();
    await untilHeld(true);
    const early = await cluster.unstage(volumeId, 'node1').then(
      () => 'done',
      () => 'refused',
    );
    expect(early, 'nobody knows whose the volume is').to.equal('refused');
    expect(await suspended(), 'nothing goes through on the way down').to.deep.equal([true]);
    cluster.volumes.isDown = false;
    await cluster.unstage(volumeId, 'node1');
    const { status } = cluster.volume(volumeId) ?? {};
    expect(stateOnNode2()).to.equal('Faulty');
    expect(status?.releasedEpoch, 'the hand-over is clean').to.equal(status?.attachmentEpoch);
  });
});
