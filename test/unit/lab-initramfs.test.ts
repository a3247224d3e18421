import { expect } from 'chai';
import { parseImagePackage } from '../lab/cache.ts';
import { buildCpio } from '../lab/cpio.ts';
import { parseMirror, refuseOtherArchitectures } from '../lab/debian.ts';
import {
  INIT_SCRIPT,
  initramfsEntries,
  isStaticElf,
  parseModuleOrder,
  withoutSignature,
  xzPayload,
} from '../lab/initramfs.ts';
import { withSystemFolders } from '../lab/paths.ts';

/** Reads a newc archive back: name → mode and data, in archive order. */
function readCpio(archive: Buffer): Map<string, { mode: number; data: string }> {
  const found = new Map<string, { mode: number; data: string }>();
  const align = (offset: number): number => Math.ceil(offset / 4) * 4;
  for (let at = 0; ;) {
    expect(archive.toString('latin1', at, at + 6)).to.equal('070701');
    const field = (index: number): number =>
      Number.parseInt(archive.toString('latin1', at + 6 + 8 * index, at + 14 + 8 * index), 16);
    const name = archive.toString('latin1', at + 110, at + 110 + field(11) - 1);
    const start = align(at + 110 + field(11));
    if (name === 'TRAILER!!!') return found;
    found.set(name, { mode: field(1), data: archive.toString('latin1', start, start + field(6)) });
    at = align(start + field(6));
  }
}

describe('parseModuleOrder', () => {
  it('keeps the order of modprobe and lists each module once', () => {
    const shown =
      'insmod /k/virtio.ko \nbuiltin unix\ninsmod /k/md-mod.ko start_ro=1\ninsmod /k/virtio.ko \n\ninsmod /k/raid1.ko';
    expect(parseModuleOrder(shown)).to.deep.equal(['/k/virtio.ko', '/k/md-mod.ko', '/k/raid1.ko']);
  });

  it('refuses a line it does not know, rather than leaving a module out', () => {
    expect(() => parseModuleOrder('modprobe: FATAL: Module nvme not found')).to.throw('unexpected line');
  });
});

describe('initramfs image', () => {
  const modules = [
    { name: 'b.ko', data: Buffer.from('bb') },
    { name: 'a.ko', data: Buffer.from('aaa') },
  ];
  const image = readCpio(buildCpio(initramfsEntries(Buffer.from('busybox!'), modules)));

  it('lists the modules in load order', () => {
    expect(image.get('modules/order')?.data).to.equal('b.ko\na.ko\n');
    expect(image.get('modules/a.ko')?.data).to.equal('aaa');
  });

  it('has an executable init and a link for every command that init uses', () => {
    expect(image.get('init')).to.deep.equal({ mode: 0o100755, data: INIT_SCRIPT });
    const links = [...image].filter(([, { mode }]) => mode === 0o120777).map(([name]) => name.slice('bin/'.length));
    const shellWords = ['export', 'fail', 'while', 'for', 'exec', 'set', 'if', 'case'];
    const used = INIT_SCRIPT.split('\n')
      .map((line) => /^\s*([a-z_]+) /.exec(line)?.[1])
      .filter((word) => word !== undefined && !shellWords.includes(word));
    expect(used.length).to.be.greaterThan(20);
    for (const word of used) expect(links).to.include(word);
  });

  it('is the same for the same input', () => {
    const build = (): Buffer => buildCpio(initramfsEntries(Buffer.from('x'), modules));
    expect(build().equals(build())).to.equal(true);
  });

  it('refuses an entry whose folder does not come first, which the kernel would drop silently', () => {
    expect(() => buildCpio([{ path: 'bin/sh', kind: 'file', mode: 0o755 }])).to.throw('before its folder');
  });
});

describe('withoutSignature', () => {
  const mark = Buffer.from('~Module signature appended~\n');

  it('cuts off an appended signature and leaves other modules alone', () => {
    const info = Buffer.alloc(12);
    info.writeUInt32BE(5, 8);
    const signed = Buffer.concat([Buffer.from('ELF'), Buffer.from('SIGNA'), info, mark]);
    expect(withoutSignature(signed).toString()).to.equal('ELF');
    expect(withoutSignature(Buffer.from('plain')).toString()).to.equal('plain');
  });

  it('refuses a signature longer than the file', () => {
    const info = Buffer.alloc(12, 0xff);
    expect(() => withoutSignature(Buffer.concat([info, mark]))).to.throw('longer than the file');
  });
});

