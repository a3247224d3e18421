/** The same requests for two API servers, and what of their answers must be the same. */
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';

export interface Answer {
  readonly status: number;
  /** JSON if it is JSON, else text. */
  readonly body: unknown;
  /** Texts of the warnings. */
  readonly warnings: readonly string[];
}

export interface RequestExtras {
  readonly contentType?: string;
}

export type Send = (method: string, path: string, body?: unknown, extras?: RequestExtras) => Promise<Answer>;

interface Kubeconfig {
  readonly clusters: readonly [{ readonly cluster: Readonly<Record<string, string>> }];
  readonly users: readonly [{ readonly user: { readonly token?: string } }];
}

/** Sends to the server of a kubeconfig that this project wrote, with nothing added to the request and nothing hidden of the answer. */
export function sender(kubeconfig: string): Send {
  const config = JSON.parse(readFileSync(kubeconfig, 'utf8')) as Kubeconfig;
  const { cluster } = config.clusters[0];
  const { token } = config.users[0].user;
  const url = cluster['server'] ?? '';
  const ca = Buffer.from(cluster['certificate-authority-data'] ?? '', 'base64');
  const { request } = url.startsWith('https:') ? https : http;
  return (method, path, body, { contentType = 'application/json' } = {}) =>
    new Promise((resolve, reject) => {
      const headers: Record<string, string> = { Accept: 'application/json' };
      if (token !== undefined) headers['Authorization'] = `Bearer ${token}`;
      const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
      if (text !== undefined) headers['Content-Type'] = contentType;
      if (text !== undefined) headers['Content-Length'] = String(Buffer.byteLength(text));
      const sent = request(`${url}${path}`, { method, headers, ca, agent: false, timeout: 30_000 }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const warnings = [response.headers['warning'] ?? []].flat();
          resolve({ status: response.statusCode ?? 0, body: parsed(Buffer.concat(chunks).toString('utf8')), warnings });
        });
      });
      sent.once('timeout', () => sent.destroy(new Error(`${method} ${path}: no answer`)));
      sent.once('error', reject);
      sent.end(text);
    });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** Members whose values are a server's own. */
const OWN = new Set(['resourceVersion', 'uid', 'creationTimestamp', 'deletionTimestamp', 'continue']);

interface Failure {
  readonly reason?: string;
  readonly details?: { readonly causes?: readonly { readonly reason: string; readonly field: string }[] };
}

/**
 * What programs can rely on in an answer: all of a success but what differs from server to server, and of a failure its reason
 * and the fields that are named. Sentences for people differ.
 */
export function comparable({ status, body, warnings }: Answer): unknown {
  if (typeof body !== 'object' || body === null) return { status, body };
  const { type, object } = body as { type?: string; object?: Failure };
  if (type === 'ERROR') return { status, type, reason: object?.reason };
  if (status < 400) return { status, body: isOurs(body) ? withoutOwn(body) : headOf(body), warnings };
  const { reason, details } = body as Failure;
  const causes = (details?.causes ?? [])
    .filter(({ field }) => field !== '<nil>')
    .map((cause) => `${cause.field}: ${cause.reason}`);
  return { status, reason: reason ?? '', causes: [...new Set(causes)].sort() };
}

/** Of built-in kinds the real server fills in much that nobody here reads. */
function isOurs(body: object): boolean {
  const { apiVersion, kind } = body as { apiVersion?: string; kind?: string };
  return apiVersion?.startsWith('csi.meshstor.io/') === true || kind === 'Status' || kind === undefined;
}

function headOf(body: object): unknown {
  const { apiVersion, kind, metadata } = body as { apiVersion?: string; kind?: string; metadata?: unknown };
  return { apiVersion, kind, metadata: withoutOwn(metadata) };
}

function withoutOwn(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutOwn);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(
    ([name, member]) => name !== 'managedFields' && !(name === 'continue' && member === ''),
  );
  return Object.fromEntries(
    kept.map(([name, member]) => [name, OWN.has(name) && typeof member === 'string' ? name : withoutOwn(member)]),
  );
}
