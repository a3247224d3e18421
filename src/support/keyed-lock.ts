/**
 * One holder at a time for each key. Shared by CSI calls (busy: ABORTED) and reconcilers (busy: later). Test and set happen in
 * one synchronous step, and a key that nobody holds takes no memory.
 */
export class KeyedLock {
  readonly #holders = new Map<string, string>();

  /** Takes the key and returns its release, which works once; undefined when somebody has it. `holder` says who, for messages. */
  tryAcquire(key: string, holder: string): (() => void) | undefined {
    if (this.#holders.has(key)) return undefined;
    this.#holders.set(key, holder);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#holders.delete(key);
    };
  }

  /** Who has the key; undefined when nobody has. */
  holderOf(key: string): string | undefined {
    return this.#holders.get(key);
  }

  /** Keys that are held. */
  get size(): number {
    return this.#holders.size;
  }
}
