/** A holder goes away under writes and comes back: pods write on, and nobody lifts a hand (SPEC §7.2, §8). */
import { createVolume } from '../kubelet.ts';
import type { PodVolume } from '../kubelet.ts';
import type { Machine } from '../machine.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import { memberStates, untilStates, untilSynced } from '../volume-state.ts';
import type { Driver } from '../with-driver.ts';
import { untilUsable, withDriver } from '../with-driver.ts';

const MIB = 1024 * 1024;
const WRITE_LIMIT_MS = 120_000;

/** One record, on disk when the command ends. */
const record = (path: string, text: string): string => `echo '${text}' >> ${path}/records && sync ${path}/records`;

/** What the guards are, and where the threads of the node process wait. */
const guards = (machine: Machine): Promise<string> =>
  machine.run(
    `dmsetup table --target multipath; dmsetup status; cat /proc/mdstat
     for task in /proc/$(pgrep -of 'meshstor.mjs node')/task/*; do
       echo "$(cat $task/comm) $(cat $task/wchan)"; head -4 $task/stack; done
     node -e 'fetch("http://127.0.0.1:9810/metrics").then((r) => r.text()).then((t) => console.log(t))' | grep -v '^#' | head -150`,
  );

/** No member may have a bad-block log (SPEC §7.3), which mdadm gives to new members unless told otherwise. */
async function checkMembers(machine: Machine): Promise<void> {
  const found = await machine.run(
    `for guard in $(dmsetup ls --target multipath | cut -f1); do
       mdadm --examine /dev/mapper/$guard | grep -q 'Bad Block Log' && echo "$guard has a bad-block log"
       mdadm --examine /dev/mapper/$guard | grep 'Data Offset'
     done; true`,
  );
  const lines = found.trim().split('\n');
  if (lines.length !== 2 || lines.some((line) => !line.includes('16384 sectors')))
    throw new Error(`members are not as they were made:\n${found}`);
}

async function isWriteMostly(machine: Machine): Promise<void> {
  const flags = await machine.run(`cat /sys/block/md*/md/dev-*/state`);
  if (
    flags
      .trim()
      .split('\n')
      .filter((line) => line.includes('write_mostly')).length !== 1
  )
    throw new Error(`one member is write-mostly, not:\n${flags}`);
}

/** Cut off under writes: the write ends once the loss is recorded, and the link's return brings the member back by its bitmap. */
async function cutOff(
  { cluster, note }: ScenarioContext,
  driver: Driver,
  volume: PodVolume,
  far: Machine,
): Promise<void> {
  const node1 = cluster.node('node1');
  const { volumeId, targetPath } = volume;
  await node1.run(record(targetPath, 'before'));
  await far.cutNetwork();
  const startedAt = Date.now();
  await node1.run(record(targetPath, 'while it is cut off'), { timeoutMs: WRITE_LIMIT_MS });
  note(`a write after the cut took ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
  await untilStates(
    driver.deployment,
    volumeId,
    (states) => states[node1.spec.name] === 'Synced' && states[far.spec.name] === 'Missing',
  );
  await node1.run(`dd if=/dev/zero of=${targetPath}/filler bs=1M count=16 conv=fsync status=none`, {
    timeoutMs: WRITE_LIMIT_MS,
  });
  await far.restoreNetwork();
  await untilSynced(driver.deployment, volumeId);
  await checkMembers(node1);
  await isWriteMostly(node1);
}

/** Its kernel is another one afterwards: what its drive had acknowledged may be gone, so the member is filled anew. */
async function restarted({ cluster }: ScenarioContext, driver: Driver, volume: PodVolume, far: Machine): Promise<void> {
  const node1 = cluster.node('node1');
  const { volumeId, targetPath } = volume;
  await far.reset();
  await node1.run(record(targetPath, 'while it boots'), { timeoutMs: WRITE_LIMIT_MS });
  await untilStates(driver.deployment, volumeId, (states) => states[far.spec.name] === 'Missing');
  await driver.deployment.node(far.spec.name).start();
  await untilSynced(driver.deployment, volumeId);
  await checkMembers(node1);
}

async function run(context: ScenarioContext): Promise<void> {
  const { step, cluster, note } = context;
  await withDriver(context, { nodeEnv: { MESHSTOR_LOG_LEVEL: 'debug' } }, async (driver) => {
    const { deployment, kubelet } = driver;
    await untilUsable(deployment, cluster.nodes);
    const wanted = { name: 'heal', sizeBytes: 512 * MIB, consumer: 'node1' };
    const volumeId = await createVolume(deployment.controller, wanted);
    const volume = await step('a volume is up on node1', () => kubelet.bringUp(volumeId, 'node1'));
    const far = cluster.node(
      Object.keys(await memberStates(deployment, volumeId)).find((node) => node !== 'node1') ?? 'none',
    );
    await step('its holder is cut off under writes, and comes back', () => cutOff(context, driver, volume, far)).catch(
      async (error: unknown) => {
        note(await guards(cluster.node('node1')));
        throw error;
      },
    );
    await step('its holder restarts under writes', () => restarted(context, driver, volume, far));
    await step('every record is there, on the other member too', async () => {
      await kubelet.takeDown(volume);
      const moved = await kubelet.bringUp(volumeId, far.spec.name);
      const found = await far.run(`cat ${moved.targetPath}/records`);
      if (found !== 'before\nwhile it is cut off\nwhile it boots\n') throw new Error(`found:\n${found}`);
      await kubelet.takeDown(moved);
    });
    await step('deleted', () => kubelet.deleteVolume(volumeId));
  });
}

export const driverHeal: Scenario = {
  name: 'driver-heal',
  title: 'a holder that is cut off or restarts costs its member for a while, and comes back by itself',
  nodes: 3,
  run,
};
