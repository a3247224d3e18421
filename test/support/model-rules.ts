/** What the steps of every role on the model have in common: the safety rules, who writes, and the removal of legs. */
import { legNameFor } from '../../src/api/names.ts';
import type { VolumeStatus } from '../../src/api/volume.ts';
import type { Who } from '../../src/plan/owner.ts';
import type { ModelCluster, ModelNode } from './model-cluster.ts';

/** A safety rule was broken. */
export class Broken extends Error {}
/** A step that fails without harm: a holder that is away. */
export class Away extends Error {}

export function must(holds: boolean, rule: string): asserts holds {
  if (!holds) throw new Broken(rule);
}

export function whoOf(cluster: ModelCluster, node: ModelNode): Who {
  const { nodeName, machineID } = cluster.identity(node);
  const { attachmentEpoch, attachmentID } = cluster.status;
  return { nodeName, machineID, epoch: attachmentEpoch, attachmentID };
}

export function record(cluster: ModelCluster, next: VolumeStatus | undefined): void {
  if (next !== undefined) cluster.status = next;
}

export function removeLeg(cluster: ModelCluster, node: ModelNode, name: string): void {
  const leg = node.legs.find((seen) => seen.name === name);
  if (leg === undefined) return;
  const isMember =
    node.array?.members.some((member) => legNameFor(member.partitionUUID, member.epoch) === name) ?? false;
  must(!isMember, 'a leg is removed only when no array has it');
  must(
    !node.exports.some((seen) => seen.namespaces[0]?.devicePath === leg.path),
    'a leg is removed only when it is not exported',
  );
  node.legs = node.legs.filter((seen) => seen !== leg);
  cluster.refreshPaths(node);
}
