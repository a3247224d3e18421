import type { MeshStorVolume } from '../api/volume.ts';
import type { ControllerParts } from './parts.ts';

/** Waits until the cache's object of that name changes, `limitMs` have passed, or the signal aborts. */
export async function untilChanged(
  parts: Pick<ControllerParts, 'volumes' | 'clock'>,
  name: string,
  limitMs: number,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const finish = (): void => {
      unsubscribe();
      cancel();
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const unsubscribe = parts.volumes.onChange((changed) => {
      if (changed === name) finish();
    });
    const cancel = parts.clock.after(limitMs, finish);
    signal.addEventListener('abort', finish);
  });
}

/**
 * Waits until the cache shows what `isThere` looks for, at most `limitMs`; then goes on all the same. The object passed is
 * undefined while the cache has none of that name.
 */
export async function untilCached(
  parts: Pick<ControllerParts, 'volumes' | 'clock'>,
  name: string,
  isThere: (volume: MeshStorVolume | undefined) => boolean,
  limitMs: number,
): Promise<boolean> {
  if (isThere(parts.volumes.get(name))) return true;
  if (limitMs <= 0) return false;
  return new Promise((resolve) => {
    const finish = (found: boolean): void => {
      unsubscribe();
      cancel();
      resolve(found);
    };
    const unsubscribe = parts.volumes.onChange((changed) => {
      if (changed === name && isThere(parts.volumes.get(name))) finish(true);
    });
    const cancel = parts.clock.after(limitMs, () => finish(false));
  });
}
