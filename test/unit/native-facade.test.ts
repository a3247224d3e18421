import { expect } from 'chai';
import { constants } from 'node:os';

import type { MountEntry, NvmeConnectOptions, NvmetExportWanted } from '../../src/api/kernel.ts';
import { createKernel, nativeThreads, poolSizeOf } from '../../src/native/index.ts';
import type { KernelOptions, NativeKernel } from '../../src/native/index.ts';
import { errnoName, NativeError } from '../../src/native/native-error.ts';
import { ABI_VERSION, RAW_EXPORTS } from '../../src/native/raw.ts';
import type { RawAddon } from '../../src/native/raw.ts';

const NQN = 'nqn.2025-12.io.meshstor:0f8fad5b-d9cb-469f-a165-70867728950e:7-a1';
const HOST = 'nqn.2025-12.io.meshstor:node1';
const UUID = '6fa459ea-ee8a-3ca4-894e-db77e160355e';
const CONNECT: NvmeConnectOptions = {
  transport: 'tcp',
  traddr: '10.0.0.1',
  trsvcid: '4420',
  nqn: NQN,
  hostNqn: HOST,
  hostId: UUID,
  keepAliveTmoSec: 1,
  fastIoFailTmoSec: 1,
  ctrlLossTmoSec: 3,
  reconnectDelaySec: 1,
  nrIoQueues: 1,
};
const EXPORT: NvmetExportWanted = {
  nqn: NQN,
  nsid: 1,
  devicePath: '/dev/mapper/x',
  uuid: UUID,
  hostNqn: HOST,
  portIds: [1],
};

/** An addon whose every operation resolves with undefined, except those given. */
function rawWith(operations: Partial<RawAddon>): RawAddon {
  const base: Record<string, unknown> = { abiVersion: ABI_VERSION };
  for (const name of RAW_EXPORTS) base[name] ??= () => Promise.resolve(undefined);
  return { ...base, ...operations } as unknown as RawAddon;
}

function kernelWith(operations: Partial<RawAddon>, options: KernelOptions = {}): NativeKernel {
  return createKernel({ poolSize: 8, ...options, addon: rawWith(operations) });
}

function nativeFailure(fields: object): Error {
  return Object.assign(new Error('EBUSY: resource busy or locked, ioctl STOP_ARRAY'), fields);
}

/** A promise that native code rejected, with whatever it likes. */
function rejected(value: unknown): Promise<never> {
  // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- not being an Error is the point
  return Promise.reject(value);
}

async function failureOf(work: Promise<unknown>): Promise<NativeError> {
  const outcome = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(outcome).to.be.instanceOf(NativeError);
  return outcome as NativeError;
}

