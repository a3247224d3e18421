/**
 * The roles of the sidecars on a real API server: the real csi-provisioner, csi-attacher and csi-resizer, with the arguments of the
 * chart's pod and its rules, before the program's own controller and node roles over fake kernels; every verb is left out once.
 *
 * The health monitor is not shown here: it is not among the pinned tools (`test/kube/tools`), its role was read from its code.
 */
import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { DRIVER_NAME } from '../../src/api/names.ts';
import type { Wire } from '../kube/contract/server.ts';
import { until } from '../kube/harness.ts';
import type { ApiRelay } from '../kube/real/api-relay.ts';
import type { Component } from '../kube/real/component.ts';
import { Replicas } from '../kube/real/replicas.ts';
import type { Manifest } from './helm.ts';
import { BUILD_LIMIT_MS, objects, toolPath } from './helm.ts';
import { NAMESPACE } from './node-tokens.ts';
import type { Access } from './recording-client.ts';
import { accessOfRelayed, accountWith, forbiddenTo, sampleOf } from './removed-verbs.ts';
import { line, rightsOf } from './rules.ts';
import type { Sidecar } from './sidecar-place.ts';
import {
  ACCOUNT,
  CLAIMS,
  createClaim,
  prepareForSidecars,
  PVS,
  SELECTED,
  startSidecar as startSidecarOn,
  STORAGE,
} from './sidecar-place.ts';
import { tell } from '../support/tell.ts';

const NODES = ['node1', 'node2'] as const;
const SIDECARS = ['provisioner', 'attacher', 'resizer'] as const;

const ATTACHMENTS = `${STORAGE}/volumeattachments`;
const CAPACITIES = `${STORAGE}/namespaces/${NAMESPACE}/csistoragecapacities`;
const STEP_MS = 300_000;
const LIMIT_MS = 90_000;

