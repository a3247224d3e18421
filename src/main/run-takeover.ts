/** `meshstor takeover`: a person decides to go on with an older copy. Works on the objects alone, from wherever the API is reached. */
import { DomainError } from '../api/errors.ts';
import { VOLUME_KIND } from '../api/names.ts';
import type { MeshStorVolume, PartitionStatus } from '../api/volume.ts';
import type { TakeoverOptions } from '../cli/options.ts';
import { programVersion } from '../cli/version.ts';
import { HEARTBEAT_LIMIT_MS } from '../controller/heartbeats.ts';
import {
  createKubeClient,
  createNodeDeviceStore,
  createVolumeStore,
  KubeEventRecorder,
  systemClock,
} from '../kube/index.ts';
import type { KubeClient } from '../kube/index.ts';
import type { Takeover } from '../plan/takeover.ts';
import { takeOver } from '../plan/takeover.ts';
import { describeMember } from '../plan/view.ts';
import type { Log } from '../support/log.ts';

const LIST_LIMIT_MS = 30_000;

/** A person reads the answer, not a log. */
const QUIET: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** Nodes of which a drive's heartbeat is of the last minute, by the clock of here. */
async function freshNodes(client: KubeClient): Promise<ReadonlySet<string>> {
  const devices = createNodeDeviceStore({ client, log: QUIET });
  devices.start();
  const late = AbortSignal.timeout(LIST_LIMIT_MS);
  try {
    await Promise.race([
      devices.synced,
      new Promise((_, reject) => {
        late.addEventListener('abort', () => {
          reject(new DomainError('unavailable', 'listing node devices: the API does not answer; nothing was changed'));
        });
      }),
    ]);
    const isFresh = (updatedAt = ''): boolean => Math.abs(Date.now() - Date.parse(updatedAt)) <= HEARTBEAT_LIMIT_MS;
    return new Set(devices.list().flatMap(({ spec, status }) => (isFresh(status?.updatedAt) ? [spec.node] : [])));
  } finally {
    await devices.stop();
  }
}

function listed(members: readonly PartitionStatus[]): readonly string[] {
  return members.map((entry) => `  ${describeMember(entry)}: ${entry.state} since ${entry.updatedAt}`);
}

function describeTakeover(name: string, { chosen, givenUp }: Takeover): readonly string[] {
  return [
    `volume ${name} goes on with`,
    ...listed(chosen),
    ...(givenUp.length === 0 ? [] : ['and gives up what is only on', ...listed(givenUp)]),
    'What was written after the copy was left out is lost. A program on a node that is cut off may still believe that it writes.',
  ];
}

async function decide(
  options: TakeoverOptions,
  client: KubeClient,
): Promise<{ readonly takeover: Takeover; readonly volume: MeshStorVolume }> {
  const volumes = createVolumeStore({ client, log: QUIET });
  const wish = { members: options.members, freshNodes: await freshNodes(client) };
  const now = new Date().toISOString().replace(/\.\d{3}Z$/, 'Z');
  const found = await volumes.read(options.volume);
  if (found === undefined) throw new DomainError('notFound', `taking over volume ${options.volume}: there is none`);
  let takeover = takeOver(found, wish, now);
  if (!options.acceptDataLoss) return { takeover, volume: found };
  const volume = await volumes.mutateStatus(options.volume, (current) => {
    takeover = takeOver(current, wish, now);
    return takeover.status;
  });
  return { takeover, volume };
}

/** Resolves to the exit code: 0 when it was done, 1 when it was only said or refused. */
export async function runTakeover(
  options: TakeoverOptions,
  print: (text: string) => void,
  complain: (text: string) => void,
): Promise<number> {
  const kubeconfig = options.kubeconfig === undefined ? {} : { kubeconfig: options.kubeconfig };
  const client = createKubeClient({ ...kubeconfig, userAgent: `meshstor-takeover/${programVersion()}` });
  try {
    const { takeover, volume } = await decide(options, client);
    print(`${describeTakeover(options.volume, takeover).join('\n')}\n`);
    if (!options.acceptDataLoss) {
      print('Nothing was changed. To do it: the same again with --accept-data-loss\n');
      return 1;
    }
    const events = new KubeEventRecorder({ client, log: QUIET, clock: systemClock });
    const about = { kind: VOLUME_KIND, name: volume.metadata.name, uid: volume.metadata.uid };
    const message = `what was written after it was left out is given up: goes on with ${takeover.chosen.map(describeMember).join(', ')}`;
    events.record(about, 'Warning', 'TakenOver', message);
    print('Done. It starts as soon as a pod needs it.\n');
    return 0;
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    complain(`meshstor: ${error.message}\n`);
    return 1;
  }
}
