/** Faults of paths and drives, and of processes. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine } from '../machine.ts';
import type { Arena } from './arena.ts';
import { block, keeperOf, membersOf, partitionsByDrive, patiently, unblock, within } from './arena.ts';
import type { Strike } from './schedule.ts';
import { chosen } from './schedule.ts';
import type { Struck } from './struck.ts';

const HEAL_LIMIT_MS = 120_000;
const SERVES_LIMIT_MS = 60_000;
const SLOW_IOPS = 8;

type Tell = (text: string) => void;

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

export class PathFaults {
  readonly #arena: Arena;
  readonly #struck: Struck;

  constructor(arena: Arena, struck: Struck) {
    this.#arena = arena;
    this.#struck = struck;
  }

  strike(strike: Strike<'path'>, tell: Tell): Promise<boolean> {
    return this.#struck.withPathFault(async () => {
      const machines = this.#arena.cluster.nodes.filter(({ name }) => name !== this.#struck.machine);
      const machine = chosen(machines, strike.pick);
      if (machine === undefined) return false;
      const others = machines.filter((each) => each !== machine);
      if (strike.kind === 'split') return this.#split(strike, machine, chosen(others, strike.other), true, tell);
      if (strike.kind === 'split-one-way')
        return this.#split(strike, machine, chosen(others, strike.other), false, tell);
      if (strike.kind === 'blip') return this.#blip(strike, machine, tell);
      if (strike.kind === 'pull-drive') return this.#pull(strike, machines, tell);
      return this.#slow(strike, machine, tell);
    });
  }

  async #split(
    { lastsMs }: Strike<'path'>,
    one: Machine,
    two: Machine | undefined,
    bothWays: boolean,
    tell: Tell,
  ): Promise<boolean> {
    if (two === undefined) return false;
    tell(`split ${one.name} ${bothWays ? 'and' : 'to'} ${two.name} for ${seconds(lastsMs)}`);
    const ways: readonly (readonly [Machine, Machine])[] = bothWays
      ? [
          [one, two],
          [two, one],
        ]
      : [[one, two]];
    try {
      await this.#struck.withMachinesAwake(() => Promise.all(ways.map(([from, to]) => block(from, to.address))));
      await sleep(lastsMs);
    } finally {
      for (const [from, to] of ways)
        await patiently(`joining ${from.name} and ${to.name}`, HEAL_LIMIT_MS, () => unblock(from, to.address));
    }
    return true;
  }

  async #blip({ lastsMs }: Strike<'path'>, machine: Machine, tell: Tell): Promise<boolean> {
    tell(`blip of ${machine.name} for ${seconds(lastsMs)}`);
    // Short enough to keep other machines awake for: nobody else heals this link meanwhile.
    return this.#struck.withMachinesAwake(async () => {
      await machine.cutNetwork();
      await sleep(lastsMs).finally(() => machine.restoreNetwork());
      return true;
    });
  }

  /**
   * Only a drive whose members all serve pods of their own node. To another node a drive that is gone looks like one that is broken,
   * and what is broken does not come back.
   */
  async #pull({ pick, lastsMs }: Strike<'path'>, machines: readonly Machine[], tell: Tell): Promise<boolean> {
    const found: { readonly machine: Machine; readonly drive: number }[] = [];
    for (const machine of machines) for (const drive of await this.#ownDrives(machine)) found.push({ machine, drive });
    const target = chosen(found, pick);
    if (target === undefined) return false;
    const { machine, drive } = target;
    tell(`pull drive ${drive} of ${machine.name} for ${seconds(lastsMs)}`);
    try {
      await this.#struck.withMachinesAwake(() => machine.pullDrive(drive));
      await sleep(lastsMs);
    } finally {
      await patiently(`putting drive ${drive} back`, HEAL_LIMIT_MS, () => machine.plugDrive(drive));
    }
    return true;
  }

  async #ownDrives(machine: Machine): Promise<readonly number[]> {
    const consumers = new Map<string, string>();
    for (const { parts, attachedTo } of this.#arena.workloads) {
      const members = await membersOf(this.#arena, parts.volumeId);
      const isWhole = members?.every(({ state }) => state === 'Synced') === true;
      for (const { partitionUUID } of members ?? [])
        consumers.set(partitionUUID, isWhole ? (attachedTo ?? 'nobody') : 'nobody');
    }
    const byDrive = await this.#struck
      .withMachinesAwake(() => partitionsByDrive(machine))
      .catch(() => new Map<number, readonly string[]>());
    const isOwn = (uuids: readonly string[]): boolean =>
      uuids.every((uuid) => consumers.get(uuid.toLowerCase()) === machine.name);
    return [...byDrive].filter(([, uuids]) => isOwn(uuids)).map(([drive]) => drive);
  }

  async #slow({ pick, other, lastsMs }: Strike<'path'>, machine: Machine, tell: Tell): Promise<boolean> {
    const drive = (pick + other) % machine.spec.drives.length;
    tell(`slow drive ${drive} of ${machine.name}, ${SLOW_IOPS} requests a second, for ${seconds(lastsMs)}`);
    try {
      await machine.throttleDrive(drive, SLOW_IOPS);
      await sleep(lastsMs);
    } finally {
      await patiently(`drive ${drive} is fast again`, HEAL_LIMIT_MS, () => machine.throttleDrive(drive, 0));
    }
    return true;
  }
}

export class ProcessFaults {
  readonly #arena: Arena;
  readonly #struck: Struck;

  constructor(arena: Arena, struck: Struck) {
    this.#arena = arena;
    this.#struck = struck;
  }

  async strike({ kind, pick, lastsMs }: Strike<'process'>, tell: Tell): Promise<boolean> {
    const { deployment, cluster } = this.#arena;
    const { api } = deployment;
    if (kind === 'kill-node-role') {
      const machine = chosen(
        cluster.nodes.filter(({ name }) => name !== this.#struck.machine),
        pick,
      );
      if (machine === undefined) return false;
      // One after the other: a start takes its time on an emulated machine, and nothing is mended without a role.
      const keepers = [...this.#arena.keepers.values()].filter(
        ({ role }) => role.machine.name !== this.#struck.machine,
      );
      await within(SERVES_LIMIT_MS, async () =>
        (await Promise.all(keepers.map((each) => each.isServing()))).every(Boolean),
      );
      tell(`kill the node role of ${machine.name}`);
      await this.#struck.withMachinesAwake(() => keeperOf(this.#arena, machine.name).kill());
      return true;
    }
    if (kind === 'drop-watches') {
      tell('drop every watch of the API and its history');
      api.compact();
      api.dropWatches();
      return true;
    }
    tell(`${kind} for ${seconds(lastsMs)}`);
    if (kind === 'kill-controller') {
      await deployment.killController();
      await sleep(lastsMs).finally(() => deployment.restartController());
    } else if (kind === 'freeze-api') {
      api.faults.pause();
      await sleep(lastsMs).finally(() => api.faults.resume());
    } else {
      await api.stop();
      await sleep(lastsMs).finally(() => api.start());
    }
    return true;
  }
}
