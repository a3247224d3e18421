/** `meshstor doctor`: looks, judges, prints. Changes nothing. */
import type { Finding, Severity } from '../node/preflight.ts';
import { evaluatePreflight } from '../node/preflight.ts';
import type { PreflightSources } from '../node/preflight-facts.ts';
import { gatherPreflightFacts, machineSources } from '../node/preflight-facts.ts';
import type { DoctorOptions } from './options.ts';

const SIGNS: Readonly<Record<Severity, string>> = { ok: 'ok     ', warning: 'WARNING', fatal: 'FATAL  ' };

function counted(findings: readonly Finding[], severity: Severity): number {
  return findings.filter((finding) => finding.severity === severity).length;
}

/** For people: one line for what is well, three for what is not, and the sum. */
export function findingsAsTable(findings: readonly Finding[]): string {
  const width = Math.max(0, ...findings.map((finding) => finding.id.length));
  const indent = ' '.repeat(SIGNS.ok.length + width + 4);
  const lines = findings.flatMap(({ id, severity, what, why, fix }) => [
    `${SIGNS[severity]}  ${id.padEnd(width)}  ${what}`,
    ...(why === '' ? [] : [`${indent}why: ${why}`]),
    ...(fix === '' ? [] : [`${indent}fix: ${fix}`]),
  ]);
  const [fatal, warnings] = [counted(findings, 'fatal'), counted(findings, 'warning')];
  const sum = `${fatal} fatal, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}, ${counted(findings, 'ok')} ok`;
  const verdict = fatal === 0 ? 'this machine is fit to be a storage node' : 'new volumes are refused on this machine';
  return [...lines, '', `${sum}: ${verdict}`, ''].join('\n');
}

/** For programs. */
export function findingsAsJson(findings: readonly Finding[]): string {
  return `${JSON.stringify({ fit: counted(findings, 'fatal') === 0, findings }, undefined, 2)}\n`;
}

/** Resolves to the exit code: 0 when nothing is fatal, else 1. `sources` is for tests. */
export async function runDoctor(
  options: DoctorOptions,
  print: (text: string) => void,
  sources: PreflightSources = machineSources(options),
): Promise<number> {
  const findings = evaluatePreflight(await gatherPreflightFacts(sources));
  print(options.output === 'json' ? findingsAsJson(findings) : findingsAsTable(findings));
  return counted(findings, 'fatal') === 0 ? 0 : 1;
}
