import { expect } from 'chai';
import type { PreflightFacts } from '../../src/node/preflight.ts';
import { MODULES, TOOLS } from '../../src/node/preflight.ts';
import { PreflightWatch } from '../../src/node/preflight-watch.ts';

const SILENT = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

const FIT: PreflightFacts = {
  isRoot: true,
  kernelRelease: '6.12.1',
  modules: Object.fromEntries(Object.keys(MODULES).map((name) => [name, 'loaded' as const])),
  configfsMounted: true,
  tools: Object.fromEntries(Object.keys(TOOLS).map((name) => [name, { version: '99.0' }])),
  nvmeMultipath: 'on',
  udevRunning: false,
  udevAssembles: false,
  ourUdevRule: 'missing',
  multipathdRunning: false,
  initramfsAssembles: false,
  mdadmAutoOff: false,
  queueTimeoutSecs: 0,
};

describe('the watch over preflight', () => {
  let watch: PreflightWatch | undefined;

  afterEach(() => watch?.stop());

  const watchOf = (gather: () => Promise<PreflightFacts>, live: () => number | undefined = () => 0): PreflightWatch => {
    const liveQueueTimeout = (): Promise<number | undefined> => Promise.resolve(live());
    return (watch = new PreflightWatch({ gather, liveQueueTimeout, log: SILENT, retryMs: 5 }));
  };

  it('knows nothing before its first look, and lets who asks wait for it', async () => {
    let looks = 0;
    const fit = watchOf(() => Promise.resolve(((looks += 1), FIT)));
    expect(fit.known).to.equal(undefined);
    expect(await Promise.all([fit.fatalFindings(), fit.fatalFindings()])).to.deep.equal(['', '']);
    expect(await fit.fatalFindings()).to.equal('');
    expect(looks).to.equal(1);
  });

  it('is fatal while it cannot run, and tries again', async () => {
    let failures = 2;
    const watched = watchOf(() => (failures-- > 0 ? Promise.reject(new Error('no proc')) : Promise.resolve(FIT)));
    expect(await watched.fatalFindings()).to.equal('preflight could not run: no proc');
    const fit = new Promise<void>((resolve) => {
      watched.onChange(() => (watched.known === '' ? resolve() : undefined));
    });
    await fit;
    expect(failures).to.equal(-1);
  });

  it('finds a time limit of guards that is set while it runs, and its end', async () => {
    let seconds: number | undefined;
    const watched = watchOf(
      () => Promise.resolve(FIT),
      () => seconds,
    );
    await watched.lookAgain();
    expect(watched.known).to.equal(undefined);
    await watched.look();
    await watched.lookAgain();
    expect(watched.known).to.equal('');
    seconds = 30;
    await watched.lookAgain();
    expect(await watched.fatalFindings()).to.match(/gives up queueing after 30 s/);
    seconds = 0;
    await watched.lookAgain();
    expect(watched.known).to.equal('');
  });

  it('looks no more after it was stopped', async () => {
    let looks = 0;
    const watched = watchOf(() => Promise.resolve(((looks += 1), { ...FIT, isRoot: false })));
    await watched.look();
    watched.stop();
    const before = looks;
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(looks).to.equal(before);
  });
});
