/** What the roles of the chart allow, as lines that can be compared with what a program asked for. */
import type { Manifest } from './helm.ts';
import type { Access } from './recording-client.ts';

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

/** One line for each thing that is allowed or asked for: `verb group/resource [in namespace]`. */
export function line({ verb, group, resource, namespace }: Access): string {
  return `${verb} ${group === '' ? 'core' : group}/${resource}${namespace === '' ? '' : ` in ${namespace}`}`;
}

export function rulesOf(role: Manifest): readonly Rule[] {
  return role['rules'] as readonly Rule[];
}

function allowedBy(role: Manifest, namespace: string): readonly Access[] {
  return rulesOf(role).flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) =>
      resources.flatMap((resource) => verbs.map((verb) => ({ verb, group, resource, namespace }))),
    ),
  );
}

/** What the account is allowed by the roles whose name passes the filter. */
export function rightsOf(
  chart: readonly Manifest[],
  account: string,
  isMeant: (role: string) => boolean,
): readonly Access[] {
  return chart
    .filter(({ kind }) => kind === 'ClusterRoleBinding' || kind === 'RoleBinding')
    .flatMap((binding) => {
      const { subjects, roleRef } = binding as unknown as {
        readonly subjects: readonly { readonly name: string }[];
        readonly roleRef: { readonly kind: string; readonly name: string };
      };
      const { namespace } = binding.metadata;
      if (!subjects.some(({ name }) => name === account) || !isMeant(roleRef.name)) return [];
      const role = chart.find(
        ({ kind, metadata }) =>
          kind === roleRef.kind && metadata.name === roleRef.name && metadata.namespace === namespace,
      );
      if (role === undefined) throw new Error(`no ${roleRef.kind} ${roleRef.name} in ${String(namespace)}`);
      return allowedBy(role, namespace ?? '');
    });
}

/** The same as sorted lines. */
export function allowed(
  chart: readonly Manifest[],
  account: string,
  isMeant: (role: string) => boolean,
): readonly string[] {
  return rightsOf(chart, account, isMeant).map(line).sort();
}

export function distinct(lines: readonly string[]): readonly string[] {
  return [...new Set(lines)].sort();
}
