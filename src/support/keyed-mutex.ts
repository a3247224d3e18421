/**
 * One queue for each key: whoever asks for a key that is taken waits its turn. Unlike `KeyedLock`, which refuses, this is
 * for work that must happen and may wait: rounds of reconcilers and of CSI calls on one volume.
 */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<void>>();

  /**
   * Runs `work` when everybody who asked for `key` before has finished. Rejects with the signal's reason when it aborts
   * while waiting; once `work` runs it is never cut off. Failures of `work` are the caller's alone.
   */
  async run<T>(key: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    let release = (): void => undefined;
    const done = new Promise<void>((resolve) => (release = resolve));
    const tail = (before ?? Promise.resolve()).then(() => done);
    this.#tails.set(key, tail);
    try {
      await waitFor(before, signal);
      return await work();
    } finally {
      release();
      // Only when everybody before has finished too: one that gave up waiting must not make the key look free.
      void tail.then(() => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key);
      });
    }
  }

  isBusy(key: string): boolean {
    return this.#tails.has(key);
  }
}

function waitFor(before: Promise<void> | undefined, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  if (before === undefined) return Promise.resolve();
  if (signal === undefined) return before;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
    signal.addEventListener('abort', onAbort, { once: true });
    void before.then(() => {
      signal.removeEventListener('abort', onAbort);
      if (!signal.aborted) resolve();
    });
  });
}
