/**
 * A controller is killed in the middle of a call, after each of the requests that the call makes of the API; another one is then
 * asked the same, as a sidecar does. Nothing happens twice, nothing is lost. Both are processes of the built program, without
 * leader election: the harder case, since both reconcile.
 */
import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { GIB, MIB } from '../../../src/support/units.ts';
import { CsiError } from '../../csi/client.ts';
import { until } from '../harness.ts';
import type { RelayedRequest } from './api-relay.ts';
import type { Call } from './controller-calls.ts';
import { create, done, expand, publish, remove, settled, unpublish } from './controller-calls.ts';
import type { ControllerProcess } from './controller-process.ts';
import { Replicas } from './replicas.ts';
import { tell } from '../../support/tell.ts';

/** More requests than any call makes. */
const MOST = 40;
const SIZE = 512 * MIB;
const GROWN = 768 * MIB;

interface Kind {
  readonly what: string;
  /** Brings a volume of this name to where the call makes sense. */
  readonly before: (ask: (call: Call) => Promise<unknown>, name: string) => Promise<unknown>;
  readonly call: (name: string) => Call;
  /** The right answer, where that is a refusal. */
  readonly refusal?: string;
  /** Where it stands when the call is done. */
  readonly after: { readonly epoch: number; readonly nodeName: string; readonly members: number } | 'gone';
  /** What it has then, if not what it was created with. */
  readonly bytes?: number;
  /** Where it is mounted before, meanwhile and after. */
  readonly mountedOn?: string;
  /** It waits for nodes, reading again and again: of reads in a row, between which it does nothing, only the first one counts. */
  readonly reads?: true;
}

/** Requests that carry a call forward; watches, lists and leases go on beside it. */
function counts({ method, path, isWatch }: RelayedRequest): boolean {
  const isList = method === 'GET' && /\/(meshstorvolumes|meshstornodedevices|nodes)$/.test(path);
  return !isWatch && !isList && !path.includes('/leases/');
}

