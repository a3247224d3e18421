import { expect } from 'chai';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { findingsAsTable, runDoctor } from '../../src/cli/doctor.ts';
import type { PreflightSources } from '../../src/node/preflight-facts.ts';
import { gatherPreflightFacts, threadPoolSize } from '../../src/node/preflight-facts.ts';
import { UDEV_RULE_VERSION } from '../../src/node/udev-rule.ts';

const RELEASE = '6.1.0-56-amd64';
const RULE = readFileSync(join(import.meta.dirname, '../../deploy/udev/60-meshstor.rules'), 'utf8');

describe('preflight facts', () => {
  let root: string;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'meshstor-preflight-'));
  });

  afterEach(() => rmSync(root, { recursive: true, force: true }));

  function plant(files: Readonly<Record<string, string>>): void {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(root, dirname(path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
  }

  function sources(versions: Readonly<Record<string, string>> = {}): PreflightSources {
    return {
      sysRoot: root,
      hostRoot: root,
      kernelRelease: RELEASE,
      isRoot: true,
      askVersion: (tool) => Promise.resolve(versions[tool]),
    };
  }

  it('tells modules that are loaded, built in, loadable and missing apart, whatever dash their names have', async () => {
    plant({
      'sys/module/nvmet/refcnt': '1',
      'sys/module/nvme_tcp/refcnt': '1',
      [`lib/modules/${RELEASE}/modules.builtin`]: 'kernel/fs/xfs/xfs.ko\n',
      [`lib/modules/${RELEASE}/modules.dep`]:
        'kernel/drivers/md/dm-multipath.ko.xz: kernel/drivers/md/dm-mod.ko.xz\nkernel/drivers/md/raid1.ko:\n',
    });
    const { modules } = await gatherPreflightFacts(sources());
    expect(modules['nvmet']).to.equal('loaded');
    expect(modules['nvme-tcp']).to.equal('loaded');
    expect(modules['xfs']).to.equal('built in');
    expect(modules['dm-multipath']).to.equal('loadable');
    expect(modules['raid1']).to.equal('loadable');
    expect(modules['nvmet-tcp']).to.equal('missing');
  });

  it('does not call a module missing when it cannot see the modules of this kernel', async () => {
    const { modules } = await gatherPreflightFacts(sources());
    expect(modules['nvmet']).to.equal('unknown');
  });

  it('believes the kernel about filesystems and RAID levels', async () => {
    plant({
      'proc/filesystems': 'nodev\tsysfs\n\text4\n',
      'proc/mdstat': 'Personalities : [raid1] [raid10] \nunused devices: <none>\n',
    });
    const { modules } = await gatherPreflightFacts(sources());
    expect([modules['ext4'], modules['raid1'], modules['raid10'], modules['xfs']]).to.deep.equal([
      'built in',
      'built in',
      'built in',
      'unknown',
    ]);
  });

  it('sees configfs only where it belongs', async () => {
    plant({ 'proc/self/mounts': 'configfs /mnt/config configfs rw 0 0\n' });
    expect((await gatherPreflightFacts(sources())).configfsMounted).to.be.false;
    plant({ 'proc/self/mounts': 'proc /proc proc rw 0 0\nconfigfs /sys/kernel/config configfs rw 0 0\n' });
    expect((await gatherPreflightFacts(sources())).configfsMounted).to.be.true;
  });

  it('reads versions out of what the tools say', async () => {
    const said = {
      mdadm: 'mdadm - v4.2 - 2021-12-30 - Debian 4.2-5',
      'mkfs.xfs': 'mkfs.xfs version 6.1.0',
      'mkfs.ext4': 'mke2fs 1.47.0 (5-Feb-2023)',
    };
    const { tools } = await gatherPreflightFacts(sources(said));
    expect(tools).to.deep.equal({
      mdadm: { version: '4.2' },
      'mkfs.xfs': { version: '6.1.0' },
      'mkfs.ext4': { version: '1.47.0' },
      blkid: {},
      xfs_growfs: {},
      resize2fs: {},
    });
  });

  it('tells our udev rule from an older one and from none', async () => {
    expect((await gatherPreflightFacts(sources())).ourUdevRule).to.equal('missing');
    plant({ 'etc/udev/rules.d/60-meshstor.rules': '# meshstor-udev-rule version 0\n' });
    expect((await gatherPreflightFacts(sources())).ourUdevRule).to.equal('other version');
    plant({ 'etc/udev/rules.d/60-meshstor.rules': RULE, 'run/udev/control': '' });
    const facts = await gatherPreflightFacts(sources());
    expect([facts.ourUdevRule, facts.udevRunning, facts.udevAssembles]).to.deep.equal(['current', true, false]);
    plant({ 'usr/lib/udev/rules.d/64-md-raid-assembly.rules': '' });
    expect((await gatherPreflightFacts(sources())).udevAssembles).to.be.true;
  });

  it('finds mdadm in the initramfs, and AUTO -all in mdadm.conf', async () => {
    plant({ 'usr/share/initramfs-tools/hooks/mdadm': '', 'etc/mdadm/mdadm.conf': '# AUTO -all\nHOMEHOST x\n' });
    let facts = await gatherPreflightFacts(sources());
    expect([facts.initramfsAssembles, facts.mdadmAutoOff]).to.deep.equal([true, false]);
    plant({ 'etc/mdadm/mdadm.conf': 'AUTO -all\n' });
    facts = await gatherPreflightFacts(sources());
    expect(facts.mdadmAutoOff).to.be.true;
  });

  it('knows the queue time limit of the running module before that of the configuration', async () => {
    plant({ 'etc/modprobe.d/x.conf': '#options dm_multipath queue_if_no_path_timeout_secs=9\n' });
    expect((await gatherPreflightFacts(sources())).queueTimeoutSecs).to.equal(0);
    plant({ 'etc/modprobe.d/y.conf': 'options dm_multipath queue_if_no_path_timeout_secs=7\n' });
    expect((await gatherPreflightFacts(sources())).queueTimeoutSecs).to.equal(7);
    plant({ 'sys/module/dm_multipath/parameters/queue_if_no_path_timeout_secs': '0\n' });
    expect((await gatherPreflightFacts(sources())).queueTimeoutSecs).to.equal(0);
  });

  it('sees multipathd by its process, and native multipath by its parameter', async () => {
    plant({ 'proc/17/comm': 'multipathd\n', 'sys/module/nvme_core/parameters/multipath': 'N\n' });
    const facts = await gatherPreflightFacts(sources());
    expect([facts.multipathdRunning, facts.nvmeMultipath]).to.deep.equal([true, 'off']);
  });

  it('takes 4 for the thread pool where nothing sensible is set', () => {
    expect([{}, { UV_THREADPOOL_SIZE: '16' }, { UV_THREADPOOL_SIZE: 'x' }].map(threadPoolSize)).to.deep.equal([
      4, 16, 4,
    ]);
  });

  it('lets doctor exit with 1 and print every reason when something is fatal', async () => {
    let table = '';
    const code = await runDoctor({ output: 'table', hostRoot: root }, (text) => (table += text), sources());
    expect(code).to.equal(1);
    expect(table).to.match(/^FATAL {4}configfs .*\n +why: .*\n +fix: mount -t configfs/m);
    expect(table).to.match(/\d+ fatal, \d+ warnings?, \d+ ok: new volumes are refused on this machine\n$/);
  });

  it('counts one warning as one, in the table of doctor', () => {
    const warning = { id: 'x', severity: 'warning', what: 'w', why: '', fix: '' } as const;
    const sums = [0, 1, 2].map((count) => findingsAsTable(Array.from({ length: count }, () => warning)));
    expect(sums[0]).to.contain('0 fatal, 0 warnings, 0 ok');
    expect(sums[1]).to.contain('0 fatal, 1 warning, 0 ok');
    expect(sums[2]).to.contain('0 fatal, 2 warnings, 0 ok');
  });

  it('lets doctor exit with 0 on a fit machine, and tell programs so', async () => {
    plant({
      ...Object.fromEntries(
        ['nvmet', 'nvmet_tcp', 'nvme_fabrics', 'nvme_tcp', 'raid1', 'raid10', 'dm_multipath', 'dm_service_time']
          .concat(['xfs', 'ext4'])
          .map((name) => [`sys/module/${name}/refcnt`, '0']),
      ),
      'proc/self/mounts': 'configfs /sys/kernel/config configfs rw 0 0\n',
    });
    const formats = { 'mkfs.xfs': '6.6.0', 'mkfs.ext4': '1.47.0', xfs_growfs: '6.6.0', resize2fs: '1.47.0' };
    const versions = { mdadm: 'v4.3', blkid: '2.40', ...formats };
    let json = '';
    const code = await runDoctor({ output: 'json', hostRoot: root }, (text) => (json += text), sources(versions));
    const report = JSON.parse(json) as { fit: boolean; findings: { id: string; severity: string }[] };
    expect(report.findings.filter(({ severity }) => severity !== 'ok')).to.deep.equal([]);
    expect([code, report.fit]).to.deep.equal([0, true]);
  });
});

describe('the udev rule that is shipped', () => {
  it('carries the version that preflight looks for', () => {
    expect(RULE.split('\n')[0]).to.equal(UDEV_RULE_VERSION);
  });

  it('only jumps forward, to labels that exist', () => {
    const lines = RULE.split('\n');
    const labels = new Map(lines.flatMap((line, at) => [...line.matchAll(/^LABEL="(\w+)"/g)].map((m) => [m[1], at])));
    lines.forEach((line, at) => {
      for (const [, target] of line.matchAll(/GOTO="(\w+)"/g)) {
        expect(labels.get(target) ?? -1, `${target} from line ${at + 1}`).to.be.greaterThan(at);
      }
    });
  });

  it('covers legs, imported namespaces and partitions by the names that the code gives them', () => {
    for (const name of ['MESHSTOR-*', 'meshstor-*', 'nqn.2025-12.io.meshstor:*']) expect(RULE).to.include(`"${name}"`);
  });
});
