/**
 * The cases of mount.test.ts. Runs in a mount namespace of its own:
 *
 *   unshare --mount --propagation private node --import tsx test/native/private-mounts.ts CASE FOLDER
 *
 * prints what the case found as JSON; an error ends it with what it is.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { MountEntry } from '../../src/api/kernel.ts';
import { createKernel } from '../../src/native/index.ts';

const kernel = createKernel();
const [name = '', folder = ''] = process.argv.slice(2);
const at = (...parts: string[]): string => join(folder, ...parts);

function makeFolder(...parts: string[]): string {
  mkdirSync(at(...parts), { recursive: true });
  return at(...parts);
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'ok';
  } catch (error: unknown) {
    return (error as { code: string }).code;
  }
}

function writes(path: string): string {
  try {
    writeFileSync(path, 'x');
    return 'ok';
  } catch (error: unknown) {
    return (error as { code: string }).code;
  }
}

async function mountsAt(path: string): Promise<MountEntry[]> {
  return (await kernel.mounts()).filter((mount) => mount.mountPoint === path);
}

/** A small filesystem on a loop device, mounted; everything is undone when `use` has ended. */
async function onImage<T>(fsType: 'xfs' | 'ext4', use: (mountPoint: string) => Promise<T>): Promise<T> {
  const image = at('image');
  const run = (file: string, ...args: string[]): string => execFileSync(file, args, { encoding: 'utf8' }).trim();
  run('truncate', '-s', '320M', image);
  run(`mkfs.${fsType}`, '-q', image);
  const loop = run('losetup', '--find', '--show', image);
  const mountPoint = makeFolder('disk');
  try {
    await kernel.mount(loop, mountPoint, fsType, ['noatime']);
    return await use(mountPoint);
  } finally {
    await kernel.unmount(mountPoint);
    run('losetup', '--detach', loop);
  }
}

async function freezeAndThaw(mountPoint: string): Promise<unknown> {
  await kernel.freezeFilesystem(mountPoint);
  const again = await codeOf(kernel.freezeFilesystem(mountPoint));
  const writer = spawn('sh', ['-c', `echo y > ${mountPoint}/frozen`]);
  let ended = false;
  writer.on('exit', () => (ended = true));
  await sleep(300);
  const endedWhileFrozen = ended;
  await kernel.thawFilesystem(mountPoint);
  for (let waited = 0; !ended && waited < 5000; waited += 20) await sleep(20);
  const content = readFileSync(join(mountPoint, 'frozen'), 'utf8');
  return { again, endedWhileFrozen, content, thawedTwice: await codeOf(kernel.thawFilesystem(mountPoint)) };
}

async function shutDown(mountPoint: string): Promise<unknown> {
  const before = writes(join(mountPoint, 'a'));
  await kernel.shutdownFilesystem(mountPoint);
  const after = writes(join(mountPoint, 'b'));
  return { before, after, again: await codeOf(kernel.shutdownFilesystem(mountPoint)) };
}

const CASES: Readonly<Record<string, () => Promise<unknown>>> = {
  async tmpfs() {
    const target = makeFolder('with space');
    await kernel.mount('/dev/zero', target, 'tmpfs', ['size=1m', 'noatime', 'nosuid', 'nodev', 'noexec', 'mode=700']);
    const [mounted] = await mountsAt(target);
    const usage = await kernel.filesystemUsage(target, 1000);
    await kernel.unmount(target);
    return { mounted, usage, left: (await mountsAt(target)).length, again: await codeOf(kernel.unmount(target)) };
  },
  async bind() {
    const source = makeFolder('source');
    await kernel.mount('/dev/zero', source, 'tmpfs', ['nosuid', 'nodev']);
    const target = makeFolder('target');
    await kernel.bindMount(source, target, true);
    const [mounted] = await mountsAt(target);
    const readOnly = { source: writes(join(source, 'a')), target: writes(join(target, 'b')) };
    await kernel.bindMount(source, target, false);
    const writable = writes(join(target, 'c'));
    const stack = (await mountsAt(target)).length;
    await kernel.unmount(target);
    const afterOne = (await mountsAt(target)).length;
    return { options: mounted?.options, readOnly, writable, stack, afterOne };
  },
  async node() {
    const target = at('node');
    writeFileSync(target, '');
    await kernel.bindMount('/dev/null', target, false);
    const [mounted] = await mountsAt(target);
    await kernel.unmount(target);
    return {
      root: mounted?.root,
      wrote: writes(target),
      missing: await codeOf(kernel.bindMount(at('none'), target, false)),
    };
  },
  async busy() {
    const target = makeFolder('busy');
    await kernel.mount('/dev/zero', target, 'tmpfs', []);
    const holder = spawn('sleep', ['30'], { cwd: target });
    await sleep(100);
    const whileOpen = await codeOf(kernel.unmount(target));
    holder.kill('SIGKILL');
    await new Promise((resolve) => holder.on('exit', resolve));
    return { whileOpen, afterwards: await codeOf(kernel.unmount(target)) };
  },
  async plainFolder() {
    const folderOnly = makeFolder('plain');
    return {
      freeze: await codeOf(kernel.freezeFilesystem(folderOnly)),
      shutdown: await codeOf(kernel.shutdownFilesystem(folderOnly)),
    };
  },
  freezeXfs: () => onImage('xfs', freezeAndThaw),
  freezeExt4: () => onImage('ext4', freezeAndThaw),
  shutdownXfs: () => onImage('xfs', shutDown),
  shutdownExt4: () => onImage('ext4', shutDown),
};

const work = CASES[name];
if (work === undefined) throw new Error(`no case "${name}"`);
process.stdout.write(JSON.stringify(await work()));
