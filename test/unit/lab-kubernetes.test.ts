/** What the lab's life under a real Kubernetes computes: quantiles, the driver's calls, names that Kubernetes gives. */
import { expect } from 'chai';
import { driverCalls } from '../lab/kubernetes/driver-log.ts';
import { Moments } from '../lab/kubernetes/moments.ts';
import { bytesOf } from '../lab/kubernetes/quantity.ts';
import { Times, quantile } from '../lab/kubernetes/times.ts';

function log(...entries: readonly object[]): string {
  return entries.map((entry) => JSON.stringify(entry)).join('\n');
}

function received(ts: string, rpc: string, requestId: string, volumeId = 'pvc-1'): object {
  return { ts, msg: 'call received', rpc, requestId, request: { volumeId } };
}

function answered(ts: string, rpc: string, requestId: string): object {
  return { ts, msg: 'call answered', rpc, requestId, code: 'OK' };
}

describe('the figures of a life under Kubernetes', () => {
  it('are quantiles by nearest rank: values that were measured', () => {
    const fifty = Array.from({ length: 50 }, (_, index) => 50 - index);
    expect(quantile(fifty, 0.5)).to.equal(25);
    expect(quantile(fifty, 0.99)).to.equal(50);
    expect(quantile([7], 0.5)).to.equal(7);
    expect(quantile([1, 2], 0.5)).to.equal(1);
  });

  it('are one table, in the order in which things were first measured', () => {
    const times = new Times();
    times.record('NodeStageVolume', 1200.4);
    times.record('attach', 9);
    times.record('NodeStageVolume', 800);
    expect(times.table()).to.deep.equal([
      'milliseconds     count  p50   p99   max',
      'NodeStageVolume      2  800  1200  1200',
      'attach               1    9     9     9',
    ]);
  });

  it('count a call from when it was first asked for, refusals in between included', () => {
    const stage = 'NodeStageVolume';
    const { served, refused } = driverCalls(
      log(
        received('2026-01-01T00:00:00.000Z', stage, 'a'),
        { ts: '2026-01-01T00:00:01.000Z', msg: 'call refused', rpc: stage, requestId: 'a', code: 'UNAVAILABLE' },
        received('2026-01-01T00:00:01.500Z', stage, 'b'),
        answered('2026-01-01T00:00:02.250Z', stage, 'b'),
        received('2026-01-01T00:01:00.000Z', stage, 'c'),
        answered('2026-01-01T00:01:00.100Z', stage, 'c'),
      ),
    );
    expect(served.map(({ rpc, volumeId, ms, before }) => [rpc, volumeId, ms, before])).to.deep.equal([
      [stage, 'pvc-1', 2250, 0],
      [stage, 'pvc-1', 100, 1],
    ]);
    expect([...refused]).to.deep.equal([['NodeStageVolume UNAVAILABLE', 1]]);
  });

  it('are those of each of two calls for the same that overlap', () => {
    const stats = 'NodeGetVolumeStats';
    const { served } = driverCalls(
      log(
        received('2026-01-01T00:00:00.000Z', stats, 'a'),
        received('2026-01-01T00:00:00.100Z', stats, 'b'),
        answered('2026-01-01T00:00:00.300Z', stats, 'a'),
        answered('2026-01-01T00:00:00.350Z', stats, 'b'),
      ),
    );
    expect(served.map(({ ms }) => ms)).to.deep.equal([300, 250]);
  });

  it('keep volumes apart, know a new one by its name and leave out calls about none', () => {
    const at = '2026-01-01T00:00:00.000Z';
    const create = { ts: at, msg: 'call received', rpc: 'CreateVolume', requestId: 'a', request: { name: 'pvc-2' } };
    const { served } = driverCalls(
      `${log(
        create,
        received(at, 'NodePublishVolume', 'b'),
        { ts: at, msg: 'call received', rpc: 'GetCapacity', requestId: 'c', request: {} },
        answered('2026-01-01T00:00:00.030Z', 'CreateVolume', 'a'),
        answered(at, 'GetCapacity', 'c'),
      )}\nno JSON`,
    );
    const done = Date.parse('2026-01-01T00:00:00.030Z');
    expect(served).to.deep.equal([{ rpc: 'CreateVolume', volumeId: 'pvc-2', at: done, ms: 30, before: 0 }]);
  });

  it('tell attaching to one node from attaching to the next, and from being asked for it again', () => {
    const attach = (ts: string, requestId: string, nodeId: string): readonly object[] => [
      { ts, msg: 'call received', rpc: 'ControllerPublishVolume', requestId, request: { volumeId: 'pvc-1', nodeId } },
      answered(ts, 'ControllerPublishVolume', requestId),
    ];
    const at = '2026-01-01T00:00:00.000Z';
    const { served } = driverCalls(
      log(...attach(at, 'a', 'node1'), ...attach(at, 'b', 'node1'), ...attach(at, 'c', 'node2')),
    );
    expect(served.map(({ before }) => before)).to.deep.equal([0, 1, 0]);
  });

  it('read amounts as Kubernetes writes them', () => {
    expect(bytesOf('4086Mi')).to.equal(4086 * 1024 * 1024);
    expect(bytesOf('3Gi')).to.equal(3 * 1024 ** 3);
    expect(bytesOf('1000')).to.equal(1000);
    expect(() => bytesOf('4 GB')).to.throw(/4 GB/);
  });

  it('are differences of moments, of which the first time counts', async () => {
    const moments = new Moments();
    moments.note('made');
    await new Promise((resolve) => setTimeout(resolve, 20));
    moments.note('bound');
    moments.note('made');
    expect(moments.between('made', 'bound')).to.be.greaterThan(10);
    expect(() => moments.between('made', 'gone')).to.throw(/"gone" was not seen/);
  });

  it('are of moments that may be waited for, until it is known that they will not come', async () => {
    const moments = new Moments();
    setTimeout(() => moments.note('bound'), 30);
    await moments.until('bound', 5_000, () => undefined);
    const dead = moments.until('gone', 5_000, () => {
      throw new Error('the scheduler has ended');
    });
    expect(await dead.catch(String)).to.match(/the scheduler has ended/);
    expect(await moments.until('gone', 1, () => undefined).catch(String)).to.match(/"gone" was not seen within 1 ms/);
  });
});