describe('native facade: arguments', () => {
  const bad: readonly [string, (kernel: NativeKernel) => Promise<unknown>, RegExp][] = [
    ['a relative path', (k) => k.readGpt('dev/sda'), /Expected "path" to be an absolute path, got "dev\/sda"/],
    ['a path with NUL', (k) => k.readGpt('/dev/x\0y'), /"path" to be an absolute path/],
    ['a path as long as PATH_MAX', (k) => k.readGpt(`/${'x'.repeat(4096)}`), /"path" to be a path of less than 4096/],
    [
      'a negative offset',
      (k) => k.readBytes('/dev/x', -512, 512),
      /"offset" to be a safe integer of at least 0, got -512/,
    ],
    ['a fraction', (k) => k.readBytes('/dev/x', 0, 0.5), /"length" to be a safe integer/],
    ['a number that is not safe', (k) => k.readBytes('/dev/x', 2 ** 53, 512), /"offset" to be a safe integer/],
    [
      'an extent whose end is not safe',
      (k) => k.zeroRange('/dev/x', { startBytes: Number.MAX_SAFE_INTEGER, sizeBytes: 1 }, 'full'),
      /"range.startBytes \+ range.sizeBytes"/,
    ],
    [
      'a verify mode nobody knows',
      (k) => k.zeroRange('/dev/x', { startBytes: 0, sizeBytes: 1 }, 'none' as 'full'),
      /"verify" to be one of full, sample/,
    ],
    ['a GUID that is none', (k) => k.removeGptPartition('/dev/x', 'abc'), /"partitionGuid" to be a GUID/],
    ['an array name with a slash', (k) => k.stopMdArray('../sda'), /"array" to be a kernel device name/],
    ['a state word with a space', (k) => k.setMdMemberState('md1', 'dm-1', 'a b'), /"word" to be one lower-case word/],
    ['an attribute that leaves md', (k) => k.setMdAttribute('md1', '../x', '1'), /"attribute"/],
    ['a dm name with a slash', (k) => k.removeDm('a/b'), /"name" to be a device-mapper name/],
    ['an empty dm table', (k) => k.createDm('a', 'u', []), /"table" to be a list of at least one target/],
    [
      'a dm table with a gap',
      (k) =>
        k.createDm('a', 'u', [
          { startSectors: 0, lengthSectors: 8, type: 'linear', params: '/dev/x 0' },
          { startSectors: 9, lengthSectors: 8, type: 'linear', params: '/dev/x 8' },
        ]),
      /"table\[1\].startSectors" to be 8/,
    ],
    ['an NQN with a comma', (k) => k.nvmeDisconnect(`${NQN},x`), /"nqn" to be an NQN without comma/],
    ['an NQN with a slash', (k) => k.removeNvmetExport('nqn.x/..'), /"nqn" to be an NQN/],
    ['a host name as address', (k) => k.nvmeConnect({ ...CONNECT, traddr: 'node1' }), /"options.traddr" to be an IPv4/],
    ['port 0', (k) => k.nvmeConnect({ ...CONNECT, trsvcid: '0' }), /"options.trsvcid" to be a port number/],
    ['an upper-case host id', (k) => k.nvmeConnect({ ...CONNECT, hostId: UUID.toUpperCase() }), /"options.hostId"/],
    ['no queue', (k) => k.nvmeConnect({ ...CONNECT, nrIoQueues: 0 }), /"options.nrIoQueues"/],
    ['namespace 0', (k) => k.ensureNvmetExport({ ...EXPORT, nsid: 0 }), /"wanted.nsid"/],
    ['an export without ports', (k) => k.ensureNvmetExport({ ...EXPORT, portIds: [] }), /"wanted.portIds"/],
    [
      'two mount options in one',
      (k) => k.mount('/dev/x', '/mnt', 'xfs', ['ro,exec']),
      /"options" to be single options/,
    ],
    ['a limit of nothing', (k) => k.filesystemUsage('/', 0), /"limitMs"/],
  ];
  for (const [name, call, message] of bad) {
    it(`refuses ${name} with EINVAL and calls nothing`, async () => {
      let calls = 0;
      const counting = Object.fromEntries(
        RAW_EXPORTS.map((op) => [op, () => Promise.resolve(void (calls += 1))]),
      ) as unknown as Partial<RawAddon>;
      const error = await failureOf(call(kernelWith(counting)));
      expect(error.message).to.match(message);
      expect(error.code).to.equal('EINVAL');
      expect(error.errno).to.equal(-constants.errno.EINVAL);
      expect(calls).to.equal(0);
    });
  }

  it('passes good arguments on as they are', async () => {
    const seen: unknown[] = [];
    const kernel = kernelWith({
      ensureNvmetExport: (wanted) => Promise.resolve(void seen.push(wanted)),
      nvmeConnect: (options) => {
        seen.push(options);
        return Promise.resolve({ controller: 'nvme3' });
      },
    });
    await kernel.ensureNvmetExport(EXPORT);
    expect(await kernel.nvmeConnect({ ...CONNECT, traddr: 'fd00::1' })).to.deep.equal({ controller: 'nvme3' });
    expect(seen).to.deep.equal([EXPORT, { ...CONNECT, traddr: 'fd00::1' }]);
  });
});

