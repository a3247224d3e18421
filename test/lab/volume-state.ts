import { setTimeout as sleep } from 'node:timers/promises';
import type { Deployment } from './deployment.ts';

const STATE_LIMIT_MS = 240_000;

/** The states of a volume's members by node, as its object says. */
export async function memberStates(
  deployment: Pick<Deployment, 'object'>,
  volumeId: string,
): Promise<Readonly<Record<string, string>>> {
  const volume = await deployment.object('meshstorvolumes', volumeId);
  return Object.fromEntries((volume?.status?.partitions ?? []).map(({ nodeID, state }) => [nodeID, state]));
}

/** Waits until the members' states are as wanted. */
export async function untilStates(
  deployment: Pick<Deployment, 'object'>,
  volumeId: string,
  isWanted: (states: Readonly<Record<string, string>>) => boolean,
): Promise<void> {
  const deadline = Date.now() + STATE_LIMIT_MS;
  for (;;) {
    const states = await memberStates(deployment, volumeId);
    if (isWanted(states)) return;
    if (Date.now() > deadline) throw new Error(`the members of ${volumeId} are ${JSON.stringify(states)}`);
    await sleep(300);
  }
}

/** Waits until both copies of a volume of two are `Synced`. */
export async function untilSynced(deployment: Pick<Deployment, 'object'>, volumeId: string): Promise<void> {
  await untilStates(deployment, volumeId, (states) => {
    const list = Object.values(states);
    return list.length === 2 && list.every((state) => state === 'Synced');
  });
}
