import { expect } from 'chai';
import fc from 'fast-check';
import { memberDataBytes, partitionSizeBytes } from '../../src/api/layout.ts';
import type { DriveSeen, Placement, PlacementRequest } from '../../src/plan/placement.ts';
import { largestPlaceable, placeVolume } from '../../src/plan/placement.ts';
import { GIB, MIB } from '../../src/support/units.ts';

const UUID = '9b2b5ad3-6d2c-4f0e-8d6f-1f2f3a4b5c6d';

function drive(node: string, more: Partial<DriveSeen> = {}): DriveSeen {
  const device = more.device ?? 'nvme0n1';
  return {
    node,
    device,
    serial: `${node}-${device}`,
    sectorSize: 512,
    biggestFreeBytes: 100 * GIB,
    freeBytes: 100 * GIB,
    heartbeatAgeMs: 5000,
    usable: true,
    unusableReason: '',
    schedulable: true,
    rdma: false,
    ...more,
  };
}

function request(more: Partial<PlacementRequest> = {}): PlacementRequest {
  const drivesPerCopy = more.drivesPerCopy ?? 1;
  return {
    volumeUUID: UUID,
    capacityBytes: 10 * GIB,
    partitionBytes: partitionSizeBytes(10 * GIB, drivesPerCopy),
    numberOfCopies: 2,
    drivesPerCopy: 1,
    sectorSize: 'auto',
    ...more,
  };
}

function placed(result: Placement): Extract<Placement, { ok: true }> {
  if (!result.ok) throw new Error(result.message);
  return result;
}

function refused(result: Placement): Extract<Placement, { ok: false }> {
  if (result.ok) throw new Error('it was placed');
  return result;
}

