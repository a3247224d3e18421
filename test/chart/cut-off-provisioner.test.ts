/**
 * The real csi-provisioner, killed between CreateVolume and its PersistentVolume, and its claim deleted: nobody knows of the volume any
 * more. It is reported, in every way that people look, and never deleted unasked.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { UNCLAIMED_LABEL } from '../../src/api/names.ts';
import type { Wire } from '../kube/contract/server.ts';
import { VOLUMES } from '../kube/contract/server.ts';
import { until } from '../kube/harness.ts';
import type { ApiRelay } from '../kube/real/api-relay.ts';
import type { Component } from '../kube/real/component.ts';
import { conditionsOf } from '../kube/real/control-plane.ts';
import type { ControllerProcess } from '../kube/real/controller-process.ts';
import { Replicas } from '../kube/real/replicas.ts';
import { tell } from '../support/tell.ts';
import type { Manifest } from './helm.ts';
import { BUILD_LIMIT_MS, objects, toolPath } from './helm.ts';
import { NAMESPACE } from './node-tokens.ts';
import { accountWith } from './removed-verbs.ts';
import { rightsOf } from './rules.ts';
import { ACCOUNT, CLAIMS, createClaim, prepareForSidecars, PVS, startSidecar } from './sidecar-place.ts';

const run = promisify(execFile);
const NODES = ['node1', 'node2'] as const;
const EVENTS = '/api/v1/namespaces/default/events';
const LIMIT_MS = 90_000;
/** The shortest that the option takes. */
const AFTER_MINUTES = 1;

interface Told {
  readonly reason: string;
  readonly type: string;
  readonly message: string;
  readonly involvedObject: { readonly uid: string };
}

