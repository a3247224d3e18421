/** The cluster that is simulated: machines, the links between them, the API server, and the ledger of what a client was told. */
import { hostIdFor, hostNqnFor } from '../../src/api/names.ts';
import type { NodeIdentity } from '../../src/plan/world.ts';
import { uuidV5 } from '../../src/support/uuid.ts';
import type { Shape } from '../support/model-volume.ts';
import { newVolume, VOLUME_UUID } from '../support/model-volume.ts';
import { ApiServer } from './api-server.ts';
import { Ledger } from './ledger.ts';
import type { Flight, SimDrive, SimMachine, SimPartition } from './parts.ts';
import { BLOCKS } from './parts.ts';
import { Random } from './random.ts';
import type { Rules } from './rules.ts';
import { Scheduler } from './scheduler.ts';
import type { Tally } from './tally.ts';

export interface ClusterShape extends Shape {
  /** Drives with a volatile write cache. */
  readonly volatileCaches: boolean;
}

export class Cluster {
  readonly shape: ClusterShape;
  readonly seed: number;
  readonly time = new Scheduler();
  readonly machines: readonly SimMachine[];
  readonly api: ApiServer;
  readonly ledger = new Ledger();
  readonly rules: Rules;
  readonly tally: Tally;
  readonly flights = new Set<Flight>();
  /** What is on the array, whichever members it has. */
  filesystem: 'none' | 'unfinished' | 'complete' = 'none';
  births = 0;
  /** Where the pod shall run; undefined: nowhere. */
  podOn: SimMachine | undefined;
  /** Nobody waits any more for the node where it ran. */
  isForced = false;
  /** What happened, for people; nothing by default. */
  tell: ((line: string) => void) | undefined;
  /** Goes up with everything that the rules are about. */
  revision = 0;
  /** Directions that are cut: `from>to` by name; `api` is one of them. */
  readonly cuts = new Set<string>();
  /** Between two steps of a machine's kernel, of its processes. */
  readonly #random: Random;

  constructor(shape: ClusterShape, seed: number, rules: Rules, tally: Tally) {
    this.shape = shape;
    this.seed = seed;
    this.rules = rules;
    this.tally = tally;
    this.#random = new Random(seed, 'cluster');
    const volume = newVolume(shape);
    this.machines = Array.from({ length: shape.nodes }, (_, index) => newMachine(shape, index));
    this.api = new ApiServer(this, volume);
  }

  get random(): Random {
    return this.#random;
  }

  machine(name: string): SimMachine {
    const found = this.machines.find((machine) => machine.name === name);
    if (found === undefined) throw new Error(`no machine ${name}`);
    return found;
  }

  /** Whether what this machine sends gets there now. */
  hears(from: string, to: string): boolean {
    return !this.cuts.has(`${from}>${to}`);
  }

  isRunning(machine: SimMachine): boolean {
    return machine.isUp && machine.pausedUntil <= this.time.now;
  }

  partition(partitionUUID: string): SimPartition | undefined {
    for (const { drives } of this.machines) {
      for (const { partitions } of drives) {
        const found = partitions.get(partitionUUID);
        if (found !== undefined) return found;
      }
    }
    return undefined;
  }

  columnOf(slot: number): number {
    return Math.floor(slot / this.shape.copies);
  }

  /** Which column of the array has a block. */
  columnOfBlock(block: number): number {
    return block % this.shape.drives;
  }

  /** Says what happened; the line is made only when somebody listens. */
  log(line: () => string): void {
    this.tell?.(`${String(Math.round(this.time.now)).padStart(6)} ms  ${line()}`);
  }

  nowFor(machine: SimMachine): string {
    return new Date(1_800_000_000_000 + this.time.now + machine.clockSkewMs).toISOString();
  }
}

/** By slot, as in MD: the empty second slot of a one-copy volume counts. */
export const mdSlotFor = ({ copies }: Shape, slot: number): number =>
  Math.floor(slot / copies) * Math.max(2, copies) + (slot % copies);

export function identityOf(name: string, bootCount: number): NodeIdentity {
  return {
    nodeName: name,
    machineID: uuidV5(VOLUME_UUID, `machine/${name}`),
    bootID: uuidV5(VOLUME_UUID, `boot/${name}/${bootCount}`),
    hostNqn: hostNqnFor(name),
    hostID: hostIdFor(name),
  };
}

function newDrive(shape: ClusterShape, name: string, index: number): SimDrive {
  return {
    index,
    serial: `${name}-${index}`,
    isVolatile: shape.volatileCaches,
    isOnline: true,
    mediumErrors: 0,
    partitions: new Map(),
  };
}

function newMachine(shape: ClusterShape, index: number): SimMachine {
  const name = `node-${index}`;
  return {
    name,
    index,
    life: 1,
    pausedUntil: 0,
    isUp: true,
    isGone: false,
    bootCount: 1,
    identity: identityOf(name, 1),
    clockSkewMs: 0,
    zeroingMs: 100,
    drives: Array.from({ length: shape.drives }, (_, drive) => newDrive(shape, name, drive)),
    legs: new Map(),
    exports: new Map(),
    imports: new Map(),
    array: undefined,
    mounts: [],
    isShutDown: false,
    hasClient: false,
    isEnding: false,
    pumpDue: undefined,
    hasEvent: false,
  };
}

export function newPartition(machine: SimMachine, drive: SimDrive, uuid: string, sizeBytes: number): SimPartition {
  return {
    partitionUUID: uuid,
    node: machine,
    drive,
    sizeBytes,
    zeroed: false,
    // Somebody's old data: another one on every drive.
    data: Array.from({ length: BLOCKS }, () => -1 - machine.index),
    cached: new Map(),
    bits: new Set(),
    superblock: undefined,
    stamp: undefined,
  };
}