describe('placement', () => {
  const whyNot: readonly [string, Partial<DriveSeen>, Partial<PlacementRequest>, RegExp][] = [
    ['too little room', { biggestFreeBytes: 5 * GIB }, {}, /5Gi free in one piece, needed 10Gi/],
    ['another sector size', { sectorSize: 4096 }, { sectorSize: 512 }, /sector size 4096, needed 512/],
    ['a stale heartbeat', { heartbeatAgeMs: 61_000 }, {}, /last heartbeat 61 s ago/],
    [
      'a drive that is not allowed',
      { usable: false, unusableReason: 'no selector allows it' },
      {},
      /not allowed: no selector allows it/,
    ],
    ['a cordon', { schedulable: false }, {}, /cordoned/],
    ['the request itself', {}, { excludeNodes: ['b'] }, /excluded/],
    ['too few drives', {}, { drivesPerCopy: 2, numberOfCopies: 1, excludeNodes: ['a'] }, /1 of 2 drives fit/],
  ];
  for (const [name, more, wanted, reason] of whyNot) {
    it(`says why not: ${name}`, () => {
      const result = refused(placeVolume(request(wanted), [drive('a'), drive('b', more)]));
      expect(result.rejected.find(({ node }) => node === 'b')?.reason).to.match(reason);
      expect(result.message).to.match(reason);
    });
  }

  it('names no rejected node twice, and says so when there is no drive at all', () => {
    expect(refused(placeVolume(request(), [])).message).to.match(/no node has a drive/);
    const nodes = refused(
      placeVolume(request({ numberOfCopies: 3 }), [drive('a', { schedulable: false }), drive('b')]),
    ).rejected;
    expect(nodes.map(({ node }) => node)).to.deep.equal(['a']);
  });

  it('puts the first copy on the consumer, and notes why when it cannot', () => {
    const inventory = [drive('a'), drive('b'), drive('c', { freeBytes: 20 * GIB })];
    expect(placed(placeVolume(request({ consumer: 'c' }), inventory)).members[0]?.node).to.equal('c');
    const full = [drive('a'), drive('b'), drive('c', { biggestFreeBytes: GIB })];
    const result = placed(placeVolume(request({ consumer: 'c' }), full));
    expect(result.members.map(({ node }) => node)).to.have.members(['a', 'b']);
    expect(result.notes.join()).to.match(/no copy on the consumer c.*1Gi free/);
  });

  it('takes 4096 byte sectors where all members have them, and the consumer before that', () => {
    const both = [drive('a', { sectorSize: 4096 }), drive('b', { sectorSize: 4096 }), drive('c'), drive('d')];
    expect(placed(placeVolume(request(), both)).sectorSize).to.equal(4096);
    expect(placed(placeVolume(request({ consumer: 'c' }), both)).sectorSize).to.equal(512);
    expect(
      placed(placeVolume(request(), [drive('a', { sectorSize: 4096 }), drive('b'), drive('c')])).sectorSize,
    ).to.equal(512);
  });

  it('ranks RDMA, then latency, then free space, then fewest members', () => {
    const pick = (...inventory: DriveSeen[]): string | undefined =>
      placed(placeVolume(request({ numberOfCopies: 1 }), inventory)).members[0]?.node;
    expect(pick(drive('a', { latencyClass: 1 }), drive('b', { rdma: true, latencyClass: 2 }))).to.equal('b');
    expect(pick(drive('a', { freeBytes: 90 * GIB, latencyClass: 1 }), drive('b', { latencyClass: 2 }))).to.equal('a');
    expect(pick(drive('a', { freeBytes: 90 * GIB, members: 0 }), drive('b', { members: 3 }))).to.equal('b');
    expect(pick(drive('a', { members: 2 }), drive('b', { members: 1 }))).to.equal('b');
  });

  it('fills equal nodes evenly', () => {
    const inventory = ['a', 'b', 'c', 'd'].map((node) => drive(node));
    const counts = new Map<string, number>();
    for (let index = 0; index < 400; index += 1) {
      const volumeUUID = `${index}`.padStart(8, '0') + UUID.slice(8);
      const node = placed(placeVolume(request({ volumeUUID, numberOfCopies: 1 }), inventory)).members[0]!.node;
      counts.set(node, (counts.get(node) ?? 0) + 1);
    }
    for (const node of ['a', 'b', 'c', 'd']) expect(counts.get(node)).to.be.within(60, 140);
  });

  it('keeps what is placed already and fills only the other slots', () => {
    const keep = [{ slot: 0, node: 'a', device: 'nvme0n1', serial: 'a-nvme0n1' }];
    const result = placed(
      placeVolume(request({ keep }), [drive('a'), drive('a', { device: 'nvme1n1' }), drive('b', { freeBytes: GIB })]),
    );
    expect(result.members).to.deep.equal([{ slot: 1, node: 'b', device: 'nvme0n1', serial: 'b-nvme0n1' }]);
  });

  describe('on namespaces of one drive, which fail together', () => {
    const spaces = [
      drive('a', { device: 'nvme0n1', serial: 'S', nsid: 1, freeBytes: 60 * GIB }),
      drive('a', { device: 'nvme0n2', serial: 'S', nsid: 2, freeBytes: 80 * GIB }),
    ];
    const shape = { numberOfCopies: 1, drivesPerCopy: 2, sectorSize: 'auto' as const };
    const wanted = request({ ...shape, partitionBytes: partitionSizeBytes(10 * GIB, 2) });

    it('puts no two members', () => {
      const { message } = refused(placeVolume(wanted, spaces));
      expect(message).to.match(/1 of 2 drives fit; nvme0n2: another namespace of the drive of nvme0n1/);
      expect(largestPlaceable(shape, spaces)).to.equal(0);
    });

    it('takes the better one beside another drive, when it places and when it replaces', () => {
      const other = drive('a', { device: 'nvme1n1', freeBytes: 10 * GIB });
      const inventory = [...spaces, other];
      const { members } = placed(placeVolume(wanted, inventory));
      expect(members.map(({ device }) => device)).to.deep.equal(['nvme0n2', 'nvme1n1']);
      const capacity = largestPlaceable(shape, [...spaces, { ...other, biggestFreeBytes: 5 * GIB }]);
      expect(capacity).to.be.within(9 * GIB, 10 * GIB);
      const keep = [{ slot: 0, node: 'a', device: 'nvme0n1', serial: 'S' }];
      const replaced = placed(placeVolume({ ...wanted, keep }, inventory));
      expect(replaced.members.map(({ device }) => device)).to.deep.equal(['nvme1n1']);
      expect(refused(placeVolume({ ...wanted, keep }, spaces)).message).to.match(/has a member of this volume already/);
    });

    it('knows them by node and serial number: the drive of another node is another one', () => {
      const inventory = [spaces[0]!, { ...spaces[0]!, node: 'b' }];
      const keep = [{ slot: 0, node: 'a', device: 'nvme0n1', serial: 'S' }];
      expect(placed(placeVolume(request(), inventory)).members).to.have.length(2);
      expect(placed(placeVolume(request({ keep }), inventory)).members).to.have.length(1);
    });
  });

  const inventories = fc.array(
    fc.record({
      node: fc.constantFrom('a', 'b', 'c', 'd'),
      disk: fc.integer({ min: 0, max: 3 }),
      gib: fc.integer({ min: 1, max: 30 }),
      sectorSize: fc.constantFrom(512, 4096),
      stale: fc.integer({ min: 0, max: 5 }),
      rdma: fc.boolean(),
    }),
    { maxLength: 14 },
  );
  type Row = Parameters<Parameters<typeof inventories.map>[0]>[0][number];
  const drives = (rows: readonly Row[]): readonly DriveSeen[] => {
    const seen = new Map(
      rows.map(({ node, disk, gib, sectorSize, stale, rdma }) => {
        const bytes = gib * GIB;
        const more = {
          device: `nvme${disk}n1`,
          biggestFreeBytes: bytes,
          freeBytes: bytes,
          sectorSize,
          rdma,
          heartbeatAgeMs: stale === 0 ? 90_000 : 0,
        };
        return [`${node}/${disk}`, drive(node, more)];
      }),
    );
    return [...seen.values()];
  };
  const shapes = fc.record({
    numberOfCopies: fc.integer({ min: 1, max: 3 }),
    drivesPerCopy: fc.integer({ min: 1, max: 2 }),
    sectorSize: fc.constantFrom('auto' as const, 512 as const, 4096 as const),
  });

  it('keeps every hard rule, whatever the inventory and its order', () => {
    fc.assert(
      fc.property(inventories, shapes, (rows, shape) => {
        const inventory = drives(rows);
        const wanted = request({ ...shape, partitionBytes: partitionSizeBytes(10 * GIB, shape.drivesPerCopy) });
        const result = placeVolume(wanted, inventory);
        expect(placeVolume(wanted, [...inventory].reverse())).to.deep.equal(result);
        if (!result.ok) return;
        const { members, sectorSize } = result;
        expect(members.map(({ slot }) => slot)).to.deep.equal(members.map((_, slot) => slot));
        expect(members).to.have.length(shape.numberOfCopies * shape.drivesPerCopy);
        expect(new Set(members.map(({ serial }) => serial)).size).to.equal(members.length);
        const nodeOfCopy = new Map<number, string>();
        for (const { slot, node, serial } of members) {
          const copy = slot % shape.numberOfCopies;
          expect(nodeOfCopy.get(copy) ?? node).to.equal(node);
          nodeOfCopy.set(copy, node);
          const found = inventory.find((each) => each.serial === serial)!;
          expect(found).to.include({ sectorSize, heartbeatAgeMs: 0 });
          expect(found.biggestFreeBytes).to.be.at.least(wanted.partitionBytes);
        }
        expect(new Set(nodeOfCopy.values()).size).to.equal(shape.numberOfCopies);
      }),
    );
  });

  it('places the largest volume that it reports, and nothing larger', () => {
    fc.assert(
      fc.property(inventories, shapes, (rows, shape) => {
        const inventory = drives(rows);
        const capacity = largestPlaceable(shape, inventory);
        const fits = (capacityBytes: number): boolean =>
          placeVolume(
            request({
              ...shape,
              capacityBytes,
              partitionBytes: partitionSizeBytes(capacityBytes, shape.drivesPerCopy),
            }),
            inventory,
          ).ok;
        if (capacity > 0) expect(fits(capacity)).to.equal(true);
        const larger = Math.max(capacity, 512 * MIB - MIB * shape.drivesPerCopy) + MIB * shape.drivesPerCopy;
        expect(memberDataBytes(larger, shape.drivesPerCopy) % MIB).to.equal(0);
        expect(fits(larger)).to.equal(false);
      }),
    );
  });
});
