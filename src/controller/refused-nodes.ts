import type { MeshStorVolume, PartitionStatus } from '../api/volume.ts';
import type { ControllerClock } from './parts.ts';

/** A node that could not make a partition is left out for this time: its inventory may still say that there is room. */
const REFUSAL_MS = 60_000;

/**
 * Which nodes took back a `Requested` entry, by volume. Only a memory against endless asking: it is lost with the process, and
 * nothing depends on it.
 */
export class RefusedNodes {
  readonly #clock: ControllerClock;
  readonly #requested = new Map<string, readonly PartitionStatus[]>();
  readonly #refusals = new Map<string, Map<string, number>>();

  constructor(clock: ControllerClock) {
    this.#clock = clock;
  }

  /** Compares with the last look: an entry that was `Requested` and is not listed any more was refused. */
  look(name: string, volume: MeshStorVolume | undefined): void {
    if (volume === undefined) {
      this.#requested.delete(name);
      this.#refusals.delete(name);
      return;
    }
    const listed = new Set((volume.status?.partitions ?? []).map((entry) => entry.partitionUUID));
    for (const entry of this.#requested.get(name) ?? []) {
      if (!listed.has(entry.partitionUUID)) this.#refuse(name, entry.nodeID);
    }
    this.#requested.set(
      name,
      (volume.status?.partitions ?? []).filter((entry) => entry.state === 'Requested'),
    );
  }

  /** Nodes that refused it lately and are left out until their time is over. */
  nodesFor(name: string): readonly string[] {
    const refusals = this.#refusals.get(name);
    if (refusals === undefined) return [];
    const oldest = this.#clock.now() - REFUSAL_MS;
    for (const [node, at] of refusals) if (at < oldest) refusals.delete(node);
    return [...refusals.keys()].sort();
  }

  #refuse(name: string, node: string): void {
    const refusals = this.#refusals.get(name) ?? new Map<string, number>();
    refusals.set(node, this.#clock.now());
    this.#refusals.set(name, refusals);
  }
}
