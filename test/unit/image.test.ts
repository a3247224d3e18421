/** The Dockerfile against what the program starts, what the chart mounts and what is in the tree. Builds nothing. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { NODE_OPTIONS } from '../../src/cli/options.ts';
import { TOOLS } from '../../src/node/preflight.ts';
import { roleContainer } from '../lab/image/pod.ts';
import { evaluate } from '../support/evaluate-script.ts';

const ROOT = join(import.meta.dirname, '..', '..');

function textOf(...path: readonly string[]): string {
  return readFileSync(join(ROOT, ...path), 'utf8');
}

interface Stage {
  readonly from: string;
  readonly name: string;
  /** Without comments, continued lines joined. */
  readonly lines: readonly string[];
}

function stages(): readonly Stage[] {
  const text = textOf('deploy', 'image', 'Dockerfile')
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n\s*/g, '');
  return text
    .split(/^FROM /m)
    .slice(1)
    .map((part) => {
      const [first = '', ...lines] = part.split('\n').filter((line) => line !== '');
      const [, from = '', name = ''] = /^(?:--platform=\S+ )?(\S+)(?: AS (\S+))?$/.exec(first) ?? [];
      return { from, name, lines };
    });
}

function stage(name: string): Stage {
  const found = stages().find((one) => one.name === name);
  if (found === undefined) throw new Error(`the Dockerfile has no stage ${name}`);
  return found;
}

function finalStage(): Stage {
  const last = stages().at(-1);
  if (last === undefined) throw new Error('the Dockerfile has no stage');
  return last;
}