describe('native facade: errors', () => {
  it('keep errno, code, syscall and path, and name the operation', async () => {
    const raw = nativeFailure({ errno: -16, code: 'EBUSY', syscall: 'ioctl STOP_ARRAY', path: '/dev/md1' });
    const error = await failureOf(kernelWith({ stopMdArray: () => Promise.reject(raw) }).stopMdArray('md1'));
    expect(error).to.include({ errno: -16, code: 'EBUSY', syscall: 'ioctl STOP_ARRAY', path: '/dev/md1' });
    expect(error.name).to.equal('NativeError');
    expect(error.message).to.match(/^stopMdArray: EBUSY: /);
    expect(error.cause).to.equal(raw);
  });

  it('never carry a numeric code or a positive errno', async () => {
    const raw = nativeFailure({ errno: 16, code: 16 });
    const error = await failureOf(kernelWith({ stopMdArray: () => Promise.reject(raw) }).stopMdArray('md1'));
    expect(error.code).to.equal('EBUSY');
    expect(error.errno).to.equal(-16);
    expect(error.syscall).to.equal('stopMdArray');
    expect(error).to.not.have.property('path');
  });

  it('show the caller in their stack, which an error made in native code does not', async () => {
    const raw = nativeFailure({ errno: -16, code: 'EBUSY', syscall: 'ioctl' });
    raw.stack = 'Error: EBUSY';
    const kernel = kernelWith({ stopMdArray: () => Promise.reject(raw) });
    async function stopsTheArray(): Promise<void> {
      await kernel.stopMdArray('md1');
    }
    expect((await failureOf(stopsTheArray())).stack).to.contain('stopsTheArray');
  });

  it('become EPROTO when the addon rejects without an errno, or with something that is no error', async () => {
    for (const thrown of [
      new Error('bad_alloc'),
      nativeFailure({ errno: 0 }),
      nativeFailure({ errno: NaN }),
      'text',
      7,
    ]) {
      const error = await failureOf(kernelWith({ mounts: () => rejected(thrown) }).mounts());
      expect(error.code).to.equal('EPROTO');
      expect(error.cause).to.equal(thrown);
    }
  });

  it('reach the caller as a rejection when the addon throws at once', async () => {
    const throws = (): never => {
      throw new TypeError('Expected "path" to be a string');
    };
    expect((await failureOf(kernelWith({ readGpt: throws }).readGpt('/dev/x'))).message).to.contain('Expected "path"');
  });

  it('name every errno, known or not', () => {
    expect(errnoName(-constants.errno.EADDRINUSE)).to.equal('EADDRINUSE');
    expect(errnoName(-3999)).to.equal('E3999');
    expect(errnoName(0)).to.equal('E0');
  });
});

describe('native facade: results', () => {
  const entry: MountEntry = {
    mountPoint: '/mnt',
    root: '/',
    fsType: 'xfs',
    source: '/dev/md1',
    devNumber: '9:1',
    options: ['rw'],
  };

  it('of the right shape pass unchanged', async () => {
    const list = [entry];
    expect(await kernelWith({ mounts: () => Promise.resolve(list) }).mounts()).to.equal(list);
  });

  const broken: readonly [string, unknown, string][] = [
    ['a missing list', undefined, 'result to be an array, got undefined'],
    ['a field of another type', [{ ...entry, source: 7 }], 'result[0].source to be a string, got 7'],
    ['a missing field', [entry, { ...entry, options: undefined }], 'result[1].options to be an array'],
    ['a device number that is none', [{ ...entry, devNumber: '9' }], 'result[0].devNumber to be major:minor, got "9"'],
    ['a list where an object belongs', [[]], 'result[0] to be an object, got an array'],
  ];
  for (const [name, value, message] of broken) {
    it(`refuse ${name} as EPROTO, naming where`, async () => {
      const error = await failureOf(kernelWith({ mounts: () => Promise.resolve(value) }).mounts());
      expect(error.code).to.equal('EPROTO');
      expect(error.message).to.contain(message);
    });
  }

  it('refuse numbers that are not safe integers', async () => {
    const usage = { totalBytes: 2 ** 60, availableBytes: 0, usedBytes: 0, totalInodes: 0, freeInodes: 0 };
    const kernel = kernelWith({ filesystemUsage: () => Promise.resolve(usage) });
    expect((await failureOf(kernel.filesystemUsage('/', 100))).message).to.contain('result.totalBytes');
  });

  it('refuse fewer bytes than were asked for', async () => {
    const kernel = kernelWith({ readBytes: () => Promise.resolve(new Uint8Array(511)) });
    expect((await failureOf(kernel.readBytes('/dev/x', 0, 512))).message).to.contain('asked for 512 bytes, got 511');
  });

  it('may be absent where the contract says so', async () => {
    expect(await kernelWith({}).readMdSuperblock('/dev/x')).to.equal(undefined);
    const kernel = kernelWith({ readMdSuperblock: () => Promise.resolve(null) });
    expect((await failureOf(kernel.readMdSuperblock('/dev/x'))).code).to.equal('EPROTO');
  });

  it('refuse a value from an operation that has none', async () => {
    const kernel = kernelWith({ removeDm: () => Promise.resolve(true) });
    expect((await failureOf(kernel.removeDm('x'))).message).to.contain('result to be undefined, got true');
  });
});

