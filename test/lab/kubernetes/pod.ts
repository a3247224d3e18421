import type { Api, Wire } from '../../kube/contract/server.ts';

export interface Pod extends Wire {
  readonly metadata: Wire['metadata'] & { readonly namespace: string };
  readonly spec: {
    readonly nodeName?: string;
    readonly serviceAccountName?: string;
    readonly containers: readonly { readonly name: string; readonly args?: readonly string[] }[];
    readonly volumes?: readonly { readonly persistentVolumeClaim?: { readonly claimName: string } }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[];
  };
}

export function claimOf(pod: Pod): string | undefined {
  return pod.spec.volumes?.find((volume) => volume.persistentVolumeClaim)?.persistentVolumeClaim?.claimName;
}

export function podPath({ metadata }: Pod): string {
  return `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}`;
}

/** An event about a pod, as kubelet sends it. */
export async function warn(api: Api, pod: Pod, node: string, reason: string, message: string): Promise<void> {
  const { name, namespace, uid } = pod.metadata;
  const now = new Date().toISOString();
  await api.create(`/api/v1/namespaces/${namespace}/events`, {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { generateName: `${name}.`, namespace },
    involvedObject: { apiVersion: 'v1', kind: 'Pod', name, namespace, uid },
    type: 'Warning',
    reason,
    message: message.slice(0, 1024),
    source: { component: 'kubelet', host: node },
    firstTimestamp: now,
    lastTimestamp: now,
    count: 1,
  });
}
