/** Which file of the addon is taken, and what is said when none fits. */
import { expect } from 'chai';
import { join } from 'node:path';
import { DomainError } from '../../src/api/errors.ts';
import { addonCandidates, addonFault, loadFrom } from '../../src/native/load.ts';
import { ABI_VERSION, RAW_EXPORTS } from '../../src/native/raw.ts';

describe('native addon loader', () => {
  const operations = RAW_EXPORTS.map((name) => [name, () => Promise.resolve(undefined)] as const);
  const good: object = { ...Object.fromEntries(operations), abiVersion: ABI_VERSION };

  it('takes the first file that fits', () => {
    const tried: string[] = [];
    const load = (path: string): unknown => {
      tried.push(path);
      if (path === '/a') throw new Error('cannot open\nRequire stack: …');
      return good;
    };
    expect(loadFrom(['/a', '/b', '/c'], load)).to.equal(good);
    expect(tried).to.deep.equal(['/a', '/b']);
  });

  it('reports every cause, the platform, the Node version and the fix in one error of one line', () => {
    const load = (path: string): unknown => {
      if (path === '/a') throw new Error('no such file\nRequire stack:\n- x');
      return path === '/b' ? { ...good, abiVersion: 0 } : { abiVersion: ABI_VERSION };
    };
    const error = ((): unknown => {
      try {
        return loadFrom(['/a', '/b', '/c'], load);
      } catch (thrown: unknown) {
        return thrown;
      }
    })();
    // A role that cannot start says the message of such an error alone, and the stack of any other.
    expect(error).to.be.instanceOf(DomainError);
    const { message } = error as DomainError;
    expect(message)
      .to.match(/^loading the native addon on [^\n]+$/)
      .and.contain('/a: no such file; ');
    expect(message).to.not.contain('Require stack');
    expect(message).to.contain(`/b: it has abiVersion 0, this program needs ${String(ABI_VERSION)}`);
    expect(message).to.contain('/c: it lacks acquireNodeLock, addGptPartition,');
    expect(message).to.contain(process.version).and.contain(process.platform);
    expect(message).to.contain('npm run build').and.contain('MESHSTOR_NATIVE_ADDON');
  });

  it('looks beside a bundle and in the build folder of a checkout, the nearest first', () => {
    const file = 'meshstor_native.node';
    expect(addonCandidates('/app/dist', {}).slice(0, 2)).to.deep.equal([
      join('/app/dist', file),
      join('/app/build/Release', file),
    ]);
    expect(addonCandidates('/app/src/native', {})).to.contain(join('/app/build/Release', file));
    expect(addonCandidates('/app/src/native', {})).to.contain(join('/app/build/Debug', file));
    expect(addonCandidates('/app/dist', { MESHSTOR_NATIVE_ADDON: '/x.node' })).to.deep.equal(['/x.node']);
  });

  it('says what is wrong with something that is no addon', () => {
    expect(addonFault(undefined)).to.equal('it does not export an object');
    expect(addonFault(good)).to.equal(undefined);
  });
});
