import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse } from 'yaml';
import type { Api } from './server.ts';
import { DEVICES, failure, freshName, partition, volume, VOLUMES } from './server.ts';

const DEFINITIONS = join(import.meta.dirname, '..', '..', '..', 'deploy', 'crds');

/** Field, a value that its schema refuses. */
const BAD_SPECS: readonly (readonly [string, unknown])[] = [
  ['capacityBytes', 1048577],
  ['capacityBytes', 0],
  ['capacityBytes', 'big'],
  ['expandToBytes', 2147483649],
  ['numberOfCopies', 0],
  ['numberOfCopies', 1.5],
  ['drivesPerCopy', 0],
  ['memberMissingTimeout', 59],
  ['nvmeofNamespaceIDs', [8193]],
  ['nvmeofNamespaceIDs', 7],
  ['volumeUUID', '6B1E0E3A-5F57-4F0C-9A43-0D7D5A3B9C11'],
  ['sectorSize', 520],
  ['fsType', 'btrfs'],
  ['volumeMode', 'File'],
  ['dataLocality', 'best'],
  ['onWitnessLoss', 'panic'],
  ['onLastCopyLoss', 'panic'],
  ['formattedAt', 'yesterday'],
];

/** A field of the status, a value that its schema refuses. */
const BAD_STATUSES: readonly (readonly [string, unknown])[] = [
  ['phase', 'Done'],
  ['mdState', 'idle'],
  ['attachmentEpoch', -1],
  ['attachmentID', 'x'],
  ['syncPercentage', '45%'],
  ['partitions', [partition({ state: 'Gone' })]],
  ['partitions', [partition({ transport: 'fc' })]],
  ['partitions', [{ nodeID: 'node1' }]],
  [
    'conditions',
    [{ type: 'Ready', status: 'yes', reason: 'A', message: '', lastTransitionTime: '2026-08-01T10:00:00Z' }],
  ],
];

/** Field, value at first, value that may not follow. */
const IMMUTABLE: readonly (readonly [string, unknown, unknown])[] = [
  ['volumeUUID', randomUUID(), randomUUID()],
  ['numberOfCopies', 2, 3],
  ['drivesPerCopy', 1, 2],
  ['fsType', 'xfs', 'ext4'],
  ['volumeMode', 'Filesystem', 'Block'],
  ['sectorSize', 4096, 512],
  ['sectorSize', 4096, null],
  ['activatedAt', '2026-08-01T10:00:00Z', '2026-08-01T10:00:01Z'],
  ['activatedAt', '2026-08-01T10:00:00Z', null],
  ['formattedAt', '2026-08-01T10:00:00Z', null],
  ['capacityBytes', 2097152, 1048576],
];

/** Field that may be set once, or changed like this. */
const ALLOWED: readonly (readonly [string, unknown, unknown])[] = [
  ['sectorSize', undefined, 512],
  ['activatedAt', undefined, '2026-08-01T10:00:00Z'],
  ['formattedAt', undefined, '2026-08-01T10:00:00Z'],
  ['expandToBytes', undefined, 2147483648],
  ['expandToBytes', 4294967296, 2147483648],
  ['memberMissingTimeout', 900, 60],
  ['onWitnessLoss', 'suspend', 'continue'],
];

const STRIPED = { drivesPerCopy: 2 };
const WISHED = { expandToBytes: 2147483648 };

/** Message of a rule in deploy/crds → what it refuses: the kind, what the spec is at first, what it may not become. */
const BROKEN: ReadonlyMap<string, readonly [string, Record<string, unknown>, Record<string, unknown>]> = new Map([
  ['sectorSize is immutable once set', [VOLUMES, { sectorSize: 512 }, { sectorSize: 4096 }]],
  ['activatedAt is immutable once set', [VOLUMES, { activatedAt: '2026-08-01T10:00:00Z' }, { activatedAt: null }]],
  ['formattedAt is immutable once set', [VOLUMES, { formattedAt: '2026-08-01T10:00:00Z' }, { formattedAt: null }]],
  ['capacityBytes must be a multiple of 1048576 (1 MiB)', [VOLUMES, {}, { capacityBytes: 1073741825 }]],
  ['expandToBytes must not be below capacityBytes', [VOLUMES, {}, { expandToBytes: 1048576 }]],
  ['expandToBytes is only for volumes whose drivesPerCopy is 1', [VOLUMES, STRIPED, { expandToBytes: 2147483648 }]],
  ['expandToBytes must not be above 65970697666560 (60 TiB)', [VOLUMES, {}, { expandToBytes: 65970698715136 }]],
  ['capacityBytes changes only to what expandToBytes asks for', [VOLUMES, WISHED, { capacityBytes: 2148532224 }]],
  ['expandToBytes must be a multiple of 1048576 (1 MiB)', [VOLUMES, {}, { expandToBytes: 2147483649 }]],
  ['capacityBytes may only grow', [VOLUMES, { capacityBytes: 2097152 }, { capacityBytes: 1048576 }]],
  ['numberOfCopies is immutable', [VOLUMES, {}, { numberOfCopies: 3 }]],
  ['drivesPerCopy is immutable', [VOLUMES, {}, { drivesPerCopy: 2 }]],
  ['volumeUUID is immutable', [VOLUMES, {}, { volumeUUID: randomUUID() }]],
  ['fsType is immutable', [VOLUMES, {}, { fsType: 'ext4' }]],
  ['volumeMode is immutable', [VOLUMES, {}, { volumeMode: 'Block' }]],
  ['node is immutable', [DEVICES, {}, { node: 'other' }]],
]);

