/** Evaluates ValidatingAdmissionPolicies as the API server does, as far as the chart's need it. */
import { run } from '@bufbuild/cel';
import { strings } from '@bufbuild/cel/ext';
import type { Manifest } from './helm.ts';
import type { Write } from './recording-client.ts';

interface PolicySpec {
  readonly failurePolicy: string;
  readonly matchConstraints: {
    readonly resourceRules: readonly {
      readonly operations: readonly string[];
      readonly resources: readonly string[];
    }[];
  };
  readonly matchConditions: readonly { readonly name: string; readonly expression: string }[];
  readonly variables: readonly { readonly name: string; readonly expression: string }[];
  readonly validations: readonly {
    readonly expression: string;
    readonly message?: string;
    readonly messageExpression?: string;
  }[];
}

/** Whose request it is; `node`: the node in its token, absent in a token that is bound to no pod. */
export interface User {
  readonly username: string;
  readonly node?: string;
}

type Bindings = Record<string, never>;

/** Objects of the API as CEL has them: maps. */
function asCel(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(asCel);
  if (typeof value !== 'object' || value === null) return value;
  return new Map(Object.entries(value).map(([key, inner]) => [key, asCel(inner)]));
}

function evaluate(expression: string, bindings: Readonly<Record<string, unknown>>): unknown {
  return run(expression, bindings as Bindings, { funcs: strings });
}

function isTrue(expression: string, bindings: Readonly<Record<string, unknown>>): boolean {
  return evaluate(expression, bindings) === true;
}

function userInfo({ username, node }: User): unknown {
  const extra = node === undefined ? {} : { extra: { 'authentication.kubernetes.io/node-name': [node] } };
  return { username, ...extra };
}

/** An expression that cannot be evaluated refuses (failurePolicy: Fail); its error is the reason. */
function complaintsOf(spec: PolicySpec, bindings: Readonly<Record<string, unknown>>): readonly string[] {
  const variables = new Map<string, unknown>();
  const scope = { ...bindings, variables };
  for (const { name, expression } of spec.variables) {
    const value = evaluate(expression, scope);
    if (!isError(value)) variables.set(name, value);
  }
  return spec.validations.flatMap(({ expression, message, messageExpression }) => {
    const verdict = evaluate(expression, scope);
    if (verdict === true) return [];
    if (verdict !== false) return [`cannot be evaluated: ${expression}: ${String(verdict)}`];
    const said = messageExpression === undefined ? message : evaluate(messageExpression, scope);
    return [typeof said === 'string' ? said : `cannot be worded: ${messageExpression ?? expression}`];
  });
}

function isError(value: unknown): boolean {
  return value instanceof Error || (typeof value === 'object' && value !== null && 'exprId' in value);
}

/** Why the policies refuse the write; empty: it is let in. */
export function refusals(policies: readonly Manifest[], user: User, write: Write): readonly string[] {
  const { operation, resource, subResource, object, oldObject } = write;
  const request = asCel({ operation, subResource, resource: { resource }, userInfo: userInfo(user) });
  const bindings = { request, object: asCel(object), oldObject: asCel(oldObject) };
  const target = subResource === '' ? resource : `${resource}/${subResource}`;
  return policies.flatMap((policy) => {
    const spec = policy['spec'] as PolicySpec;
    if (spec.failurePolicy !== 'Fail') throw new Error(`${policy.metadata.name} lets in what it cannot judge`);
    const isMeant = spec.matchConstraints.resourceRules.some(
      ({ operations, resources }) => operations.includes(operation) && resources.includes(target),
    );
    if (!isMeant || !spec.matchConditions.every(({ expression }) => isTrue(expression, bindings))) return [];
    return complaintsOf(spec, bindings);
  });
}
