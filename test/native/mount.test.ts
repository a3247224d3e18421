import { expect } from 'chai';
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { tell } from '../support/tell.ts';

const CASES = join(import.meta.dirname, 'private-mounts.ts');
const MIB = 1024 * 1024;

/** Why nothing can be mounted here, or undefined. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  try {
    execFileSync('unshare', ['--mount', '--propagation', 'private', 'true'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'needs a mount namespace of its own (unshare)';
  }
}

function lacks(...programs: string[]): boolean {
  return programs.some((program) => {
    try {
      execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
      return false;
    } catch {
      return true;
    }
  });
}

describe('mounts of the real kernel', function () {
  this.timeout(60_000);
  const reason = obstacle();
  let folder = '';

  /** What a case of private-mounts.ts found. */
  async function found(name: string): Promise<Record<string, unknown>> {
    const args = ['--mount', '--propagation', 'private', process.execPath, '--import', 'tsx', CASES, name, folder];
    const { stdout } = await promisify(execFile)('unshare', args, { timeout: 50_000 });
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  before(function () {
    if (reason === undefined) return;
    tell(`mounts of the real kernel: skipped, ${reason}`);
    this.skip();
  });
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'meshstor-mounts-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('mounts with flags and the filesystem’s own options, and unmounts once and for all', async () => {
    const { mounted, usage, left, again } = await found('tmpfs');
    expect(mounted).to.include({
      mountPoint: join(folder, 'with space'),
      root: '/',
      fsType: 'tmpfs',
      source: '/dev/zero',
    });
    const { options } = mounted as { options: string[] };
    expect(options).to.include.members(['rw', 'nosuid', 'nodev', 'noexec', 'noatime', 'size=1024k', 'mode=700']);
    expect(usage).to.include({ totalBytes: MIB, usedBytes: 0, availableBytes: MIB });
    expect({ left, again }).to.deep.equal({ left: 0, again: 'ok' });
  });

  it('binds read-only without losing the other flags, and takes one mount of a stack at a time', async () => {
    const { options, readOnly, writable, stack, afterOne } = await found('bind');
    expect(options).to.include.members(['ro', 'nosuid', 'nodev']);
    expect(readOnly).to.deep.equal({ source: 'ok', target: 'EROFS' });
    expect({ writable, stack, afterOne }).to.deep.equal({ writable: 'ok', stack: 2, afterOne: 1 });
  });

  it('binds a device node to a file', async () => {
    expect(await found('node')).to.deep.equal({ root: '/null', wrote: 'ok', missing: 'ENOENT' });
  });

  it('never hides a mount that is in use', async () => {
    expect(await found('busy')).to.deep.equal({ whileOpen: 'EBUSY', afterwards: 'ok' });
  });

  it('freezes and shuts down mount points only, never the filesystem that holds a plain folder', async () => {
    expect(await found('plainFolder')).to.deep.equal({ freeze: 'EINVAL', shutdown: 'EINVAL' });
  });

  for (const [fsType, suffix] of [
    ['xfs', 'Xfs'],
    ['ext4', 'Ext4'],
  ] as const) {
    it(`lets a writer wait while ${fsType} is frozen, and no longer`, async function () {
      if (lacks(`mkfs.${fsType}`, 'losetup')) this.skip();
      expect(await found(`freeze${suffix}`)).to.deep.equal({
        again: 'EBUSY',
        endedWhileFrozen: false,
        content: 'y\n',
        thawedTwice: 'ok',
      });
    });

    it(`fails every write after the shutdown of ${fsType}, which may be asked for twice`, async function () {
      if (lacks(`mkfs.${fsType}`, 'losetup')) this.skip();
      expect(await found(`shutdown${suffix}`)).to.deep.equal({ before: 'ok', after: 'EIO', again: 'ok' });
    });
  }
});
