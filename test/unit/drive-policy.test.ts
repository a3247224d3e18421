/** SPEC §7.15, verdict by verdict: which drives may be written, and why the others may not. */
import { expect } from 'chai';
import type { GptPartition, GptTable, KernelPartition, NvmeNamespace } from '../../src/api/kernel.ts';
import { LINUX_RAID_TYPE_GUID } from '../../src/api/names.ts';
import type { DrivePolicy, DriveSelector, DriveVerdict } from '../../src/node/drive-policy.ts';
import { isOurPartition, judgeDrive, selectorMatches } from '../../src/node/drive-policy.ts';
import { GIB, MIB } from '../../src/support/units.ts';

const LINUX_TYPE_GUID = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';
const ZERO_GUID = '00000000-0000-0000-0000-000000000000';
const OURS: GptPartition = {
  number: 1,
  typeGuid: LINUX_RAID_TYPE_GUID,
  partitionGuid: '11111111-1111-4111-8111-111111111111',
  name: 'meshstor-0a1b2c3d4e5f',
  startBytes: MIB,
  sizeBytes: GIB,
};
const FOREIGN: GptPartition = {
  ...OURS,
  number: 2,
  typeGuid: LINUX_TYPE_GUID,
  partitionGuid: '22222222-2222-4222-8222-222222222222',
  name: 'root',
  startBytes: 2 * GIB,
};

const DRIVE: NvmeNamespace = {
  name: 'nvme1n1',
  path: '/dev/nvme1n1',
  devNumber: '259:4',
  model: 'SAMSUNG MZQL23T8',
  serial: 'S64HNE0R1',
  nsid: 1,
  sizeBytes: 4 * GIB,
  logicalBlockSize: 512,
  physicalBlockSize: 4096,
  hardwareQueues: 8,
  writeCache: 'write through',
  transport: 'pcie',
  subsystemNqn: 'nqn.1994-11.com.samsung:nvme:S64HNE0R1',
  multipath: 'head',
  paths: [],
  holders: [],
  mountPoints: [],
  partitions: [],
};

function tableOf(state: GptTable['state'], more: Partial<GptTable> = {}): GptTable {
  const empty = { sectorSize: 512, deviceSizeBytes: DRIVE.sizeBytes, diskGuid: '', freeExtents: [], problems: [] };
  return { state, ...empty, partitions: [], differingPartitionGuids: [], ...more };
}

/** As the kernel shows an entry of the table. */
function seen(entry: GptPartition, use: Partial<Pick<KernelPartition, 'holders' | 'mountPoints'>>): KernelPartition {
  const name = `${DRIVE.name}p${entry.number}`;
  const { number, startBytes, sizeBytes } = entry;
  const rest = { devNumber: `259:${4 + number}`, number, startBytes, sizeBytes, holders: [], mountPoints: [] };
  return { name, path: `/dev/${name}`, ...rest, ...use };
}

/** A drive whose only partitions are these, in use as said. */
function system(use: Parameters<typeof seen>[1], entry = FOREIGN): Pick<Case, 'drive' | 'table'> {
  return { drive: { partitions: [seen(entry, use)] }, table: tableOf('valid', { partitions: [entry] }) };
}

interface Case {
  readonly what: string;
  readonly drive?: Partial<NvmeNamespace>;
  /** `undefined`: it could not be read. Default: a good one without entries. */
  readonly table?: GptTable | undefined;
  readonly signatures?: readonly string[];
  /** Default: one that matches by a pattern. */
  readonly selectors?: readonly DriveSelector[];
  readonly initializeBlank?: boolean;
  readonly annotated?: boolean;
  /** A kind of verdict, or the reason why not. */
  readonly expected: string;
  readonly words?: readonly string[];
}

const BY_PATTERN: readonly DriveSelector[] = [{ model: 'SAMSUNG*' }];
const BY_SERIAL: readonly DriveSelector[] = [{ serial: DRIVE.serial }];
const NODE_LABELS = { storage: 'fast' };

