/**
 * The roles of the chart on a real API server. Controller and node run with the chart's accounts, each behind a relay that notes what
 * goes over the wire; every verb of their roles is then left out of a copy of its own, and the very request that it is for is
 * sent in the name of an account with that copy.
 */
import { expect } from 'chai';
import { createKubeClient } from '../../src/kube/index.ts';
import { Api, DEVICES, VOLUMES } from '../kube/contract/server.ts';
import { until } from '../kube/harness.ts';
import { addressOf, nodeObject } from '../kube/node-roles.ts';
import type { ApiRelay, RelayedRequest } from '../kube/real/api-relay.ts';
import type { ControlPlane } from '../kube/real/control-plane.ts';
import { startControlPlane } from '../kube/real/control-plane.ts';
import { ControllerProcess } from '../kube/real/controller-process.ts';
import type { JsonObject } from '../lab/api-server/json.ts';
import type { Manifest } from './helm.ts';
import { BUILD_LIMIT_MS, CHART, helmOn, objects, REGISTRIES, toolPath } from './helm.ts';
import { NAMESPACE, NODE_ACCOUNT, tokenOnNode } from './node-tokens.ts';
import { CONTROLLER, RecordedCluster } from './recorded-cluster.ts';
import type { Access } from './recording-client.ts';
import { accessOfRelayed, accountWith, forbiddenTo, sampleOf } from './removed-verbs.ts';
import { line, rightsOf } from './rules.ts';
import { tell } from '../support/tell.ts';

const CONTROLLER_ACCOUNT = 'release-meshstor-controller';
const NODES = ['node1', 'node2', 'node3'];
const STEP_MS = 300_000;

interface Role {
  readonly rights: readonly Access[];
  /** The role on every node has its own relay. */
  readonly relays: readonly ApiRelay[];
  /** Claims may be in any namespace, and events about them are sent there. */
  readonly isEverywhere: (access: Access) => boolean;
}

