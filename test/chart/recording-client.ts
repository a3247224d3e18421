/** A client that notes what is asked of the API, as authorisation and admission see it. */
import type { ApiRequest, KubeClient } from '../../src/kube/client.ts';

export type Wire = Readonly<Record<string, unknown>>;

/** What authorisation decides on. */
export interface Access {
  readonly verb: string;
  readonly group: string;
  /** With the subresource: `meshstorvolumes/status`. */
  readonly resource: string;
  /** Empty for cluster-scoped objects. */
  readonly namespace: string;
}

/** What admission decides on. */
export interface Write {
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE';
  readonly resource: string;
  readonly subResource: string;
  readonly object: Wire | null;
  readonly oldObject: Wire | null;
}

interface Target {
  readonly group: string;
  readonly resource: string;
  readonly subResource: string;
  readonly namespace: string;
  readonly name: string;
}

function targetOf(path: string): Target {
  const parts = path.split('/').filter((part) => part !== '');
  const [group = '', rest] = parts[0] === 'api' ? ['', parts.slice(2)] : [parts[1], parts.slice(3)];
  const isNamespaced = rest[0] === 'namespaces' && rest.length > 2;
  const [resource = '', name = '', subResource = ''] = isNamespaced ? rest.slice(2) : rest;
  return { group, resource, subResource, name, namespace: isNamespaced ? (rest[1] ?? '') : '' };
}

const VERBS = { POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' } as const;

export function accessOf(request: Pick<ApiRequest, 'method' | 'path'>, isWatch: boolean): Access {
  const { group, resource, subResource, namespace, name } = targetOf(request.path);
  const reading = isWatch ? 'watch' : name === '' ? 'list' : 'get';
  const verb = request.method === 'GET' ? reading : VERBS[request.method];
  return { verb, group, resource: subResource === '' ? resource : `${resource}/${subResource}`, namespace };
}

/** The object as it is stored after a replacement: a status comes by the subresource alone, and nothing else does. */
function replaced(old: Wire, body: Wire, subResource: string): Wire {
  if (subResource === 'status') return { ...old, status: body['status'] };
  return { ...body, status: old['status'] };
}

function versionOf(object: Wire): unknown {
  return (object['metadata'] as Wire | undefined)?.['resourceVersion'];
}

export class RecordingClient implements KubeClient {
  readonly accesses: Access[] = [];
  readonly writes: Write[] = [];
  readonly #client: KubeClient;
  readonly #keepsWrites: boolean;

  /** `keepsWrites`: `writes` is kept, too, for which an object is read before it is replaced or deleted. */
  constructor(client: KubeClient, keepsWrites = true) {
    this.#client = client;
    this.#keepsWrites = keepsWrites;
  }

  async request(request: ApiRequest): Promise<unknown> {
    this.accesses.push(accessOf(request, false));
    const old = await this.#before(request);
    const answer = await this.#client.request(request);
    const { resource, subResource } = targetOf(request.path);
    if (request.method === 'POST') {
      this.writes.push({ operation: 'CREATE', resource, subResource, object: request.body as Wire, oldObject: null });
    } else if (old !== undefined && request.method === 'DELETE') {
      this.writes.push({ operation: 'DELETE', resource, subResource, object: null, oldObject: old });
    } else if (old !== undefined && versionOf(old) === versionOf(request.body as Wire)) {
      const object = replaced(old, request.body as Wire, subResource);
      this.writes.push({ operation: 'UPDATE', resource, subResource, object, oldObject: old });
    }
    return answer;
  }

  stream(request: Parameters<KubeClient['stream']>[0]): ReturnType<KubeClient['stream']> {
    this.accesses.push(accessOf({ ...request, method: 'GET' }, true));
    return this.#client.stream(request);
  }

  onNetworkFailure(listener: () => void): () => void {
    return this.#client.onNetworkFailure(listener);
  }

  close(): void {
    this.#client.close();
  }

  async #before(request: ApiRequest): Promise<Wire | undefined> {
    if (!this.#keepsWrites || (request.method !== 'PUT' && request.method !== 'DELETE')) return undefined;
    const path = request.path.replace(/\/status$/, '');
    try {
      return (await this.#client.request({ method: 'GET', path, doing: 'looking at what is replaced' })) as Wire;
    } catch {
      return undefined; // Not there: the write fails and is none.
    }
  }
}