describe('xzPayload', () => {
  const bzImage = (payload: Buffer): Buffer => {
    const image = Buffer.alloc(0x400);
    image.writeUInt8(1, 0x1f1);
    image.write('HdrS', 0x202);
    image.writeUInt32LE(0x10, 0x248);
    image.writeUInt32LE(payload.length, 0x24c);
    return Buffer.concat([image, Buffer.alloc(0x10), payload, Buffer.from('trailing')]);
  };
  const stream = Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1, 2, 3]);

  it('finds the stream by the header and leaves off the appended size', () => {
    expect(xzPayload(bzImage(Buffer.concat([stream, Buffer.alloc(4)])))?.equals(stream)).to.equal(true);
  });

  it('has nothing for a kernel that is packed otherwise and refuses what is no kernel', () => {
    expect(xzPayload(bzImage(Buffer.from('packed with something else')))).to.equal(undefined);
    expect(() => xzPayload(Buffer.alloc(0x400))).to.throw('not a bzImage');
  });
});

describe('parseImagePackage', () => {
  it('follows the dependency only if it is of the wanted series', () => {
    const depends = 'linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n';
    expect(parseImagePackage(depends, '6.1')).to.equal('linux-image-6.1.0-56-amd64');
    expect(parseImagePackage(depends, '6.12')).to.equal(undefined);
    expect(parseImagePackage('  Depends: linux-image-6.12.9+deb12-amd64', '6.1')).to.equal(undefined);
    expect(parseImagePackage('  Depends: linux-image-6.12.9+deb12-amd64', '6.12')).to.match(/6\.12\.9/);
    expect(parseImagePackage('', '6.1')).to.equal(undefined);
  });
});

/** A 64-bit ELF header and a table of segments of these kinds. */
function elf(kinds: readonly number[]): Buffer {
  const program = Buffer.alloc(64 + 56 * kinds.length);
  program.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  program.writeBigUInt64LE(64n, 0x20);
  program.writeUInt16LE(56, 0x36);
  program.writeUInt16LE(kinds.length, 0x38);
  kinds.forEach((kind, index) => program.writeUInt32LE(kind, 64 + 56 * index));
  return program;
}

describe('isStaticElf', () => {
  const [LOAD, DYNAMIC, INTERP] = [1, 2, 3];

  it('takes a program that asks for no loader', () => {
    expect(isStaticElf(elf([LOAD, LOAD]))).to.equal(true);
    expect(isStaticElf(elf([LOAD, DYNAMIC]))).to.equal(true); // a static program that can be placed anywhere
  });

  it('refuses one that asks for a loader, whatever its path', () => {
    expect(isStaticElf(elf([INTERP, LOAD, DYNAMIC]))).to.equal(false);
  });

  it('refuses what is no program or is cut off', () => {
    expect(isStaticElf(Buffer.from('#!/bin/sh\n'.padEnd(100)))).to.equal(false);
    expect(isStaticElf(elf([LOAD, LOAD]).subarray(0, 100))).to.equal(false);
    expect(isStaticElf(elf([]))).to.equal(false);
  });
});

describe('mirror of Debian', () => {
  const row = (uri: string, codename: string, origin = 'Debian', label = 'Debian'): string =>
    `${uri}|${codename}|${origin}|${label}\n`;

  it('is one that has the wanted suite, else any of the main archive', () => {
    const both = row('http://one.example/debian/', 'trixie') + row('http://two.example/debian/', 'bookworm');
    expect(parseMirror(both, 'bookworm')).to.equal('http://two.example/debian/');
    expect(parseMirror(both, 'bookworm-backports')).to.equal('http://one.example/debian/');
  });

  it('is not the security archive, nor that of another distribution', () => {
    const others =
      row('http://one.example/security/', 'bookworm-security', 'Debian', 'Debian-Security') +
      row('http://two.example/ubuntu/', 'noble', 'Ubuntu', 'Ubuntu') +
      row('http://three.example/node/', 'nodistro', '', '');
    expect(parseMirror(others, 'bookworm')).to.equal(undefined);
    expect(parseMirror('', 'bookworm')).to.equal(undefined);
  });
});

describe('the lab', () => {
  it('refuses machines whose programs its nodes could not run', () => {
    refuseOtherArchitectures('linux', 'x64');
    expect(() => refuseOtherArchitectures('linux', 'arm64')).to.throw('amd64');
    expect(() => refuseOtherArchitectures('darwin', 'x64')).to.throw('darwin');
  });

  it('finds the programs of sbin after a plain su', () => {
    expect(withSystemFolders('/usr/bin:/usr/sbin')).to.equal('/usr/bin:/usr/sbin:/usr/local/sbin:/sbin');
    expect(withSystemFolders('')).to.equal('/usr/local/sbin:/usr/sbin:/sbin');
  });
});
