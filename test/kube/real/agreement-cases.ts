import { volume, VOLUMES } from '../contract/server.ts';
import type { Case } from './agreement-case.ts';
import { MERGE, named, UUID } from './agreement-case.ts';
import { CHANGE, DELETION, STATUS } from './agreement-changes.ts';
import { CREATION } from './agreement-creation.ts';

const READING: readonly Case[] = [
  [
    'selected lists',
    named(async (send, _, name) => {
      const label = (value: string) => ({ labels: { [name]: value } });
      await send('POST', VOLUMES, volume(`${name}-a`, { volumeUUID: UUID }, label('a')));
      await send('POST', VOLUMES, volume(`${name}-b`, { volumeUUID: UUID }, label('b')));
      const selectors = [
        `${name}=a`,
        `${name}==b`,
        `${name}`,
        `${name} in (a,b)`,
        `${name} notin (a),${name}`,
        `${name}!=a,${name}`,
      ];
      for (const selector of selectors) await send('GET', `${VOLUMES}?labelSelector=${encodeURIComponent(selector)}`);
      await send('GET', `${VOLUMES}?fieldSelector=metadata.name%3D${name}-a`);
      await send('GET', `${VOLUMES}?fieldSelector=metadata.name!%3D${name}-a&labelSelector=${name}`);
      await send('GET', `${VOLUMES}?labelSelector=${name}&limit=1`);
      await send('GET', `${VOLUMES}?labelSelector=${name}&resourceVersion=0`);
      await send('GET', `${VOLUMES}?labelSelector=nobody-has-it`);
    }),
  ],
  [
    'lists that cannot be',
    async (send) => {
      await send('GET', `${VOLUMES}?labelSelector=${encodeURIComponent('a in (')}`);
      await send('GET', `${VOLUMES}?fieldSelector=${encodeURIComponent('spec.fsType=xfs')}`);
      await send('GET', `${VOLUMES}?continue=x`);
      await send('GET', `${VOLUMES}?limit=x`);
      await send('GET', `${VOLUMES}?resourceVersion=x`);
      await send('GET', `${VOLUMES}?resourceVersion=99999999`);
    },
  ],
  [
    'watches that cannot be',
    async (send) => {
      await send('GET', `${VOLUMES}?watch=1&resourceVersion=x&timeoutSeconds=1`);
      await send('GET', `${VOLUMES}?watch=1&resourceVersion=99999999&timeoutSeconds=1`);
      await send('GET', `${VOLUMES}?watch=1&resourceVersion=1&timeoutSeconds=1`);
    },
  ],
  [
    'what there is not',
    async (send) => {
      await send('GET', '/apis/csi.meshstor.io/v1alpha1/others');
      await send('GET', '/apis/csi.meshstor.io/v1');
      await send('GET', '/apis/nobody.example/v1/things');
      await send('GET', '/api/v1/namespaces/nowhere');
      await send('GET', '/nothing');
    },
  ],
  [
    'what there is',
    async (send) => {
      await send('GET', '/apis/csi.meshstor.io/v1alpha1');
      await send('GET', '/apis/csi.meshstor.io');
    },
  ],
];

const BUILT_IN: readonly Case[] = [
  [
    'an event',
    named(async (send, _, name) => {
      const event = (namespace: string) => ({
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name, namespace },
        involvedObject: { apiVersion: 'csi.meshstor.io/v1alpha1', kind: 'MeshStorVolume', name, namespace: '' },
        type: 'Normal',
        reason: 'Tested',
        message: 'once',
        count: 1,
        firstTimestamp: '2026-08-01T10:00:00Z',
        lastTimestamp: '2026-08-01T10:00:00Z',
        source: { component: 'test' },
      });
      await send('POST', '/api/v1/namespaces/default/events', event('default'));
      await send('POST', '/api/v1/namespaces/default/events', event('default'));
      await send('POST', '/api/v1/namespaces/nowhere/events', event('nowhere'));
      await send('PATCH', `/api/v1/namespaces/default/events/${name}`, { count: 2 }, MERGE);
      await send('PATCH', `/api/v1/namespaces/default/events/nobody`, { count: 2 }, MERGE);
    }),
  ],
  [
    'a lease',
    named(async (send, _, name) => {
      const path = '/apis/coordination.k8s.io/v1/namespaces/default/leases';
      const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, namespace: 'default' } };
      const spec = {
        holderIdentity: 'a',
        leaseDurationSeconds: 15,
        acquireTime: '2026-08-01T10:00:00.000000Z',
        renewTime: '2026-08-01T10:00:00.000000Z',
        leaseTransitions: 0,
      };
      const { body } = await send('POST', path, { ...lease, spec });
      await send('PUT', `${path}/${name}`, { ...lease, spec });
      await send('PUT', `${path}/${name}`, { ...(body as object), spec: { ...spec, holderIdentity: 'b' } });
      await send('PUT', `${path}/${name}`, { ...(body as object), spec: { ...spec, holderIdentity: 'c' } });
      await send('GET', `${path}/nobody`);
      await send('DELETE', `${path}/${name}`);
    }),
  ],
  [
    'a node',
    named(async (send, _, name) => {
      const path = '/api/v1/nodes';
      await send('POST', path, { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { a: 'b' } } });
      await send(
        'PATCH',
        `${path}/${name}`,
        { metadata: { annotations: { 'meshstor.io/nvme-over-tcp-address': '10.0.0.1' } } },
        MERGE,
      );
      await send('GET', `${path}/nobody`);
      await send('DELETE', `${path}/${name}`);
    }),
  ],
  [
    'claims and volumes that are not there',
    async (send) => {
      await send('GET', '/api/v1/persistentvolumes/nobody');
      await send('GET', '/api/v1/namespaces/default/persistentvolumeclaims/nobody');
      await send('GET', '/apis/storage.k8s.io/v1/volumeattachments/nobody');
    },
  ],
];

export const GROUPS: Readonly<Record<string, readonly Case[]>> = {
  creating: CREATION,
  changing: CHANGE,
  'writing a status': STATUS,
  deleting: DELETION,
  reading: READING,
  'built-in kinds': BUILT_IN,
};