/** The messages of all rules in deploy/crds. */
function messagesOfRules(): string[] {
  const messages: string[] = [];
  const visit = (value: unknown) => {
    if (typeof value !== 'object' || value === null) return;
    const rules = (value as Record<string, unknown>)['x-kubernetes-validations'];
    if (Array.isArray(rules)) messages.push(...rules.map(({ message }: { message: string }) => message));
    for (const member of Object.values(value)) visit(member);
  };
  for (const file of readdirSync(DEFINITIONS)) visit(parse(readFileSync(join(DEFINITIONS, file), 'utf8')));
  return messages;
}

export function describeRules(api: () => Api): void {
  describe('schemas and rules', () => {
    for (const [field, value] of BAD_SPECS) {
      it(`refuses a volume with spec.${field} = ${JSON.stringify(value)}, naming the field`, async () => {
        const error = await failure(api().create(VOLUMES, volume(freshName(), { [field]: value })));
        expect([error.status, error.reason, error.kind]).to.deep.equal([422, 'Invalid', 'invalid']);
        expect(error.message).to.contain(`spec.${field}`);
      });
    }

    it('refuses a volume that lacks a field it must have', async () => {
      for (const field of ['capacityBytes', 'volumeUUID', 'onLastCopyLoss']) {
        const error = await failure(api().create(VOLUMES, volume(freshName(), { [field]: undefined })));
        expect(error.status).to.equal(422);
        expect(error.message).to.contain(`spec.${field}: Required value`);
      }
    });

    for (const [field, value] of BAD_STATUSES) {
      it(`refuses status.${field} = ${JSON.stringify(value).slice(0, 60)}`, async () => {
        const made = await api().create(VOLUMES, volume(freshName()));
        const path = `${VOLUMES}/${made.metadata.name}/status`;
        const error = await failure(api().put(path, { ...made, status: { [field]: value } }));
        expect(error.status).to.equal(422);
        expect(error.message).to.contain(`status.${field}`);
      });
    }

    for (const [field, before, after] of IMMUTABLE) {
      it(`refuses to change spec.${field} from ${JSON.stringify(before)} to ${JSON.stringify(after)}`, async () => {
        const made = await api().create(VOLUMES, volume(freshName(), { [field]: before }));
        const error = await failure(api().patch(`${VOLUMES}/${made.metadata.name}`, { spec: { [field]: after } }));
        expect(error.status).to.equal(422);
        expect(error.message).to.match(new RegExp(`${field}.*(immutable|only grow)`));
      });
    }

    for (const [field, before, after] of ALLOWED) {
      it(`lets spec.${field} go from ${JSON.stringify(before) ?? 'nothing'} to ${JSON.stringify(after)}`, async () => {
        const made = await api().create(VOLUMES, volume(freshName(), { [field]: before }));
        const changed = await api().patch(`${VOLUMES}/${made.metadata.name}`, { spec: { [field]: after } });
        expect(changed.spec[field]).to.equal(after);
      });
    }

    it('lets a volume have the size that was wished, and takes the wish away with it', async () => {
      const made = await api().create(VOLUMES, volume(freshName(), WISHED));
      const spec = { capacityBytes: WISHED.expandToBytes, expandToBytes: null };
      const changed = await api().patch(`${VOLUMES}/${made.metadata.name}`, { spec });
      expect(changed.spec).to.include({ capacityBytes: 2147483648 }).and.not.have.property('expandToBytes');
    });

    for (const message of messagesOfRules()) {
      it(`refuses what breaks the rule "${message}"`, async () => {
        const [kind, before, after] = BROKEN.get(message) ?? expect.fail('no case for this rule');
        const name = freshName();
        await api().create(kind, kind === VOLUMES ? volume(name, before) : device(name, before));
        const error = await failure(api().patch(`${kind}/${name}`, { spec: after }));
        expect([error.status, error.reason]).to.deep.equal([422, 'Invalid']);
        expect(error.message).to.contain(message);
      });
    }

    it('drops fields that the schema does not know, and refuses them where asked to', async () => {
      const made = await api().create(VOLUMES, volume(freshName(), { colour: 'red' }));
      expect(made.spec).not.to.have.property('colour');
      const strict = api().create(VOLUMES, volume(freshName(), { colour: 'red' }), { fieldValidation: 'Strict' });
      const error = await failure(strict);
      expect(error.status).to.equal(400);
      expect(error.message).to.contain('spec.colour');
    });

    it('refuses names that are no DNS names', async () => {
      expect((await failure(api().create(VOLUMES, volume('Not_A_Name')))).status).to.equal(422);
    });
  });
}

export function device(name: string, changes: Record<string, unknown> = {}): object {
  return {
    apiVersion: 'csi.meshstor.io/v1alpha1',
    kind: 'MeshStorNodeDevice',
    metadata: { name },
    spec: {
      node: 'node1',
      device: 'nvme0n1',
      usedAlias: '',
      model: 'Example NVMe',
      serial: 'S1-1',
      size: '931.5Gi',
      sizeBytes: 1000204886016,
      multiQueue: 8,
      sectorSize: 512,
      ...changes,
    },
  };
}
