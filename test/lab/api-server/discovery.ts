import type { JsonObject } from './json.ts';
import type { Resource } from './resources.ts';
import { groupVersion } from './resources.ts';

const VERBS = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'];
const STATUS_VERBS = ['get', 'patch', 'update'];

/** The answer to a question about what the server offers; undefined when the path asks for something else. */
export function discover(path: string, resources: readonly Resource[]): JsonObject | undefined {
  if (path === '/version') {
    const gitVersion = 'v1.32.0+meshstor-stand-in';
    return { major: '1', minor: '32', gitVersion, gitCommit: '', gitTreeState: 'clean', platform: 'linux/amd64' };
  }
  if (path === '/api') return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
  const groups = [...new Set(resources.map((resource) => resource.group))].filter((group) => group !== '');
  if (path === '/apis') {
    return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map((group) => groupOf(group, resources)) };
  }
  if (path === '/openapi/v3') return openApiIndex(resources);
  if (path.startsWith('/openapi/v3/')) {
    const found = resources.filter((resource) => `/openapi/v3${rootOf(resource)}` === path);
    return found.length === 0 ? undefined : openApiDocument(found);
  }
  const group = groups.find((name) => path === `/apis/${name}`);
  if (group !== undefined) return { kind: 'APIGroup', apiVersion: 'v1', ...groupOf(group, resources) };
  const found = resources.filter((resource) => rootOf(resource) === path);
  return found.length === 0 ? undefined : resourceList(found);
}

/** `/api/v1`, `/apis/csi.meshstor.io/v1alpha1`. */
export function rootOf(resource: Resource): string {
  return resource.group === '' ? `/api/${resource.version}` : `/apis/${groupVersion(resource)}`;
}

function groupOf(group: string, resources: readonly Resource[]): JsonObject {
  const names = new Set(resources.filter((resource) => resource.group === group).map((resource) => resource.version));
  const versions = [...names].map((version) => ({ groupVersion: `${group}/${version}`, version }));
  return { name: group, versions, preferredVersion: versions[0] };
}

function resourceList(resources: readonly Resource[]): JsonObject {
  const [first] = resources;
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: first === undefined ? '' : groupVersion(first),
    resources: resources.flatMap((resource) => {
      const { plural: name, singular: singularName, namespaced, kind, shortNames, categories } = resource;
      const main = { name, singularName, namespaced, kind, verbs: VERBS, shortNames, categories };
      const status = { name: `${name}/status`, singularName: '', namespaced, kind, verbs: STATUS_VERBS };
      return resource.hasStatus ? [main, status] : [main];
    }),
  };
}

function openApiIndex(resources: readonly Resource[]): JsonObject {
  const roots = [...new Set(resources.map(rootOf))];
  return {
    paths: Object.fromEntries(roots.map((root) => [root.slice(1), { serverRelativeURL: `/openapi/v3${root}` }])),
  };
}

/** As much as kubectl needs to know that the server checks fields itself, and for `kubectl explain`. */
function openApiDocument(resources: readonly Resource[]): JsonObject {
  const query = (name: string) => ({ name, in: 'query', schema: { type: 'string' } });
  const parameters = ['dryRun', 'fieldManager', 'fieldValidation'].map(query);
  const paths = resources.map((resource) => {
    const { group, version, kind, plural } = resource;
    const operation = { parameters, responses: {}, 'x-kubernetes-group-version-kind': { group, version, kind } };
    const scope = resource.namespaced ? '/namespaces/{namespace}' : '';
    const get = { ...operation, parameters: [] };
    return [`${rootOf(resource)}${scope}/${plural}/{name}`, { get, put: operation, patch: operation }] as const;
  });
  const schemas = resources.map(({ group, version, kind, openApi }) => {
    const name = `${group === '' ? 'core' : group.split('.').reverse().join('.')}.${version}.${kind}`;
    return [name, { ...openApi, 'x-kubernetes-group-version-kind': [{ group, version, kind }] }] as const;
  });
  return {
    openapi: '3.0.0',
    info: { title: 'MeshStor stand-in API server', version: 'v1' },
    paths: Object.fromEntries(paths),
    components: { schemas: Object.fromEntries(schemas) },
  };
}
