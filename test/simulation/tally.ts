/** Counts over all runs: what befell, and which transitions of the state table were made. */
import { PARTITION_TRANSITIONS } from '../../src/plan/lifecycle.ts';

export class Tally {
  readonly faults = new Map<string, number>();
  readonly transitions = new Map<string, number>();
  readonly things = new Map<string, number>();

  fault(kind: string): void {
    bump(this.faults, kind);
  }

  transition(from: string, to: string): void {
    bump(this.transitions, `${from}>${to}`);
  }

  thing(kind: string): void {
    bump(this.things, kind);
  }
}

function bump(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

export const ALL_TRANSITIONS: readonly string[] = PARTITION_TRANSITIONS.map(({ from, to }) => `${from}>${to}`);
