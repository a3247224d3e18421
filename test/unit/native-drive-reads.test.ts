import { expect } from 'chai';
import { constants } from 'node:os';

import { createKernel } from '../../src/native/index.ts';
import type { NativeKernel } from '../../src/native/index.ts';
import { NativeError } from '../../src/native/native-error.ts';
import { ABI_VERSION, RAW_EXPORTS } from '../../src/native/raw.ts';
import type { RawAddon } from '../../src/native/raw.ts';

const LIMIT_MS = 40;
const NQN = 'nqn.2025-12.io.meshstor:0f8fad5b-d9cb-469f-a165-70867728950e:7-a1';

interface Pending {
  readonly path: string;
  readonly answer: (signatures: readonly string[]) => void;
}

/** Drives whose reads come back when the test says so. */
class Drives {
  readonly pending: Pending[] = [];
  readonly asked: string[] = [];
  readonly kernel: NativeKernel;

  constructor(operations: Partial<RawAddon> = {}, poolSize = 8) {
    const base: Record<string, unknown> = { abiVersion: ABI_VERSION };
    for (const name of RAW_EXPORTS) base[name] ??= () => Promise.resolve(undefined);
    const read = (path: string): Promise<unknown> => {
      this.asked.push(path);
      return new Promise((resolve) => this.pending.push({ path, answer: resolve }));
    };
    const addon = { ...base, readGpt: read, signatures: read, ...operations } as unknown as RawAddon;
    const limits = { driveReadMs: LIMIT_MS, ownThreadMs: LIMIT_MS };
    this.kernel = createKernel({ addon, poolSize, limits });
  }
}

async function failureOf(work: Promise<unknown>): Promise<NativeError> {
  const outcome = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(outcome).to.be.instanceOf(NativeError);
  return outcome as NativeError;
}

