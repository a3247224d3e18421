import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { DRIVER_NAME, UNCLAIMED_LABEL } from '../../../src/api/names.ts';
import { UnclaimedVolumes } from '../../../src/controller/unclaimed-volumes.ts';
import {
  createNodeDeviceStore,
  createVolumeStore,
  KubeClaimedVolumes,
  KubeEventRecorder,
  KubeNodeStore,
  loadParsers,
  systemClock,
} from '../../../src/kube/index.ts';
import { quiet, until } from '../harness.ts';
import { onPath } from './columns.ts';
import type { Api, ContractServer, Wire } from './server.ts';
import { freshName, partition, volume, VOLUMES } from './server.ts';

const run = promisify(execFile);
const EVENTS = '/api/v1/namespaces/default/events';
const PERSISTENT_VOLUMES = '/api/v1/persistentvolumes';
const AFTER_MS = 300;

/** A whole one, as the real server wants it; its name says nothing of the volume. */
function madeByHand(volumeHandle: string): object {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: freshName('by-hand') },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      persistentVolumeReclaimPolicy: 'Retain',
      csi: { driver: DRIVER_NAME, volumeHandle },
    },
  };
}

/** The controller's report of volumes that no PersistentVolume names, on this API. */
export function describeUnclaimed(api: () => Api, server: () => ContractServer): void {
  describe('a volume without PersistentVolume', () => {
    it('is reported by condition, event and `kubectl get -l`, until somebody names it in one by hand', async () => {
      const name = freshName('leaked');
      const { client } = api();
      const parsers = loadParsers();
      const volumes = createVolumeStore({ client, log: quiet, parsers });
      const claimed = new KubeClaimedVolumes({ client, log: quiet });
      const events = new KubeEventRecorder({ client, log: quiet, instance: 'controller-0', intervalMs: 20 });
      const devices = createNodeDeviceStore({ client, log: quiet, parsers });
      const nodes = new KubeNodeStore({ client, log: quiet });
      const parts = { volumes, claimed, events, devices, nodes, clock: systemClock, newUuid: () => '' };
      const unclaimed = new UnclaimedVolumes({ ...parts, unclaimedAfterMs: AFTER_MS });
      await api().create(VOLUMES, volume(name));
      await api().patch(`${VOLUMES}/${name}/status`, { status: { phase: 'Requested', partitions: [partition()] } });
      volumes.start();
      claimed.start();
      await Promise.all([volumes.synced, claimed.synced]);
      const look = async (): Promise<Wire> => {
        await unclaimed.look(name);
        return api().get(`${VOLUMES}/${name}`);
      };
      try {
        await until('it is labelled', async () => UNCLAIMED_LABEL in ((await look()).metadata.labels ?? {}));
        const [condition] = (await look()).status?.['conditions'] as readonly Record<string, string>[];
        expect(condition).to.include({ type: 'Unclaimed', status: 'True', reason: 'NoPersistentVolume' });
        expect(await listed(api(), server())).to.deep.equal([name]);
        await until('the event', async () => (await reasonsFor(api(), name)).includes('VolumeUnclaimed'));
        await api().create(PERSISTENT_VOLUMES, madeByHand(name));
        await until('it is claimed', async () => ((await look()).status?.['conditions'] as unknown[]).length === 0);
        expect(await listed(api(), server())).to.deep.equal([]);
        await until('the end is told', async () => (await reasonsFor(api(), name)).includes('VolumeClaimed'));
      } finally {
        await Promise.all([volumes.stop(), claimed.stop()]);
        events.close();
        await api().delete(`${VOLUMES}/${name}`);
      }
    });
  });
}

async function reasonsFor(api: Api, name: string): Promise<readonly string[]> {
  const { items } = await api.list(EVENTS);
  const all = items as unknown as readonly { readonly involvedObject: { name: string }; readonly reason: string }[];
  return all.filter(({ involvedObject }) => involvedObject.name === name).map(({ reason }) => reason);
}

/** What an operator sees; the same question to the API itself where there is no kubectl. */
async function listed(api: Api, { kubectl = 'kubectl', kubeconfig }: ContractServer): Promise<readonly string[]> {
  if (kubectl === 'kubectl' && !onPath(kubectl)) {
    const { items } = await api.list(VOLUMES, { labelSelector: UNCLAIMED_LABEL });
    return items.map(({ metadata }) => metadata.name);
  }
  const args = ['--kubeconfig', kubeconfig, 'get', 'msvol', '-l', UNCLAIMED_LABEL, '-o', 'name'];
  const { stdout } = await run(kubectl, args, { timeout: 30_000 });
  const lines = stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => line.replace('meshstorvolume.csi.meshstor.io/', ''));
}
