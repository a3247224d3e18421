/** One run: a cluster, everybody in it, what befalls it; then all faults end, and everything has to get well and to go away. */
import { DomainError } from '../../src/api/errors.ts';
import type { ClusterShape } from './cluster.ts';
import { Cluster } from './cluster.ts';
import { Controller } from './controller.ts';
import type { Happening } from './faults.ts';
import { boot, describeHappening, drawHappenings, happen, OUT_OF_SERVICE_MS } from './faults.ts';
import { tickConnections } from './kernel-dm.ts';
import { Invariants } from './invariants.ts';
import { Kubelet } from './kubelet.ts';
import { pump } from './md-work.ts';
import { NodeProcess } from './node-process.ts';
import type { SimMachine } from './parts.ts';
import { Violation } from './parts.ts';
import { Random } from './random.ts';
import type { Rules } from './rules.ts';
import type { Actor } from './scheduler.ts';
import type { Tally } from './tally.ts';
import { Wellness } from './wellness.ts';

export interface Found {
  readonly rule: string;
  readonly message: string;
  readonly atMs: number;
}

export interface Outcome {
  readonly found: Found | undefined;
  readonly faults: number;
  readonly steps: number;
  readonly virtualMs: number;
}

export function drawShape(seed: number): ClusterShape {
  const random = new Random(seed, 'shape');
  const copies = random.weighed([
    [1, 1],
    [2, 6],
    [3, 4],
  ]);
  return {
    copies,
    drives: random.chance(0.15) ? 2 : 1,
    nodes: Math.max(3, copies + (random.chance(0.6) ? 1 : 0)),
    mode: random.chance(0.2) ? 'Block' : 'Filesystem',
    volatileCaches: random.chance(0.5),
  };
}

/** Until when it is waited for: what lasts longer is cut short. */
function endOf({ atMs, kind, lastsMs }: Happening): number {
  const more = kind === 'out-of-service taint' ? OUT_OF_SERVICE_MS : 0;
  return atMs + Math.min(lastsMs, 8000) + more;
}

const CONNECTIONS_MS = 250;

export class Simulation {
  readonly cluster: Cluster;
  readonly processes = new Map<string, NodeProcess>();
  readonly kubelets = new Map<string, Kubelet>();
  readonly controller: Controller;
  readonly #happenings: readonly Happening[];
  #starts = 0;
  #faults = 0;
  readonly happened: { readonly happening: Happening; readonly index: number }[] = [];

  /** `kept`: which of what the seed draws shall happen; default all. */
  constructor(seed: number, rules: Rules, tally: Tally, kept?: readonly number[]) {
    this.cluster = new Cluster(drawShape(seed), seed, rules, tally);
    for (const machine of this.cluster.machines) {
      this.kubelets.set(machine.name, new Kubelet(this.cluster, machine, () => this.processes.get(machine.name)));
    }
    this.controller = new Controller(this.cluster, this.kubelets);
    const drawn = drawHappenings(seed, this.cluster.shape.nodes);
    this.#happenings = drawn;
    drawn.forEach((happening, index) => {
      if (kept?.includes(index) === false) return;
      this.cluster.time.after(happening.atMs, () => {
        this.#befall(happening, index);
      });
    });
  }

  get happenings(): readonly Happening[] {
    return this.#happenings;
  }

  #befall(happening: Happening, index: number): void {
    if (!happen(this, happening)) return;
    this.happened.push({ happening, index });
    this.cluster.log(() => `*** ${describeHappening(happening)}`);
    this.cluster.tally.fault(happening.kind);
    if (happening.kind !== 'pod moves' && happening.kind !== 'pod starts anew') this.#faults += 1;
  }

  startProcess(machine: SimMachine): void {
    this.#starts += 1;
    const process = new NodeProcess(this.cluster, machine, this.#starts);
    this.processes.set(machine.name, process);
    process.start();
  }

  startMachine(machine: SimMachine): void {
    this.startProcess(machine);
    this.kubelets.get(machine.name)?.start();
    this.cluster.time.spawn(this.#connections(machine), machine);
  }

  *#connections(machine: SimMachine): Actor {
    for (;;) {
      yield CONNECTIONS_MS;
      if (machine.imports.size > 0) tickConnections(this.cluster, machine);
    }
  }

  run(): Outcome {
    const { cluster } = this;
    try {
      this.#live();
      return this.#outcome(undefined);
    } catch (error) {
      if (error instanceof DomainError || !(error instanceof Error)) throw error;
      const rule = error instanceof Violation ? error.rule : `exception ${error.stack ?? ''}`;
      return this.#outcome({ rule, message: error.message, atMs: cluster.time.now });
    }
  }

  #outcome(found: Found | undefined): Outcome {
    const { now, steps } = this.cluster.time;
    return { found, faults: this.#faults, steps, virtualMs: now };
  }

  #live(): void {
    const { cluster } = this;
    const invariants = new Invariants(cluster);
    cluster.time.onStep = () => {
      invariants.check();
    };
    cluster.podOn = cluster.machines[new Random(cluster.seed, 'pod').between(0, cluster.machines.length - 1)];
    for (const machine of cluster.machines) this.startMachine(machine);
    this.controller.start();
    const last = Math.max(5000, ...this.#happenings.map(endOf));
    cluster.time.runUntil(last);
    this.#endFaults();
    cluster.log(() => '*** all faults are over');
    new Wellness(this, invariants).getWell();
  }

  #endFaults(): void {
    const { cluster } = this;
    cluster.cuts.clear();
    cluster.api.isAway = false;
    for (const machine of cluster.machines) {
      cluster.api.taint(machine.name, false);
      cluster.api.loseWatch(machine.name, 0);
      machine.pausedUntil = Math.min(machine.pausedUntil, cluster.time.now);
      this.kubelets.get(machine.name)!.callLimitMs = 20_000;
      for (const drive of machine.drives) {
        drive.isOnline = true;
        drive.mediumErrors = 0;
      }
      if (!machine.isGone) boot(this, machine);
      machine.hasEvent = true;
      if (machine.isUp && this.processes.get(machine.name)?.isAlive !== true) this.startProcess(machine);
      if (machine.array !== undefined) pump(cluster, machine);
    }
  }
}
