import type { NodeInfo } from './object.ts';

/** Kubernetes: an administrator says that the node is off. */
const OUT_OF_SERVICE_TAINT = 'node.kubernetes.io/out-of-service';

/**
 * Nobody waits for this node: it has no Node object (any more), or an administrator calls it off. Never a ground to believe that it
 * runs nothing: it is cut off all the same (SPEC §7.5).
 */
export function isOutOfService(node: NodeInfo | undefined): boolean {
  return node?.taints.some(({ key }) => key === OUT_OF_SERVICE_TAINT) ?? true;
}