/** Sends a call until it is answered, other than with ABORTED, or its receiver is killed. */
async function untilAnswered({ csi }: ControllerProcess, call: Call, isKilled: () => boolean): Promise<string> {
  for (;;) {
    try {
      await call(csi);
      return 'answered';
    } catch (error) {
      if (isKilled() || !(error instanceof CsiError) || error.code !== 'ABORTED') return String(error);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('a controller that is killed in the middle of a call', function () {
  this.timeout(600_000);
  let replicas: Replicas;
  let survivor: ControllerProcess;
  let spare: Promise<ControllerProcess>;

  before(async () => {
    replicas = await Replicas.start(['node1', 'node2', 'node3']);
    survivor = await replicas.startController();
    spare = replicas.startController();
  });

  after(async () => {
    await (spare as Promise<unknown> | undefined)?.catch(() => undefined);
    await (replicas as Replicas | undefined)?.stop();
  });

  const ask = (call: Call): Promise<unknown> => done(survivor.csi, call);

  const KINDS: readonly Kind[] = [
    {
      what: 'CreateVolume for a pod that has its node',
      before: () => Promise.resolve(),
      call: (name) => create(name, 'node1'),
      after: { epoch: 0, nodeName: '', members: 2 },
    },
    {
      what: 'CreateVolume for nobody in particular',
      before: () => Promise.resolve(),
      call: (name) => create(name),
      after: { epoch: 0, nodeName: '', members: 0 },
    },
    {
      what: 'ControllerPublishVolume',
      before: async (make, name) => {
        await make(create(name, 'node1'));
        await replicas.untilMade(name);
      },
      call: (name) => publish(name, 'node1'),
      after: { epoch: 1, nodeName: 'node1', members: 2 },
    },
    {
      what: 'ControllerPublishVolume that places first',
      before: (make, name) => make(create(name)),
      call: (name) => publish(name, 'node2'),
      after: { epoch: 1, nodeName: 'node2', members: 2 },
    },
    {
      what: 'ControllerUnpublishVolume',
      before: async (make, name) => {
        await make(create(name, 'node1'));
        await make(publish(name, 'node3'));
        await replicas.use(name, 'node3');
      },
      call: (name) => unpublish(name, 'node3'),
      after: { epoch: 2, nodeName: '', members: 2 },
    },
    {
      what: 'ControllerExpandVolume of a volume that has no place yet',
      before: (make, name) => make(create(name)),
      call: (name) => expand(name, GROWN),
      reads: true,
      after: { epoch: 0, nodeName: '', members: 0 },
      bytes: GROWN,
    },
    {
      what: 'ControllerExpandVolume of a volume that nobody has used yet',
      before: async (make, name) => {
        await make(create(name, 'node1'));
        await replicas.untilMade(name);
      },
      call: (name) => expand(name, GROWN),
      reads: true,
      after: { epoch: 0, nodeName: '', members: 2 },
      bytes: GROWN,
    },
    {
      what: 'ControllerExpandVolume of a volume that is mounted',
      before: async (make, name) => {
        await make(create(name, 'node1'));
        await make(publish(name, 'node1'));
        await replicas.stage(name, 'node1');
      },
      call: (name) => expand(name, GROWN),
      reads: true,
      after: { epoch: 1, nodeName: 'node1', members: 2 },
      bytes: GROWN,
      mountedOn: 'node1',
    },
    {
      what: 'ControllerExpandVolume that no drive has room for',
      before: async (make, name) => {
        await make(create(name, 'node1'));
        await replicas.untilMade(name);
      },
      call: (name) => expand(name, 8 * GIB),
      reads: true,
      refusal: 'RESOURCE_EXHAUSTED',
      after: { epoch: 0, nodeName: '', members: 2 },
    },
    {
      what: 'DeleteVolume',
      before: async (make, name) => {
        await make(create(name, 'node1'));
        await replicas.untilMade(name);
      },
      call: (name) => remove(name),
      after: 'gone',
    },
  ];

  /** Sends the call to a victim that dies after its n-th request; false when the call was over before. */
  async function isKilledAt(n: number, kind: Kind, name: string): Promise<boolean> {
    const victim = await spare;
    let left = n;
    let last = '';
    let killed: Promise<void> | undefined;
    victim.relay.onAnswer = (request) => {
      if (!counts(request)) return true;
      const isRepeated = kind.reads === true && request.method === 'GET' && last === 'GET';
      last = request.method;
      if (isRepeated) return true;
      left -= 1;
      if (left > 0) return true;
      killed ??= victim.kill();
      return false;
    };
    const outcome = await untilAnswered(victim, kind.call(name), () => killed !== undefined);
    // What its reconciler does after the answer belongs to the end of a volume.
    if (kind.after === 'gone' && killed === undefined) {
      const isOver = () => replicas.history.livesOf(name).every((life) => life.isOver);
      await until('the end', () => killed !== undefined || isOver(), 60_000);
    }
    victim.relay.onAnswer = () => true;
    if (killed === undefined) {
      expect(outcome).to.include(kind.refusal ?? 'answered');
      return false;
    }
    await killed;
    await victim.end();
    spare = replicas.startController();
    return true;
  }

  async function expectDone(kind: Kind, name: string): Promise<void> {
    expect(replicas.history.livesOf(name).length, 'one object').to.be.at.most(1);
    if (kind.after === 'gone') return replicas.untilGone(name);
    const { attachmentEpoch, nodeName, partitions = [] } = await replicas.status(name);
    expect({ epoch: attachmentEpoch, nodeName: nodeName ?? '', members: partitions.length }).to.deep.equal(kind.after);
    await expectSize(name, kind);
  }

  /** Array and filesystem follow on the node by themselves. */
  async function expectSize(name: string, { bytes = SIZE, mountedOn }: Kind): Promise<void> {
    const spec = (await replicas.read(name))?.spec ?? {};
    expect(spec).to.include({ capacityBytes: bytes }).and.not.have.property('expandToBytes');
    if (mountedOn === undefined) return;
    const hasFollowed = async () => (await replicas.status(name)).servedBytes === undefined;
    await until('the node to follow', hasFollowed, 60_000);
    expect(await replicas.servedBytes(name, mountedOn)).to.deep.equal([bytes, bytes]);
  }

  /** Asks the survivor until it has the answer that is right. */
  async function askForGood({ call, refusal }: Kind, name: string): Promise<void> {
    const outcome = await settled(survivor.csi, call(name));
    if (refusal === undefined) expect(outcome).to.have.property('answer');
    else expect(outcome).to.deep.equal({ code: refusal });
  }

  for (const kind of KINDS) {
    it(`${kind.what} is finished by another one, once`, async () => {
      let kills = 0;
      for (let n = 1, isOver = false; !isOver; n += 1) {
        expect(n).to.be.lessThan(MOST);
        const name = `pvc-${randomUUID()}`;
        await kind.before(ask, name);
        isOver = !(await isKilledAt(n, kind, name));
        if (!isOver) kills += 1;
        await askForGood(kind, name);
        await expectDone(kind, name);
        // Asked once more, when all is done: nothing changes.
        await askForGood(kind, name);
        await expectDone(kind, name);
        if (kind.mountedOn !== undefined) await replicas.unstage(name, kind.mountedOn);
        await settled(survivor.csi, unpublish(name, ''));
        await ask(remove(name));
        await replicas.untilGone(name);
        replicas.history.check();
      }
      tell(`${kind.what}: killed after each of its ${kills} requests`);
      expect(kills).to.be.greaterThan(1);
      expect(await replicas.remains()).to.deep.equal([]);
      expect(await replicas.toldTwice()).to.deep.equal([]);
    });
  }
});