const CASES: readonly Case[] = [
  // Allowed or not: nothing is written without a selector or the annotation, whatever is on the drive.
  { what: 'no selector', selectors: [], expected: 'NotAllowed', words: ['candidate', `serial=${DRIVE.serial}`] },
  {
    what: 'no selector, a blank drive and leave to initialise those',
    selectors: [],
    table: tableOf('blank'),
    initializeBlank: true,
    expected: 'NotAllowed',
  },
  { what: 'no selector, half a table', selectors: [], table: tableOf('backup-only'), expected: 'NotAllowed' },
  {
    what: 'no selector, somebody else’s data',
    selectors: [],
    table: tableOf('foreign'),
    signatures: ['LVM2_member'],
    expected: 'NotAllowed',
    words: ['holds LVM2_member', 'meshstor.io/allow=true'],
  },
  { what: 'a selector that matches', expected: 'usable' },
  { what: 'a selector that does not match', selectors: [{ model: 'INTEL*' }], expected: 'NotAllowed' },
  { what: 'the second of two selectors', selectors: [{ model: 'INTEL*' }, { serial: 'S64*' }], expected: 'usable' },
  { what: 'the annotation alone', selectors: [], annotated: true, expected: 'usable' },
  { what: 'a label of the node', selectors: [{ nodeLabels: { storage: 'fast' } }], expected: 'usable' },
  { what: 'another value of the label', selectors: [{ nodeLabels: { storage: 'slow' } }], expected: 'NotAllowed' },

  // The table.
  { what: 'a table that cannot be read', table: undefined, expected: 'Unreadable', words: ['input/output error'] },
  { what: 'the primary table alone', table: tableOf('primary-only'), expected: 'repair' },
  { what: 'the backup table alone', table: tableOf('backup-only'), expected: 'repair' },
  {
    what: 'tables that differ in our entries',
    table: tableOf('differ', { partitions: [OURS, FOREIGN], differingPartitionGuids: [OURS.partitionGuid] }),
    expected: 'repair',
  },
  {
    what: 'tables that differ in an entry of others',
    table: tableOf('differ', {
      partitions: [OURS, FOREIGN],
      differingPartitionGuids: [OURS.partitionGuid, FOREIGN.partitionGuid],
    }),
    expected: 'TablesDiffer',
    words: [FOREIGN.partitionGuid, 'gdisk'],
  },
  {
    what: 'tables that differ in an entry which only the backup has',
    table: tableOf('differ', { partitions: [OURS], differingPartitionGuids: [FOREIGN.partitionGuid] }),
    expected: 'TablesDiffer',
  },
  {
    what: 'tables that differ in a field of the header',
    table: tableOf('differ', { partitions: [OURS], differingPartitionGuids: [ZERO_GUID] }),
    expected: 'TablesDiffer',
  },
  {
    what: 'two damaged tables',
    table: tableOf('damaged', { problems: [{ copy: 'backup', field: 'HeaderCRC32', message: 'wrong' }] }),
    annotated: true,
    expected: 'DamagedTable',
    words: ['backup HeaderCRC32'],
  },
  { what: 'data without a table', table: tableOf('foreign'), annotated: true, expected: 'ForeignData' },
  {
    what: 'data of a known kind without a table',
    table: tableOf('foreign'),
    signatures: ['zfs_member'],
    annotated: true,
    expected: 'ForeignData',
    words: ['zfs_member', 'wipe it'],
  },

  // A blank drive.
  { what: 'a blank drive', table: tableOf('blank'), expected: 'Blank', words: ['--initialize-blank'] },
  {
    what: 'a blank drive, named by its serial number',
    selectors: BY_SERIAL,
    table: tableOf('blank'),
    annotated: true,
    expected: 'Blank',
  },
  { what: 'a blank drive, told to initialise', table: tableOf('blank'), initializeBlank: true, expected: 'initialize' },
  {
    what: 'no table but a signature further in, told to initialise',
    table: tableOf('blank'),
    signatures: ['zfs_member'],
    initializeBlank: true,
    selectors: BY_SERIAL,
    expected: 'ForeignData',
    words: ['no partition table', 'zfs_member'],
  },

  // In use. As a whole: by nothing of ours, whatever allows it.
  {
    what: 'a drive that is held as a whole',
    drive: { holders: ['dm-0'] },
    table: tableOf('blank'),
    initializeBlank: true,
    selectors: BY_SERIAL,
    annotated: true,
    expected: 'InUse',
    words: ['held by dm-0'],
  },
  {
    what: 'a drive that is mounted as a whole',
    drive: { mountPoints: ['/data'] },
    table: tableOf('valid'),
    selectors: BY_SERIAL,
    annotated: true,
    expected: 'InUse',
    words: ['mounted at /data'],
  },
  {
    what: 'a drive of the system, by a pattern',
    ...system({ mountPoints: ['/'] }),
    expected: 'SystemDrive',
    words: ['used by this system (/)', 'exact serial number'],
  },
  {
    what: 'a drive with a partition held by another',
    ...system({ holders: ['dm-1'] }),
    expected: 'SystemDrive',
    words: ['nvme1n1p2 held by dm-1'],
  },
  {
    what: 'a drive of the system, by its label',
    ...system({ mountPoints: ['/'] }),
    selectors: [{ nodeLabels: NODE_LABELS }],
    expected: 'SystemDrive',
  },
  {
    what: 'a drive of the system, by a pattern for its serial number',
    ...system({ mountPoints: ['/'] }),
    selectors: [{ serial: `${DRIVE.serial}*` }],
    expected: 'SystemDrive',
  },
  {
    what: 'a drive of the system, named by a selector that is not for this node',
    ...system({ mountPoints: ['/'] }),
    selectors: [...BY_PATTERN, { serial: DRIVE.serial, nodeLabels: { storage: 'slow' } }],
    expected: 'SystemDrive',
  },
  {
    what: 'a drive of the system, by its serial number',
    ...system({ mountPoints: ['/'] }),
    selectors: BY_SERIAL,
    expected: 'usable',
  },
  {
    what: 'a drive of the system, by its path',
    ...system({ mountPoints: ['/'] }),
    selectors: [{ path: DRIVE.path }],
    expected: 'usable',
  },
  { what: 'a drive of the system, annotated', ...system({ mountPoints: ['/'] }), annotated: true, expected: 'usable' },
  { what: 'a drive whose other partitions nobody uses', ...system({}), expected: 'usable' },
  { what: 'a drive of which we use a partition', ...system({ holders: ['dm-3'] }, OURS), expected: 'usable' },
  {
    what: 'a RAID partition of others in use',
    ...system({ holders: ['md0'] }, { ...OURS, name: 'array' }),
    expected: 'SystemDrive',
  },
];

