/** Objects that are changed, by themselves and by way of their status, and deleted. */
import { partition, volume } from '../contract/server.ts';
import type { Case } from './agreement-case.ts';
import { MERGE, named, STEPS, UUID, withVolume } from './agreement-case.ts';

export const CHANGE: readonly Case[] = [
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

export const STATUS: readonly Case[] = [
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

export const DELETION: readonly Case[] = [
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