describe('a volume whose provisioner was cut off', function () {
  this.timeout(300_000);
  let replicas: Replicas;
  let controller: ControllerProcess;
  let chart: readonly Manifest[];
  let token: string;
  const relays: ApiRelay[] = [];
  const running: Component[] = [];

  async function startProvisioner(): Promise<{ readonly relay: ApiRelay; readonly component: Component }> {
    const relay = await replicas.plane.newRelay(token);
    relays.push(relay);
    const { socket } = controller;
    const component = await startSidecar(replicas.plane, { sidecar: 'provisioner', chart, socket, token, relay });
    running.push(component);
    return { relay, component };
  }

  before(async function () {
    this.timeout(BUILD_LIMIT_MS);
    const names = ['etcd', 'kube-apiserver', 'kubectl', 'helm', 'csi-provisioner'] as const;
    process.env['MESHSTOR_KUBE_TOOLS'] = JSON.stringify(
      Object.fromEntries(names.map((name) => [name, toolPath(name)])),
    );
    // Without capacities it has less to wait for; a lease that is given up by nobody has to run out.
    const quick = ['sidecars.provisioner.retryMax=2s'];
    chart = objects('--kube-version', '1.36.0', '--set', quick.join(','));
    replicas = await Replicas.start(NODES);
    await prepareForSidecars(replicas.plane, chart, NODES);
    token = await accountWith(
      replicas.plane,
      NAMESPACE,
      'provisioner',
      rightsOf(chart, ACCOUNT, () => true),
    );
    controller = await replicas.startController({ flags: { 'unclaimed-after-minutes': String(AFTER_MINUTES) } });
  });

  after(async () => {
    await Promise.all(running.map((component) => component.stop()));
    for (const relay of relays) await relay.close();
    await (replicas as Replicas | undefined)?.stop();
  });

  /** Resolves to the name of the volume, which no PersistentVolume names. */
  async function cutOff(): Promise<string> {
    const { api } = replicas.plane;
    const { relay, component } = await startProvisioner();
    let killed: Promise<void> | undefined;
    relay.onRequest = ({ method, path }) => {
      if (method !== 'POST' || path !== PVS) return killed === undefined;
      // It only asks for this when CreateVolume has succeeded.
      killed ??= component.stop('SIGKILL');
      return false;
    };
    await createClaim(api, 'data', '1Gi');
    await until('the provisioner to be cut off', () => killed !== undefined, LIMIT_MS).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${component.log()}`, { cause: error });
    });
    await killed;
    const { items } = await api.list(VOLUMES);
    expect(items.map(({ spec }) => spec['capacityBytes'])).to.deep.equal([1 << 30]);
    return items[0]?.metadata.name ?? '';
  }

  async function deleteClaim(): Promise<void> {
    const { api } = replicas.plane;
    // As the controller that protects claims does it, of which there is none here.
    await api.patch(`${CLAIMS}/data`, { metadata: { finalizers: null } });
    await api.delete(`${CLAIMS}/data`);
    expect((await api.list(PVS)).items).to.deep.equal([]);
  }

  async function kubectl(...args: readonly string[]): Promise<string> {
    const { plane } = replicas;
    const { stdout } = await run(plane.kubectl, ['--kubeconfig', plane.kubeconfig, ...args]);
    return stdout.trim();
  }

  const listUnclaimed = (): Promise<string> => kubectl('get', 'msvol', '-l', UNCLAIMED_LABEL, '-o', 'name');

  async function metricOf(volume: string): Promise<string | undefined> {
    const lines = (await controller.metrics()).split('\n');
    const own = lines.find((line) => line.startsWith('meshstor_volume_unclaimed{') && line.includes(`"${volume}"`));
    return own?.split(' ').at(-1);
  }

  async function reportsOf({ metadata: { uid } }: Wire): Promise<readonly Told[]> {
    const items = (await replicas.plane.api.list(EVENTS)).items as unknown as readonly Told[];
    return items.filter(({ reason, involvedObject }) => reason === 'VolumeUnclaimed' && involvedObject.uid === uid);
  }

  it('is reported by condition, event, metric and `kubectl get -l`, and stays until somebody deletes it', async () => {
    const { api } = replicas.plane;
    const name = await cutOff();
    await deleteClaim();
    const startedAt = Date.now();
    // As kubelet restarts it: it finds no claim, and nothing to do.
    await startProvisioner();
    await replicas.untilMade(name);
    const isMetric = (value: string) => async () => (await metricOf(name)) === value;
    await until('a metric that says nothing yet', isMetric('0'), LIMIT_MS);
    expect(await listUnclaimed()).to.equal('');
    const read = (): Promise<Wire> => api.get(`${VOLUMES}/${name}`);
    const conditionNow = async () => conditionsOf((await read()).status).find(({ type }) => type === 'Unclaimed');
    await until('the report', async () => (await conditionNow())?.status === 'True', AFTER_MINUTES * 60_000 + LIMIT_MS);
    tell(`a volume without claim was reported after ${Date.now() - startedAt} ms, the limit is ${AFTER_MINUTES} min`);
    expect(Date.now() - startedAt).to.be.at.least(AFTER_MINUTES * 50_000);

    expect(await conditionNow()).to.include({ reason: 'NoPersistentVolume' });
    expect((await conditionNow())?.message).to.include('made for claim default/data');
    await until('the event', async () => (await reportsOf(await read())).length > 0, LIMIT_MS);
    const reports = await reportsOf(await read());
    expect(reports).to.have.length(1);
    expect(reports[0]).to.include({ type: 'Warning' });
    expect(reports[0]?.message).to.include('it stays until somebody deletes it');
    await until('the metric', isMetric('1'), LIMIT_MS);
    await until('the label', async () => (await listUnclaimed()) !== '', LIMIT_MS);
    expect(await listUnclaimed()).to.equal(`meshstorvolume.csi.meshstor.io/${name}`);

    // Well after the report, and with a provisioner at work.
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    const { metadata, status } = await read();
    expect(metadata).not.to.have.property('deletionTimestamp');
    expect(status?.['phase']).not.to.equal('Deleting');
    const remains = await replicas.remains();
    expect(remains.filter((line) => line.includes('partition'))).to.have.length(2);
    for (const relay of [controller.relay, ...relays]) {
      expect(relay.requests.filter(({ method }) => method === 'DELETE').map(({ path }) => path)).to.deep.equal([]);
    }

    await kubectl('delete', 'msvol', name, '--timeout=60s');
    await replicas.untilGone(name);
    await until('nothing is left', async () => (await replicas.remains()).length === 0, LIMIT_MS);
  });
});