describe('every verb of the roles of controller and node', () => {
  let plane: ControlPlane;
  let chart: readonly Manifest[];
  const relays = new Map<string, ApiRelay>();

  async function clientsOf(): Promise<ReadonlyMap<string, string>> {
    const kubeconfigs = new Map<string, string>();
    for (const who of [CONTROLLER, ...NODES]) {
      const relay = await plane.newRelay();
      relays.set(who, relay);
      const token =
        who === CONTROLLER ? await plane.tokenOfAccount(NAMESPACE, CONTROLLER_ACCOUNT) : await tokenOnNode(plane, who);
      kubeconfigs.set(who, plane.kubeconfigFor(who, token, relay.url));
    }
    return kubeconfigs;
  }

  /** Everything that the roles ever ask for. */
  async function liveThroughAll(): Promise<void> {
    const kubeconfigs = await clientsOf();
    const world = {
      api: plane.api,
      clientOf: (who: string) => createKubeClient({ kubeconfig: kubeconfigs.get(who) ?? '' }),
      isWireTold: true,
      putRaw: (object: JsonObject) => plane.putRaw(`${String(object['kind']).toLowerCase()}s`, object),
    };
    const cluster = await RecordedCluster.start(world, NODES);
    try {
      await cluster.liveOnce();
      await cluster.repeatEvents();
      await cluster.lead(NAMESPACE);
      await cluster.leaveMalformed('node2');
      await cluster.correctDrive('node3');
      await cluster.loseDrive('node2');
    } finally {
      await cluster.stop();
    }
  }

  before(async function () {
    this.timeout(BUILD_LIMIT_MS);
    const names = ['etcd', 'kube-apiserver', 'kubectl', 'helm'] as const;
    const tools = Object.fromEntries(names.map((name) => [name, toolPath(name)]));
    process.env['MESHSTOR_KUBE_TOOLS'] ??= JSON.stringify(tools);
    chart = objects('--kube-version', '1.36.0');
    plane = await startControlPlane();
    const args = ['install', 'release', CHART, '--namespace', NAMESPACE, '--create-namespace', ...REGISTRIES];
    const { ok, stderr } = helmOn(plane.kubeconfig, ...args);
    expect(ok, stderr).to.equal(true);
    for (const [index, name] of NODES.entries()) {
      await plane.api.create('/api/v1/nodes', nodeObject(name, addressOf(index)));
    }
    const isServed = () =>
      Promise.all([plane.api.list(VOLUMES), plane.api.list(DEVICES)]).then(
        () => true,
        () => false,
      );
    await until('the kinds are served', isServed, 60_000);
    await liveThroughAll();
  });

  after(async function () {
    this.timeout(STEP_MS);
    for (const relay of relays.values()) await relay.close();
    await (plane as ControlPlane | undefined)?.stop();
  });

  function relaysOf(names: readonly string[]): readonly ApiRelay[] {
    return names.map((name) => {
      const relay = relays.get(name);
      if (relay === undefined) throw new Error(`no relay of ${name}`);
      return relay;
    });
  }

  const ROLES: Readonly<Record<string, () => Role>> = {
    controller: () => ({
      rights: rightsOf(chart, CONTROLLER_ACCOUNT, (role) => /-controller(-events)?$/.test(role)),
      relays: relaysOf([CONTROLLER]),
      isEverywhere: () => false,
    }),
    node: () => ({
      rights: rightsOf(chart, NODE_ACCOUNT, () => true),
      relays: relaysOf(NODES),
      isEverywhere: ({ resource }) => resource === 'events',
    }),
  };

  for (const [name, roleOf] of Object.entries(ROLES)) {
    const requests = (): readonly RelayedRequest[] => roleOf().relays.flatMap((relay) => relay.requests);

    it(`${name}: what goes over the wire is what the role allows, no more and no less`, () => {
      const { rights, isEverywhere } = roleOf();
      const asked = [...sampleOf(requests(), isEverywhere).keys()].sort();
      expect(asked).to.deep.equal(rights.map(line).sort());
      const refused = requests().filter(({ status }) => status === 403);
      expect(refused.map(({ method, path }) => `${method} ${path}`)).to.deep.equal([]);
    });

    it(`${name}: without any one of them its request is forbidden, and that one alone`, async () => {
      const { rights, isEverywhere } = roleOf();
      const samples = sampleOf(requests(), isEverywhere);
      for (const [index, without] of rights.entries()) {
        const left = rights.filter((right) => right !== without);
        const token = await accountWith(plane, NAMESPACE, `${name}-without-${index}`, left);
        expect(await forbiddenTo(plane, token, samples, line(without))).to.deep.equal([line(without)]);
      }
      tell(`${name}: ${rights.length} verbs, each left out once; ${samples.size} requests tried each time`);
    }).timeout(STEP_MS);
  }

  it('controller: the program itself, started as in its pod, is refused nothing', async () => {
    const token = await plane.tokenOfAccount(NAMESPACE, CONTROLLER_ACCOUNT);
    const controller = await ControllerProcess.start(plane, 'program', { token, leaseNamespace: NAMESPACE });
    const { relay } = controller;
    const hasRenewed = () => relay.requests.filter(({ method, path }) => method === 'PUT' && path.includes('/leases/'));
    await until('its lease is renewed', () => hasRenewed().length > 0, 60_000);
    await controller.end();
    const rights = new Set(ROLES['controller']?.().rights.map(line));
    const asked = relay.requests.map((request) => line(accessOfRelayed(request)));
    expect(asked.filter((what) => !rights.has(what))).to.deep.equal([]);
    expect(relay.requests.filter(({ status }) => status === 403)).to.deep.equal([]);
  }).timeout(STEP_MS);

  it('a stranger in the same namespace may do nothing of it', async () => {
    const token = await accountWith(plane, NAMESPACE, 'stranger', []);
    const api = new Api(plane.kubeconfigFor('stranger', token));
    const error = await api.list(VOLUMES).catch((reason: unknown) => String(reason));
    expect(error).to.match(/forbidden/);
    api.client.close();
  });
});
