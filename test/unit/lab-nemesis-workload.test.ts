/** What the nemesis does for a pod: calls in their order, started again, moved as planned, and taken over without a word to its node. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { status } from '@grpc/grpc-js';
import { CsiError } from '../csi/client.ts';
import type { Deployment } from '../lab/deployment.ts';
import type { Machine, StartOptions } from '../lab/machine.ts';
import { Struck } from '../lab/nemesis/struck.ts';
import { Workload } from '../lab/nemesis/workload.ts';
import { within } from '../lab/nemesis/arena.ts';

function refusal(rpc: string, code: keyof typeof status): CsiError {
  return new CsiError(rpc, Object.assign(new Error(code), { code: status[code], details: code } as never));
}

/** A driver that does what it is told and writes down what that was. */
class FakeDriver {
  readonly calls: string[] = [];
  epoch = 0;
  #attachedTo = '';
  /** By the call's name and node: what it does instead of succeeding. */
  readonly instead = new Map<string, () => Promise<unknown>>();
  /** Of the checkers that run, by node. */
  readonly checkers = new Map<string, { print(line: string): void; end(): void }>();

  deployment(): Deployment {
    const call = (rpc: string, node: string) => async (): Promise<never> => {
      this.calls.push(`${rpc} ${node}`);
      await this.instead.get(`${rpc} ${node}`)?.();
      if (rpc === 'publish-controller' && this.#attachedTo !== node) this.epoch += 1;
      if (rpc === 'publish-controller') this.#attachedTo = node;
      return { publishContext: { epoch: String(this.epoch) } } as never;
    };
    const controller = {
      ControllerPublishVolume: ({ nodeId }: { nodeId: string }) => call('publish-controller', nodeId)(),
      ControllerUnpublishVolume: ({ nodeId }: { nodeId: string }) => call('unpublish-controller', nodeId)(),
    };
    const roles = ['node1', 'node2'].map((name) => {
      const node = {
        NodeStageVolume: call('stage', name),
        NodePublishVolume: call('publish', name),
        NodeUnpublishVolume: call('unpublish', name),
        NodeUnstageVolume: call('unstage', name),
      };
      return [name, { machine: this.#machine(name), csi: { node } }] as const;
    });
    const nodes = new Map(roles);
    return { controller: { controller }, node: (name: string) => nodes.get(name) } as unknown as Deployment;
  }

  #machine(name: string): Machine {
    const start = (_label: string, command: readonly string[], options: StartOptions) => {
      this.calls.push(`checker ${name} ${command[4]}`);
      let end = (): void => undefined;
      const ended = new Promise<{ code: null; signal: string }>(
        (resolve) => (end = () => resolve({ code: null, signal: 'SIGKILL' })),
      );
      this.checkers.set(name, { end, print: (line) => options.onOutput?.(Buffer.from(`${line}\n`)) });
      const kill = async (): Promise<void> => {
        this.calls.push(`kill ${name}`);
        end();
      };
      return Promise.resolve({ pid: 1, logFile: '', ended, kill });
    };
    return { run: () => Promise.resolve(''), start } as unknown as Machine;
  }

  async checkerAt(node: string): Promise<{ print(line: string): void; end(): void }> {
    await within(3000, () => this.checkers.has(node));
    const checker = this.checkers.get(node);
    if (checker === undefined) throw new Error(`no checker was started at ${node}: ${this.calls.join(', ')}`);
    this.checkers.delete(node);
    return checker;
  }
}

describe('a pod under the nemesis', () => {
  let driver: FakeDriver;
  let workload: Workload;
  const NOTHING = 'found {"writers":{},"unreadable":0}';

  async function served(node: string, found = NOTHING) {
    const checker = await driver.checkerAt(node);
    checker.print(found);
    checker.print('written 1');
    await within(3000, () => workload.isServed);
    expect(workload.isServed).to.equal(true);
    driver.calls.length = 0;
    return checker;
  }

  beforeEach(() => {
    driver = new FakeDriver();
    const parts = {
      volumeId: 'vol-1',
      name: 'one',
      deployment: driver.deployment(),
      checker: 'checker',
      say: () => undefined,
    };
    workload = new Workload(parts, 'node1');
    workload.start();
  });

  afterEach(() => workload.abandon());

  it('is attached, staged, published and then started', async () => {
    const checker = await driver.checkerAt('node1');
    expect(driver.calls).to.deep.equal([
      'publish-controller node1',
      'stage node1',
      'publish node1',
      'checker node1 node1-e1-1',
    ]);
    expect(workload.isServed).to.equal(false);
    checker.print(NOTHING);
    await within(3000, () => workload.isServed);
    expect([workload.isServed, workload.attachedTo, workload.takeovers]).to.deep.equal([true, 'node1', 0]);
  });

  it('is started again, under another name, after its program has ended', async () => {
    (await served('node1')).end();
    await driver.checkerAt('node1');
    expect(driver.calls.at(-1)).to.equal('checker node1 node1-e1-2');
  });

  it('moves as planned: ended, unpublished, unstaged, detached, and up elsewhere', async () => {
    await served('node1');
    workload.order('move', 'node2');
    await served('node2', 'found {"writers":{"node1-e1-1":[[1,1]]},"unreadable":0}');
    expect(workload.takeovers).to.equal(0);
    expect(workload.ledger.lost).to.deep.equal([]);
  });

  it('is taken over with nothing asked of its node, and what that says late is judged', async () => {
    const old = await served('node1');
    workload.order('take-over', 'node2');
    const heir = await driver.checkerAt('node2');
    expect(driver.calls).to.deep.equal([
      'unpublish-controller node1',
      'publish-controller node2',
      'stage node2',
      'publish node2',
      'checker node2 node2-e2-2',
    ]);
    heir.print('found {"writers":{"node1-e1-1":[[1,2]]},"unreadable":0}');
    await within(3000, () => workload.isServed);
    old.print('written 2');
    expect(workload.ledger.doubles).to.deep.equal([]);
    old.print('written 3');
    expect(workload.ledger.doubles).to.have.length(1);
    expect(workload.takeovers).to.equal(1);
  });

  it('stops waiting for a call as soon as something else is wanted', async () => {
    await served('node1');
    driver.instead.set('unstage node1', () => new Promise(() => undefined));
    workload.order('move', 'node2');
    await within(3000, () => driver.calls.includes('unstage node1'));
    expect(driver.calls).to.include('unstage node1');
    workload.order('take-over', 'node2');
    await driver.checkerAt('node2');
    expect(driver.calls).to.include('unpublish-controller node1');
  });

  it('takes back an attachment that came later than it was waited for', async () => {
    await served('node1');
    let isAttachedElsewhere = true;
    driver.instead.set('publish-controller node2', () =>
      isAttachedElsewhere
        ? Promise.reject(refusal('ControllerPublishVolume', 'FAILED_PRECONDITION'))
        : Promise.resolve(),
    );
    driver.instead.set('unpublish-controller ', () => Promise.resolve((isAttachedElsewhere = false)));
    workload.order('move', 'node2');
    await driver.checkerAt('node2');
    expect(driver.calls).to.include('unpublish-controller ');
  });

  it('ends detached', async () => {
    await served('node1');
    await workload.stop(3000);
    expect(driver.calls).to.deep.equal([
      'kill node1',
      'unpublish node1',
      'unstage node1',
      'unpublish-controller node1',
    ]);
    expect(workload.attachedTo).to.equal(undefined);
  });
});

describe('faults side by side', () => {
  it('of paths are over before a machine restarts, and none begins until it is up', async () => {
    const struck = new Struck();
    const order: string[] = [];
    const path = (name: string) =>
      struck.withPathFault(async () => {
        order.push(`${name} begins`);
        await sleep(50);
        order.push(`${name} ends`);
        return true;
      });
    const first = path('first');
    const restart = struck.withoutPathFaults(async () => {
      order.push('down');
      await sleep(50);
      order.push('up');
    });
    await Promise.all([first, restart, path('second')]);
    expect(order).to.deep.equal(['first begins', 'first ends', 'down', 'up', 'second begins', 'second ends']);
  });

  it('leave a machine awake while something is asked of it', async () => {
    const struck = new Struck();
    const order: string[] = [];
    const asked = struck.withMachinesAwake(async () => {
      await sleep(50);
      order.push('answered');
    });
    const out = struck.withMachine('node1', async () => {
      order.push(`${struck.machine} is out`);
    });
    await Promise.all([asked, out]);
    expect(order).to.deep.equal(['answered', 'node1 is out']);
    expect(struck.machine).to.equal(undefined);
  });
});
