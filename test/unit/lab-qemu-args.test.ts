import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addressOf, envFileText, qemuArgs, uuidFor } from '../lab/qemu-args.ts';
import type { MachineSpec } from '../lab/qemu-args.ts';

const SPEC: MachineSpec = {
  name: 'node2',
  index: 2,
  drives: [
    { sizeBytes: 1024, sectorSize: 512, file: '/runs/a/drive,0.img', serial: 'LAB-0' },
    { sizeBytes: 1024, sectorSize: 4096, file: '/runs/a/drive1.img', serial: 'LAB-1' },
  ],
  memoryMiB: 1024,
  vmlinux: '/cache/vmlinux',
  initramfs: '/cache/initramfs',
  accel: 'tcg',
  envFile: '/runs/a/node2.env',
  serialLog: '/logs/node2.log',
  qmpSocket: '/tmp/a,b/node2.qmp',
  agentSocket: '/tmp/ab/node2.agent',
};

/** Values that follow an option, in order. */
function valuesOf(args: readonly string[], option: string): string[] {
  return args.filter((_, index) => args[index - 1] === option);
}

describe('qemuArgs', () => {
  it('gives every node two processors, since with one QEMU 7.2 loses completions', () => {
    expect(valuesOf(qemuArgs(SPEC), '-smp')).to.deep.equal(['2']);
  });

  it('never takes KVM unless asked', () => {
    expect(valuesOf(qemuArgs(SPEC), '-accel')).to.deep.equal(['tcg,thread=multi']);
    expect(valuesOf(qemuArgs({ ...SPEC, accel: 'kvm' }), '-accel')).to.deep.equal(['kvm']);
  });

  it('puts each drive behind a port of its own with its serial number and sector size', () => {
    const devices = valuesOf(qemuArgs(SPEC), '-device');
    const drives = devices.filter((text) => text.startsWith('{')).map((text) => JSON.parse(text) as unknown);
    expect(drives).to.deep.equal([
      { driver: 'nvme', id: 'nvme0', bus: 'port0', drive: 'drive0', serial: 'LAB-0' },
      {
        ...{ driver: 'nvme', id: 'nvme1', bus: 'port1', drive: 'drive1', serial: 'LAB-1' },
        ...{ logical_block_size: 4096, physical_block_size: 4096 },
      },
    ]);
    expect(devices).to.include('pcie-root-port,id=port1,chassis=2,slot=2');
  });

  it('keeps a comma in a path from ending an option', () => {
    const args = qemuArgs(SPEC);
    expect(valuesOf(args, '-qmp')).to.deep.equal(['unix:/tmp/a,,b/node2.qmp,server=on,wait=off']);
    const files = valuesOf(args, '-blockdev').map((text) => JSON.parse(text) as { filename?: string });
    expect(files[0]?.filename).to.equal('/runs/a/drive,0.img');
  });

  it('refuses a settings path with a space, which the kernel command line cannot carry', () => {
    expect(() => qemuArgs({ ...SPEC, envFile: '/my runs/node2.env' })).to.throw('must not contain a space');
  });

  it('shows the host files read-only and gives the machine its own identity', () => {
    const args = qemuArgs(SPEC);
    expect(valuesOf(args, '-virtfs')[0]).to.match(/,readonly=on,/);
    expect(valuesOf(args, '-uuid')).to.deep.equal([uuidFor('node2')]);
    expect(qemuArgs({ ...SPEC, index: 3 }).join(' ')).to.contain('mac=52:54:00:4d:53:0d');
  });
});

describe('uuidFor', () => {
  it('is a valid version 4 UUID, the same for a name and different for another', () => {
    expect(uuidFor('node1')).to.match(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(uuidFor('node1')).to.equal(uuidFor('node1'));
    expect(uuidFor('node1')).not.to.equal(uuidFor('node2'));
  });
});

describe('envFileText', () => {
  it('survives a shell, whatever the values hold', () => {
    const folder = mkdtempSync(join(tmpdir(), 'lab-env-'));
    const modulesDir = `/it's $HOME "and" \`more\``;
    const hosts = [{ name: 'node1', address: addressOf(1) }];
    const text = envFileText({ name: 'node1', index: 1, hosts, modulesDir, nodeBinary: '/n', agent: '/a' });
    writeFileSync(join(folder, 'env'), text);
    const show = '. ./env; printf "%s|%s|%s" "$LAB_MODULES" "$LAB_HOSTS" "$LAB_ADDRESS"';
    const { stdout } = spawnSync('sh', ['-c', show], { cwd: folder, encoding: 'utf8' });
    rmSync(folder, { recursive: true });
    expect(stdout).to.equal(`${modulesDir}|127.0.0.1 localhost\n10.77.0.11 node1|10.77.0.11`);
  });
});
