import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

export type Access = 'mount' | 'block';
export const ACCESSES: readonly Access[] = ['mount', 'block'];

export function reportPath(results: string, access: Access): string {
  return join(results, `csi-sanity-${access}.xml`);
}

/** A run that ends early must not leave the reports of the one before it. */
export async function prepareReports(results: string): Promise<void> {
  await mkdir(results, { recursive: true });
  await Promise.all(ACCESSES.map((access) => rm(reportPath(results, access), { force: true })));
}

/** The outcome of one case, as the suite's JUnit file has it. */
export interface CaseResult {
  readonly name: string;
  readonly status: 'passed' | 'failed' | 'skipped';
  /** Why it was skipped or how it failed; empty for a passed one. */
  readonly message: string;
}

const OUTCOMES: Readonly<Record<string, CaseResult['status']>> = {
  passed: 'passed',
  skipped: 'skipped',
  pending: 'skipped',
};
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function plain(text: string): string {
  return text.replace(
    /&(?:#x([0-9a-fA-F]+)|#([0-9]+)|([a-z]+));/g,
    (entity, hex?: string, number?: string, name?: string) => {
      if (hex !== undefined) return String.fromCodePoint(parseInt(hex, 16));
      if (number !== undefined) return String.fromCodePoint(Number(number));
      return (name === undefined ? undefined : ENTITIES[name]) ?? entity;
    },
  );
}

function attribute(tag: string, name: string): string {
  return plain(new RegExp(`\\s${name}="([^"]*)"`).exec(tag)?.[1] ?? '');
}

/**
 * The cases of a JUnit file of Ginkgo. What is neither passed, skipped nor pending counts as failed; so does the work before and
 * after the cases when it fails, which is no case otherwise. Throws at a file without cases: the suite never ran.
 */
export function readReport(xml: string): readonly CaseResult[] {
  const cases: CaseResult[] = [];
  for (const [, tag = '', body = ''] of xml.matchAll(/<testcase(\s[^>]*?)(?:\/>|>(.*?)<\/testcase>)/gs)) {
    const title = attribute(tag, 'name');
    const status = OUTCOMES[attribute(tag, 'status')] ?? 'failed';
    if (!title.startsWith('[It] ') && status !== 'failed') continue;
    const why = /<(?:skipped|failure|error)(\s[^>]*)>/s.exec(body)?.[1] ?? '';
    const message = status === 'passed' ? '' : attribute(why, 'message') || attribute(tag, 'status');
    cases.push({ name: title.replace('[It] ', ''), status, message });
  }
  if (cases.length === 0) throw new Error('the JUnit file of csi-sanity has no cases');
  return cases;
}

/** What is wrong with a run: failed cases, skips that are not listed, listed cases that were not skipped, too few passed. */
export function faultsIn(
  cases: readonly CaseResult[],
  listed: ReadonlySet<string>,
  leastPassed: number,
): readonly string[] {
  const named = (status: CaseResult['status']): readonly CaseResult[] => cases.filter((each) => each.status === status);
  const skipped = named('skipped');
  const skippedNames = new Set(skipped.map(({ name }) => name));
  const passed = named('passed').length;
  return [
    ...named('failed').map(({ name, message }) => `failed: ${name}: ${message}`),
    ...skipped
      .filter(({ name }) => !listed.has(name))
      .map(({ name, message }) => `skipped without being listed: ${name}: ${message}`),
    ...[...listed].filter((name) => !skippedNames.has(name)).map((name) => `listed as skipped, but was not: ${name}`),
    ...(passed < leastPassed ? [`${passed} cases passed, at least ${leastPassed} must`] : []),
  ];
}
