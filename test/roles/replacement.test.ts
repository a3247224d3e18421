/** Members that are out for good get others in their place, with the real roles and the real controller (SPEC §8). */
import { expect } from 'chai';
import { MIB } from '../../src/support/units.ts';
import { InProcessCluster } from './in-process-cluster.ts';

const VOLUME = 'pvc-7e0d4f52-6c1b-4a8f-b3d9-1f5a9c2e8b64';
const MARK = new Uint8Array(4096).fill(0x5a);
const LIMIT_MS = 30_000;

describe('a member that is out for good', () => {
  let cluster: InProcessCluster;
  let volumeId: string;
  let far: string;
  let spare: string;
  /** Added to the time by which the controller counts who is missing. */
  let skippedMs = 0;
  const steps: string[] = [];

  beforeEach(async () => {
    skippedMs = 0;
    steps.length = 0;
    cluster = new InProcessCluster(['node1', 'node2', 'node3'], {
      dropGraceMs: 100,
      monotonicMs: () => performance.now() + skippedMs,
      onStep: (node, { operation, step }) => {
        if (operation === 'mend') steps.push(`${node} ${step}`);
      },
    });
    await cluster.ready();
    volumeId = await cluster.create(VOLUME, 'node1');
    const request = await cluster.stageRequest(volumeId, 'node1');
    await cluster.role('node1').operations.stage(request, AbortSignal.timeout(10_000));
    far = partitions().find(({ nodeID }) => nodeID !== 'node1')?.nodeID ?? '';
    spare = far === 'node2' ? 'node3' : 'node2';
  });

  afterEach(() => cluster.stop());

  const statusOf = () => cluster.volume(volumeId)?.status;
  const partitions = () => statusOf()?.partitions ?? [];
  const states = (): Record<string, string> =>
    Object.fromEntries(partitions().map(({ nodeID, state }) => [nodeID, state]));
  const arrayOf = async () => (await cluster.fake('node1').kernel.mdArrays())[0];
  const write = async (): Promise<void> => {
    const array = await arrayOf();
    await cluster.fake('node1').kernel.writeBytes(array?.path ?? 'none', 64 * MIB, MARK);
  };
  const isMissing = (): boolean => states()[far] === 'Missing' && statusOf()?.mdState === 'degraded';
  /** The volume's timeout is over. A heartbeat, or any other change, makes the controller look. */
  function letTimePass(): void {
    skippedMs += 901_000;
    const volume = cluster.volume(volumeId);
    if (volume !== undefined) cluster.volumes.put(volume);
  }

  it('is replaced on a third node after the timeout, in use, and its partition goes when its node is back', async () => {
    cluster.fabric.cut('node1', far);
    await write();
    cluster.fabric.expire();
    await cluster.until('the member is missing', isMissing);
    expect(partitions()).to.have.length(2);
    await cluster.until('its time is counted', () => steps.includes('node1 removeMember'));
    // The holder's process does not live: it cannot take part.
    await cluster.role(far).stop();
    await new Promise((resolve) => setTimeout(resolve, 100));
    letTimePass();
    await cluster.until('the newcomer is in sync', () => states()[spare] === 'Synced', LIMIT_MS);
    await cluster.until('the old one goes', () => states()[far] === 'Deleting');
    await cluster.until('all is well', () => statusOf()?.phase === 'Synced' && statusOf()?.ready === '2/2');
    expect(cluster.events.reasons()).to.include.members(['ReplacementRequested', 'Replaced']);
    expect((await arrayOf())?.degraded).to.equal(0);
    await cluster.until('the remote member is told from the local one', () => steps.includes('node1 setWriteMostly'));
    const flags = (await arrayOf())?.members.map(({ state }) => state.includes('write_mostly'));
    expect(flags).to.have.members([true, false]);
    await write();
    cluster.fabric.heal('node1', far);
    cluster.restart(far);
    await cluster.until('nothing is left of it', () => !(far in states()), LIMIT_MS);
    const left = await cluster.remains();
    expect(left.filter((line) => line.startsWith(far))).to.deep.equal([]);
    const gone = left.filter((line) => line.startsWith('node1: connection') || line.startsWith('node1: leg'));
    expect(gone, 'two guards and one connection are those of the members').to.have.length(3);
  });

  it('comes back by its bitmap while the newcomer is not in the array yet, which then goes', async () => {
    cluster.fabric.cut('node1', far);
    cluster.fabric.cut('node1', spare);
    await write();
    cluster.fabric.expire();
    await cluster.until('the member is missing', isMissing);
    await cluster.until('it is taken out', () => steps.includes('node1 removeMember'));
    await new Promise((resolve) => setTimeout(resolve, 100));
    letTimePass();
    await cluster.until('a replacement was made', () => states()[spare] === 'Created', LIMIT_MS);
    expect(states()[far]).to.equal('Replacing');
    expect(statusOf()).to.include({ phase: 'Replacing', downDevices: 1, degradedDevices: 1 });
    steps.length = 0;
    cluster.fabric.heal('node1', far);
    await cluster.until('the old one is in sync', () => states()[far] === 'Synced', LIMIT_MS);
    await cluster.until('the newcomer is gone', () => !(spare in states()), LIMIT_MS);
    expect(steps).to.not.include('node1 wipeSuperblocks');
    expect(cluster.events.reasons()).to.include('ReplacementCancelled');
    expect(statusOf()).to.include({ phase: 'Synced', ready: '2/2' });
  });

  it('is replaced at once when its drive fails, and counts by itself no more', async () => {
    const entry = partitions().find(({ nodeID }) => nodeID === far);
    const [array] = await cluster.fake('node1').kernel.mdArrays();
    const remote = array?.members.find(({ state }) => state.includes('write_mostly'));
    await cluster.fake('node1').kernel.setMdMemberState(array?.name ?? '', remote?.name ?? '', 'faulty');
    await cluster.until('another one is in sync', () => states()[spare] === 'Synced', LIMIT_MS);
    await cluster.until('the old one is gone', () => !(far in states()), LIMIT_MS);
    expect(partitions().map(({ partitionUUID }) => partitionUUID)).to.not.include(entry?.partitionUUID);
    expect(statusOf()).to.include({ phase: 'Synced', ready: '2/2', failedDevices: 0 });
  });
});