describe('every verb of the roles of the sidecars', () => {
  let replicas: Replicas;
  let chart: readonly Manifest[];
  const relays = new Map<Sidecar, ApiRelay>();
  const running: Component[] = [];

  /**
   * What its account needs: its own roles, and the lease. All sidecars share one account: the event that tells of a won lease is
   * allowed by the provisioner's role.
   */
  function rights(sidecar: Sidecar): readonly Access[] {
    const own = rightsOf(chart, ACCOUNT, (role) => role === `release-meshstor-${sidecar}`);
    const shared = rightsOf(chart, ACCOUNT, (role) => role === ACCOUNT || role === 'release-meshstor-provisioner');
    const isShared = ({ resource, verb }: Access) =>
      resource === 'leases' || (sidecar === 'attacher' && resource === 'events' && verb === 'create');
    return [...own, ...shared.filter(isShared)];
  }

  /** Rules for all namespaces are asked for in one. */
  function isEverywhere({ resource }: Access): boolean {
    return resource === 'events' || resource.startsWith('persistentvolumeclaims');
  }

  async function startSidecar(sidecar: Sidecar, socket: string): Promise<void> {
    const { plane } = replicas;
    const token = await accountWith(plane, NAMESPACE, sidecar, rights(sidecar));
    const relay = await plane.newRelay(token);
    relays.set(sidecar, relay);
    running.push(await startSidecarOn(plane, { sidecar, chart, socket, token, relay }));
  }

  function has(sidecar: Sidecar, verb: string, resource: string): boolean {
    const requests = relays.get(sidecar)?.requests ?? [];
    return [...sampleOf(requests).keys()].some((what) => what.startsWith(`${verb} `) && what.includes(`/${resource}`));
  }

  const claim = (name: string, storage: string): Promise<Wire> => createClaim(replicas.plane.api, name, storage);

  async function volumeOf(name: string): Promise<string | undefined> {
    const { items } = await replicas.plane.api.list(PVS);
    const isItsOwn = ({ spec }: Wire) => (spec['claimRef'] as { readonly name?: string } | undefined)?.name === name;
    return items.find(isItsOwn)?.metadata.name;
  }

  /** Asks for more than there is: the claim loses its node; the scheduler, here by hand, gives it another one. */
  async function askForTooMuch(): Promise<void> {
    const { api } = replicas.plane;
    await claim('too-much', '1Ti');
    const isTaken = async () => (await api.get(`${CLAIMS}/too-much`)).metadata.annotations?.[SELECTED] === undefined;
    const isCounted = () => has('provisioner', 'patch', 'events');
    await until(
      'an event that is counted up',
      async () => {
        if (await isTaken())
          await api.patch(`${CLAIMS}/too-much`, { metadata: { annotations: { [SELECTED]: 'node1' } } });
        await new Promise((resolve) => setTimeout(resolve, 200));
        return isCounted() && has('provisioner', 'update', 'persistentvolumeclaims');
      },
      LIMIT_MS,
    );
    await api.delete(`${CLAIMS}/too-much`);
  }

  /** The part of a claim's life that other components write. */
  const changeClaim = (name: string, status: object): Promise<Wire> =>
    replicas.plane.api.patch(`${CLAIMS}/${name}/status`, { status });

  /** Grows a claim in so many steps; between them as if kubelet had told the node. */
  async function growClaim(name: string, volume: string, sizes: readonly string[]): Promise<void> {
    const { api } = replicas.plane;
    await api.patch(`${CLAIMS}/${name}`, { spec: { volumeName: volume } });
    await changeClaim(name, { phase: 'Bound', accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' } });
    for (const storage of sizes) {
      await api.patch(`${CLAIMS}/${name}`, { spec: { resources: { requests: { storage } } } });
      const isGrown = async () =>
        JSON.stringify((await api.get(`${PVS}/${volume}`)).spec['capacity']).includes(storage);
      await until(`a volume of ${storage}`, isGrown, LIMIT_MS);
      const isTold = async () =>
        JSON.stringify((await api.get(`${CLAIMS}/${name}`)).status).includes('NodeResizePending');
      await until('word that the node has to grow it, too', isTold, LIMIT_MS);
      await changeClaim(name, { capacity: { storage }, conditions: null, allocatedResourceStatuses: null });
    }
  }

  /** Provisioned, grown, attached, detached, deleted. */
  async function liveOnce(): Promise<void> {
    const { api } = replicas.plane;
    await claim('data', '1Gi');
    await until('the volume of the claim', async () => (await volumeOf('data')) !== undefined, LIMIT_MS);
    const volume = (await volumeOf('data')) ?? '';
    await growClaim('data', volume, ['1280Mi', '1536Mi']);
    const name = `csi-${randomUUID()}`;
    const spec = { attacher: DRIVER_NAME, nodeName: 'node1', source: { persistentVolumeName: volume } };
    await api.create(ATTACHMENTS, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'VolumeAttachment',
      metadata: { name },
      spec,
    });
    const isAttached = async () => (await api.get(`${ATTACHMENTS}/${name}`)).status?.['attached'] === true;
    await until('the attachment', isAttached, LIMIT_MS);
    await api.delete(`${ATTACHMENTS}/${name}`);
    const isGone = (path: string) => async () =>
      api.get(path).then(
        () => false,
        (error: unknown) => String(error).includes('not found'),
      );
    await until('the detachment', isGone(`${ATTACHMENTS}/${name}`), LIMIT_MS);
    // As the controller that binds claims does it, of which there is none here.
    await api.patch(`${CLAIMS}/data`, { metadata: { finalizers: null } });
    await api.delete(`${CLAIMS}/data`);
    await api.patch(`${PVS}/${volume}/status`, { status: { phase: 'Released' } });
    const isLetGo = async (): Promise<boolean> => {
      const found = await api.get(`${PVS}/${volume}`).catch(() => undefined);
      const { finalizers = [] } = found?.metadata ?? {};
      return finalizers.every((finalizer) => finalizer === 'kubernetes.io/pv-protection');
    };
    await until('the sidecars to let the volume go', isLetGo, LIMIT_MS);
    // The last one is of a controller that is not here either.
    await api.patch(`${PVS}/${volume}`, { metadata: { finalizers: null } }).catch(() => undefined);
    await until('the end of the volume', isGone(`${PVS}/${volume}`), LIMIT_MS);
    await replicas.untilGone(volume);
  }

  /** Everything that a role is for. */
  async function useAll(): Promise<void> {
    const capacities = async (): Promise<number> => (await replicas.plane.api.list(CAPACITIES)).items.length;
    await until('the capacity of each class on each node', async () => (await capacities()) === 4, LIMIT_MS);
    await liveOnce();
    await askForTooMuch();
    await until('capacities that change', () => has('provisioner', 'update', 'csistoragecapacities'), LIMIT_MS);
    await replicas.plane.api.delete(`${STORAGE}/storageclasses/meshstor-local-storage`);
    await until('capacities that go', async () => (await capacities()) === 2, LIMIT_MS);
    const hasRenewed = () => SIDECARS.every((sidecar) => has(sidecar, 'update', 'leases'));
    await until('all leases are renewed', hasRenewed, LIMIT_MS);
  }

  before(async function () {
    this.timeout(BUILD_LIMIT_MS);
    const sidecars = ['csi-provisioner', 'csi-attacher', 'csi-resizer'] as const;
    const names = ['etcd', 'kube-apiserver', 'kubectl', 'helm', ...sidecars] as const;
    const tools = Object.fromEntries(names.map((name) => [name, toolPath(name)]));
    process.env['MESHSTOR_KUBE_TOOLS'] = JSON.stringify(tools);
    const quick = [
      'sidecars.provisioner.capacityPollInterval=2s',
      'sidecars.provisioner.retryMax=2s',
      'sidecars.resizer.enabled=true',
    ];
    chart = objects('--kube-version', '1.36.0', '--set', quick.join(','));
    replicas = await Replicas.start(NODES);
    await prepareForSidecars(replicas.plane, chart, NODES);
    const controller = await replicas.startController();
    for (const sidecar of SIDECARS) await startSidecar(sidecar, controller.socket);
    await useAll().catch((error: unknown) => {
      const logs = running.map(({ name, log }) => `${name}:\n${log()}`);
      throw new Error([String(error), ...logs].join('\n'), { cause: error });
    });
  });

  after(async function () {
    this.timeout(STEP_MS);
    await Promise.all(running.map((component) => component.stop()));
    for (const relay of relays.values()) await relay.close();
    await (replicas as Replicas | undefined)?.stop();
  });

  for (const sidecar of SIDECARS) {
    // Discovery, which everybody may do, is of no resource.
    const requests = () =>
      (relays.get(sidecar)?.requests ?? []).filter((request) => accessOfRelayed(request).resource !== '');

    it(`${sidecar}: what goes over the wire is what its role allows, no more and no less`, () => {
      const asked = [...sampleOf(requests(), isEverywhere).keys()].sort();
      expect(asked).to.deep.equal(rights(sidecar).map(line).sort());
      const refused = requests().filter(({ status }) => status === 403);
      expect(refused.map(({ method, path }) => `${method} ${path}`)).to.deep.equal([]);
    });

    it(`${sidecar}: without any one of them its request is forbidden, and that one alone`, async () => {
      const all = rights(sidecar);
      const samples = sampleOf(requests(), isEverywhere);
      for (const [index, without] of all.entries()) {
        const left = all.filter((right) => right !== without);
        const token = await accountWith(replicas.plane, NAMESPACE, `${sidecar}-without-${index}`, left);
        expect(await forbiddenTo(replicas.plane, token, samples, line(without))).to.deep.equal([line(without)]);
      }
      tell(`${sidecar}: ${all.length} verbs, each left out once`);
    }).timeout(STEP_MS);
  }
});
