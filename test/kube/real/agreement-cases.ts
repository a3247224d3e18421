import { device } from '../contract/rules.ts';
import { DEVICES, partition, volume, VOLUMES } from '../contract/server.ts';
import type { Send } from './agreement.ts';

/** What is tried, and the requests for it, one after the other. */
export type Case = readonly [rule: string, run: (send: Send) => Promise<unknown>];

interface Stored {
  readonly metadata: { readonly resourceVersion: string; readonly uid: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

const MERGE = { contentType: 'application/merge-patch+json' };
const STEPS = { contentType: 'application/json-patch+json' };
const UUID = '6b1e0e3a-5f57-4f0c-9a43-0d7d5a3b9c11';
let counter = 0;

/** One name for both servers. */
function named(run: (send: Send, path: string, name: string) => Promise<unknown>): (send: Send) => Promise<unknown> {
  counter += 1;
  const name = `agree-${counter}`;
  return (send) => run(send, `${VOLUMES}/${name}`, name);
}

/** Creates a volume first and hands it on. */
function withVolume(
  run: (send: Send, path: string, made: Stored) => Promise<unknown>,
  meta: Record<string, unknown> = {},
): (send: Send) => Promise<unknown> {
  return named(async (send, path, name) => {
    const { body } = await send('POST', VOLUMES, volume(name, { volumeUUID: UUID }, meta));
    await run(send, path, body as Stored);
  });
}

const CREATION: readonly Case[] = [
  ['an object that is whole', named((send, _, name) => send('POST', VOLUMES, volume(name, { volumeUUID: UUID })))],
  [
    'one that is there',
    withVolume((send, _, made) =>
      send('POST', VOLUMES, { ...made, metadata: { name: (made.metadata as unknown as { name: string }).name } }),
    ),
  ],
  ['no name', (send) => send('POST', VOLUMES, { ...volume('x'), metadata: {} })],
  ['a bad name', (send) => send('POST', VOLUMES, volume('Not_A_Name'))],
  ['a version', named((send, _, name) => send('POST', VOLUMES, volume(name, {}, { resourceVersion: '7' })))],
  ['another kind', (send) => send('POST', VOLUMES, device('x'))],
  [
    'another version of the group',
    (send) => send('POST', VOLUMES, { ...volume('x'), apiVersion: 'csi.meshstor.io/v1' }),
  ],
  ['no JSON', (send) => send('POST', VOLUMES, '{')],
  ['no object', (send) => send('POST', VOLUMES, '[]')],
  ['no body', (send) => send('POST', VOLUMES)],
  ['no kind', named((send, _, name) => send('POST', VOLUMES, { ...volume(name), kind: undefined }))],
  ['no apiVersion', named((send, _, name) => send('POST', VOLUMES, { ...volume(name), apiVersion: undefined }))],
  ['no spec', named((send, _, name) => send('POST', VOLUMES, { ...volume(name), spec: undefined }))],
  ['a null spec', named((send, _, name) => send('POST', VOLUMES, { ...volume(name), spec: null }))],
  ['two faults', named((send, _, name) => send('POST', VOLUMES, volume(name, { fsType: 'zfs', numberOfCopies: 0 })))],
  ['a wrong type', named((send, _, name) => send('POST', VOLUMES, volume(name, { capacityBytes: 'big' })))],
  ['a list for a number', named((send, _, name) => send('POST', VOLUMES, volume(name, { capacityBytes: [] })))],
  ['a fraction', named((send, _, name) => send('POST', VOLUMES, volume(name, { numberOfCopies: 1.5 })))],
  ['a null', named((send, _, name) => send('POST', VOLUMES, volume(name, { fsType: null })))],
  [
    'a null where nothing need be',
    named((send, _, name) => send('POST', VOLUMES, volume(name, { formattedAt: null, volumeUUID: UUID }))),
  ],
  ['a bad entry', named((send, _, name) => send('POST', VOLUMES, volume(name, { nvmeofNamespaceIDs: [1, 8193] })))],
  ['a bad pattern', named((send, _, name) => send('POST', VOLUMES, volume(name, { volumeUUID: 'x' })))],
  ['a bad time', named((send, _, name) => send('POST', VOLUMES, volume(name, { formattedAt: 'yesterday' })))],
  ['a broken rule', named((send, _, name) => send('POST', VOLUMES, volume(name, { capacityBytes: 1048577 })))],
  [
    'a number above 2^53',
    named((send, _, name) => send('POST', VOLUMES, volume(name, { capacityBytes: 9007199254740992 * 2 }))),
  ],
  [
    'an unknown field, strictly',
    named((send, _, name) => send('POST', `${VOLUMES}?fieldValidation=Strict`, volume(name, { colour: 1 }))),
  ],
  [
    'an unknown field, with a warning',
    named((send, _, name) =>
      send('POST', `${VOLUMES}?fieldValidation=Warn`, volume(name, { colour: 1, volumeUUID: UUID })),
    ),
  ],
  [
    'an unknown field, silently',
    named((send, _, name) =>
      send('POST', `${VOLUMES}?fieldValidation=Ignore`, volume(name, { colour: 1, volumeUUID: UUID })),
    ),
  ],
  ['an unknown field', named((send, _, name) => send('POST', VOLUMES, volume(name, { colour: 1, volumeUUID: UUID })))],
  [
    'labels that are none',
    named((send, _, name) => send('POST', VOLUMES, volume(name, {}, { labels: { 'a b': '!' } }))),
  ],
  ['a number as label', named((send, _, name) => send('POST', VOLUMES, volume(name, {}, { labels: { a: 1 } })))],
  [
    'a namespace where there are none',
    named((send, _, name) => send('POST', VOLUMES, volume(name, { volumeUUID: UUID }, { namespace: 'default' }))),
  ],
  [
    'for trial',
    named(async (send, path, name) => {
      await send('POST', `${VOLUMES}?dryRun=All`, volume(name, { volumeUUID: UUID }));
      await send('GET', path);
    }),
  ],
  ['a drive', named((send, _, name) => send('POST', DEVICES, device(name)))],
];

const CHANGE: readonly Case[] = [
  [
    'what is not there',
    named(async (send, path, name) => {
      await send('GET', path);
      await send('PUT', path, volume(name, { volumeUUID: UUID }, { resourceVersion: '1' }));
      await send('PUT', `${path}/status`, volume(name, { volumeUUID: UUID }, { resourceVersion: '1' }));
      await send('PATCH', path, { spec: {} }, MERGE);
      await send('DELETE', path);
    }),
  ],
  [
    'no version',
    withVolume((send, path, made) =>
      send('PUT', path, { ...made, metadata: { ...made.metadata, resourceVersion: undefined } }),
    ),
  ],
  [
    'an old version',
    withVolume(async (send, path, made) => {
      await send('PATCH', path, { metadata: { labels: { a: 'b' } } }, MERGE);
      await send('PUT', path, made);
      await send('PUT', `${path}/status`, made);
      await send(
        'PATCH',
        path,
        { metadata: { resourceVersion: made.metadata.resourceVersion, labels: { a: 'c' } } },
        MERGE,
      );
    }),
  ],
  [
    'another uid',
    withVolume((send, path, made) => send('PUT', path, { ...made, metadata: { ...made.metadata, uid: UUID } })),
  ],
  [
    'another name',
    withVolume((send, path, made) => send('PUT', path, { ...made, metadata: { ...made.metadata, name: 'other' } })),
  ],
  ['nothing', withVolume((send, path, made) => send('PUT', path, made))],
  ['a rule', withVolume((send, path) => send('PATCH', path, { spec: { numberOfCopies: 3 } }, MERGE))],
  [
    'a field that was set once',
    withVolume(async (send, path) => {
      await send('PATCH', path, { spec: { sectorSize: 512 } }, MERGE);
      await send('PATCH', path, { spec: { sectorSize: 4096 } }, MERGE);
      await send('PATCH', path, { spec: { sectorSize: null } }, MERGE);
    }),
  ],
  [
    'the generation and who made it',
    withVolume((send, path) =>
      send('PATCH', path, { metadata: { generation: 9, creationTimestamp: '2001-01-01T00:00:00Z' } }, MERGE),
    ),
  ],
  ['the name by a patch', withVolume((send, path) => send('PATCH', path, { metadata: { name: 'other' } }, MERGE))],
  ['the kind by a patch', withVolume((send, path) => send('PATCH', path, { kind: 'Other' }, MERGE))],
  ['by a patch that is no object', withVolume((send, path) => send('PATCH', path, '7', MERGE))],
  ['by a patch that is no JSON', withVolume((send, path) => send('PATCH', path, '{', MERGE))],
  [
    'by steps',
    withVolume(async (send, path) => {
      await send('PATCH', path, [{ op: 'test', path: '/spec/fsType', value: 'ext4' }], STEPS);
      await send(
        'PATCH',
        path,
        [
          { op: 'test', path: '/spec/fsType', value: 'xfs' },
          { op: 'replace', path: '/spec/memberMissingTimeout', value: 61 },
        ],
        STEPS,
      );
      await send('PATCH', path, [{ op: 'remove', path: '/spec/nothing' }], STEPS);
      await send('PATCH', path, [{ op: 'replace', path: '/spec/nothing', value: 1 }], STEPS);
      await send('PATCH', path, [{ op: 'add', path: '/metadata/labels', value: { a: 'b' } }], STEPS);
      await send('PATCH', path, [{ op: 'fly', path: '/spec' }], STEPS);
      await send('PATCH', path, { op: 'test' }, STEPS);
    }),
  ],
  [
    'by a patch of a kind that custom resources do not know',
    withVolume((send, path) => send('PATCH', path, {}, { contentType: 'application/strategic-merge-patch+json' })),
  ],
  ['by a patch of no kind', withVolume((send, path) => send('PATCH', path, {}, { contentType: 'application/json' }))],
  [
    'unknown fields',
    withVolume(async (send, path) => {
      await send('PATCH', `${path}?fieldValidation=Strict`, { spec: { colour: 1 } }, MERGE);
      await send('PATCH', `${path}?fieldValidation=Warn`, { spec: { colour: 1 } }, MERGE);
    }),
  ],
];

const STATUS: readonly Case[] = [
  [
    'a status',
    withVolume(async (send, path, made) => {
      await send('PUT', `${path}/status`, {
        ...made,
        status: { phase: 'New', partitions: [partition({ partitionUUID: UUID })] },
      });
      await send('PATCH', `${path}/status`, { status: { phase: 'Requested', ready: '0/2' } }, MERGE);
      await send('PATCH', `${path}/status`, { status: { ready: null } }, MERGE);
      await send('GET', `${path}/status`);
      await send('GET', path);
    }),
  ],
  [
    'labels beside a status',
    withVolume(async (send, path) => {
      await send(
        'PATCH',
        `${path}/status`,
        { metadata: { labels: { a: 'b' }, annotations: { c: 'd' } }, status: { phase: 'New' } },
        MERGE,
      );
      await send('PATCH', `${path}/status`, { metadata: { labels: { a: 'b' } } }, MERGE);
    }),
  ],
  [
    'a spec beside a status',
    withVolume((send, path) =>
      send('PATCH', `${path}/status`, { spec: { numberOfCopies: 5 }, status: { phase: 'New' } }, MERGE),
    ),
  ],
  [
    'finalizers beside a status',
    withVolume((send, path) =>
      send('PATCH', `${path}/status`, { metadata: { finalizers: ['csi.meshstor.io/x'] } }, MERGE),
    ),
  ],
  [
    'no status',
    withVolume(async (send, path, made) => {
      await send('PUT', `${path}/status`, { ...made, status: { phase: 'New' } });
      await send('PATCH', `${path}/status`, { status: null }, MERGE);
    }),
  ],
  [
    'a status that does not fit',
    withVolume(async (send, path) => {
      await send('PATCH', `${path}/status`, { status: { phase: 'Done' } }, MERGE);
      await send('PATCH', `${path}/status`, { status: { partitions: [{ nodeID: '' }] } }, MERGE);
      await send('PATCH', `${path}/status`, { status: [] }, MERGE);
      await send('PATCH', `${path}/status`, { status: { conditions: [condition(), condition()] } }, MERGE);
    }),
  ],
  [
    'a status by way of the object',
    withVolume((send, path) => send('PATCH', path, { status: { phase: 'New' } }, MERGE)),
  ],
];

function condition(): object {
  return { type: 'Ready', status: 'True', reason: 'A', message: '', lastTransitionTime: '2026-08-01T10:00:00Z' };
}

const DELETION: readonly Case[] = [
  [
    'an object',
    withVolume(async (send, path) => {
      await send('DELETE', path);
      await send('GET', path);
    }),
  ],
  [
    'the wrong one',
    withVolume(async (send, path, made) => {
      await send('DELETE', path, options({ uid: UUID }));
      await send('DELETE', path, options({ resourceVersion: '1' }));
      await send('DELETE', path, options({ uid: made.metadata.uid, resourceVersion: made.metadata.resourceVersion }));
    }),
  ],
  [
    'for trial',
    withVolume(async (send, path) => {
      await send('DELETE', `${path}?dryRun=All`);
      await send('DELETE', path, { ...options({}), dryRun: ['All'] });
      await send('GET', path);
    }),
  ],
  [
    'one with finalizers',
    withVolume(
      async (send, path) => {
        await send('DELETE', path);
        await send('DELETE', path);
        await send('PATCH', path, { metadata: { finalizers: ['csi.meshstor.io/a', 'csi.meshstor.io/c'] } }, MERGE);
        await send('PATCH', path, { metadata: { finalizers: ['csi.meshstor.io/a'] } }, MERGE);
        await send('PATCH', `${path}/status`, { status: { phase: 'Deleting' } }, MERGE);
        await send('PATCH', path, { metadata: { finalizers: null } }, MERGE);
        await send('GET', path);
      },
      { finalizers: ['csi.meshstor.io/a', 'csi.meshstor.io/b'] },
    ),
  ],
  ['options that are none', withVolume((send, path) => send('DELETE', path, '{'))],
];

function options(preconditions: object): object {
  return { apiVersion: 'v1', kind: 'DeleteOptions', preconditions };
}

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