const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('native facade: a drive that hangs', () => {
  it('is given up with ETIMEDOUT, in the shape of other native errors, with the caller’s stack', async () => {
    const { kernel } = new Drives();
    async function looksAtTheDrive(): Promise<void> {
      await kernel.readGpt('/dev/nvme0n1');
    }
    const error = await failureOf(looksAtTheDrive());
    const errno = -constants.errno.ETIMEDOUT;
    expect(error).to.include({ code: 'ETIMEDOUT', errno, syscall: 'pread', path: '/dev/nvme0n1' });
    expect(error.message).to.match(/^readGpt: ETIMEDOUT: /);
    expect(error.stack).to.contain('looksAtTheDrive');
  });

  it('holds one thread, however many ask for its table, its signatures or those of its partitions', async () => {
    const { kernel, asked, pending } = new Drives();
    const callers = [
      kernel.readGpt('/dev/nvme0n1'),
      kernel.readGpt('/dev/nvme0n1'),
      kernel.signatures('/dev/nvme0n1'),
      kernel.signatures('/dev/nvme0n1p3'),
    ].map(failureOf);
    for (const error of await Promise.all(callers)) expect(error.code).to.equal('ETIMEDOUT');
    expect((await failureOf(kernel.signatures('/dev/nvme0n1'))).code).to.equal('ETIMEDOUT');
    expect(asked).to.deep.equal(['/dev/nvme0n1']);
    expect(kernel.inFlight().map((call) => call.key)).to.deep.equal(['/dev/nvme0n1']);
    pending[0]?.answer([]);
    await soon();
    expect(asked, 'nothing that was given up begins later').to.have.length(1);
    expect(kernel.inFlight()).to.deep.equal([]);
  });

  it('delays no other drive', async () => {
    const { kernel, pending } = new Drives();
    const hanging = failureOf(kernel.readGpt('/dev/nvme0n1'));
    const other = kernel.signatures('/dev/nvme1n1');
    await soon();
    pending.find((read) => read.path === '/dev/nvme1n1')?.answer(['xfs']);
    expect(await other).to.deep.equal(['xfs']);
    expect((await hanging).code).to.equal('ETIMEDOUT');
  });

  it('is read anew once it answers: nobody gets what began before the call', async () => {
    const { kernel, asked, pending } = new Drives();
    const first = kernel.signatures('/dev/nvme0n1');
    const second = kernel.signatures('/dev/nvme0n1');
    await soon();
    expect(asked).to.have.length(1);
    pending[0]?.answer(['of before']);
    await soon();
    expect(asked).to.have.length(2);
    pending[1]?.answer(['of now']);
    expect([await first, await second]).to.deep.equal([['of before'], ['of now']]);
    await failureOf(kernel.signatures('/dev/nvme0n1'));
    pending[2]?.answer(['too late']);
    await soon();
    const third = kernel.signatures('/dev/nvme0n1');
    await soon();
    pending[3]?.answer(['healthy again']);
    expect(await third).to.deep.equal(['healthy again']);
  });

  it('counts as answering again as soon as the next in the queue has its turn', async () => {
    const { kernel, asked, pending } = new Drives();
    const first = failureOf(kernel.signatures('/dev/nvme0n1'));
    await new Promise((resolve) => setTimeout(resolve, LIMIT_MS / 2));
    const second = kernel.signatures('/dev/nvme0n1');
    await first;
    pending[0]?.answer([]);
    // Microtasks only: no timer may come in between.
    for (let i = 0; i < 50; i += 1) await Promise.resolve();
    expect(asked).to.have.length(2);
    const third = kernel.signatures('/dev/nvme0n1');
    pending[1]?.answer(['second']);
    expect(await second).to.deep.equal(['second']);
    await soon();
    pending[2]?.answer(['third']);
    expect(await third).to.deep.equal(['third']);
  });

  it('keeps nobody waiting once it was found to hang', async () => {
    const { kernel } = new Drives();
    await failureOf(kernel.readGpt('/dev/nvme0n1'));
    const start = performance.now();
    for (let look = 0; look < 20; look += 1) {
      expect((await failureOf(kernel.readGpt('/dev/nvme0n1'))).code).to.equal('ETIMEDOUT');
    }
    expect(performance.now() - start).to.be.lessThan(10 * LIMIT_MS);
  });

  it('does not keep a read waiting for a thread longer than the limit, and does not begin it then', async () => {
    const free: (() => void)[] = [];
    const removeDm = (): Promise<void> => new Promise((resolve) => free.push(resolve));
    const { kernel, asked } = new Drives({ removeDm }, 1);
    const writes = [kernel.removeDm('a'), kernel.removeDm('b')];
    const callers = [kernel.readGpt('/dev/nvme0n1'), kernel.signatures('/dev/nvme0n1p1')].map(failureOf);
    for (const error of await Promise.all(callers)) {
      expect(error, 'the drive was not asked').to.include({ code: 'EBUSY', errno: -constants.errno.EBUSY });
      expect(error.message).to.match(/: not begun within 0\.04 s, all threads were taken, '\/dev\/nvme0n1(p1)?'$/);
      expect([error.syscall, error.message].join(' ')).not.to.include('pread');
    }
    for (const release of free) release();
    await Promise.all(writes);
    await soon();
    expect(asked).to.deep.equal([]);
  });

  it('is asked again after all threads were taken: that was not its fault', async () => {
    const free: (() => void)[] = [];
    const removeDm = (): Promise<void> => new Promise((resolve) => free.push(resolve));
    const { kernel, asked, pending } = new Drives({ removeDm }, 1);
    const writes = [kernel.removeDm('a'), kernel.removeDm('b')];
    await failureOf(kernel.readGpt('/dev/nvme0n1'));
    const second = kernel.signatures('/dev/nvme0n1');
    await soon();
    for (const release of free) release();
    await Promise.all(writes);
    await soon();
    expect(asked, 'not refused as one that hangs').to.deep.equal(['/dev/nvme0n1']);
    pending[0]?.answer(['xfs']);
    expect(await second).to.deep.equal(['xfs']);
  });

  it('has each turn counted by itself: one that hangs after others never began is the drive’s fault', async () => {
    const free: (() => void)[] = [];
    const removeDm = (): Promise<void> => new Promise((resolve) => free.push(resolve));
    const { kernel, pending } = new Drives({ removeDm }, 1);
    const first = kernel.signatures('/dev/nvme0n1');
    await soon();
    const writes = [kernel.removeDm('a'), kernel.removeDm('b')];
    const second = failureOf(kernel.signatures('/dev/nvme0n1'));
    pending[0]?.answer([]);
    await first;
    expect((await second).code, 'the threads went to the writes').to.equal('EBUSY');
    const third = failureOf(kernel.signatures('/dev/nvme0n1'));
    for (const release of free) release();
    await Promise.all(writes);
    expect((await third).code).to.equal('ETIMEDOUT');
    expect((await failureOf(kernel.signatures('/dev/nvme0n1'))).code).to.equal('ETIMEDOUT');
  });

  it('is never given up while it is written to', async () => {
    let finish = (): void => undefined;
    const { kernel } = new Drives({ repairGpt: () => new Promise<void>((resolve) => (finish = resolve)) });
    let isDone = false;
    const write = kernel.repairGpt('/dev/nvme0n1').then(() => (isDone = true));
    await new Promise((resolve) => setTimeout(resolve, 3 * LIMIT_MS));
    expect(isDone).to.equal(false);
    finish();
    expect(await write).to.equal(true);
  });

  it('refuses a bad path at once', async () => {
    const { kernel, asked } = new Drives();
    expect((await failureOf(kernel.readGpt('nvme0n1'))).code).to.equal('EINVAL');
    expect((await failureOf(kernel.signatures(undefined as unknown as string))).code).to.equal('EINVAL');
    expect(asked).to.deep.equal([]);
  });
});

describe('native facade: a removal of an export that hangs', () => {
  it('takes no thread of the pool, and is given up with ETIMEDOUT while it goes on', async () => {
    let finish = (): void => undefined;
    const removeNvmetExport = (): Promise<void> => new Promise((resolve) => (finish = resolve));
    const { kernel } = new Drives({ removeNvmetExport }, 1);
    const removals = Array.from({ length: 5 }, (_, index) => failureOf(kernel.removeNvmetExport(`${NQN}${index}`)));
    await soon();
    expect(kernel.waiting).to.equal(0);
    await kernel.removeDm('other');
    for (const error of await Promise.all(removals)) expect(error).to.include({ code: 'ETIMEDOUT', syscall: 'rmdir' });
    expect(kernel.inFlight()).to.have.length(5);
    finish();
    await soon();
    expect(kernel.inFlight()).to.have.length(4);
  });
});
