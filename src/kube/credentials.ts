import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { DomainError } from '../api/errors.ts';
import { reasonOf } from './reason.ts';

const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/** What a connection needs beside its address. */
export interface Credentials {
  readonly tls: Pick<RequestOptions, 'ca' | 'cert' | 'key' | 'passphrase' | 'rejectUnauthorized' | 'servername'>;
  readonly headers: Readonly<Record<string, string>>;
  /** `user:password`. */
  readonly basic?: string;
  /** Set where the kubeconfig asks for a proxy. */
  readonly agent?: RequestOptions['agent'];
}

export interface ClusterAccess {
  /** Address of the API server, with a path where the kubeconfig has one. */
  readonly server: URL;
  /** Reads tokens and certificates anew; cheap enough for every half minute, not for every request. */
  load(): Promise<Credentials>;
}

/**
 * How to reach the cluster: the given kubeconfig, else `$KUBECONFIG`, else the service account of the pod, else
 * `~/.kube/config`. Never falls back to an address that nobody named.
 */
export function findClusterAccess(kubeconfig?: string): ClusterAccess {
  const config = new KubeConfig();
  try {
    if (kubeconfig !== undefined && kubeconfig !== '') config.loadFromFile(kubeconfig);
    else if ((process.env['KUBECONFIG'] ?? '') !== '') config.loadFromDefault();
    else if (existsSync(SERVICE_ACCOUNT_TOKEN)) config.loadFromCluster();
    else if (existsSync(join(homedir(), '.kube', 'config'))) config.loadFromFile(join(homedir(), '.kube', 'config'));
    else throw new Error('no --kubeconfig, no KUBECONFIG, no service account and no ~/.kube/config');
  } catch (cause) {
    const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
    throw new DomainError('invalid', `reading the kubeconfig: ${why}`, { cause });
  }
  return accessOf(config);
}

function accessOf(config: KubeConfig): ClusterAccess {
  const cluster = config.getCurrentCluster();
  if (cluster === null || !URL.canParse(cluster.server)) {
    throw new DomainError(
      'invalid',
      'reading the kubeconfig: its current context names no cluster with a server address',
    );
  }
  const server = new URL(cluster.server);
  const effective = server.protocol === 'http:' ? withoutTls(config) : config;
  const proxied = cluster.proxyUrl !== undefined && cluster.proxyUrl !== '';
  return { server, load: () => loadCredentials(effective, proxied) };
}

/** The client library refuses plain HTTP unless the check of certificates, of which there are none, is off. */
function withoutTls(config: KubeConfig): KubeConfig {
  const cluster = config.getCurrentCluster();
  const plain = new KubeConfig();
  if (cluster === null) return config;
  plain.loadFromClusterAndUser({ ...cluster, skipTLSVerify: true }, config.getCurrentUser() ?? { name: 'nobody' });
  return plain;
}

async function loadCredentials(config: KubeConfig, proxied: boolean): Promise<Credentials> {
  const options: RequestOptions = { headers: {} };
  try {
    await config.applyToHTTPSOptions(options);
  } catch (error) {
    // Not with the error as its cause: loggers print causes, and what a plugin says may hold the token.
    throw new DomainError('unavailable', `reading the credentials for the API server: ${reasonOf(error)}`);
  }
  const headers = Object.entries(options.headers ?? {}).map(([name, value]) => [name, String(value).trim()]);
  const { ca, cert, key, passphrase, rejectUnauthorized, servername } = options;
  const tls = { ca, cert, key, passphrase, rejectUnauthorized, servername };
  return {
    tls: Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined)),
    headers: Object.fromEntries(headers) as Record<string, string>,
    ...(typeof options.auth === 'string' ? { basic: options.auth } : {}),
    ...(proxied ? { agent: options.agent } : {}),
  };
}
