/** A driver beside a newer one: the schema has fields that only the newer one knows. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import { EMPTY_STATUS } from '../../src/api/volume.ts';
import { partition, volume, VOLUMES } from './contract/server.ts';
import type { Harness } from './harness.ts';
import { createHarness } from './harness.ts';

const DEFINITIONS = join(import.meta.dirname, '..', '..', 'deploy', 'crds');

interface Schema {
  readonly properties: Record<string, Schema & { items?: Schema; type?: string }>;
}

interface Definition {
  readonly spec: { readonly versions: readonly { readonly schema: { readonly openAPIV3Schema: Schema } }[] };
}

/** The project's definitions, with one more field in the status and one in its partitions. */
function newerDefinitions(): string {
  const folder = mkdtempSync(join(tmpdir(), 'crds-'));
  cpSync(DEFINITIONS, folder, { recursive: true });
  const file = join(folder, 'csi.meshstor.io_meshstorvolumes.yaml');
  const definition = parse(readFileSync(file, 'utf8')) as Definition;
  const status = definition.spec.versions[0]?.schema.openAPIV3Schema.properties['status'];
  const entries = status?.properties['partitions']?.items;
  if (status === undefined || entries === undefined) throw new Error('the schema has no status with partitions');
  status.properties['temperature'] = { type: 'string' } as unknown as Schema;
  entries.properties['wearPercent'] = { type: 'integer' } as unknown as Schema;
  writeFileSync(file, stringify(definition));
  return folder;
}

describe('a status with fields of a newer version', () => {
  let harness: Harness;
  let definitions: string;
  before(async () => {
    definitions = newerDefinitions();
    harness = await createHarness({ definitions });
  });
  after(async () => {
    await harness.close();
    rmSync(definitions, { recursive: true });
  });

  it('keeps them, at the top and in each partition, and loses those that it knows and takes out', async () => {
    const [first, second] = ['6b1e0e3a-5f57-4f0c-9a43-0d7d5a3b9c11', '6b1e0e3a-5f57-4f0c-9a43-0d7d5a3b9c12'];
    const entries = [
      { ...partition(), partitionUUID: first, wearPercent: 7, stale: true, missingEpoch: 2 },
      { ...partition(), partitionUUID: second, wearPercent: 8, slot: 1 },
    ];
    await harness.api.create(VOLUMES, volume('v'));
    const before = { ...EMPTY_STATUS, temperature: 'warm', partitions: entries };
    await harness.api.patch(`${VOLUMES}/v/status`, { status: before });
    const store = harness.volumes();
    await store.mutateStatus('v', ({ status = EMPTY_STATUS }) => ({
      ...status,
      phase: 'Syncing',
      // In another order, one of them without what was remembered against it.
      partitions: [...status.partitions].reverse().map(({ stale: _stale, missingEpoch: _epoch, ...rest }) => rest),
    }));
    const { status = {} } = await harness.api.get(`${VOLUMES}/v`);
    expect(status).to.include({ phase: 'Syncing', temperature: 'warm' });
    const [b, a] = status['partitions'] as readonly Record<string, unknown>[];
    expect([b?.['partitionUUID'], b?.['wearPercent']]).to.deep.equal([second, 8]);
    expect([a?.['partitionUUID'], a?.['wearPercent']]).to.deep.equal([first, 7]);
    expect(a).to.not.have.any.keys('stale', 'missingEpoch');
    await store.mutateStatus('v', ({ status = EMPTY_STATUS }) => ({ ...status, partitions: [] }));
    expect((await harness.api.get(`${VOLUMES}/v`)).status?.['partitions']).to.deep.equal([]);
  });
});
