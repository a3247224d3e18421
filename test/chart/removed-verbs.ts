/** Accounts that lack one verb of a role each, and requests sent once more in their name. */
import { readFileSync } from 'node:fs';
import { request as send } from 'node:https';
import type { Api } from '../kube/contract/server.ts';
import type { RelayedRequest } from '../kube/real/api-relay.ts';
import type { ControlPlane } from '../kube/real/control-plane.ts';
import { until } from '../kube/harness.ts';
import type { Access } from './recording-client.ts';
import { accessOf } from './recording-client.ts';
import { line } from './rules.ts';

const GROUP = 'rbac.authorization.k8s.io';
const RBAC = `/apis/${GROUP}/v1`;
const KNOWN_MS = 30_000;

export function accessOfRelayed({ method, path, isWatch }: RelayedRequest): Access {
  return accessOf({ method: method as 'GET', path }, isWatch);
}

/** Makes an account in the namespace that may do all of these but nothing else; resolves to its token. */
export async function accountWith(
  plane: ControlPlane,
  namespace: string,
  name: string,
  rights: readonly Access[],
): Promise<string> {
  const { api } = plane;
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name } };
  await api.create(`/api/v1/namespaces/${namespace}/serviceaccounts`, account);
  for (const where of new Set(rights.map((access) => access.namespace))) {
    const rules = rights
      .filter((access) => access.namespace === where)
      .map(({ group, resource, verb }) => ({ apiGroups: [group], resources: [resource], verbs: [verb] }));
    await bind(api, name, where, { kind: 'ServiceAccount', name, namespace }, rules);
  }
  return plane.tokenOfAccount(namespace, name);
}

/** A role of that name for the subject; `where`: empty for a role of the cluster. */
async function bind(api: Api, name: string, where: string, subject: object, rules: readonly object[]): Promise<void> {
  const [kind, base] = where === '' ? ['ClusterRole', RBAC] : ['Role', `${RBAC}/namespaces/${where}`];
  const meta = { apiVersion: `${GROUP}/v1`, metadata: { name } };
  const plural = `${kind.toLowerCase()}s`;
  await api.create(`${base}/${plural}`, { ...meta, kind, rules });
  await api.create(`${base}/${kind.toLowerCase()}bindings`, {
    ...meta,
    kind: `${kind}Binding`,
    roleRef: { apiGroup: GROUP, kind, name },
    subjects: [subject],
  });
}

interface Replayed {
  readonly status: number;
  readonly message: string;
}

/** Sends it with another token. What it writes is only tried: authorisation is the same. */
async function replay(plane: ControlPlane, token: string, request: RelayedRequest): Promise<Replayed> {
  const { method, path, query, body, contentType, isWatch } = request;
  const url = new URL(`${plane.url}${path}${query}`);
  if (method !== 'GET') url.searchParams.set('dryRun', 'All');
  if (isWatch) url.searchParams.set('timeoutSeconds', '1');
  const ca = readFileSync(plane.authority);
  const headers = {
    Authorization: `Bearer ${token}`,
    Accept: 'application/json',
    ...(contentType === undefined ? {} : { 'Content-Type': contentType }),
    'Content-Length': String(body.length),
  };
  return new Promise((resolve, reject) => {
    const sent = send(url, { method, headers, ca, agent: false, timeout: 30_000 }, (response) => {
      const status = response.statusCode ?? 0;
      const finish = (message: string): void => {
        resolve({ status, message });
        response.destroy();
      };
      if (status < 400) {
        finish('');
        return;
      }
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => finish(Buffer.concat(chunks).toString('utf8')));
    });
    sent.on('timeout', () => sent.destroy(new Error(`${method} ${path}: no answer`)));
    sent.on('error', reject);
    sent.end(body);
  });
}

/** For each access one request that was really made. `isEverywhere`: the role is for all namespaces. */
export function sampleOf(
  requests: readonly RelayedRequest[],
  isEverywhere: (access: Access) => boolean = () => false,
): ReadonlyMap<string, RelayedRequest> {
  const samples = new Map<string, RelayedRequest>();
  for (const request of requests) {
    const access = accessOfRelayed(request);
    const what = line(isEverywhere(access) ? { ...access, namespace: '' } : access);
    if (!samples.has(what)) samples.set(what, request);
  }
  return samples;
}

/** Of the requests those that the account is forbidden; roles are known to the API server a moment after they were made. */
export async function forbiddenTo(
  plane: ControlPlane,
  token: string,
  samples: ReadonlyMap<string, RelayedRequest>,
  without: string,
): Promise<readonly string[]> {
  const forbidden: string[] = [];
  const isForbidden = async (request: RelayedRequest): Promise<boolean> => {
    const { status, message } = await replay(plane, token, request);
    return status === 403 && message.includes('is forbidden: User');
  };
  for (const [what, request] of samples) {
    if (what === without) continue;
    await until(`${what}, without the right to ${without}`, async () => !(await isForbidden(request)), KNOWN_MS).catch(
      () => forbidden.push(what),
    );
  }
  const own = samples.get(without);
  if (own !== undefined && (await isForbidden(own))) forbidden.push(without);
  return forbidden;
}
