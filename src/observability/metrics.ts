/**
 * The driver's metrics. Callers use functions with named fields; metric and label names occur in this file alone.
 * Series of a volume carry its PV, PVC and namespace, so that an alert names what its reader knows.
 *
 * prom-client's default metrics are left out: their event loop histogram wakes the process a hundred times a second.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { PartitionState, VolumePhase } from '../api/volume.ts';
import { processMetrics } from './process-metrics.ts';

/** What a volume is known by; empty where nothing is known. */
export interface VolumeLabels {
  readonly volume: string;
  readonly pv: string;
  readonly pvc: string;
  readonly namespace: string;
}

export interface VolumeSample extends VolumeLabels {
  /** The consumer; empty when attached nowhere. */
  readonly node: string;
  readonly phase: VolumePhase;
  readonly mdState: string;
  readonly members: Readonly<Record<'total' | 'active' | 'failed' | 'down' | 'degraded', number>>;
  /** 0 to 1; 1 when in sync. */
  readonly syncRatio: number;
  readonly partitionStates: readonly PartitionState[];
  /** Reported: no PersistentVolume has named it for long. */
  readonly unclaimed: boolean;
}

export interface SyncSpeed {
  readonly labels: VolumeLabels;
  readonly bytesPerSecond: number;
}

export interface DriveSample {
  readonly node: string;
  /** Kernel name. */
  readonly device: string;
  readonly model: string;
  readonly serial: string;
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly biggestFreeBytes: number;
  readonly usable: boolean;
  readonly localPartitions: number;
  readonly remotePartitions: number;
  readonly unknownPartitions: number;
  /** Milliseconds since the epoch of the last heartbeat; absent before the first. */
  readonly heartbeatAtMs?: number;
}

const VOLUME_LABELS = ['volume', 'pv', 'pvc', 'namespace'] as const;
const DRIVE_LABELS = ['node', 'device', 'model', 'serial'] as const;
const CALL_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
const RECONCILE_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60];

export interface MetricsOptions {
  readonly role: 'controller' | 'node';
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

function volumeGauges(registers: Registry[]) {
  const gauge = (name: string, help: string, ...labels: string[]): Gauge =>
    new Gauge({ name: `meshstor_volume_${name}`, help, labelNames: [...VOLUME_LABELS, ...labels], registers });
  return {
    phase: gauge('phase', 'Phase of the volume: 1 for the one it is in.', 'phase', 'node'),
    mdState: gauge('md_state', 'State of the array: 1 for the one it is in.', 'state', 'node'),
    members: gauge('members', 'Members of the array against copies times drives.', 'kind'),
    syncRatio: gauge('sync_ratio', 'Synchronised part of the volume, 1 when in sync.'),
    partitions: gauge('partitions', 'Partitions of the volume by state.', 'state'),
  };
}

/** The controller's report alone: nodes would tell the same once more. */
function unclaimedGauge(registers: Registry[]): Gauge {
  const help = '1 when no PersistentVolume has named the volume for long.';
  return new Gauge({ name: 'meshstor_volume_unclaimed', help, labelNames: VOLUME_LABELS, registers });
}

function driveGauges(registers: Registry[]) {
  const gauge = (name: string, help: string, ...labels: string[]): Gauge =>
    new Gauge({ name: `meshstor_drive_${name}`, help, labelNames: [...DRIVE_LABELS, ...labels], registers });
  return {
    size: gauge('size_bytes', 'Size of the drive.'),
    free: gauge('free_bytes', 'Space on the drive in no partition.'),
    biggestFree: gauge('biggest_free_bytes', 'The biggest free space in one piece.'),
    usable: gauge('usable', '1 when volumes may be placed on the drive.'),
    partitions: gauge('partitions', 'Partitions of MeshStor by whom they serve.', 'kind'),
    heartbeatAge: gauge('heartbeat_age_seconds', "Age of the drive's last heartbeat."),
  };
}

/** What happens on nodes alone: elsewhere these could only show zero. */
function nodeCounters(registers: Registry[]) {
  const counter = (name: string, help: string, ...labelNames: string[]): Counter =>
    new Counter({ name: `meshstor_${name}`, help, labelNames, registers });
  return {
    connects: counter('nvmeof_connects_total', 'Connections asked for.', 'transport', 'result'),
    fences: counter('fences_total', 'Exports of this node taken away from a consumer that did not let go.'),
  };
}

function counters(registers: Registry[]) {
  const counter = (name: string, help: string, ...labelNames: string[]): Counter =>
    new Counter({ name: `meshstor_${name}`, help, labelNames, registers });
  return {
    reconcileErrors: counter('reconcile_errors_total', 'Reconciliations that failed.', 'reconciler'),
  };
}

function histograms(registers: Registry[]) {
  const histogram = (name: string, help: string, buckets: number[], ...labelNames: string[]): Histogram =>
    new Histogram({ name: `meshstor_${name}`, help, labelNames, buckets, registers });
  return {
    reconcile: histogram('reconcile_duration_seconds', 'Time of one reconciliation.', RECONCILE_BUCKETS, 'reconciler'),
    csi: histogram('csi_operation_duration_seconds', 'Time of CSI calls by code.', CALL_BUCKETS, 'method', 'code'),
  };
}

function volumeLabels({ volume, pv, pvc, namespace }: VolumeLabels): Record<(typeof VOLUME_LABELS)[number], string> {
  return { volume, pv, pvc, namespace };
}

/** Samples are read when somebody scrapes, and only if something changed since. */
class Samples<T> {
  readonly #read: () => readonly T[] | Promise<readonly T[]>;
  #isStale = true;

