/** Taking a mount away; when somebody uses it, the error names who. */
import { DomainError, errnoCode } from '../api/errors.ts';
import type { Kernel } from '../api/kernel.ts';
import { findUsers } from './openers.ts';

type FindUsers = (devNumber: string) => Promise<readonly string[]>;

/** Rejects `unavailable` while it is in use: the caller tries again, and whoever reads the message can end the program. */
export async function unmount(
  kernel: Pick<Kernel, 'unmount' | 'mounts'>,
  target: string,
  users: FindUsers = findUsers,
): Promise<void> {
  try {
    await kernel.unmount(target);
  } catch (error) {
    if (errnoCode(error) !== 'EBUSY') throw error;
    const mount = (await kernel.mounts()).find(({ mountPoint }) => mountPoint === target);
    const found = mount === undefined ? [] : await users(mount.devNumber);
    const who = found.length === 0 ? 'a program that cannot be seen from here' : found.join(', ');
    throw new DomainError('unavailable', `unmounting ${target}: it is in use by ${who}; it is tried again`, {
      cause: error,
    });
  }
}
