/**
 * The accounts of both roles and all their rules as the chart has them, on a control plane where the chart itself is not installed.
 * Their rights can be taken and given back.
 */
import { ApiError } from '../../../src/kube/index.ts';
import type { Manifest } from '../../chart/helm.ts';
import { objects } from '../../chart/helm.ts';
import { NAMESPACE, NODE_ACCOUNT, tokenOnNode } from '../../chart/node-tokens.ts';
import { Api, DEVICES, VOLUMES } from '../contract/server.ts';
import { until } from '../harness.ts';
import type { ControlPlane } from './control-plane.ts';

const CONTROLLER_ACCOUNT = 'release-meshstor-controller';
const GROUPS = ['rbac.authorization.k8s.io/', 'admissionregistration.k8s.io/'];
const KNOWN_MS = 60_000;

/** Tokens of the roles. */
export interface Accounts {
  readonly controller: string;
  /** By node: the admission policies read from it which one it is. */
  readonly nodes: ReadonlyMap<string, string>;
}

let rendered: readonly Manifest[] | undefined;

function chart(): readonly Manifest[] {
  rendered ??= objects('--kube-version', '1.36.0');
  return rendered;
}

function pluralOf(kind: string): string {
  return kind.endsWith('y') ? `${kind.toLowerCase().slice(0, -1)}ies` : `${kind.toLowerCase()}s`;
}

/** Where objects like this one are. */
function collectionOf({ apiVersion, kind, metadata: { namespace } }: Manifest): string {
  const base = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`;
  return `${base}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${pluralOf(kind)}`;
}

function isBindingOfRole({ kind, ...binding }: Manifest): boolean {
  if (kind !== 'ClusterRoleBinding' && kind !== 'RoleBinding') return false;
  const subjects = binding['subjects'] as readonly { readonly name: string }[];
  return subjects.some(({ name }) => name === CONTROLLER_ACCOUNT || name === NODE_ACCOUNT);
}

export class ChartAccounts implements Accounts {
  readonly controller: string;
  readonly nodes: ReadonlyMap<string, string>;
  readonly #plane: ControlPlane;

  private constructor(plane: ControlPlane, controller: string, nodes: ReadonlyMap<string, string>) {
    this.#plane = plane;
    this.controller = controller;
    this.nodes = nodes;
  }

  /** Resolves when their rights count. */
  static async install(plane: ControlPlane, nodes: readonly string[]): Promise<ChartAccounts> {
    const { api } = plane;
    await api.create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } });
    const isOfAccounts = ({ apiVersion, kind }: Manifest): boolean =>
      kind === 'ServiceAccount' || GROUPS.some((group) => apiVersion.startsWith(group));
    for (const object of chart().filter(isOfAccounts)) await api.create(collectionOf(object), object);
    const tokens = new Map<string, string>();
    for (const node of nodes) tokens.set(node, await tokenOnNode(plane, node));
    const accounts = new ChartAccounts(plane, await plane.tokenOfAccount(NAMESPACE, CONTROLLER_ACCOUNT), tokens);
    await accounts.#untilAllowed(true);
    return accounts;
  }

  /** Resolves when both roles may do nothing any more. Watches that are open stay. */
  async takeRights(): Promise<void> {
    for (const binding of chart().filter(isBindingOfRole)) {
      await this.#plane.api.delete(`${collectionOf(binding)}/${binding.metadata.name}`);
    }
    await this.#untilAllowed(false);
  }

  async giveRights(): Promise<void> {
    for (const binding of chart().filter(isBindingOfRole)) {
      await this.#plane.api.create(collectionOf(binding), binding);
    }
    await this.#untilAllowed(true);
  }

  /** The authoriser hears of bindings by a watch. */
  async #untilAllowed(isAllowed: boolean): Promise<void> {
    for (const token of [this.controller, ...this.nodes.values()]) {
      const api = new Api(this.#plane.kubeconfigFor('asked-for', token));
      try {
        for (const collection of [VOLUMES, DEVICES]) {
          const isSo = () => mayList(api, collection).then((may) => may === isAllowed);
          await until(`the right to list ${collection} to be ${isAllowed ? 'given' : 'taken'}`, isSo, KNOWN_MS);
        }
      } finally {
        api.client.close();
      }
    }
  }
}

function mayList(api: Api, collection: string): Promise<boolean> {
  return api.list(collection).then(
    () => true,
    (error: unknown) => {
      if (error instanceof ApiError && error.status === 403) return false;
      throw error;
    },
  );
}
