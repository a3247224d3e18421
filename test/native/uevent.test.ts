import { expect } from 'chai';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import type { KernelEvent } from '../../src/api/kernel.ts';
import { createKernel } from '../../src/native/index.ts';
import { tell } from '../support/tell.ts';

const INDEX = join(import.meta.dirname, '..', '..', 'src', 'native', 'index.ts');
/** A block device that every machine has or gets, and whose `change` harms nobody. */
const LOOP_UEVENT = '/sys/block/loop0/uevent';

/** Why the kernel cannot be made to send an event here, or undefined. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  try {
    if (!existsSync(LOOP_UEVENT)) execFileSync('losetup', ['--find'], { stdio: 'ignore' });
    writeFileSync(LOOP_UEVENT, 'change');
    return undefined;
  } catch {
    return 'needs a loop device';
  }
}

describe('watch on the real kernel', () => {
  before(function () {
    const reason = obstacle();
    if (reason === undefined) return;
    tell(`watch on the real kernel: skipped, ${reason}`);
    this.skip();
  });

  it('calls back once for what comes together', async () => {
    const batches: (readonly KernelEvent[])[] = [];
    const watch = createKernel().watch((events) => batches.push(events));
    try {
      for (let i = 0; i < 20; i += 1) writeFileSync(LOOP_UEVENT, 'change');
      await sleep(300);
    } finally {
      watch.stop();
    }
    const seen = batches.flat().filter(({ device }) => device === 'loop0');
    expect(seen[0]).to.deep.equal({ source: 'uevent', action: 'change', device: 'loop0' });
    expect(seen.length, 'events of twenty at once').to.be.lessThan(10);
  });

  it('calls nobody after stop, however often that is called', async () => {
    let calls = 0;
    const watch = createKernel().watch(() => (calls += 1));
    writeFileSync(LOOP_UEVENT, 'change');
    watch.stop();
    watch.stop();
    const before = calls;
    writeFileSync(LOOP_UEVENT, 'change');
    await sleep(200);
    expect(calls).to.equal(before);
  });

  it('runs as many watchers as wanted, each for itself', async () => {
    const seen = [0, 0];
    const first = createKernel().watch(() => (seen[0] = 1));
    const second = createKernel().watch(() => (seen[1] = 1));
    first.stop();
    writeFileSync(LOOP_UEVENT, 'change');
    await sleep(300);
    second.stop();
    expect(seen).to.deep.equal([0, 1]);
  });

  it('does not keep the process alive', async function () {
    this.timeout(20_000);
    const script = `import { createKernel } from ${JSON.stringify(INDEX)}; createKernel().watch(() => undefined);`;
    const args = ['--import', 'tsx', '--input-type=module', '--eval', script];
    await promisify(execFile)(process.execPath, args, { timeout: 15_000 });
  });
});
