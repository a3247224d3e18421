import { fileURLToPath } from 'node:url';
import type { Scenario } from '../scenario.ts';

const GUEST = fileURLToPath(new URL('native-storage-guest.ts', import.meta.url));
const CHECKOUT = fileURLToPath(new URL('../../..', import.meta.url));

/** The addon's calls about guards, arrays, mounts and events, each against a real kernel. */
export const nativeStorage: Scenario = {
  name: 'native-storage',
  title: 'the addon makes guards and reads arrays, holds a recovery, and takes down a stuck filesystem',
  nodes: 1,
  async run({ cluster, step, note }) {
    const output = await step('the addon against the kernel of node1', () =>
      cluster.node('node1').run(`cd ${CHECKOUT} && node --import tsx ${GUEST}`, { timeoutMs: 180_000 }),
    );
    for (const line of output.trim().split('\n')) note(line);
  },
};
