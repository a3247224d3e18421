/** What people see of a volume that nobody has attached yet. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { Heartbeats } from '../../src/controller/heartbeats.ts';
import { Placer } from '../../src/controller/placer.ts';
import { VolumeOperations } from '../../src/controller/volume-operations.ts';
import { createRequest, FakeCluster } from '../fakes/fake-cluster.ts';
import { onPath, plain } from './contract/columns.ts';
import type { Harness } from './harness.ts';
import { createHarness } from './harness.ts';

const run = promisify(execFile);

const GOLDEN = `
NAME                                       PHASE   MDSTATE   READY   DEGRADED   SYNC   NODE   AGE
pvc-11111111-2222-4333-8444-555555555555   New               0/2     0                        AGE
`;

describe('a volume that waits for its first attach', () => {
  let harness: Harness;
  before(async () => {
    harness = await createHarness();
  });
  after(() => harness.close());

  it('is shown by kubectl with its phase and how many members it should have', async function () {
    this.timeout(60_000);
    if (!onPath('kubectl')) this.skip(); // There is no kubectl on this machine.
    const cluster = new FakeCluster().withNodes(2);
    const volumes = harness.volumes();
    await volumes.synced;
    const parts = { ...cluster.parts(), volumes };
    const heartbeats = new Heartbeats(cluster.devices, cluster.clock);
    const operations = new VolumeOperations(parts, heartbeats, new Placer(parts, heartbeats));
    await operations.createVolume(createRequest());
    const { stdout } = await run(
      'kubectl',
      ['--kubeconfig', harness.kubeconfig, 'get', 'msvol', createRequest().name],
      {
        timeout: 30_000,
      },
    );
    expect(plain(stdout)).to.equal(GOLDEN.trim());
  });
});
