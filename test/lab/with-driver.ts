import type { Deployment, DeploymentOptions } from './deployment.ts';
import { deploy } from './deployment.ts';
import { Kubelet } from './kubelet.ts';
import type { Machine } from './machine.ts';
import { remainsAnywhere } from './remains.ts';
import type { ScenarioContext } from './scenario.ts';

export interface Driver {
  readonly deployment: Deployment;
  readonly kubelet: Kubelet;
}

const READY_LIMIT_MS = 120_000;

/** Waits until every drive of these nodes is usable. */
export async function untilUsable(
  deployment: Pick<Deployment, 'list' | 'kubectl'>,
  machines: readonly Machine[],
): Promise<void> {
  const count = machines.reduce((sum, machine) => sum + machine.spec.drives.length, 0);
  const deadline = Date.now() + READY_LIMIT_MS;
  for (;;) {
    const listed = await deployment.list('meshstornodedevices');
    const usable = listed.filter((device) => conditionOf(device, 'Usable')?.status === 'True');
    if (usable.length >= count) return;
    if (Date.now() > deadline)
      throw new Error(`${usable.length} of ${count} drives are usable:\n${await deployment.kubectl('get', 'msnd')}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

interface WithConditions {
  readonly status?: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason: string;
      readonly message: string;
    }[];
  };
}

export function conditionOf(object: WithConditions, type: string) {
  return object.status?.conditions?.find((condition) => condition.type === type);
}

/** Drives as they were delivered: no table, no superblock, nothing at the ends. */
export async function blankDrives(machine: Machine): Promise<void> {
  await machine.run(
    `for disk in /dev/nvme?n1; do
       wipefs -aq "$disk"; size=$(blockdev --getsz "$disk")
       dd if=/dev/zero of="$disk" bs=1M count=2 conv=fsync status=none
       dd if=/dev/zero of="$disk" bs=512 seek=$((size - 4096)) count=4096 conv=fsync status=none
       blockdev --rereadpt "$disk" || partx -d "$disk" || true
     done`,
    { timeoutMs: 60_000 },
  );
}

/** Runs the work with the driver deployed on every node of the lab, and leaves the lab as it was. */
export async function withDriver(
  context: ScenarioContext,
  options: DeploymentOptions,
  work: (driver: Driver) => Promise<void>,
): Promise<void> {
  const { cluster, step } = context;
  const deployment = await step('controller and node roles start', () => deploy(cluster, options));
  try {
    await work({ deployment, kubelet: new Kubelet(deployment) });
    const remains = await remainsAnywhere(cluster.nodes);
    if (remains.length > 0) throw new Error(`something is left over:\n${remains.join('\n')}`);
  } finally {
    await deployment.stop();
  }
  await Promise.all(cluster.nodes.map(blankDrives));
}
