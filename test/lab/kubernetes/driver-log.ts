/**
 * What the driver's log tells of CSI calls. A call that was refused is made again by whoever needs it: what counts is the time
 * from the first of them to the answer.
 */
export interface Served {
  readonly rpc: string;
  readonly volumeId: string;
  /** When it was done, on the clock of the machine with the log. */
  readonly at: number;
  /** From when it was first asked for until it was done, refusals and the caller's pauses included. */
  readonly ms: number;
  /** How many times before this process has answered the same for this volume, and node where one is named. */
  readonly before: number;
}

export interface DriverCalls {
  readonly served: readonly Served[];
  /** Calls that were not answered with OK, by `RPC CODE`. */
  readonly refused: ReadonlyMap<string, number>;
}

interface Entry {
  readonly ts?: string;
  readonly msg?: string;
  readonly rpc?: string;
  readonly requestId?: string;
  readonly code?: string;
  readonly request?: { readonly volumeId?: string; readonly name?: string; readonly nodeId?: string };
}

function entryOf(line: string): Entry {
  try {
    return JSON.parse(line) as Entry;
  } catch {
    return {}; // Something else that the process said.
  }
}

/** Reads the log of one process. Calls that are about no volume are left out of what was served. */
export function driverCalls(log: string): DriverCalls {
  const served: Served[] = [];
  const refused = new Map<string, number>();
  const asked = new Map<string, { readonly volumeId: string; readonly key: string; readonly askedAt: number }>();
  const firstAsked = new Map<string, number>();
  const done = new Map<string, number>();
  for (const { ts = '', msg, rpc = '', requestId = '', code = '', request } of log.split('\n').map(entryOf)) {
    const at = Date.parse(ts);
    if (msg === 'call received') {
      const volumeId = request?.volumeId ?? request?.name;
      if (volumeId === undefined) continue;
      const key = `${rpc} ${volumeId} ${request?.nodeId ?? ''}`;
      asked.set(requestId, { volumeId, key, askedAt: at });
      if (!firstAsked.has(key)) firstAsked.set(key, at);
    }
    if (msg === 'call refused') refused.set(`${rpc} ${code}`, (refused.get(`${rpc} ${code}`) ?? 0) + 1);
    const call = asked.get(requestId);
    if (msg !== 'call answered' || call === undefined) continue;
    const { volumeId, key, askedAt } = call;
    const before = done.get(key) ?? 0;
    served.push({ rpc, volumeId, at, ms: at - (firstAsked.get(key) ?? askedAt), before });
    done.set(key, before + 1);
    firstAsked.delete(key);
  }
  return { served, refused };
}
