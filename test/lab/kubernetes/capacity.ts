import { TOPOLOGY_KEY } from '../../../src/api/names.ts';
import type { Api } from '../../kube/contract/server.ts';
import { bytesOf } from './quantity.ts';

const CAPACITIES = '/apis/storage.k8s.io/v1/namespaces/storage/csistoragecapacities';

interface Capacity {
  readonly storageClassName: string;
  readonly capacity?: string;
  readonly nodeTopology?: { readonly matchLabels?: Readonly<Record<string, string>> };
}

/** Bytes that CSIStorageCapacity objects show for a class, by node. */
export async function capacityByNode(api: Api, storageClass: string): Promise<ReadonlyMap<string, number>> {
  const items = (await api.list(CAPACITIES)).items as unknown as readonly Capacity[];
  const ours = items.filter((one) => one.storageClassName === storageClass);
  return new Map(
    ours.flatMap(({ capacity, nodeTopology }) => {
      const node = nodeTopology?.matchLabels?.[TOPOLOGY_KEY];
      return node === undefined || capacity === undefined ? [] : [[node, bytesOf(capacity)] as const];
    }),
  );
}

/** Whether the objects are there for all nodes, each with an amount that is as wanted. */
export function allAre(
  found: ReadonlyMap<string, number>,
  nodes: readonly string[],
  isWanted: (bytes: number, node: string) => boolean,
): boolean {
  return nodes.every((node) => {
    const bytes = found.get(node);
    return bytes !== undefined && isWanted(bytes, node);
  });
}