describe('native facade: threads', () => {
  it('leaves four threads of the pool to others, but never takes less than two', () => {
    expect([1, 4, 6, 7, 16].map(nativeThreads)).to.deep.equal([2, 2, 2, 3, 12]);
    expect(poolSizeOf({})).to.equal(4);
    expect(poolSizeOf({ UV_THREADPOOL_SIZE: '16' })).to.equal(16);
    expect(poolSizeOf({ UV_THREADPOOL_SIZE: 'many' })).to.equal(4);
    expect(poolSizeOf({ UV_THREADPOOL_SIZE: '9999' })).to.equal(1024);
  });

  it('lets only that many calls run, and the rest follow in order, failures included', async () => {
    const open: ((failed: boolean) => void)[] = [];
    let most = 0;
    let running = 0;
    const order: string[] = [];
    const removeDm = (name: string): Promise<unknown> => {
      order.push(name);
      most = Math.max(most, (running += 1));
      return new Promise((resolve, reject) => {
        open.push((failed) => {
          running -= 1;
          if (failed) reject(nativeFailure({ errno: -16, code: 'EBUSY' }));
          else resolve(undefined);
        });
      });
    };
    const kernel = kernelWith({ removeDm }, { poolSize: 7 });
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    const calls = names.map((name) => kernel.removeDm(name).catch((error: unknown) => error));
    await new Promise(setImmediate);
    expect(kernel.inFlight().map((call) => call.key)).to.deep.equal(['a', 'b', 'c']);
    expect(kernel.waiting).to.equal(5);
    for (let done = 0; done < names.length; done += 1) {
      open.shift()?.(done % 2 === 0);
      await new Promise(setImmediate);
    }
    await Promise.all(calls);
    expect(most).to.equal(3);
    expect(order).to.deep.equal(names);
    expect(kernel.inFlight()).to.deep.equal([]);
    expect(kernel.waiting).to.equal(0);
  });
});

describe('native facade: calls in flight', () => {
  it('are listed with operation, key and start, and reported while they are stuck', async () => {
    let now = 1000;
    let release = (): void => undefined;
    const reports: string[][] = [];
    const kernel = kernelWith(
      { unmount: () => new Promise<void>((resolve) => (release = resolve)) },
      { now: () => now, warnEveryMs: 5, onStuck: (calls) => reports.push(calls.map((call) => call.key)) },
    );
    const call = kernel.unmount('/mnt/dead');
    await new Promise(setImmediate);
    expect(kernel.inFlight()).to.deep.equal([{ op: 'unmount', key: '/mnt/dead', since: 1000 }]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(reports, 'young calls are nobody’s business').to.deep.equal([]);
    now = 1005;
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(reports.length).to.be.greaterThan(1);
    expect(reports[0]).to.deep.equal(['/mnt/dead']);
    release();
    await call;
    const told = reports.length;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(reports.length).to.equal(told);
    expect(kernel.inFlight()).to.deep.equal([]);
  });
});

describe('native facade: watching', () => {
  it('hands on checked events and the stop function', () => {
    let emit: (events: unknown) => void = () => undefined;
    let stopped = 0;
    const kernel = kernelWith({
      watch: (onEvents) => {
        emit = onEvents;
        return { stop: () => void (stopped += 1) };
      },
    });
    const seen: unknown[] = [];
    const watcher = kernel.watch((events) => seen.push(...events));
    emit([{ source: 'md', action: 'md', device: 'md127' }]);
    expect(seen).to.deep.equal([{ source: 'md', action: 'md', device: 'md127' }]);
    expect(() => emit([{ source: 'else', action: '', device: '' }])).to.throw(TypeError, 'events[0].source');
    watcher.stop();
    expect(stopped).to.equal(1);
  });
});
