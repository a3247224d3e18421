/** kube-controller-manager and kube-scheduler, each as its own user of RBAC. */
import { get } from 'node:https';
import { join } from 'node:path';
import type { Component } from './component.ts';
import { freePorts, startComponent, untilReady } from './component.ts';
import { toolPath } from './tools.ts';

/** Users with the roles that a real cluster binds to these names. */
export const CONTROLLER_USERS = {
  'kube-controller-manager': 'system:kube-controller-manager',
  'kube-scheduler': 'system:kube-scheduler',
} as const;

const READY_MS = 120_000;

export interface ControllersOptions {
  readonly folder: string;
  readonly host: string;
  /** Path of the kubeconfig of a component. */
  readonly kubeconfigOf: (name: keyof typeof CONTROLLER_USERS) => string;
  /** Path of the certificate of the API server's authority. */
  readonly authority: string;
}

/** Starts both; resolves when both are healthy. */
export async function startControllers(options: ControllersOptions): Promise<readonly Component[]> {
  const { folder, host, authority } = options;
  const [managerPort = 0, schedulerPort = 0] = await freePorts(2, host);
  const manager = [
    `--root-ca-file=${authority}`,
    `--service-account-private-key-file=${join(folder, 'accounts.key')}`,
    '--use-service-account-credentials=true',
  ];
  return Promise.all([
    startOne('kube-controller-manager', managerPort, manager, options),
    startOne('kube-scheduler', schedulerPort, [], options),
  ]);
}

async function startOne(
  name: keyof typeof CONTROLLER_USERS,
  port: number,
  more: readonly string[],
  { folder, host, kubeconfigOf }: ControllersOptions,
): Promise<Component> {
  const kubeconfig = kubeconfigOf(name);
  const args = [
    `--kubeconfig=${kubeconfig}`,
    `--authentication-kubeconfig=${kubeconfig}`,
    `--authorization-kubeconfig=${kubeconfig}`,
    `--bind-address=${host}`,
    `--secure-port=${port}`,
    '--leader-elect=false',
    '--profiling=false',
    ...more,
  ];
  const component = await startComponent(name, toolPath(name), args, folder);
  await untilReady(component, () => isHealthy(`https://${host}:${port}/healthz`), READY_MS);
  return component;
}

/** Its certificate is made afresh in memory at each start: nobody can know it. */
function isHealthy(url: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const request = get(url, { rejectUnauthorized: false, agent: false, timeout: 5_000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.once('timeout', () => request.destroy(new Error(`no answer from ${url}`)));
    request.once('error', reject);
  });
}
