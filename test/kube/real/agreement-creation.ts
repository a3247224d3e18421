/** Objects that are created. */
import { device } from '../contract/rules.ts';
import { DEVICES, volume, VOLUMES } from '../contract/server.ts';
import type { Case } from './agreement-case.ts';
import { named, UUID, withVolume } from './agreement-case.ts';

export const CREATION: readonly Case[] = [
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
