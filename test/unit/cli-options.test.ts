import { expect } from 'chai';
import type { ControllerOptions, DoctorOptions, NodeOptions, TakeoverOptions } from '../../src/cli/options.ts';
import { runCli } from '../../src/cli/program.ts';
import { programVersion } from '../../src/cli/version.ts';

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly controller?: ControllerOptions;
  readonly node?: NodeOptions;
  readonly doctor?: DoctorOptions;
  readonly takeover?: TakeoverOptions;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}, answer = 0): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  const seen: Partial<Mutable<Outcome>> = {};
  const code = await runCli(
    args,
    {
      runController: async (options) => ((seen.controller = options), answer),
      runNode: async (options) => ((seen.node = options), answer),
      runDoctor: async (options) => ((seen.doctor = options), answer),
      runTakeover: async (options) => ((seen.takeover = options), answer),
    },
    '9.8.7',
    { env, stdout: (text) => (stdout += text), stderr: (text) => (stderr += text) },
  );
  return { ...seen, code, stdout, stderr };
}

describe('command line', () => {
  it('gives a node its defaults', async () => {
    const { node, code } = await run(['node', '--node-name', 'worker-1']);
    expect(code).to.equal(0);
    expect(node).to.deep.equal({
      csiEndpoint: 'unix:///csi/csi.sock',
      csiSocketPath: '/csi/csi.sock',
      logLevel: 'info',
      metricsAddress: { host: '0.0.0.0', port: 9810 },
      nodeName: 'worker-1',
      driveSelectors: [],
      initializeBlank: false,
      rebuildLimitMiBs: 200,
      sysRoot: '/',
      hostRoot: '/',
      lockFile: '/run/meshstor/node.lock',
    });
  });

  it('takes every option from the command line', async () => {
    const { node } = await run([
      ...['node', '--node-name=n', '--csi-endpoint', 'unix:///a/b.sock', '--kubeconfig', '/k', '--log-level', 'debug'],
      ...['--metrics-address', '[::1]:0', '--drive-selector', 'model=Sam sung*,serial=S1,label/a.b/c=d'],
      ...['--drive-selector', 'path=/dev/nvme1n1', '--initialize-blank', '--nvme-tcp-address', 'fd00::1'],
      ...['--rebuild-limit', '0', '--lock-file', '/l', '--host-root', import.meta.dirname, '--sys-root', '/t'],
    ]);
    expect(node).to.deep.equal({
      csiEndpoint: 'unix:///a/b.sock',
      csiSocketPath: '/a/b.sock',
      kubeconfig: '/k',
      logLevel: 'debug',
      metricsAddress: { host: '::1', port: 0 },
      nodeName: 'n',
      driveSelectors: [{ model: 'Sam sung*', serial: 'S1', nodeLabels: { 'a.b/c': 'd' } }, { path: '/dev/nvme1n1' }],
      initializeBlank: true,
      rebuildLimitMiBs: 0,
      nvmeTcpAddress: 'fd00::1',
      lockFile: '/l',
      hostRoot: import.meta.dirname,
      sysRoot: '/t',
    });
  });

  it('takes every option from the environment, and our own names before the common ones', async () => {
    const { node } = await run(['node'], {
      NODE_NAME: 'common',
      MESHSTOR_NODE_NAME: 'ours',
      CSI_ENDPOINT: 'unix:/x.sock',
      KUBECONFIG: '/kc',
      MESHSTOR_DRIVE_SELECTORS: 'serial=A; model=B',
      MESHSTOR_INITIALIZE_BLANK: 'true',
      MESHSTOR_LOG_LEVEL: '',
    });
    expect(node?.nodeName).to.equal('ours');
    expect(node?.csiSocketPath).to.equal('/x.sock');
    expect(node?.kubeconfig).to.equal('/kc');
    expect(node?.driveSelectors).to.deep.equal([{ serial: 'A' }, { model: 'B' }]);
    expect(node?.initializeBlank).to.be.true;
    expect(node?.logLevel).to.equal('info');
  });

  it('lets the command line win over the environment, for lists too', async () => {
    const env = { NODE_NAME: 'e', MESHSTOR_INITIALIZE_BLANK: '1', MESHSTOR_DRIVE_SELECTORS: 'serial=A' };
    const { node } = await run(
      ['node', '--node-name', 'f', '--initialize-blank=false', '--drive-selector', 'serial=B'],
      env,
    );
    expect([node?.nodeName, node?.initializeBlank]).to.deep.equal(['f', false]);
    expect(node?.driveSelectors).to.deep.equal([{ serial: 'B' }]);
  });

  it('gives a controller its identity from the pod', async () => {
    const env = { POD_NAME: 'c-0', POD_NAMESPACE: 'storage' };
    const { controller } = await run(['controller', '--leader-election'], env);
    expect(controller).to.include({ leaderElection: true, leaseNamespace: 'storage', podName: 'c-0' });
  });

  it('gives a controller the time after which it reports unclaimed volumes', async () => {
    expect((await run(['controller'])).controller?.unclaimedAfterMinutes).to.equal(10);
    const env = { MESHSTOR_UNCLAIMED_AFTER_MINUTES: '45' };
    expect((await run(['controller'], env)).controller?.unclaimedAfterMinutes).to.equal(45);
  });

  it('takes --role NAME as the command of that name', async () => {
    expect((await run(['--role', 'node', '--node-name', 'n'])).node?.nodeName).to.equal('n');
    expect((await run(['--role=controller'])).controller?.leaderElection).to.be.false;
  });

  it('takes a volume over only where the command line accepts the loss', async () => {
    const uuid = '5D2C7F10-9A4B-4C1E-8D3F-2B6A9E0C7D51';
    const env = { MESHSTOR_KUBECONFIG: '/etc/k', ACCEPT_DATA_LOSS: 'true', MESHSTOR_ACCEPT_DATA_LOSS: 'true' };
    const { takeover } = await run(['takeover', 'pvc-1', '--member', uuid], env);
    const members = [uuid.toLowerCase()];
    expect(takeover).to.deep.equal({ volume: 'pvc-1', acceptDataLoss: false, members, kubeconfig: '/etc/k' });
    expect((await run(['takeover', '--accept-data-loss', 'pvc-1'])).takeover).to.include({ acceptDataLoss: true });
  });

  it('takes --role wherever on the line it stands, and tells of it in the help', async () => {
    expect((await run(['--node-name', 'n', '--role', 'node', '--initialize-blank'])).node).to.deep.include({
      nodeName: 'n',
      initializeBlank: true,
    });
    expect((await run(['--log-level', 'debug', '--role=controller'])).controller?.logLevel).to.equal('debug');
    expect((await run(['--help', '--role', 'node'])).stdout).to.include('--node-name');
    expect((await run(['--help'])).stdout).to.include('--role controller and --role node');
  });

  it('takes the name of a node as Kubernetes gives them', async () => {
    for (const name of ['n', '9', 'worker-1', 'ip-10-0-0-1.eu-west-1.compute.internal', 'a'.repeat(253)])
      expect((await run(['node', '--node-name', name])).node?.nodeName).to.equal(name);
  });

  it('passes on the exit code of the command', async () => {
    expect((await run(['doctor', '-o', 'json'], {}, 1)).code).to.equal(1);
  });

  it('does not hide what a command throws', async () => {
    const handlers = {
      runController: () => Promise.reject(new Error('boom')),
      runNode: () => Promise.resolve(0),
      runDoctor: () => Promise.resolve(0),
      runTakeover: () => Promise.resolve(0),
    };
    const io = { env: {}, stdout: () => undefined, stderr: () => undefined };
    const error = await runCli(['controller'], handlers, '1', io).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).to.be.an('error').with.property('message', 'boom');
  });

  const long = `unix:///${'x'.repeat(100)}`;
  type Refused = [string, readonly string[], Readonly<Record<string, string>>, readonly string[]];
  const REFUSED: readonly Refused[] = [
    ['no command', [], {}, ['a command is missing', 'controller, node, doctor, takeover']],
    ['an unknown command', ['nod'], {}, ["'nod'", 'controller, node, doctor, takeover']],
    ['an unknown option', ['node', '--node-name', 'n', '--bogus'], {}, ['--bogus']],
    ['an option without its value', ['node', '--node-name'], {}, ['--node-name', 'missing']],
    ['a surplus word', ['doctor', 'now'], {}, ['too many arguments']],
    ['an unknown role', ['--role', 'king'], {}, ['--role', '"king"', 'controller, node']],
    ['a role beside a command', ['node', '--role', 'node'], { NODE_NAME: 'n' }, ['--role', 'node is one already']],
    ['a role that is not said', ['--log-level', 'info', '--role'], {}, ['--role', 'controller, node']],
    ...['UPPER_case!', '', '-a', 'a-', 'a..b', '.a', 'a_b', 'a'.repeat(254)].map((name): Refused => {
      const words = ['--node-name', JSON.stringify(name), 'DNS subdomain name', '253'];
      return [`${JSON.stringify(name.slice(0, 12))} as a node's name`, ['node', `--node-name=${name}`], {}, words];
    }),
    ['a host root that is not there', ['doctor', '--host-root', '/nonexistent'], {}, ['--host-root', '/nonexistent']],
    ['a host root that is a file', ['doctor', '--host-root', import.meta.filename], {}, ['must be a directory']],
    [
      "a node's host root that is not there",
      ['node'],
      { NODE_NAME: 'n', MESHSTOR_HOST_ROOT: '/nonexistent' },
      ['MESHSTOR_HOST_ROOT', '/nonexistent', 'must be a directory'],
    ],
    ['a node without a name', ['node'], {}, ['--node-name', 'NODE_NAME', 'required']],
    ['an election without a namespace', ['controller', '--leader-election'], {}, ['--lease-namespace', 'required']],
    ['a TCP endpoint', ['controller', '--csi-endpoint', 'tcp://x:1'], {}, ['--csi-endpoint', '"tcp://x:1"', 'Unix']],
    ['a relative socket', ['controller', '--csi-endpoint', 'unix://a'], {}, ['--csi-endpoint', 'absolute']],
    [
      'a socket path that Node cuts',
      ['controller', '--csi-endpoint', long],
      {},
      ['--csi-endpoint', '100 bytes', '101'],
    ],
    ['a bad environment', ['controller'], { CSI_ENDPOINT: 'x' }, ['environment variable CSI_ENDPOINT', '"x"']],
    ['a bad level', ['controller', '--log-level', 'loud'], {}, ['--log-level', '"loud"', 'error, warn, info, debug']],
    ['a bad port', ['controller', '--metrics-address', 'a:65536'], {}, ['--metrics-address', '65535']],
    ['no speed', ['node', '--node-name', 'n', '--rebuild-limit', '1.5'], {}, ['--rebuild-limit', 'MiB/s']],
    ['too much', ['node', '--node-name', 'n', '--rebuild-limit', '100001'], {}, ['"100001"', '0 to 100000']],
    ['no time', ['controller', '--unclaimed-after-minutes', '0'], {}, ['--unclaimed-after-minutes', '1 to 1440']],
    ['half a minute', ['controller', '--unclaimed-after-minutes', '0.5'], {}, ['"0.5"', 'whole number']],
    ['an address without port', ['controller', '--metrics-address', '::1'], {}, ['--metrics-address', 'HOST:PORT']],
    ['a bad switch', ['node', '--initialize-blank=yes'], { NODE_NAME: 'n' }, ['--initialize-blank', 'true or false']],
    ['a bad address', ['node', '--nvme-tcp-address', 'host'], { NODE_NAME: 'n' }, ['--nvme-tcp-address', 'IPv4']],
    [
      'an unknown selector key',
      ['node', '--drive-selector', 'size=1'],
      { NODE_NAME: 'n' },
      ['--drive-selector', 'size'],
    ],
    ['an empty selector', ['node', '--drive-selector', 'model='], { NODE_NAME: 'n' }, ['--drive-selector', 'model=']],
    ['a key given twice', ['node', '--drive-selector', 'model=a,model=b'], { NODE_NAME: 'n' }, ['twice']],
    ['a relative lock file', ['node', '--lock-file', 'x'], { NODE_NAME: 'n' }, ['--lock-file', 'absolute path']],
    ['a takeover of nothing', ['takeover', '--accept-data-loss'], {}, ['volume', 'takeover --help']],
    ['a member that is no UUID', ['takeover', 'pvc-1', '--member', 'x'], {}, ['--member', '"x"', 'UUID']],
    ['an unknown format', ['doctor', '-o', 'yaml'], {}, ['--output', '"yaml"', 'table, json']],
  ];
  for (const [what, args, env, words] of REFUSED) {
    it(`refuses ${what} with one line and code 2, and starts nothing`, async () => {
      const outcome = await run(args, env);
      expect(outcome.code).to.equal(2);
      expect(outcome.stdout).to.equal('');
      expect(outcome.stderr).to.match(/^meshstor: [^\n]+\n$/);
      for (const word of words) expect(outcome.stderr).to.include(word);
      expect(outcome).to.have.all.keys('code', 'stdout', 'stderr');
    });
  }

  it('prints help that names every option, its environment and its default, and exits with 0', async () => {
    const { stdout, code, node } = await run(['node', '--help']);
    expect([code, node]).to.deep.equal([0, undefined]);
    const flat = stdout.replace(/\s+/g, ' ');
    for (const word of [
      '--drive-selector',
      'MESHSTOR_LOCK_FILE, default /run/meshstor/node.lock',
      'NODE_NAME]',
      'Examples:',
      'Drive options:',
    ]) {
      expect(flat).to.include(word);
    }
    expect(flat).to.not.include('--sys-root');
    expect(flat).to.not.include('--shutdown');
  });

  it('prints the version it is given', async () => {
    expect((await run(['--version'])).stdout).to.equal('9.8.7\n');
  });

  it('knows its own version', () => {
    expect(programVersion()).to.match(/^\d+\.\d+\.\d+/);
  });
});
