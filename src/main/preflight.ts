/** Preflight of this machine at the start of the node role. */
import type { NodeOptions } from '../cli/options.ts';
import { evaluatePreflight, fatalSummary } from '../node/preflight.ts';
import { gatherPreflightFacts, machineSources, threadPoolSize } from '../node/preflight-facts.ts';
import type { Log } from '../support/log.ts';
import { errorFields } from '../support/log.ts';

/** While something fatal is found it is looked at again this often; programs are started for it. */
const RETRY_EVERY_MS = 60_000;

export interface PreflightWatch {
  /** Fatal findings in one line; empty when there are none. */
  readonly fatalFindings: () => string;
  stop(): void;
}

/** Judges the machine once, logs what it finds, and goes on looking only while something fatal keeps stages from starting. */
export async function watchPreflight(options: NodeOptions, log: Log): Promise<PreflightWatch> {
  let fatal = '';
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    try {
      const facts = await gatherPreflightFacts({
        ...machineSources(options),
        threadPoolSize: threadPoolSize(process.env),
      });
      const found = evaluatePreflight(facts);
      for (const { id, severity, what, why, fix } of found) {
        if (severity !== 'ok') log.warn('preflight finding', { id, severity, what, why, fix });
      }
      fatal = fatalSummary(found);
    } catch (error) {
      log.error('preflight failed', { error: errorFields(error) });
    }
    if (fatal !== '') timer = setTimeout(() => void look(), RETRY_EVERY_MS);
  };
  await look();
  return {
    fatalFindings: () => fatal,
    stop: () => {
      clearTimeout(timer);
    },
  };
}
