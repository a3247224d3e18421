import { expect } from 'chai';
import type { NodeInfo } from '../../src/api/object.ts';
import { OwnNode } from '../../src/node/own-node.ts';
import { TargetPorts } from '../../src/node/target-ports.ts';
import { FakeFabric } from '../fakes/fake-fabric.ts';
import { FakeNode } from '../fakes/fake-node.ts';
import { newMeta } from '../fakes/fake-store.ts';

class LogLines {
  readonly warnings: string[] = [];
  readonly debug = (): void => undefined;
  readonly info = (): void => undefined;
  readonly error = (): void => undefined;
  readonly warn = (message: string): void => {
    this.warnings.push(message);
  };
}

function nodeWith(labels: Record<string, string>): NodeInfo {
  const metadata = { ...newMeta('node1'), labels };
  return { metadata, internalIP: '10.0.0.1', machineID: 'm', ready: true, unschedulable: false, taints: [] };
}

describe("the node's own Node object", () => {
  it('is read until it is there, and what fails is said', async () => {
    const answers: (NodeInfo | Error | undefined)[] = [new Error('away'), undefined, nodeWith({ storage: 'fast' })];
    const log = new LogLines();
    let reads = 0;
    const read = (): Promise<NodeInfo | undefined> => {
      const answer = answers[reads++];
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    };
    const own = new OwnNode({ nodes: { read }, nodeName: 'node1', needsLabels: false, log });
    await own.refresh();
    await own.refresh();
    expect(own.labels).to.deep.equal({});
    expect(own.addresses).to.equal(undefined);
    expect(log.warnings).to.deep.equal(['own node not read', 'own node not found']);
    await own.refresh();
    await own.refresh();
    expect(own.labels).to.deep.equal({ storage: 'fast' });
    expect(own.addresses).to.deep.equal({ tcp: '10.0.0.1' });
    expect(reads).to.equal(3);
  });

  it('is read again now and then where selectors ask for labels, and a failure leaves what was known', async () => {
    let now = 0;
    let answer: NodeInfo | Error = nodeWith({ storage: 'fast' });
    const log = new LogLines();
    const read = (): Promise<NodeInfo> => (answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer));
    const own = new OwnNode({ nodes: { read }, nodeName: 'node1', needsLabels: true, log, clock: () => now });
    await own.refresh();
    answer = new Error('away');
    now = 61_000;
    await own.refresh();
    await new Promise((resolve) => setImmediate(resolve));
    expect(own.labels).to.deep.equal({ storage: 'fast' });
    expect(log.warnings).to.deep.equal(['own node not read']);
    answer = nodeWith({ storage: 'slow' });
    now = 122_000;
    await own.refresh();
    await new Promise((resolve) => setImmediate(resolve));
    expect(own.labels).to.deep.equal({ storage: 'slow' });
  });
});

describe("the target's ports", () => {
  it('serve TCP on a node whose RDMA port cannot be made, and say so once', async () => {
    const fake = new FakeNode({ name: 'node1', fabric: new FakeFabric(), addresses: ['10.0.0.1'], disks: [] });
    const log = new LogLines();
    let rdmaWorks = false;
    const kernel = Object.create(fake.kernel) as typeof fake.kernel;
    const made: string[] = [];
    kernel.ensureNvmetPort = (port) => {
      if (port.trtype === 'rdma' && !rdmaWorks) return Promise.reject(new Error('no RDMA device'));
      made.push(port.trtype);
      return Promise.resolve();
    };
    const ports = new TargetPorts({ kernel, nodeName: 'node1', log });
    await ports.ensure(undefined);
    expect(log.warnings).to.deep.equal(['no address to listen on']);
    const addresses = { tcp: '10.0.0.1', rdma: '10.1.0.1' };
    await ports.ensure(addresses);
    await ports.ensure(addresses);
    expect(made).to.deep.equal(['tcp']);
    expect(ports.listensOnRdma).to.equal(false);
    expect(log.warnings.slice(1)).to.deep.equal(['not listening on rdma']);
    rdmaWorks = true;
    await ports.ensure(addresses);
    expect(made).to.deep.equal(['tcp', 'rdma']);
    expect(ports.listensOnRdma).to.equal(true);
  });
});
