/** Faults that take a node out, one node at a time, and the moves of pods. */
import { setTimeout as sleep } from 'node:timers/promises';
import { HOST_ADDRESS } from '../qemu-args.ts';
import type { Arena } from './arena.ts';
import {
  areAllWhole,
  block,
  callBack,
  callOff,
  hasCopyBeside,
  keeperOf,
  membersOf,
  patiently,
  unblock,
  within,
} from './arena.ts';
import type { Strike } from './schedule.ts';
import { chosen } from './schedule.ts';
import type { Struck } from './struck.ts';
import type { Workload } from './workload.ts';

const CALM_LIMIT_MS = 60_000;
const LEAVE_LIMIT_MS = 180_000;
const SERVE_LIMIT_MS = 120_000;
const HEAL_LIMIT_MS = 120_000;
/** The members that a restarted machine holds are recorded as lost by then, if anybody can. */
const RECORD_LIMIT_MS = 60_000;

interface Blow {
  /** Resolves when the node is out. */
  begin(): Promise<void>;
  heal(): Promise<void>;
}

function blowOf(arena: Arena, kind: Strike<'machine'>['kind'], node: string): Blow {
  const machine = arena.cluster.node(node);
  const nothing = async (): Promise<void> => undefined;
  if (kind === 'cut') return { begin: () => machine.cutNetwork(), heal: () => machine.restoreNetwork() };
  if (kind === 'pause') return { begin: () => machine.pause(), heal: () => machine.resume() };
  if (kind === 'no-api') {
    return { begin: () => block(machine, HOST_ADDRESS), heal: () => unblock(machine, HOST_ADDRESS) };
  }
  if (kind !== 'reset') return { begin: nothing, heal: nothing };
  let booting: Promise<void> = Promise.resolve();
  const keeper = keeperOf(arena, node);
  return {
    begin: async () => {
      keeper.hold();
      booting = machine.reset();
      booting.catch(() => undefined); // `heal` tells
    },
    heal: async () => {
      await booting;
      keeper.release();
    },
  };
}

export class MachineFaults {
  readonly #arena: Arena;
  readonly #struck: Struck;

  constructor(arena: Arena, struck: Struck) {
    this.#arena = arena;
    this.#struck = struck;
  }

  /** Carries it out to its end; false if there was nothing to strike. */
  async strike(strike: Strike<'machine'>, tell: (text: string) => void): Promise<boolean> {
    const { workloads } = this.#arena;
    await within(CALM_LIMIT_MS, () => workloads.every(({ isServed }) => isServed));
    if (strike.patient) await within(CALM_LIMIT_MS, () => areAllWhole(this.#arena));
    if (strike.kind === 'move') return this.#move(strike, tell);
    const node = this.#target(strike);
    const victims = workloads.filter((workload) => workload.node === node);
    const safe = await Promise.all(victims.map((victim) => hasCopyBeside(this.#arena, victim, node)));
    const takeOver = victims.length > 0 && safe.every(Boolean) && (strike.takeOver || strike.kind === 'call-off');
    if (strike.kind === 'call-off' && !takeOver) return false;
    if (strike.kind !== 'reset') {
      await this.#out(strike, { node, victims: takeOver ? victims : [] }, tell);
      return true;
    }
    return this.#struck.withoutPathFaults(async () => {
      if (!(await this.#mayRestart(node))) return false;
      await this.#out(strike, { node, victims: takeOver ? victims : [] }, tell);
      await within(RECORD_LIMIT_MS, () => areAllWhole(this.#arena));
      return true;
    });
  }

  /** Mostly a node with a pod, or the fault would show little. */
  #target({ pick, other }: Strike<'machine'>): string {
    const { cluster, workloads } = this.#arena;
    const used = cluster.nodes.filter(({ name }) => workloads.some(({ node }) => node === name));
    const machine = chosen(other % 5 === 0 ? cluster.nodes : used, pick);
    if (machine === undefined) throw new Error('there is no node');
    return machine.name;
  }

  /** A last copy whose holder restarted is not taken back under a running volume: another one must be there. */
  async #mayRestart(node: string): Promise<boolean> {
    for (const workload of this.#arena.workloads) {
      if (workload.node === node) continue;
      const members = await membersOf(this.#arena, workload.parts.volumeId);
      if (members === undefined) return false;
      const isHolder = members.some((member) => member.node === node);
      if (isHolder && !members.some((member) => member.node !== node && member.state === 'Synced')) return false;
    }
    return true;
  }

  async #out(
    strike: Strike<'machine'>,
    { node, victims }: { readonly node: string; readonly victims: readonly Workload[] },
    tell: (text: string) => void,
  ): Promise<void> {
    const moves = victims.map((workload, index) => ({ workload, to: this.#elsewhere(node, strike.other + index) }));
    const heirs = moves.map(({ workload, to }) => `${workload.name} to ${to}`).join(', ');
    const lasts = strike.kind === 'reset' ? '' : ` for ${(strike.lastsMs / 1000).toFixed(1)} s`;
    tell(`${strike.kind} ${node}${lasts}${heirs === '' ? '' : `, taken over: ${heirs}`}`);
    const blow = blowOf(this.#arena, strike.kind, node);
    await this.#struck.withMachine(node, async () => {
      const startedAt = Date.now();
      try {
        await blow.begin();
        if (moves.length > 0) await this.#takeOver(node, moves, strike);
        const leftMs = strike.lastsMs - (Date.now() - startedAt);
        if (leftMs > 0) await sleep(leftMs);
      } finally {
        await patiently(`healing ${node}`, HEAL_LIMIT_MS, () => blow.heal());
        if (moves.length > 0) await callBack(this.#arena, node);
      }
    });
  }

  async #takeOver(
    node: string,
    moves: readonly { readonly workload: Workload; readonly to: string }[],
    strike: Strike<'machine'>,
  ): Promise<void> {
    await sleep(strike.other % 3000);
    await callOff(this.#arena, node);
    for (const { workload, to } of moves) workload.order('take-over', to);
    const hasLeft = ({ workload }: { readonly workload: Workload }): boolean => workload.attachedTo !== node;
    if (!(await within(LEAVE_LIMIT_MS, () => moves.every(hasLeft))))
      this.#arena.say(`${moves.map(({ workload }) => workload.name).join(', ')}: not detached from ${node} in time`);
    if (!(await within(SERVE_LIMIT_MS, () => moves.every(({ workload }) => workload.isServed))))
      this.#arena.say(`${moves.map(({ workload }) => workload.name).join(', ')}: not taken over while ${node} is out`);
  }

  #elsewhere(node: string, pick: number): string {
    const others = this.#arena.cluster.nodes.filter(({ name }) => name !== node);
    const machine = chosen(others, pick);
    if (machine === undefined) throw new Error('there is no other node');
    return machine.name;
  }

  async #move({ pick, other }: Strike<'machine'>, tell: (text: string) => void): Promise<boolean> {
    const workload = chosen(this.#arena.workloads, pick);
    if (workload === undefined) return false;
    const to = this.#elsewhere(workload.node, other);
    tell(`move ${workload.name} from ${workload.node} to ${to}`);
    workload.order('move', to);
    await within(SERVE_LIMIT_MS, () => workload.isServed);
    return true;
  }
}
