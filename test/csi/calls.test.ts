/** What every call has in common, over a real socket. */
import { expect } from 'chai';
import { DomainError } from '../../src/api/errors.ts';
import type { Harness } from './harness.ts';
import { expectRefusal, fakeNode, startHarness, WRITER } from './harness.ts';

const STAGE = { volumeId: 'v', stagingTargetPath: '/staging/', volumeCapability: WRITER };

/** Work that ends when the test says so. */
function gate(): { readonly passed: Promise<void>; open(): void; readonly entered: Promise<void>; enter(): void } {
  let open = (): void => undefined;
  let enter = (): void => undefined;
  const passed = new Promise<void>((resolve) => (open = resolve));
  const entered = new Promise<void>((resolve) => (enter = resolve));
  return { passed, open: () => open(), entered, enter: () => enter() };
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let waited = 0; !isTrue(); waited += 5) {
    if (waited > 5000) throw new Error('waited for 5 s in vain');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('every call', () => {
  let harness: Harness;
  afterEach(() => harness.stop());

  it('on a busy volume is ABORTED, names the volume and what is under way, and works afterwards', async () => {
    const door = gate();
    const node = fakeNode({
      stage: async () => {
        door.enter();
        await door.passed;
      },
    });
    harness = await startHarness({ node });
    const first = harness.client.node.NodeStageVolume(STAGE);
    await door.entered;
    await expectRefusal(
      harness.client.node.NodeStageVolume(STAGE),
      'ABORTED',
      'volume v',
      'NodeStageVolume is under way',
    );
    const unstage = { volumeId: 'v', stagingTargetPath: '/staging' };
    await expectRefusal(harness.client.node.NodeUnstageVolume(unstage), 'ABORTED', 'NodeStageVolume');
    await harness.client.node.NodeUnstageVolume({ ...unstage, volumeId: 'other' });
    door.open();
    await first;
    await harness.client.node.NodeUnstageVolume(unstage);
  });

  it('that waits until shortly before its deadline is UNAVAILABLE with what it waits for', async () => {
    const node = fakeNode({
      stage: (_request, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () =>
            reject(new DomainError('unavailable', 'stage volume v: waiting for node n2; try again')),
          );
        }),
    });
    harness = await startHarness({ node });
    for (const deadlineMs of [2000, 5000]) {
      const startedAt = performance.now();
      const call = harness.client.node.NodeStageVolume(STAGE, { deadlineMs });
      await expectRefusal(call, 'UNAVAILABLE', 'waiting for node n2');
      expect(performance.now() - startedAt).to.be.within(deadlineMs * 0.8, deadlineMs);
    }
    const line = harness.log.lines.find(({ message }) => message === 'call refused');
    expect(line?.fields).to.include({ code: 'UNAVAILABLE', reason: 'stage volume v: waiting for node n2; try again' });
  });

  it('whose work does not end in time keeps its lock until the work has ended', async () => {
    const door = gate();
    let reason: unknown;
    const node = fakeNode({
      stage: async (_request, signal) => {
        signal.addEventListener('abort', () => (reason = signal.reason));
        await door.passed;
      },
    });
    harness = await startHarness({ node });
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE, { deadlineMs: 150 }), 'DEADLINE_EXCEEDED');
    await until(() => reason !== undefined);
    expect(reason).to.be.instanceOf(DomainError).with.property('kind', 'unavailable');
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'ABORTED');
    expect(harness.server.callsInFlight()).to.equal(1);
    door.open();
    await until(() => harness.lock.size === 0);
    await until(() => harness.server.callsInFlight() === 0);
    await harness.client.node.NodeStageVolume(STAGE);
  });

  it('that is cancelled aborts its signal', async () => {
    const door = gate();
    const cancel = new AbortController();
    const node = fakeNode({
      stage: (_request, signal) =>
        new Promise((_resolve, reject) => {
          door.enter();
          signal.addEventListener('abort', () => reject(signal.reason as Error));
        }),
    });
    harness = await startHarness({ node });
    const call = harness.client.node.NodeStageVolume(STAGE, { signal: cancel.signal });
    await door.entered;
    cancel.abort();
    await expectRefusal(call, 'CANCELLED');
    await until(() => harness.lock.size === 0);
  });

  it('shares its lock with the reconcilers', async () => {
    harness = await startHarness({ node: fakeNode() });
    const release = harness.lock.tryAcquire('v', 'the healing of v');
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'ABORTED', 'the healing of v');
    release?.();
    release?.();
    await harness.client.node.NodeStageVolume(STAGE);
  });

  it('before the process is ready is UNAVAILABLE, except Identity and what never changes', async () => {
    let notReady: string | undefined = 'not all volumes were listed yet';
    harness = await startHarness({ node: fakeNode(), notReady: () => notReady });
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'UNAVAILABLE', 'not all volumes were listed yet');
    expect((await harness.client.identity.Probe({})).ready).to.deep.equal({ value: true });
    expect((await harness.client.node.NodeGetInfo({})).nodeId).to.equal('n1');
    notReady = undefined;
    await harness.client.node.NodeStageVolume(STAGE);
  });

  it('turns a foreign error, whatever its numeric code, into INTERNAL with a request id and the rest in the log only', async () => {
    const foreign = Object.assign(new Error('password=hunter2 in the body'), {
      code: 16,
      details: 'leak',
      metadata: {},
    });
    harness = await startHarness({
      node: fakeNode({
        stage: async () => {
          throw foreign;
        },
      }),
    });
    const refused = await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'INTERNAL', 'request ');
    expect(refused.details).not.to.match(/hunter2|leak/);
    const id = /request ([0-9a-f-]{36})/.exec(refused.details)?.[1];
    const line = harness.log.lines.find(({ level, fields }) => level === 'error' && fields['requestId'] === id);
    expect(JSON.stringify(line)).to.include('hunter2');
    expect(harness.lock.size).to.equal(0);
  });

  it('survives what is thrown synchronously, and what is no error', async () => {
    harness = await startHarness({
      node: fakeNode({
        stage: () => {
          throw Object.assign(new Error('EBUSY'), { code: 5 });
        },
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
        unstage: () => Promise.reject(7),
      }),
    });
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'INTERNAL');
    await expectRefusal(harness.client.node.NodeUnstageVolume(STAGE), 'INTERNAL');
  });

  for (const [kind, code] of [
    ['invalid', 'INVALID_ARGUMENT'],
    ['notFound', 'NOT_FOUND'],
    ['conflict', 'ALREADY_EXISTS'],
    ['pending', 'ABORTED'],
    ['precondition', 'FAILED_PRECONDITION'],
    ['outOfRange', 'OUT_OF_RANGE'],
    ['exhausted', 'RESOURCE_EXHAUSTED'],
    ['unavailable', 'UNAVAILABLE'],
    ['unsupported', 'UNIMPLEMENTED'],
    ['internal', 'INTERNAL'],
  ] as const) {
    it(`turns a failure of kind ${kind} into ${code} with its message, in any alphabet`, async () => {
      harness = await startHarness({
        node: fakeNode({
          stage: async () => {
            throw new DomainError(kind, 'stage volume v: größer as 5 % ✓');
          },
        }),
      });
      await expectRefusal(harness.client.node.NodeStageVolume(STAGE), code, 'größer as 5 % ✓');
    });
  }

  it('answers even when the reason is longer than a header may be', async () => {
    harness = await startHarness({
      node: fakeNode({
        stage: async () => {
          throw new DomainError('unavailable', `waiting for ${'node, '.repeat(5000)}`);
        },
      }),
    });
    await expectRefusal(harness.client.node.NodeStageVolume(STAGE), 'UNAVAILABLE', 'waiting for node', 'shortened');
  });

  it('never logs secrets or mount flags', async () => {
    harness = await startHarness({ node: fakeNode() });
    const volumeCapability = { ...WRITER, mount: { fsType: 'xfs', mountFlags: ['password=swordfish'] } };
    const secrets = { key: 'tops3cret' };
    await harness.client.node.NodeStageVolume({ ...STAGE, volumeCapability, secrets });
    await harness.client.node.NodePublishVolume({ ...STAGE, volumeCapability, secrets, targetPath: '/t' });
    expect(harness.log.text()).not.to.match(/tops3cret|swordfish/);
    const line = harness.log.lines.find(({ fields }) => fields['rpc'] === 'NodeStageVolume');
    expect(line?.fields['request']).to.include({ volumeId: 'v', secrets: '***' });
  });

  it('is counted with its code', async () => {
    const seen: string[] = [];
    harness = await startHarness({ node: fakeNode(), onAnswer: (rpc, code) => seen.push(`${rpc} ${code}`) });
    await harness.client.node.NodeStageVolume(STAGE);
    await expectRefusal(harness.client.node.NodeStageVolume({}), 'INVALID_ARGUMENT');
    expect(seen).to.deep.equal(['NodeStageVolume OK', 'NodeStageVolume INVALID_ARGUMENT']);
  });
});
