import { expect } from 'chai';
import { judgeRelease, parseKernelRelease } from '../../src/node/kernel-release.ts';
import type { Finding, ModuleState, PreflightFacts } from '../../src/node/preflight.ts';
import { evaluatePreflight, fatalSummary, MODULES, TOOLS } from '../../src/node/preflight.ts';

const FIT: PreflightFacts = {
  isRoot: true,
  kernelRelease: '6.1.0-56-amd64',
  modules: Object.fromEntries(Object.keys(MODULES).map((name) => [name, 'loaded'])),
  configfsMounted: true,
  tools: {
    mdadm: { version: '4.2' },
    'mkfs.xfs': { version: '6.1.0' },
    'mkfs.ext4': { version: '1.47.0' },
    xfs_growfs: { version: '6.1.0' },
    resize2fs: { version: '1.47.0' },
    blkid: { version: '2.38.1' },
  },
  nvmeMultipath: 'on',
  udevRunning: true,
  udevAssembles: true,
  ourUdevRule: 'current',
  multipathdRunning: false,
  initramfsAssembles: false,
  mdadmAutoOff: false,
  queueTimeoutSecs: 0,
  threadPoolSize: 16,
};

function finding(id: string, change: Partial<PreflightFacts>): Finding {
  const found = evaluatePreflight({ ...FIT, ...change }).find((candidate) => candidate.id === id);
  if (found === undefined) throw new Error(`no finding ${id}`);
  return found;
}

function withModule(name: string, state: ModuleState): Partial<PreflightFacts> {
  return { modules: { ...FIT.modules, [name]: state } };
}

