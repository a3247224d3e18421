/** Names move between a look and an effect: what a step is about to use is checked by identity, or the step is refused. */
import { expect } from 'chai';
import { DomainError } from '../../src/api/errors.ts';
import type { Kernel } from '../../src/api/kernel.ts';
import { LINUX_RAID_TYPE_GUID, legDmUuidFor, legNameFor } from '../../src/api/names.ts';
import { claimTable, guardTable } from '../../src/node/dm-tables.ts';
import { requirePartition, verifyLocalLeg, verifyRemoteLeg } from '../../src/node/verify-device.ts';
import { GIB, MIB } from '../../src/support/units.ts';
import { FakeFabric } from '../fakes/fake-fabric.ts';
import { FakeNode } from '../fakes/fake-node.ts';

const ONE = '11111111-1111-5111-8111-111111111111';
const TWO = '22222222-2222-5222-8222-222222222222';
const SIZE = 64 * MIB;
const LEG = legNameFor(ONE, 3);

async function refusalOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error, 'it is refused').to.be.instanceOf(DomainError);
  expect((error as DomainError).kind, 'it is looked up again').to.equal('unavailable');
  return (error as DomainError).message;
}

describe('a device that is about to be used', () => {
  let kernel: Kernel;
  /** Device nodes of the partitions ONE and TWO, each on its own drive. */
  let one: string;
  let two: string;

  beforeEach(async () => {
    const disks = ['nvme0n1', 'nvme1n1'].map((name) => ({ name, sizeBytes: GIB }));
    ({ kernel } = new FakeNode({ name: 'node1', fabric: new FakeFabric(), addresses: [], disks }));
    const add = async (disk: string, partitionGuid: string, startBytes: number): Promise<string> => {
      await kernel.initializeGpt(disk, `${partitionGuid.slice(0, -1)}0`);
      const typeGuid = LINUX_RAID_TYPE_GUID;
      return kernel.addGptPartition(disk, { typeGuid, partitionGuid, name: 'meshstor-x', startBytes, sizeBytes: SIZE });
    };
    one = await add('/dev/nvme0n1', ONE, MIB);
    two = await add('/dev/nvme1n1', TWO, 8 * MIB);
  });

  const legs = async (): Promise<readonly string[]> => (await kernel.dmDevices('meshstor-')).map(({ name }) => name);
  const numberOf = async (path: string): Promise<string> =>
    (await kernel.nvmeNamespaces()).flatMap((found) => found.partitions).find((found) => found.path === path)
      ?.devNumber ?? '';

  it('is taken when it is the partition that was meant, by name and by number', async () => {
    await requirePartition(kernel, one, ONE);
    await requirePartition(kernel, await numberOf(two), TWO);
  });

  it('is refused when it is gone, or the partition has moved to another name', async () => {
    expect(await refusalOf(requirePartition(kernel, '/dev/nvme7n1p1', ONE))).to.match(/no such partition any more/);
    expect(await refusalOf(requirePartition(kernel, two, ONE))).to.match(/nvme1n1 has it elsewhere/);
  });

  it('is refused when the drive is not of this machine', async () => {
    const { nvmeNamespaces } = kernel;
    kernel.nvmeNamespaces = async () =>
      (await nvmeNamespaces.call(kernel)).map((namespace) => ({ ...namespace, transport: 'tcp' }));
    expect(await refusalOf(requirePartition(kernel, one, ONE))).to.match(/nvme0n1 is no local drive/);
  });

  it('is refused when the table has the partition at another place, or with another size', async () => {
    const { readGpt } = kernel;
    for (const change of [{ startBytes: 2 * MIB }, { sizeBytes: SIZE / 2 }]) {
      kernel.readGpt = async (path) => {
        const table = await readGpt.call(kernel, path);
        return { ...table, partitions: table.partitions.map((entry) => ({ ...entry, ...change })) };
      };
      expect(await refusalOf(requirePartition(kernel, one, ONE))).to.match(/has it elsewhere/);
    }
  });

  it('keeps a claim that lies over its partition, and loses one that does not', async () => {
    const uuid = legDmUuidFor(ONE, 3, TWO);
    await kernel.createDm(LEG, uuid, claimTable(one, SIZE));
    await verifyLocalLeg(kernel, LEG, ONE);
    expect(await legs()).to.deep.equal([LEG]);
    await kernel.removeDm(LEG);
    await kernel.createDm(LEG, uuid, claimTable(two, SIZE));
    expect(await refusalOf(verifyLocalLeg(kernel, LEG, ONE))).to.match(/has it elsewhere/);
    expect(await legs(), 'it is gone again').to.deep.equal([]);
  });

  it('keeps a guard over the namespace that was meant, and loses one over another', async () => {
    const [first, second] = await kernel.nvmeNamespaces();
    if (first === undefined || second === undefined) throw new Error('two drives');
    const uuid = legDmUuidFor(ONE, 3, TWO);
    const make = async (): Promise<void> => {
      await kernel.createDm(LEG, uuid, guardTable(first.path, SIZE));
    };
    await make();
    await verifyRemoteLeg(kernel, LEG, first.subsystemNqn, first.nsid);
    expect(await legs()).to.deep.equal([LEG]);
    const wrong = verifyRemoteLeg(kernel, LEG, second.subsystemNqn, second.nsid);
    expect(await refusalOf(wrong)).to.include(`is not namespace ${second.nsid} of ${second.subsystemNqn}`);
    expect(await legs(), 'it is gone again').to.deep.equal([]);
    await make();
    await refusalOf(verifyRemoteLeg(kernel, LEG, first.subsystemNqn, first.nsid + 1));
    expect(await legs(), 'another namespace of the same subsystem is another device').to.deep.equal([]);
  });
});