/** What the program's sources call by its absolute path, without comments. */
function pathsIn(folder: string, endings: RegExp): string[] {
  const files = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
  return files
    .filter((file) => endings.test(file) && !file.includes('generated'))
    .flatMap((file) => {
      const code = textOf(folder, file).replace(/\/\*[^]*?\*\/|(?:^|\s)\/\/.*$/gm, '');
      const literals = code.matchAll(/['"`](\/(?:csi|dev|etc|host|lib|proc|run|sys|tmp|usr|var)(?:\/[^'"`$ ]*)?)/g);
      return [...literals].map((match) => match[1] ?? '');
    });
}

/** Where the program, mdadm and mkfs write. A path that is new in the sources has to be put here or below. */
const WRITTEN: readonly string[] = [
  '/dev', // device nodes of drives and arrays
  '/dev/',
  '/dev/mapper/',
  '/dev/mapper/control',
  '/dev/md/', // links that mdadm makes
  '/dev/nvme-fabrics',
  '/run/meshstor/node.lock',
  '/sys/block',
  '/sys/block/',
  '/sys/kernel/config',
  '/sys/kernel/config/nvmet',
];

const READ: readonly string[] = [
  '/etc/mdadm/mdadm.conf', // mounted over in a namespace of mdadm's own: it has to be there
  '/etc/modprobe.d', // words of messages, as are the next two
  '/etc/udev/rules.d/60-meshstor.rules',
  '/host',
  '/proc',
  '/proc/mdstat',
  '/proc/self/fd',
  '/proc/self/mountinfo',
  '/proc/self/task',
  '/proc/self/task/',
  '/proc/swaps',
  '/proc/sys/kernel/random/boot_id',
  '/sys/class/nvme',
  '/sys/dev/block/',
  '/sys/module/nvmet',
  '/usr/local/sbin:/usr/sbin:/sbin:',
  '/var/run/secrets/kubernetes.io/serviceaccount/token',
];

/** Not in our sources: what the started programs write, and what kubelet names in its calls. */
const WRITTEN_BY_OTHERS = ['/run/mdadm/map', '/var/lib/kubelet/plugins/kubernetes.io/csi', '/var/lib/kubelet/pods'];

/** What `mdadm --add` is started in: a mount namespace of its own. Every Debian has both, doctor does not ask for them. */
const AROUND_MDADM: Readonly<Record<string, string>> = { unshare: 'util-linux', mount: 'mount' };

describe('the image', () => {
  it('has the packages of the programs that the node role starts, and nvme-cli for people', () => {
    const source = textOf('src', 'node', 'tools.ts');
    const started = [...source.matchAll(/\brun(?:Checked)?\('([^']+)'/g)].map(([, name]) => name);
    const inScripts = [...source.matchAll(/`(mount|umount) /g)].map(([, name]) => name);
    const programs = [...Object.keys(TOOLS), ...Object.keys(AROUND_MDADM)];
    expect([...new Set([...started, ...inScripts])].sort()).to.deep.equal(programs.sort());
    const gathered = /^RUN sh \/gather\.sh \/image (.+)$/m.exec(stage('system').lines.join('\n'))?.[1]?.split(' ');
    const packages = [
      ...Object.values(TOOLS).map(({ debianPackage }) => debianPackage),
      ...Object.values(AROUND_MDADM),
    ];
    expect(gathered?.sort()).to.deep.equal([...new Set([...packages, 'nvme-cli'])].sort());
  });

  it('has the configuration of mdadm that the node role works with, also where that puts its own', () => {
    const source = textOf('src', 'node', 'mdadm-conf.ts');
    const words = (/^const MDADM_CONF = '([^']+)';$/m.exec(source)?.[1] ?? '')
      .split('\\n')
      .filter((line) => line !== '');
    expect(words).to.include('CREATE bbl=no');
    const path = /^export const MDADM_CONF_PATH = '([^']+)';$/m.exec(source)?.[1];
    const line = `printf '%s\\n' ${words.map((word) => `'${word}'`).join(' ')} > "$root${path ?? ''}"`;
    expect(textOf('deploy', 'image', 'gather.sh')).to.include(line);
  });

  it('is made from bases with a version, which can be replaced', () => {
    const text = textOf('deploy', 'image', 'Dockerfile');
    const bases = [...text.matchAll(/^ARG (\w+_IMAGE)=(\S+)$/gm)].map(
      ([, name = '', base = '']) => [name, base] as const,
    );
    expect(bases.map(([name]) => name)).to.deep.equal(['NODE_IMAGE', 'BASE_IMAGE']);
    for (const [name, base] of bases) expect(base, name).to.match(/^[a-z]+:[\w.-]+$/);
    expect(text).not.to.match(/latest/);
    const own = new Set(stages().map(({ name }) => name));
    for (const { from, name } of stages()) {
      const isKnown = from === 'scratch' || from === 'addon-${TARGETARCH}' || own.has(from);
      expect(isKnown || bases.some(([base]) => from === `\${${base}}`), `${name} is from ${from}`).to.equal(true);
    }
  });

  it('takes its program from the Node and the Debian that are promised', () => {
    const text = textOf('deploy', 'image', 'Dockerfile');
    const [major = 0, minor = 0] = (/^ARG NODE_IMAGE=node:(\d+\.\d+)/m.exec(text)?.[1] ?? '').split('.').map(Number);
    const { engines } = JSON.parse(textOf('package.json')) as { readonly engines: { readonly node: string } };
    const [leastMajor = 0, leastMinor = 0] = engines.node.replace('>=', '').split('.').map(Number);
    expect(major * 1000 + minor).to.be.at.least(leastMajor * 1000 + leastMinor);
    expect(major % 2, 'releases with long support are even').to.equal(0);
    expect(evaluate('suiteIn', 'image-base.mjs', `suiteIn(${JSON.stringify(text)})`, {})).to.equal('bookworm');
  });

  it('ends in a stage where nothing is run or installed: no compiler, no npm, no package lists', () => {
    const { from, lines } = finalStage();
    expect(from).to.equal('scratch');
    expect(lines.filter((line) => line.startsWith('RUN') || line.startsWith('ADD'))).to.deep.equal([]);
    const copied = lines
      .filter((line) => line.startsWith('COPY'))
      .map((line) => line.split(' ').slice(1, -1).join(' '));
    expect(copied).to.deep.equal([
      '--from=system /image',
      'package.json LICENSE',
      'proto/csi.proto',
      '--from=bundle /build/dist',
      '--from=addon /build/build/Release/meshstor_native.node',
    ]);
    const gathered = textOf('deploy', 'image', 'gather.sh');
    expect(/^base='([^']*)'$/m.exec(gathered)?.[1]).to.equal('dash coreutils grep');
  });

  it('compiles the addon from source for either architecture', () => {
    for (const [name, arch] of [
      ['addon-amd64', 'x64'],
      ['addon-arm64', 'arm64'],
    ] as const) {
      const lines = stage(name).lines.join('\n');
      expect(lines).to.match(/^COPY native native$/m);
      expect(lines).to.match(new RegExp(`^RUN CC=\\S+ CXX=\\S+ npx node-gyp rebuild --arch=${arch} `, 'm'));
    }
    expect(stage('addon').from).to.equal('addon-${TARGETARCH}');
  });

  it('is sent what it copies, and nothing that it does not', () => {
    const lines = textOf('.dockerignore').split('\n');
    expect(lines.find((line) => !line.startsWith('#'))).to.equal('*');
    const sent = lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
    for (const path of sent) expect(existsSync(join(ROOT, path)), path).to.equal(true);
    const copied = stages()
      .flatMap(({ lines: all }) => all)
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from='))
      .flatMap((line) => line.split(' ').slice(1, -1));
    const isBelow = (path: string, folder: string) => path === folder || path.startsWith(`${folder}/`);
    for (const path of copied)
      expect(
        sent.some((one) => isBelow(path, one) || isBelow(one, path)),
        path,
      ).to.equal(true);
    for (const path of sent)
      expect(
        copied.some((one) => isBelow(path, one) || isBelow(one, path)),
        path,
      ).to.equal(true);
  });

  it('is made here with the way to the mirrors that this machine has', () => {
    const dump = [
      'Acquire "";',
      'Acquire::http::Proxy "http://proxy.example.org:3128";',
      'Acquire::Languages:: "none";',
    ];
    const found = evaluate('aptSettings', 'image-base.mjs', `aptSettings(${JSON.stringify(dump.join('\n'))})`, {});
    expect(found).to.deep.equal([dump[1]]);
  });

  it('starts the program’s file itself, as the user of the controller', () => {
    const { lines } = finalStage();
    const { bin } = JSON.parse(textOf('package.json')) as { readonly bin: { readonly meshstor: string } };
    expect(lines).to.include(`ENTRYPOINT ["/opt/meshstor/${bin.meshstor}"]`);
    expect(textOf('src', 'main.ts')).to.match(/^#!\/usr\/bin\/env -S [^\n]*\bnode\b/);
    const { uid, gid } = roleContainer('controller');
    expect(lines).to.include(`USER ${uid}:${gid}`);
    expect(textOf('deploy', 'image', 'gather.sh')).to.include(`meshstor:x:${uid}:${gid}:`);
    expect(uid).to.be.greaterThan(0);
    expect(roleContainer('node').uid).to.equal(0);
    expect(textOf('test', 'fixtures', 'chart', 'defaults.yaml')).not.to.match(/^\s+command:/m);
  });
});

describe('the chart for the image', () => {
  function uncovered(role: 'controller' | 'node', paths: readonly string[]): string[] {
    const writable = roleContainer(role).mounts.filter(({ isReadOnly }) => !isReadOnly);
    return paths.filter((path) => !writable.some(({ target }) => path === target || path.startsWith(`${target}/`)));
  }

  function socketFolder(role: 'controller' | 'node'): string {
    const arg = roleContainer(role).args.find((one) => one.startsWith('--csi-endpoint=unix://')) ?? '';
    return dirname(arg.replace('--csi-endpoint=unix://', ''));
  }

  it('makes the root directory read-only', () => {
    for (const role of ['controller', 'node'] as const) expect(roleContainer(role).isRootReadOnly, role).to.equal(true);
  });

  it('has a mount for every path that the node role writes', () => {
    const named = new Set([
      ...['src/node', 'src/native', 'src/main', 'src/cli', 'src/kube', 'src/csi'].flatMap((at) => pathsIn(at, /\.ts$/)),
      ...pathsIn('native/core', /\.(cc|h)$/),
      ...pathsIn('src/observability', /\.ts$/),
      ...pathsIn('src/plan', /\.ts$/),
    ]);
    const socket = new URL(NODE_OPTIONS.csiEndpoint.default).pathname;
    const known = new Set([...WRITTEN, ...READ, socket]);
    expect(
      [...named].filter((path) => !known.has(path)),
      'neither known as read nor as written',
    ).to.deep.equal([]);
    expect(
      WRITTEN.filter((path) => !named.has(path)),
      'not written any more',
    ).to.deep.equal([]);
    expect(uncovered('node', [...WRITTEN, ...WRITTEN_BY_OTHERS, socketFolder('node')])).to.deep.equal([]);
    const lock = roleContainer('node').args.find((arg) => arg.startsWith('--lock-file='));
    expect(uncovered('node', [lock?.replace('--lock-file=', '') ?? ''])).to.deep.equal([]);
  });

  it('has a mount for the only thing that the controller role writes, its socket', () => {
    expect(uncovered('controller', [socketFolder('controller')])).to.deep.equal([]);
    expect(uncovered('controller', ['/tmp'])).to.deep.equal(['/tmp']);
  });
});
