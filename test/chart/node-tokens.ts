/** Tokens that pods of the node role have: they name the node, which the admission policies read. */
import type { ControlPlane } from '../kube/real/control-plane.ts';

export const NAMESPACE = 'storage';
export const NODE_ACCOUNT = 'release-meshstor-node';

/** The token of the node role's pod on this node, which is created. */
export async function tokenOnNode({ api }: ControlPlane, node: string): Promise<string> {
  const name = `pod-on-${node}`;
  const containers = [{ name: 'meshstor', image: 'registry.example.org/meshstor' }];
  const spec = { nodeName: node, serviceAccountName: NODE_ACCOUNT, containers };
  const pods = `/api/v1/namespaces/${NAMESPACE}/pods`;
  const pod = await api.create(pods, { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec });
  const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name, uid: pod.metadata.uid };
  const request = { audiences: ['https://kubernetes.default.svc'], expirationSeconds: 3600, boundObjectRef };
  const path = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${NODE_ACCOUNT}/token`;
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: request };
  const { status } = await api.create(path, body);
  return (status as { readonly token: string }).token;
}