  constructor(read: () => readonly T[] | Promise<readonly T[]>) {
    this.#read = read;
  }

  readonly changed = (): void => {
    this.#isStale = true;
  };

  /** Undefined when nothing changed. */
  async next(): Promise<readonly T[] | undefined> {
    if (!this.#isStale) return undefined;
    this.#isStale = false;
    return this.#read();
  }
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #now: () => number;
  readonly #volumes: ReturnType<typeof volumeGauges>;
  readonly #unclaimed: Gauge | undefined;
  readonly #drives: ReturnType<typeof driveGauges>;
  readonly #counters: ReturnType<typeof counters>;
  readonly #nodeCounters: ReturnType<typeof nodeCounters> | undefined;
  readonly #histograms: ReturnType<typeof histograms>;
  #volumeSamples: Samples<VolumeSample> | undefined;
  #driveSamples: Samples<DriveSample> | undefined;
  #heartbeats: readonly DriveSample[] = [];

  constructor(options: MetricsOptions) {
    this.#now = options.now ?? Date.now;
    this.#registry.setDefaultLabels({ role: options.role });
    const registers = [this.#registry];
    const isNode = options.role === 'node';
    this.#volumes = volumeGauges(registers);
    this.#unclaimed = isNode ? undefined : unclaimedGauge(registers);
    this.#drives = driveGauges(registers);
    this.#counters = counters(registers);
    this.#nodeCounters = isNode ? nodeCounters(registers) : undefined;
    this.#histograms = histograms(registers);
    processMetrics(registers);
    const labelNames = ['version'];
    new Gauge({ name: 'meshstor_build_info', help: 'Version of this program.', labelNames, registers }).set(
      { version: options.version },
      1,
    );
  }

  /** Where volumes are read when somebody scrapes. Returns what has to be called when they changed. */
  showVolumes(read: () => readonly VolumeSample[] | Promise<readonly VolumeSample[]>): () => void {
    this.#volumeSamples = new Samples(read);
    return this.#volumeSamples.changed;
  }

  /** The same for drives. */
  showDrives(read: () => readonly DriveSample[]): () => void {
    this.#driveSamples = new Samples(read);
    return this.#driveSamples.changed;
  }

  /** Replaces everything said about volumes: one that is not in the list any more has no series any more. */
  #setVolumes(samples: readonly VolumeSample[]): void {
    for (const gauge of Object.values(this.#volumes)) gauge.reset();
    this.#unclaimed?.reset();
    for (const sample of samples) this.#setVolume(sample);
  }

  #setVolume(sample: VolumeSample): void {
    const labels = volumeLabels(sample);
    const { node } = sample;
    this.#volumes.phase.set({ ...labels, phase: sample.phase, node }, 1);
    if (sample.mdState !== '') this.#volumes.mdState.set({ ...labels, state: sample.mdState, node }, 1);
    for (const [kind, value] of Object.entries(sample.members)) this.#volumes.members.set({ ...labels, kind }, value);
    this.#volumes.syncRatio.set(labels, sample.syncRatio);
    this.#unclaimed?.set(labels, sample.unclaimed ? 1 : 0);
    for (const state of sample.partitionStates) this.#volumes.partitions.inc({ ...labels, state });
  }

  /** Replaces everything said about drives. The age of their heartbeats is taken at every scrape. */
  #setDrives(samples: readonly DriveSample[]): void {
    this.#heartbeats = samples;
    for (const gauge of Object.values(this.#drives)) gauge.reset();
    for (const sample of samples) {
      const { node, device, model, serial } = sample;
      const labels = { node, device, model, serial };
      this.#drives.size.set(labels, sample.sizeBytes);
      this.#drives.free.set(labels, sample.freeBytes);
      this.#drives.biggestFree.set(labels, sample.biggestFreeBytes);
      this.#drives.usable.set(labels, sample.usable ? 1 : 0);
      this.#drives.partitions.set({ ...labels, kind: 'local' }, sample.localPartitions);
      this.#drives.partitions.set({ ...labels, kind: 'remote' }, sample.remotePartitions);
      this.#drives.partitions.set({ ...labels, kind: 'unknown' }, sample.unknownPartitions);
    }
  }

  #setHeartbeatAges(): void {
    for (const { node, device, model, serial, heartbeatAtMs } of this.#heartbeats) {
      if (heartbeatAtMs === undefined) continue;
      this.#drives.heartbeatAge.set({ node, device, model, serial }, Math.max(0, this.#now() - heartbeatAtMs) / 1000);
    }
  }

  /** A connection that was asked for; on nodes alone. */
  connected(transport: 'tcp' | 'rdma', result: 'ok' | 'failed'): void {
    this.#nodeCounters?.connects.inc({ transport, result });
  }

  /** One run of a reconciler, however it ended. */
  reconciled(reconciler: string, seconds: number, failed: boolean): void {
    this.#histograms.reconcile.observe({ reconciler }, seconds);
    if (failed) this.#counters.reconcileErrors.inc({ reconciler });
  }

  /** A CSI call that was answered; `code` is the gRPC code's name. */
  csiAnswered(method: string, code: string, seconds: number): void {
    this.#histograms.csi.observe({ method, code }, seconds);
  }

  /** An export that was taken away from a consumer whose attachment is over and that did not let go; on nodes alone. */
  fenced(): void {
    this.#nodeCounters?.fences.inc();
  }

  /** How fast volumes are synchronised, bytes per second, asked when somebody scrapes. */
  syncSpeeds(read: () => Promise<readonly SyncSpeed[]>): void {
    new Gauge({
      name: 'meshstor_volume_sync_bytes_per_second',
      help: 'Speed of the synchronisation under way.',
      labelNames: VOLUME_LABELS,
      registers: [this.#registry],
      async collect() {
        const speeds = await read();
        this.reset();
        for (const { labels, bytesPerSecond } of speeds) this.set(volumeLabels(labels), bytesPerSecond);
      },
    });
  }

  /** How long each watch has been silent, by kind, asked when somebody scrapes. */
  watchAges(read: () => Readonly<Record<string, number>>): void {
    this.#onScrape('api_watch_age_seconds', 'Time since a watch last heard from the API.', 'kind', read);
  }

  /** Calls into the kernel that have not returned, by operation, asked when somebody scrapes. */
  kernelCalls(read: () => Readonly<Record<string, number>>): void {
    this.#onScrape('kernel_calls_in_flight', 'Calls into the kernel that have not returned.', 'operation', read);
  }

  /** Log lines that nobody read in time, asked when somebody scrapes. */
  logLinesDropped(read: () => number): void {
    this.#onScrape('log_lines_dropped', 'Log lines dropped because nobody read them.', 'sink', () => ({
      stderr: read(),
    }));
  }

  #onScrape(name: string, help: string, label: string, read: () => Readonly<Record<string, number>>): void {
    new Gauge({
      name: `meshstor_${name}`,
      help,
      labelNames: [label],
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const [key, value] of Object.entries(read())) this.set({ [label]: key }, value);
      },
    });
  }

  /** The text of /metrics. */
  async render(): Promise<{ readonly text: string; readonly contentType: string }> {
    const volumes = await this.#volumeSamples?.next();
    if (volumes !== undefined) this.#setVolumes(volumes);
    const drives = await this.#driveSamples?.next();
    if (drives !== undefined) this.#setDrives(drives);
    this.#setHeartbeatAges();
    return { text: await this.#registry.metrics(), contentType: this.#registry.contentType };
  }
}