function judge({ drive, selectors = BY_PATTERN, signatures = [], initializeBlank, annotated, ...given }: Case) {
  const table = 'table' in given ? given.table : tableOf('valid');
  const policy: DrivePolicy = { selectors, nodeLabels: NODE_LABELS, initializeBlank: initializeBlank === true };
  return judgeDrive({ ...DRIVE, ...drive }, table, signatures, policy, annotated === true, 'input/output error');
}

const wordOf = (verdict: DriveVerdict): string => (verdict.kind === 'unusable' ? verdict.reason : verdict.kind);

describe('the policy for drives', () => {
  for (const given of CASES) {
    it(`${given.what}: ${given.expected}`, () => {
      const verdict = judge(given);
      const message = verdict.kind === 'unusable' ? verdict.message : '';
      expect(wordOf(verdict), message).to.equal(given.expected);
      for (const word of given.words ?? []) expect(message).to.contain(word);
    });
  }

  const MATCHES: readonly (readonly [DriveSelector, boolean])[] = [
    [{}, true],
    [{ model: 'SAMSUNG MZQL23T8' }, true],
    [{ model: 'SAMSUNG' }, false],
    [{ model: '*MZQL*' }, true],
    [{ model: 'samsung*' }, false],
    [{ model: 'SAMSUNG.MZQL23T8' }, false],
    [{ serial: 'S64HNE0R1' }, true],
    [{ serial: 'S64HNE0R' }, false],
    [{ serial: '64HNE0R1' }, false],
    [{ serial: '*R1' }, true],
    [{ path: '/dev/nvme1n1' }, true],
    [{ path: '/dev/nvme1' }, false],
    [{ path: '/dev/nvme*' }, true],
    [{ nodeLabels: { storage: 'fast' } }, true],
    [{ nodeLabels: { storage: 'f*' } }, false],
    [{ nodeLabels: { storage: 'slow' } }, false],
    [{ nodeLabels: { disk: 'fast' } }, false],
    [{ nodeLabels: { storage: 'fast', disk: 'fast' } }, false],
    [{ model: 'SAMSUNG*', serial: 'S64*', path: '/dev/*', nodeLabels: { storage: 'fast' } }, true],
    [{ model: 'INTEL*', serial: 'S64*' }, false],
    [{ model: 'SAMSUNG*', serial: 'X*' }, false],
    [{ serial: 'S64*', path: '/dev/sd*' }, false],
    [{ serial: 'S64*', nodeLabels: { storage: 'slow' } }, false],
  ];
  for (const [selector, expected] of MATCHES) {
    it(`${JSON.stringify(selector)} ${expected ? 'matches' : 'does not match'}`, () => {
      expect(selectorMatches(selector, DRIVE, NODE_LABELS)).to.equal(expected);
    });
  }

  it('takes a partition for ours by its type and its label together', () => {
    expect(isOurPartition(OURS)).to.equal(true);
    expect(isOurPartition({ ...OURS, typeGuid: LINUX_TYPE_GUID })).to.equal(false);
    expect(isOurPartition({ ...OURS, name: 'data' })).to.equal(false);
  });
});