describe('preflight', () => {
  it('finds nothing wrong with a machine that is fit', () => {
    const findings = evaluatePreflight(FIT);
    expect(findings.filter(({ severity }) => severity !== 'ok')).to.deep.equal([]);
    expect(fatalSummary(findings)).to.equal('');
  });

  it('gives every finding an id of its own', () => {
    const ids = evaluatePreflight(FIT).map(({ id }) => id);
    expect(new Set(ids).size).to.equal(ids.length);
  });

  const CASES: readonly [string, Partial<PreflightFacts>, string, string][] = [
    ['privileges', { isRoot: false }, 'fatal', 'root'],
    ['kernel-release', { kernelRelease: '6.8.0-40-generic' }, 'fatal', '6.8.0-40-generic'],
    ['kernel-release', { kernelRelease: '5.14.0-427.el9.x86_64' }, 'warning', 'older than 6.1'],
    ['kernel-release', { kernelRelease: 'custom' }, 'warning', 'custom'],
    ['configfs', { configfsMounted: false }, 'fatal', 'configfs'],
    ['udev-rule', { ourUdevRule: 'missing' }, 'fatal', 'not installed'],
    ['udev-rule', { ourUdevRule: 'missing', udevAssembles: false }, 'warning', 'not installed'],
    ['udev-rule', { ourUdevRule: 'other version' }, 'warning', 'another version'],
    ['udev-rule', { ourUdevRule: 'missing', udevRunning: false }, 'ok', 'does not run'],
    ['initramfs-mdadm', { initramfsAssembles: true }, 'warning', 'initramfs'],
    ['initramfs-mdadm', { initramfsAssembles: true, mdadmAutoOff: true }, 'ok', 'AUTO -all'],
    ['multipathd', { multipathdRunning: true }, 'warning', 'multipathd'],
    ['dm-queue-timeout', { queueTimeoutSecs: 30 }, 'fatal', '30 s'],
    ['thread-pool', { threadPoolSize: 4 }, 'warning', '4 threads'],
    ['nvme-multipath', { nvmeMultipath: 'off' }, 'ok', 'off'],
    ['tool-mdadm', { tools: { ...FIT.tools, mdadm: {} } }, 'fatal', 'not installed'],
    ['tool-mdadm', { tools: { ...FIT.tools, mdadm: { version: '4.0' } } }, 'fatal', 'older than 4.1'],
    ['tool-mkfs.xfs', { tools: { ...FIT.tools, 'mkfs.xfs': { version: '5.9.0' } } }, 'fatal', 'older than 5.10'],
    ['tool-mkfs.ext4', { tools: { ...FIT.tools, 'mkfs.ext4': {} } }, 'warning', 'not installed'],
    ['tool-xfs_growfs', { tools: { ...FIT.tools, xfs_growfs: {} } }, 'warning', 'not installed'],
    ['tool-resize2fs', { tools: { ...FIT.tools, resize2fs: {} } }, 'warning', 'not installed'],
    ['tool-blkid', { tools: {} }, 'fatal', 'not installed'],
    ['module-nvmet', withModule('nvmet', 'missing'), 'fatal', 'not there'],
    ['module-nvmet', withModule('nvmet', 'loadable'), 'warning', 'not loaded'],
    ['module-nvmet', withModule('nvmet', 'unknown'), 'fatal', 'cannot be seen'],
    ['module-raid1', withModule('raid1', 'loadable'), 'ok', 'when it is needed'],
    ['module-raid1', withModule('raid1', 'built in'), 'ok', 'built in'],
    ['module-raid10', withModule('raid10', 'missing'), 'warning', 'not there'],
  ];
  for (const [id, change, severity, words] of CASES) {
    it(`judges ${JSON.stringify(change)} as ${severity}`, () => {
      const found = finding(id, change);
      expect(found.severity).to.equal(severity);
      expect(found.what).to.include(words);
      if (severity === 'ok') expect([found.why, found.fix]).to.deep.equal(['', '']);
      else expect([found.why === '', found.fix === '']).to.deep.equal([false, false]);
    });
  }

  it('judges every module and every tool that it lists', () => {
    const findings = evaluatePreflight({ ...FIT, modules: {}, tools: {} });
    for (const name of Object.keys(MODULES)) {
      expect(findings.find(({ id }) => id === `module-${name}`)?.severity).to.not.equal('ok');
    }
    for (const name of Object.keys(TOOLS)) {
      expect(findings.find(({ id }) => id === `tool-${name}`)?.severity).to.not.equal('ok');
    }
  });

  it('says nothing of the thread pool where nobody asked', () => {
    const { threadPoolSize: _unused, ...facts } = FIT;
    expect(evaluatePreflight(facts).some(({ id }) => id === 'thread-pool')).to.be.false;
  });

  it('sums up the fatal findings in one line', () => {
    const findings = evaluatePreflight({ ...FIT, configfsMounted: false, isRoot: false, multipathdRunning: true });
    expect(fatalSummary(findings)).to.equal('not running as root; configfs is not mounted on /sys/kernel/config');
  });
});

describe('kernel releases', () => {
  const REFUSED = [
    '6.4.0',
    '6.5.13',
    '6.6',
    '6.6.43',
    '6.7.12',
    '6.8.0',
    '6.9.12',
    '6.10.0',
    '6.10.2',
    '6.10.14-arch1',
  ];
  const TAKEN = [
    '6.1.0-56-amd64',
    '6.1.192',
    '6.2.16',
    '6.3.13',
    '6.6.44',
    '6.6.100-talos',
    '6.11.0',
    '6.12.95',
    '7.0.1',
  ];
  for (const release of REFUSED) {
    it(`refuses ${release}`, () => expect(judgeRelease(release).severity).to.equal('fatal'));
  }
  for (const release of TAKEN) {
    it(`takes ${release}`, () => expect(judgeRelease(release).severity).to.equal('ok'));
  }

  it('names the read fault for 6.9 and 6.10, which the bitmap fix does not cure', () => {
    expect(judgeRelease('6.10.9').what).to.include('read_balance');
    expect(judgeRelease('6.8.12').what).to.include('bitmap');
  });

  it('compares numbers, not texts', () => {
    expect(parseKernelRelease('6.10.3-1-pve')).to.deep.equal({ major: 6, minor: 10, patch: 3 });
    expect(parseKernelRelease('6.9')).to.deep.equal({ major: 6, minor: 9, patch: 0 });
    expect(parseKernelRelease('linux')).to.equal(undefined);
  });
});
