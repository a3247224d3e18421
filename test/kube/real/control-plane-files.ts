/** What etcd and kube-apiserver are started with: credentials and arguments. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Place {
  readonly folder: string;
  readonly host: string;
  readonly etcdPort: number;
  readonly peerPort: number;
  readonly apiPort: number;
  readonly tokens: ReadonlyMap<string, string>;
}

/** Users with their tokens, and the key that signs the tokens of service accounts. */
export function writeCredentials(
  folder: string,
  users: Readonly<Record<string, readonly string[]>>,
  tokens: ReadonlyMap<string, string>,
): void {
  const lines = Object.entries(users).map(([name, groups]) => {
    return `${tokens.get(name) ?? ''},${name},${name},"${groups.join(',')}"\n`;
  });
  writeFileSync(join(folder, 'tokens.csv'), lines.join(''), { mode: 0o600 });
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  writeFileSync(join(folder, 'accounts.key'), privateKey, { mode: 0o600 });
  writeFileSync(join(folder, 'accounts.pub'), publicKey);
}

export function etcdArguments({ folder, host, etcdPort, peerPort }: Place): string[] {
  const clients = `http://${host}:${etcdPort}`;
  const peers = `http://${host}:${peerPort}`;
  return [
    `--data-dir=${join(folder, 'etcd')}`,
    '--name=only',
    `--listen-client-urls=${clients}`,
    `--advertise-client-urls=${clients}`,
    `--listen-peer-urls=${peers}`,
    `--initial-advertise-peer-urls=${peers}`,
    `--initial-cluster=only=${peers}`,
    '--unsafe-no-fsync', // What is in it need not survive the machine.
    '--log-level=warn',
  ];
}

export function apiServerArguments({ folder, host, etcdPort, apiPort }: Place): string[] {
  return [
    `--etcd-servers=http://${host}:${etcdPort}`,
    `--bind-address=${host}`,
    `--advertise-address=${host}`,
    `--secure-port=${apiPort}`,
    // It makes its certificate itself, signed by an authority that stands in the same file.
    `--cert-dir=${join(folder, 'certs')}`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    `--token-auth-file=${join(folder, 'tokens.csv')}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${join(folder, 'accounts.pub')}`,
    `--service-account-signing-key-file=${join(folder, 'accounts.key')}`,
    '--service-cluster-ip-range=10.96.0.0/24',
    '--endpoint-reconciler-type=none', // A service of an address on loopback is refused.
    '--allow-privileged=true',
    '--profiling=false',
  ];
}
