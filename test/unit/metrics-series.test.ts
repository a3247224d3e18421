import { expect } from 'chai';
import type { DriveSample, VolumeSample } from '../../src/observability/metrics.ts';
import { Metrics } from '../../src/observability/metrics.ts';

const VOLUME = { volume: 'pvc-1', pv: 'pvc-1', pvc: 'data', namespace: 'shop' };
const SAMPLE: VolumeSample = {
  ...VOLUME,
  node: 'n1',
  phase: 'Syncing',
  mdState: 'recovering',
  members: { total: 2, active: 1, failed: 0, down: 0, degraded: 1 },
  syncRatio: 0.452,
  partitionStates: ['Synced', 'Syncing'],
  unclaimed: false,
};
const DRIVE: DriveSample = {
  node: 'n1',
  device: 'nvme0n1',
  model: 'M',
  serial: 'S',
  sizeBytes: 100,
  freeBytes: 40,
  biggestFreeBytes: 30,
  usable: true,
  localPartitions: 1,
  remotePartitions: 2,
  unknownPartitions: 3,
  heartbeatAtMs: 5_000,
};

describe('metrics', () => {
  let now: number;
  let metrics: Metrics;

  beforeEach(() => {
    now = 10_000;
    metrics = new Metrics({ role: 'node', version: '1.2.3', now: () => now });
  });

  /** Value of the series with this name and these labels; undefined when there is none. */
  async function value(name: string, labels: Readonly<Record<string, string>>): Promise<number | undefined> {
    const { text } = await metrics.render();
    const line = text
      .split('\n')
      .filter((candidate) => candidate.startsWith(`${name}{`))
      .find((candidate) => Object.entries(labels).every(([key, want]) => candidate.includes(`${key}="${want}"`)));
    return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1));
  }

  it('tells phase, array state, members, progress and partitions of a volume with its PV, PVC and namespace', async () => {
    metrics.showVolumes(() => [SAMPLE]);
    expect(await value('meshstor_volume_phase', { ...VOLUME, phase: 'Syncing', node: 'n1' })).to.equal(1);
    expect(await value('meshstor_volume_md_state', { ...VOLUME, state: 'recovering' })).to.equal(1);
    expect(await value('meshstor_volume_members', { ...VOLUME, kind: 'degraded' })).to.equal(1);
    expect(await value('meshstor_volume_sync_ratio', VOLUME)).to.equal(0.452);
    expect(await value('meshstor_volume_partitions', { ...VOLUME, state: 'Syncing' })).to.equal(1);
  });

  it('forgets a volume that is gone and a phase that is past', async () => {
    let samples: VolumeSample[] = [SAMPLE, { ...SAMPLE, volume: 'pvc-2' }];
    const changed = metrics.showVolumes(() => samples);
    expect(await value('meshstor_volume_phase', { volume: 'pvc-2' })).to.equal(1);
    samples = [{ ...SAMPLE, phase: 'Synced', partitionStates: ['Synced', 'Synced'] }];
    changed();
    expect(await value('meshstor_volume_phase', { volume: 'pvc-2' })).to.equal(undefined);
    expect(await value('meshstor_volume_phase', { volume: 'pvc-1', phase: 'Syncing' })).to.equal(undefined);
    expect(await value('meshstor_volume_partitions', { volume: 'pvc-1', state: 'Synced' })).to.equal(2);
    samples = [];
    changed();
    expect((await metrics.render()).text).to.not.include('pvc-1');
  });

  it('tells which volumes no PersistentVolume names, on the series of the claim they were made for', async () => {
    metrics = new Metrics({ role: 'controller', version: '1.2.3' });
    let samples = [SAMPLE, { ...SAMPLE, volume: 'pvc-2', unclaimed: true }];
    const changed = metrics.showVolumes(() => samples);
    expect(await value('meshstor_volume_unclaimed', VOLUME)).to.equal(0);
    expect(await value('meshstor_volume_unclaimed', { ...VOLUME, volume: 'pvc-2' })).to.equal(1);
    samples = [SAMPLE];
    changed();
    expect(await value('meshstor_volume_unclaimed', { volume: 'pvc-2' })).to.equal(undefined);
  });

  it('reads samples only when somebody scrapes, and only after a change', async () => {
    let reads = 0;
    const changed = metrics.showVolumes(() => {
      reads += 1;
      return [SAMPLE];
    });
    for (let change = 0; change < 3; change += 1) changed();
    expect(reads).to.equal(0);
    await metrics.render();
    await metrics.render();
    expect(reads).to.equal(1);
    changed();
    await metrics.render();
    expect(reads).to.equal(2);
  });

  it('takes the age of a heartbeat when somebody asks, and forgets drives that are gone', async () => {
    let drives = [DRIVE];
    const changed = metrics.showDrives(() => drives);
    now = 65_000;
    expect(await value('meshstor_drive_heartbeat_age_seconds', { serial: 'S' })).to.equal(60);
    expect(await value('meshstor_drive_partitions', { serial: 'S', kind: 'unknown' })).to.equal(3);
    expect(await value('meshstor_drive_free_bytes', { serial: 'S' })).to.equal(40);
    drives = [];
    changed();
    expect(await value('meshstor_drive_heartbeat_age_seconds', { serial: 'S' })).to.equal(undefined);
  });

  it('tells no age of a heartbeat that never came', async () => {
    const { heartbeatAtMs, ...silent } = DRIVE;
    expect(heartbeatAtMs).to.be.a('number');
    metrics.showDrives(() => [silent]);
    expect(await value('meshstor_drive_size_bytes', { serial: 'S' })).to.equal(100);
    expect(await value('meshstor_drive_heartbeat_age_seconds', { serial: 'S' })).to.equal(undefined);
  });

  it('counts connections and fences on nodes, and has no such series elsewhere', async () => {
    metrics.connected('tcp', 'ok');
    metrics.connected('tcp', 'failed');
    metrics.fenced();
    expect(await value('meshstor_nvmeof_connects_total', { transport: 'tcp', result: 'failed' })).to.equal(1);
    expect(await value('meshstor_fences_total', {})).to.equal(1);
    const { text } = await new Metrics({ role: 'controller', version: '1.2.3' }).render();
    expect(text).to.not.match(/nvmeof|fences|sync_bytes/);
  });

  it('asks for the speed of synchronisations when somebody scrapes', async () => {
    metrics.syncSpeeds(() => Promise.resolve([{ labels: VOLUME, bytesPerSecond: 1000 }]));
    expect(await value('meshstor_volume_sync_bytes_per_second', VOLUME)).to.equal(1000);
  });

  it('times reconciliations and CSI calls, and counts the failed ones', async () => {
    metrics.reconciled('volume', 0.2, false);
    metrics.reconciled('volume', 0.3, true);
    metrics.csiAnswered('NodeStageVolume', 'UNAVAILABLE', 3);
    expect(await value('meshstor_reconcile_duration_seconds_count', { reconciler: 'volume' })).to.equal(2);
    expect(await value('meshstor_reconcile_errors_total', { reconciler: 'volume' })).to.equal(1);
    const call = { method: 'NodeStageVolume', code: 'UNAVAILABLE' };
    expect(await value('meshstor_csi_operation_duration_seconds_sum', call)).to.equal(3);
    expect(await value('meshstor_csi_operation_duration_seconds_bucket', { ...call, le: '2.5' })).to.equal(0);
    expect(await value('meshstor_csi_operation_duration_seconds_bucket', { ...call, le: '5' })).to.equal(1);
  });

  it('asks for watch ages, kernel calls and dropped lines only when somebody scrapes', async () => {
    let asked = 0;
    metrics.watchAges(() => ({ volumes: (asked += 1) }));
    let calls: Record<string, number> = { mdArrays: 2 };
    metrics.kernelCalls(() => calls);
    metrics.logLinesDropped(() => 7);
    expect(asked).to.equal(0);
    expect(await value('meshstor_api_watch_age_seconds', { kind: 'volumes' })).to.equal(1);
    expect(await value('meshstor_kernel_calls_in_flight', { operation: 'mdArrays' })).to.equal(2);
    calls = {};
    expect(await value('meshstor_kernel_calls_in_flight', { operation: 'mdArrays' })).to.equal(undefined);
    expect(await value('meshstor_log_lines_dropped', {})).to.equal(7);
  });

  it('tells role, version and what the process uses, and keeps no timer for it', async () => {
    const { text, contentType } = await metrics.render();
    expect(contentType).to.include('text/plain');
    expect(text).to.match(/^meshstor_build_info\{version="1\.2\.3",role="node"\} 1$/m);
    expect(await value('process_resident_memory_bytes', {})).to.be.greaterThan(1e6);
    expect(await value('process_open_fds', {})).to.be.greaterThan(2);
    expect(process.getActiveResourcesInfo().filter((kind) => kind === 'ELDHistogram')).to.deep.equal([]);
  });
});
