import type { IncomingMessage, ServerResponse } from 'node:http';
import { toTable } from './columns.ts';
import { discover } from './discovery.ts';
import type { Faults } from './faults.ts';
import type { Json, JsonObject } from './json.ts';
import { isObject, objectAt, textAt } from './json.ts';
import { inNamespace, Lists, toList } from './lists.ts';
import type { Resource } from './resources.ts';
import { filterOf } from './selectors.ts';
import type { Target, WriteOptions, Written } from './service.ts';
import { Service } from './service.ts';
import { StatusError } from './status.ts';
import type { Storage } from './storage.ts';
import { WatchStream } from './watching.ts';

export interface HandlerOptions {
  readonly storage: Storage;
  readonly resources: readonly Resource[];
  readonly faults: Faults;
  readonly now: () => number;
  readonly bookmarkMs: number;
  /** Bearer tokens that are let in; undefined: everybody. */
  readonly tokens: () => readonly string[] | undefined;
}

interface Route {
  readonly resource: Resource;
  readonly namespace: string;
  /** Empty: the collection. */
  readonly name: string;
  readonly subresource: '' | 'status';
}

/** Half an hour, as real servers do at least. */
const WATCH_SECONDS = 1800;
const BODY_LIMIT = 3 * 1024 * 1024;

/** HTTP on top of the service. */
export class Handler {
  readonly #options: HandlerOptions;
  readonly #service: Service;
  readonly #lists: Lists;
  readonly #watches = new Set<WatchStream>();
  /** Requests so far, by method; `WATCH` apart. */
  readonly counts = new Map<string, number>();

  constructor(options: HandlerOptions) {
    this.#options = options;
    this.#service = new Service(options.storage, options.now);
    this.#lists = new Lists(options.storage);
  }

  get watches(): ReadonlySet<WatchStream> {
    return this.#watches;
  }

  forgetLists(): void {
    this.#lists.forget();
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const method = request.method ?? 'GET';
    try {
      await this.#options.faults.strike(method, url.pathname);
      this.#authenticate(request);
      await this.#dispatch(method, url, request, response);
    } catch (error) {
      const failure = error instanceof StatusError ? error : new StatusError(500, String(error));
      const retry = failure.details['retryAfterSeconds'];
      if (typeof retry === 'number') response.setHeader('Retry-After', String(retry));
      send(response, failure.status, failure.toJson());
    }
  }

