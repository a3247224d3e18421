/** What preflight has found on this machine, kept while the node role runs. Nothing at a start waits for it. */
import type { Log } from '../support/log.ts';
import { errorFields } from '../support/log.ts';
import type { PreflightFacts } from './preflight.ts';
import { evaluatePreflight, fatalSummary } from './preflight.ts';

export interface PreflightParts {
  readonly gather: () => Promise<PreflightFacts>;
  /** Seconds as the running module has them; undefined while it is not loaded. */
  readonly liveQueueTimeout: () => Promise<number | undefined>;
  readonly log: Log;
  /** While something fatal is found everything is looked at again this often; programs are started for it. */
  readonly retryMs?: number;
}

/** What the rest of the node role sees of it. */
export interface Preflight {
  /** Fatal findings in one line, empty when there are none; undefined before the first look has ended. */
  readonly known: string | undefined;
  /** The same; waits for the first look. */
  fatalFindings(): Promise<string>;
  /** Looks at the one fact that a person changes while we run and that loses data at once: one read of sysfs. */
  lookAgain(): Promise<void>;
  /** Called when the findings became others. */
  onChange(listener: () => void): void;
}

const RETRY_MS = 60_000;

export class PreflightWatch implements Preflight {
  readonly #parts: PreflightParts;
  readonly #listeners: (() => void)[] = [];
  #known: string | undefined;
  #facts: PreflightFacts | undefined;
  #looking: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(parts: PreflightParts) {
    this.#parts = parts;
  }

  get known(): string | undefined {
    return this.#known;
  }

  async fatalFindings(): Promise<string> {
    if (this.#known === undefined) await this.look();
    return this.#known ?? '';
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** A whole look; one that is asked for while one runs is that one. Never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async lookAgain(): Promise<void> {
    if (this.#facts === undefined) return;
    const queueTimeoutSecs = await this.#parts.liveQueueTimeout();
    if (queueTimeoutSecs === undefined || queueTimeoutSecs === this.#facts.queueTimeoutSecs) return;
    this.#judge({ ...this.#facts, queueTimeoutSecs });
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    try {
      this.#judge(await this.#parts.gather());
    } catch (error) {
      this.#parts.log.error('preflight could not run', { error: errorFields(error) });
      this.#say(`preflight could not run: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #judge(facts: PreflightFacts): void {
    this.#facts = facts;
    const found = evaluatePreflight(facts);
    const fatal = fatalSummary(found);
    if (fatal !== this.#known) {
      for (const { id, severity, what, why, fix } of found) {
        if (severity !== 'ok') this.#parts.log.warn('preflight finding', { id, severity, what, why, fix });
      }
    }
    this.#say(fatal);
  }

  #say(fatal: string): void {
    clearTimeout(this.#timer);
    if (fatal !== '' && !this.#stopped) {
      this.#timer = setTimeout(() => void this.look(), this.#parts.retryMs ?? RETRY_MS);
    }
    if (fatal === this.#known) return;
    this.#known = fatal;
    for (const listener of this.#listeners) listener();
  }
}
