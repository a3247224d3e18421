import type { ControlPlane } from './control-plane.ts';
import { startControlPlane } from './control-plane.ts';

let started: Promise<ControlPlane> | undefined;

/** One control plane for all tests of a process, with our kinds installed; it is stopped after the last test. */
export function sharedControlPlane(): Promise<ControlPlane> {
  started ??= startControlPlane().then(async (plane) => {
    await plane.installDefinitions();
    return plane;
  });
  return started;
}

after(async function () {
  this.timeout(60_000);
  const plane = await started?.catch(() => undefined); // Why it did not start is told by the tests that asked for it.
  await plane?.stop();
});
