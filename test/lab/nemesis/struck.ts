import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_MS = 100;

/** What keeps faults that run side by side from meeting where they must not. */
export class Struck {
  #machine: string | undefined;
  #pathFaults = 0;
  #hasNoPathFaults = false;
  #needsMachines = 0;

  /** The node that is out now. Nothing is asked of it: it may stand still. */
  get machine(): string | undefined {
    return this.#machine;
  }

  async withMachine(node: string, work: () => Promise<void>): Promise<void> {
    while (this.#needsMachines > 0) await sleep(LOOK_MS);
    this.#machine = node;
    try {
      await work();
    } finally {
      this.#machine = undefined;
    }
  }

  /** Paths are whole when the work begins and until it ends. */
  async withoutPathFaults<T>(work: () => Promise<T>): Promise<T> {
    this.#hasNoPathFaults = true;
    try {
      while (this.#pathFaults > 0) await sleep(LOOK_MS);
      return await work();
    } finally {
      this.#hasNoPathFaults = false;
    }
  }

  async withPathFault(work: () => Promise<boolean>): Promise<boolean> {
    while (this.#hasNoPathFaults) await sleep(LOOK_MS);
    this.#pathFaults += 1;
    try {
      return await work();
    } finally {
      this.#pathFaults -= 1;
    }
  }

  /** No node goes out before the work has ended: a machine that stands still would not do its part of it. */
  async withMachinesAwake<T>(work: () => Promise<T>): Promise<T> {
    this.#needsMachines += 1;
    try {
      return await work();
    } finally {
      this.#needsMachines -= 1;
    }
  }
}
