import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { writeMdadmConf } from '../../src/node/mdadm-conf.ts';

describe('the configuration of mdadm', () => {
  let root: string;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'mdadm-conf-'));
  });

  afterEach(() => rm(root, { recursive: true, force: true }));

  it('is whole for each of many volumes that are staged at once, and nothing else is left', async () => {
    const folder = join(root, 'run');
    const paths = await Promise.all(Array.from({ length: 50 }, () => writeMdadmConf(folder)));
    expect(new Set(paths)).to.deep.equal(new Set([join(folder, 'mdadm.conf')]));
    expect(await readFile(join(folder, 'mdadm.conf'), 'utf8')).to.match(/^CREATE bbl=no$/m);
    expect(await readdir(folder)).to.deep.equal(['mdadm.conf']);
  });
});
