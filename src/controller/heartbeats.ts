import type { MeshStorNodeDevice } from '../api/node-device.ts';
import type { ObjectStore } from '../api/object.ts';
import type { ControllerClock } from './parts.ts';

/** Older heartbeats count as silence (SPEC §2). */
export const HEARTBEAT_LIMIT_MS = 60_000;

interface Beat {
  readonly updatedAt: string;
  /** On our own clock. */
  readonly seenAtMs: number;
}

/**
 * How long ago each drive's heartbeat changed, on the observer's clock: the writers' clocks are not trusted. Only of a heartbeat
 * seen for the first time is the age guessed from its own time; that guess ends with the next beat.
 */
export class Heartbeats {
  readonly #devices: ObjectStore<MeshStorNodeDevice>;
  readonly #clock: ControllerClock;
  readonly #beats = new Map<string, Beat>();
  readonly #unsubscribe: () => void;

  constructor(devices: ObjectStore<MeshStorNodeDevice>, clock: ControllerClock) {
    this.#devices = devices;
    this.#clock = clock;
    this.#unsubscribe = devices.onChange((name) => this.#look(name));
    for (const device of devices.list()) this.#look(device.metadata.name);
  }

  stop(): void {
    this.#unsubscribe();
  }

  /** Of one drive; infinite when it never beat. */
  ageMs(device: MeshStorNodeDevice): number {
    this.#look(device.metadata.name);
    const beat = this.#beats.get(device.metadata.name);
    return beat === undefined ? Number.POSITIVE_INFINITY : Math.max(0, this.#clock.now() - beat.seenAtMs);
  }

  /** Of the youngest heartbeat among a node's drives. */
  ageOfNodeMs(node: string): number {
    const ages = this.#devices.list().flatMap((device) => (device.spec.node === node ? [this.ageMs(device)] : []));
    return Math.min(Number.POSITIVE_INFINITY, ...ages);
  }

  isNodeFresh(node: string): boolean {
    return this.ageOfNodeMs(node) <= HEARTBEAT_LIMIT_MS;
  }

  /** At most just over the limit: a longer silence has to be heard, not computed. */
  #guess(updatedAt: string): number {
    const claimed = Date.parse(updatedAt);
    const now = this.#clock.now();
    if (Number.isNaN(claimed)) return now;
    return Math.min(now, Math.max(claimed, now - HEARTBEAT_LIMIT_MS - 1));
  }

  #look(name: string): void {
    const updatedAt = this.#devices.get(name)?.status?.updatedAt;
    const known = this.#beats.get(name);
    if (updatedAt === undefined) {
      this.#beats.delete(name);
    } else if (known === undefined) {
      this.#beats.set(name, { updatedAt, seenAtMs: this.#guess(updatedAt) });
    } else if (known.updatedAt !== updatedAt) {
      this.#beats.set(name, { updatedAt, seenAtMs: this.#clock.now() });
    }
  }
}
