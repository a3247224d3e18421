import { execFile } from 'node:child_process';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const EXEC = { maxBuffer: 64 * 1024 * 1024, timeout: 600_000 } as const;

/** apt works as root in folders of ours, which its own user may not enter. */
const AS_ROOT = ['-o', 'APT::Sandbox::User=root'];
/** Both names are in use: the first by Debian 12, either by later ones. */
const KEYRINGS = ['gpg', 'pgp'].map((suffix) => `/usr/share/keyrings/debian-archive-keyring.${suffix}`);

/** Package sources other than the machine's: options that every apt program takes. */
export type AptOptions = readonly string[];

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Says why the lab cannot run here; its nodes run programs of the machine, and its kernels are amd64's. */
export function refuseOtherArchitectures(platform: string = process.platform, arch: string = process.arch): void {
  if (platform === 'linux' && arch === 'x64') return;
  throw new Error(
    `the lab needs Linux on amd64, since its nodes run this machine's programs: this is ${platform} on ${arch}`,
  );
}

/**
 * Picks a mirror of Debian's main archive out of lines `URI|codename|origin|label` as `apt-get indextargets` prints them. One
 * that has the wanted suite counts most, but any has all suites that are still maintained.
 */
export function parseMirror(targets: string, suite: string): string | undefined {
  const rows = targets
    .split('\n')
    .map((line) => line.trim().split('|'))
    // The security archive calls itself Debian-Security: it has other suites.
    .filter(([, , origin, label = '']) => origin === 'Debian' && ['Debian', 'Debian Backports'].includes(label));
  return (rows.find(([, codename]) => codename === suite) ?? rows[0])?.[0];
}

/** Address of a mirror of Debian's main archive, from this machine's package sources. */
export async function findMirror(suite: string): Promise<string> {
  const format = ['indextargets', '--format', '$(REPO_URI)|$(CODENAME)|$(ORIGIN)|$(LABEL)', 'Created-By: Packages'];
  const ask = async (): Promise<string | undefined> => parseMirror((await run('apt-get', format, EXEC)).stdout, suite);
  let mirror = await ask();
  if (mirror === undefined) {
    await run('apt-get', ['-qq', 'update'], EXEC); // a fresh machine may have no lists yet
    mirror = await ask();
  }
  if (mirror === undefined)
    throw new Error(`look for Debian's ${suite}: no package source of this machine is Debian's`);
  return mirror;
}

/** The file with Debian's archive keys. */
export async function findKeyring(): Promise<string> {
  const found = await Promise.all(KEYRINGS.map(exists));
  const keyring = KEYRINGS.find((_, index) => found[index]);
  if (keyring === undefined) throw new Error('check Debian packages: install debian-archive-keyring, it has the key');
  return keyring;
}

/**
 * Options that make apt use one suite of Debian only, with lists of its own below `folder`: neither the system's configuration
 * nor its release counts. What it downloads is checked against Debian's archive key.
 */
export async function aptOptionsFor(suite: string, folder: string): Promise<AptOptions> {
  const mirror = await findMirror(suite);
  const keyring = await findKeyring();
  await mkdir(join(folder, 'state', 'lists', 'partial'), { recursive: true });
  await mkdir(join(folder, 'cache', 'archives', 'partial'), { recursive: true });
  await writeFile(join(folder, 'suite.list'), `deb [arch=amd64 signed-by=${keyring}] ${mirror} ${suite} main\n`);
  const own = [
    ['Dir::Etc::sourcelist', join(folder, 'suite.list')],
    ['Dir::Etc::sourceparts', '-'],
    ['Dir::Etc::preferences', '-'],
    ['Dir::Etc::preferencesparts', '-'],
    ['Dir::State::lists', join(folder, 'state', 'lists')],
    ['Dir::Cache', join(folder, 'cache')],
  ].flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  await run('apt-get', [...own, ...AS_ROOT, '-qq', 'update'], EXEC);
  return own;
}

/** What `apt-cache depends` says of a package; empty when it is not known. */
export async function aptDepends(name: string, options: AptOptions): Promise<string> {
  const asked = await run('apt-cache', [...options, 'depends', name], EXEC).catch(() => ({ stdout: '' }));
  return asked.stdout;
}

/** Downloads a package and unpacks it into `<folder>/root`, which it returns. Nothing is installed. */
export async function unpackPackage(name: string, options: AptOptions, folder: string): Promise<string> {
  await run('apt-get', [...options, ...AS_ROOT, '-qq', 'download', name], { ...EXEC, cwd: folder });
  const archive = (await readdir(folder)).find((file) => file.endsWith('.deb'));
  if (archive === undefined) throw new Error(`download ${name}: no package file arrived`);
  const root = join(folder, 'root');
  await run('dpkg', ['-x', join(folder, archive), root], EXEC);
  return root;
}
