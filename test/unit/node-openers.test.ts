/** Who has a device open, by a /proc that is made for the test: real links to real files, as the kernel shows them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { findOpeners, findUsers, killUsers } from '../../src/node/openers.ts';

/** `/dev/zero`, on every Linux. */
const ZERO = '1:5';
const NONE = '259:77';

interface Process {
  readonly comm?: string;
  readonly fds?: readonly string[];
  readonly cwd?: string;
  /** Of its mount namespace. */
  readonly mounts?: readonly string[];
  readonly namespace?: string;
  /** Its flags, as `stat` shows them. */
  readonly flags?: number;
}

describe('the openers of a device', () => {
  let root: string;
  let proc: string;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'openers-'));
    proc = join(root, 'proc');
    mkdirSync(proc);
    writeFileSync(join(proc, 'mounts'), '');
  });

  afterEach(() => {
    rmSync(root, { recursive: true, force: true });
  });

  function run(pid: number, { comm, fds = [], cwd, mounts = [], namespace, flags }: Process): void {
    const folder = join(proc, String(pid));
    mkdirSync(join(folder, 'fd'), { recursive: true });
    if (comm !== undefined) writeFileSync(join(folder, 'comm'), `${comm}\n`);
    fds.forEach((target, fd) => symlinkSync(target, join(folder, 'fd', String(fd))));
    if (cwd !== undefined) symlinkSync(cwd, join(folder, 'cwd'));
    if (flags !== undefined) writeFileSync(join(folder, 'stat'), `${pid} (a) name) S 1 1 1 0 -1 ${flags} 0 0\n`);
    if (namespace !== undefined) {
      mkdirSync(join(folder, 'ns'));
      symlinkSync(`mnt:[${namespace}]`, join(folder, 'ns', 'mnt'));
    }
    const lines = mounts.map((devNumber, id) => `${20 + id} 1 ${devNumber} / /mnt/${id} rw - xfs /dev/x rw`);
    writeFileSync(join(folder, 'mountinfo'), `${lines.join('\n')}\n`);
  }

  /** The device of the filesystem that a path is on, `major:minor`. */
  function filesystemOf(path: string): string {
    const { dev } = statSync(path);
    return `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
  }

  it('are nobody when nobody has it', async () => {
    run(100, { comm: 'idle', fds: ['/dev/null', 'socket:[4711]'], mounts: ['0:21'] });
    expect(await findOpeners(ZERO, proc)).to.deep.equal([]);
  });

  it('are the processes that have the device itself open, by name and pid', async () => {
    run(100, { comm: 'dd', fds: ['/dev/null', '/dev/zero'] });
    run(200, { comm: 'cat', fds: ['/dev/null'] });
    expect(await findOpeners(ZERO, proc)).to.deep.equal(['dd (100)']);
  });

  it('are the processes that have a file on a filesystem of it open', async () => {
    const file = join(root, 'data');
    writeFileSync(file, 'x');
    run(100, { comm: 'postgres', fds: [file] });
    expect(await findOpeners(filesystemOf(file), proc)).to.deep.equal(['postgres (100)']);
    expect(await findOpeners(NONE, proc)).to.deep.equal([]);
  });

  it('are the processes in another mount namespace that has it mounted, with nothing open', async () => {
    run(100, { comm: 'pause', mounts: ['0:21', NONE] });
    run(200, { comm: 'other', mounts: ['0:21', '259:7'] });
    expect(await findOpeners(NONE, proc)).to.deep.equal(['pause (100)']);
  });

  it('are those who stand in it, and users are not those who merely see a mount of it', async () => {
    const device = filesystemOf(root);
    run(100, { comm: 'shell', cwd: root });
    run(200, { comm: 'bystander', mounts: [device] });
    expect(await findOpeners(device, proc)).to.deep.equal(['shell (100)', 'bystander (200)']);
    expect(await findUsers(device, proc)).to.deep.equal(['shell (100)']);
  });

  it('are never threads of the kernel', async () => {
    run(2, { comm: 'kthreadd', fds: ['/dev/zero'], mounts: [NONE], flags: 0x00208040 });
    run(100, { comm: 'dd', fds: ['/dev/zero'], mounts: [NONE], flags: 0x00400100 });
    expect(await findOpeners(ZERO, proc)).to.deep.equal(['dd (100)']);
    expect(await findOpeners(NONE, proc)).to.deep.equal(['dd (100)']);
  });

  it('are all that share a mount namespace, whose mounts are read once', async () => {
    run(100, { comm: 'first', mounts: [NONE], namespace: '4026531841' });
    run(200, { comm: 'second', namespace: '4026531841' });
    run(300, { comm: 'other', namespace: '4026532000' });
    expect(await findOpeners(NONE, proc)).to.deep.equal(['first (100)', 'second (200)']);
  });

  it('do not include this process, and one without a name is named by its pid', async () => {
    run(process.pid, { comm: 'meshstor', fds: ['/dev/zero'], mounts: [ZERO] });
    run(100, { fds: ['/dev/zero'] });
    expect(await findOpeners(ZERO, proc)).to.deep.equal(['unknown (100)']);
  });

  it('are found beside processes and descriptors that go away meanwhile', async () => {
    mkdirSync(join(proc, '50'));
    run(100, { comm: 'dd', fds: [join(root, 'gone'), '/dev/zero'] });
    expect(await findOpeners(ZERO, proc)).to.deep.equal(['dd (100)']);
  });

  it('are found on a filesystem whose files do not tell where they are, by the mounts of their namespace', async () => {
    const gone = join(root, 'mnt', '0', 'data'); // what `stat` says nothing about
    run(100, { comm: 'by-id', fds: [gone], mounts: [NONE] });
    mkdirSync(join(proc, '100', 'fdinfo'));
    writeFileSync(join(proc, '100', 'fdinfo', '0'), 'pos:\t0\nflags:\t0100001\nmnt_id:\t20\nino:\t131\n');
    run(200, { comm: 'other-id', fds: ['/mnt/0/data'], mounts: [NONE] });
    mkdirSync(join(proc, '200', 'fdinfo'));
    writeFileSync(join(proc, '200', 'fdinfo', '0'), 'pos:\t0\nmnt_id:\t99\n');
    run(300, { comm: 'stands-there', cwd: '/mnt/0/deep', mounts: [NONE] });
    run(400, { comm: 'stands-beside', cwd: '/mnt/01', mounts: [NONE] });
    expect(await findUsers(NONE, proc)).to.deep.equal(['by-id (100)', 'stands-there (300)']);
  });

  it('are killed, those that merely see a mount are not', async () => {
    const user = spawn('sleep', ['60'], { stdio: 'ignore' });
    const bystander = spawn('sleep', ['60'], { stdio: 'ignore' });
    try {
      run(user.pid ?? 0, { comm: 'sleep', fds: ['/dev/zero'] });
      run(bystander.pid ?? 0, { comm: 'sleep', mounts: [ZERO] });
      const ended = once(user, 'exit');
      expect(await killUsers(ZERO, proc)).to.deep.equal([`sleep (${user.pid})`]);
      expect(await ended).to.deep.equal([null, 'SIGKILL']);
      expect(bystander.exitCode).to.equal(null);
      expect(await killUsers(ZERO, proc), 'one that has gone is no error').to.deep.equal([`sleep (${user.pid})`]);
    } finally {
      user.kill('SIGKILL');
      bystander.kill('SIGKILL');
    }
  });
});
