/** This node's own Node object: its addresses, and the labels that drive selectors ask for. Read in the pass, never at start. */
import type { NodeInfo } from '../api/object.ts';
import type { Log } from '../support/log.ts';
import { errorFields } from '../support/log.ts';
import type { NodeReader } from './volume-worlds.ts';
import { addressesOf } from './volume-worlds.ts';

export interface OwnNodeParts {
  readonly nodes: NodeReader;
  readonly nodeName: string;
  /** A drive selector asks for labels: they are read again now and then. */
  readonly needsLabels: boolean;
  readonly log: Log;
  /** Monotonic milliseconds. */
  readonly clock?: () => number;
}

/** Labels are changed by people. */
const LABELS_EVERY_MS = 60_000;

export class OwnNode {
  readonly #parts: OwnNodeParts;
  readonly #clock: () => number;
  #info: NodeInfo | undefined;
  #askedAt = 0;

  constructor(parts: OwnNodeParts) {
    this.#parts = parts;
    this.#clock = parts.clock ?? (() => performance.now());
  }

  /** None before the object was read. */
  get labels(): Readonly<Record<string, string>> {
    return this.#info?.metadata.labels ?? {};
  }

  get addresses(): ReturnType<typeof addressesOf> | undefined {
    return this.#info === undefined ? undefined : addressesOf(this.#info);
  }

  /** Waits for an answer only as long as nothing is known. What fails is logged, and what was known stays. */
  async refresh(): Promise<void> {
    if (this.#info === undefined) return this.#read();
    if (!this.#parts.needsLabels || this.#clock() - this.#askedAt < LABELS_EVERY_MS) return;
    void this.#read();
  }

  async #read(): Promise<void> {
    const { nodes, nodeName, log } = this.#parts;
    this.#askedAt = this.#clock();
    const consequence = this.#info === undefined ? 'its labels and addresses are unknown' : 'its labels may be old';
    try {
      const info = await nodes.read(nodeName);
      if (info === undefined) {
        log.warn('own node not found', {
          node: nodeName,
          consequence,
          fix: 'compare --node-name with kubectl get nodes',
        });
        return;
      }
      this.#info = info;
    } catch (error) {
      log.warn('own node not read', { node: nodeName, consequence, error: errorFields(error) });
    }
  }
}
