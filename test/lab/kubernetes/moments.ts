import type { Api, WatchEvent } from '../../kube/contract/server.ts';

/** When things happened, on this process's clock, as watches tell of them. */
export class Moments {
  readonly #at = new Map<string, number>();
  readonly #cut = new AbortController();
  readonly #watches: Promise<void>[] = [];

  /** Notes the first time at which `nameOf` says something of an event of this collection. */
  watch(api: Api, path: string, nameOf: (event: WatchEvent) => readonly string[]): void {
    const { signal } = this.#cut;
    const read = async (): Promise<void> => {
      const lines = await api.client.stream({ path, query: { watch: '1' }, doing: 'watch', signal });
      for await (const line of lines) for (const name of nameOf(JSON.parse(line) as WatchEvent)) this.note(name);
    };
    this.#watches.push(
      read().catch((error: unknown) => {
        if (!signal.aborted) this.note(`a watch has failed: ${String(error)}`);
      }),
    );
  }

  note(name: string): void {
    if (!this.#at.has(name)) this.#at.set(name, performance.now());
  }

  /** Milliseconds from one moment to another; throws when one has not been seen. */
  between(from: string, to: string): number {
    const [start, end] = [from, to].map((name) => {
      const at = this.#at.get(name);
      if (at === undefined) throw new Error(`"${name}" was not seen; seen: ${[...this.#at.keys()].join(', ')}`);
      return at;
    }) as [number, number];
    return end - start;
  }

  async stop(): Promise<void> {
    this.#cut.abort();
    await Promise.all(this.#watches);
  }
}