  #authenticate(request: IncomingMessage): void {
    const tokens = this.#options.tokens();
    const given = request.headers.authorization ?? '';
    if (tokens === undefined || tokens.some((token) => given === `Bearer ${token}`)) return;
    throw new StatusError(401, 'Unauthorized');
  }

  async #dispatch(method: string, url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = url.pathname.replace(/(.)\/$/, '$1');
    if (path === '/healthz' || path === '/readyz' || path === '/livez') {
      response.writeHead(200, { 'Content-Type': 'text/plain' }).end('ok');
      return;
    }
    if (path === '/openapi/v2') {
      sendEmptyOpenApi(request, response);
      return;
    }
    const found = discover(path, this.#options.resources);
    if (found !== undefined) {
      if (method !== 'GET')
        throw new StatusError(405, 'the server does not allow this method on the requested resource');
      send(response, 200, found);
      return;
    }
    const route = this.#route(path);
    if (route === undefined) {
      response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' }).end('404 page not found\n');
      return;
    }
    const isWatch = ['1', 'true'].includes(url.searchParams.get('watch') ?? '');
    this.#count(method === 'GET' && isWatch ? 'WATCH' : method);
    if (method === 'GET') this.#read(route, url.searchParams, isWatch, request, response);
    else await this.#write(method, route, url.searchParams, request, response);
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  #route(path: string): Route | undefined {
    const [root = '', ...parts] = path.slice(1).split('/').map(decodeURIComponent);
    if (root !== 'api' && root !== 'apis') return undefined;
    const group = root === 'api' ? '' : (parts.shift() ?? '');
    const version = parts.shift();
    const resourceAt = (plural: string | undefined, namespaced: boolean) =>
      this.#options.resources.find(
        (resource) =>
          resource.group === group &&
          resource.version === version &&
          resource.plural === plural &&
          (!namespaced || resource.namespaced),
      );
    const inside = parts[0] === 'namespaces' && parts.length >= 3 ? resourceAt(parts[2], true) : undefined;
    const namespace = inside === undefined ? '' : (parts[1] ?? '');
    const [plural, name = '', subresource = '', ...rest] = inside === undefined ? parts : parts.slice(2);
    const resource = resourceAt(plural, false);
    if (resource === undefined || rest.length > 0) return undefined;
    if (subresource !== '' && (subresource !== 'status' || !resource.hasStatus)) return undefined;
    return { resource, namespace, name, subresource };
  }

  #read(
    route: Route,
    query: URLSearchParams,
    isWatch: boolean,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    const { resource } = route;
    const asTable = (request.headers.accept ?? '').includes('as=Table');
    const now = this.#options.now();
    const table = (object: JsonObject) =>
      toTable(resource, [object], { resourceVersion: textAt(objectAt(object, 'metadata'), 'resourceVersion') }, now);
    if (route.name !== '' && !isWatch) {
      const object = this.#service.get(route);
      send(response, 200, asTable ? table(object) : object);
      return;
    }
    const selected = filterOf(query, resource.schema !== undefined);
    const within = inNamespace(route.namespace);
    const named = (object: JsonObject) =>
      route.name === '' || textAt(objectAt(object, 'metadata'), 'name') === route.name;
    const filter = (object: JsonObject) => within(object) && named(object) && selected(object);
    if (isWatch) {
      this.#watch(route, query, filter, response, (object, isFirst) => {
        if (!asTable) return object;
        const shown = table(object);
        return isFirst ? shown : { ...shown, columnDefinitions: null };
      });
      return;
    }
    const { objects, metadata } = this.#lists.list({
      resource,
      filter,
      limit: numberIn(query, 'limit'),
      isSelected: ['labelSelector', 'fieldSelector'].some((name) => (query.get(name) ?? '') !== ''),
      token: query.get('continue') ?? '',
      resourceVersion: numberIn(query, 'resourceVersion'),
    });
    send(response, 200, asTable ? toTable(resource, objects, metadata, now) : toList(resource, objects, metadata));
  }

  #watch(
    route: Route,
    query: URLSearchParams,
    filter: (object: JsonObject) => boolean,
    response: ServerResponse,
    show: (object: JsonObject, isFirst: boolean) => JsonObject,
  ): void {
    if (query.get('sendInitialEvents') !== null) {
      const why = 'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled';
      throw new StatusError(422, `ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: ${why}`);
    }
    const from = query.get('resourceVersion') ?? '';
    if (!/^\d*$/.test(from)) throw new StatusError(500, `strconv.ParseUint: parsing ${from}`, { reason: '' });
    const seconds = Number(query.get('timeoutSeconds') ?? 0);
    const stream = new WatchStream(
      this.#options.storage,
      {
        resource: route.resource,
        filter,
        from: from === '' || from === '0' ? undefined : Number(from),
        bookmarks: ['1', 'true'].includes(query.get('allowWatchBookmarks') ?? ''),
        timeoutMs: (seconds > 0 ? seconds : WATCH_SECONDS) * 1000,
        bookmarkMs: this.#options.bookmarkMs,
        show,
      },
      response,
      () => this.#options.faults.isPaused,
    );
    this.#watches.add(stream);
    response.on('close', () => this.#watches.delete(stream));
    stream.start();
  }

  async #write(
    method: string,
    route: Route,
    query: URLSearchParams,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const body = await readBody(request);
    const { resource, namespace, subresource } = route;
    const options: WriteOptions = {
      fieldValidation: query.get('fieldValidation') ?? 'Warn',
      dryRun: query.get('dryRun') === 'All',
    };
    if (method === 'POST' && route.name === '') {
      sendWritten(response, 201, this.#service.create(resource, namespace, body, options), options);
    } else if (method === 'PUT' && route.name !== '') {
      sendWritten(response, 200, this.#service.update(route, body, subresource, options), options);
    } else if (method === 'PATCH' && route.name !== '') {
      const type = (request.headers['content-type'] ?? '').split(';')[0] ?? '';
      sendWritten(response, 200, this.#service.patch(route, body, type, subresource, options), options);
    } else if (method === 'DELETE' && route.name !== '' && subresource === '') {
      this.#delete(route, body, options.dryRun, response);
    } else {
      throw new StatusError(405, 'the server does not allow this method on the requested resource');
    }
  }

  #delete(target: Target, body: Json, dryRun: boolean, response: ServerResponse): void {
    const all = isObject(body) && Array.isArray(body['dryRun']) && body['dryRun'].includes('All');
    const { gone, object } = this.#service.delete(target, objectAt(body, 'preconditions'), dryRun || all);
    if (!gone) {
      send(response, 200, object);
      return;
    }
    const { group, plural } = target.resource;
    const uid = textAt(objectAt(object, 'metadata'), 'uid');
    const details = { name: target.name, ...(group === '' ? {} : { group }), kind: plural, uid };
    send(response, 200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details });
  }
}

function numberIn(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? '';
  if (/^\d*$/.test(text)) return Number(text);
  throw new StatusError(400, `${name}: Invalid value: ${JSON.stringify(text)}: invalid syntax`);
}

async function readBody(request: IncomingMessage): Promise<Json> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > BODY_LIMIT) throw new StatusError(413, 'Request entity too large: limit is 3145728');
  }
  const text = Buffer.concat(chunks).toString('utf8');
  if (text === '') return null;
  try {
    return JSON.parse(text) as Json;
  } catch {
    throw new StatusError(400, 'the body of the request is no JSON');
  }
}

/** Old versions of kubectl insist on this document, in protobuf, but check nothing where it is empty. */
function sendEmptyOpenApi(request: IncomingMessage, response: ServerResponse): void {
  const wanted = (request.headers.accept ?? '').split(',').find((type) => type.includes('protobuf'));
  if (wanted === undefined) {
    send(response, 200, { swagger: '2.0', info: { title: 'MeshStor stand-in API server', version: 'v1' }, paths: {} });
    return;
  }
  // What is asked for has an "@", which is no legal media type and makes clients of later versions fail.
  const type = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';
  response.writeHead(200, { 'Content-Type': type, 'Content-Length': 0 }).end();
}

function sendWritten(response: ServerResponse, status: number, written: Written, options: WriteOptions): void {
  if (options.fieldValidation === 'Warn') {
    for (const field of written.dropped) response.appendHeader('Warning', `299 - "unknown field \\"${field}\\""`);
  }
  send(response, status, written.object);
}

function send(response: ServerResponse, status: number, body: JsonObject): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const text = JSON.stringify(body);
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}
