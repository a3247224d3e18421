import { expect } from 'chai';
import { DomainError } from '../../src/api/errors.ts';
import type { MountEntry } from '../../src/api/kernel.ts';
import { unmount } from '../../src/node/unmount.ts';

const TARGET = '/var/lib/kubelet/staging';

function failing(code: string): { unmount: () => Promise<void>; mounts: () => Promise<readonly MountEntry[]> } {
  const mount = {
    mountPoint: TARGET,
    devNumber: '9:127',
    fsType: 'xfs',
    options: ['rw'],
    source: '/dev/md127',
    root: '/',
  };
  return {
    unmount: () => Promise.reject(Object.assign(new Error(code), { code, errno: -16, syscall: 'umount2' })),
    mounts: () => Promise.resolve([mount]),
  };
}

async function failureOf(work: Promise<void>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('taking a mount away', () => {
  it('names who uses it, by the device that is mounted, and may be tried again', async () => {
    const users = (devNumber: string) => Promise.resolve(devNumber === '9:127' ? ['postgres (4711)'] : []);
    const error = await failureOf(unmount(failing('EBUSY'), TARGET, users));
    expect(error).to.be.instanceOf(DomainError).with.property('kind', 'unavailable');
    expect(error).to.have.property('message').that.contains(TARGET).and.contains('postgres (4711)');
  });

  it('says so when whoever uses it cannot be seen', async () => {
    const error = await failureOf(unmount(failing('EBUSY'), TARGET, () => Promise.resolve([])));
    expect(error).to.have.property('message').that.contains('cannot be seen');
  });

  it('leaves other errors as they are', async () => {
    const error = await failureOf(unmount(failing('EIO'), TARGET, () => Promise.resolve(['nobody (1)'])));
    expect(error).to.have.property('code', 'EIO');
    expect(error).not.to.be.instanceOf(DomainError);
  });
});
