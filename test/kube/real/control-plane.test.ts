import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { identify, isRunning } from '../../lab/processes.ts';
import { Api, failure, freshName, volume, VOLUMES } from '../contract/server.ts';
import { until } from '../harness.ts';
import { startControlPlane } from './control-plane.ts';
import type { ControlPlane } from './control-plane.ts';
import { sharedControlPlane } from './shared.ts';

const run = promisify(execFile);

/** Starts a control plane, tells where it is, and waits. */
const STARTER = `
  import { readFileSync } from 'node:fs';
  import { startControlPlane } from '${join(import.meta.dirname, 'control-plane.ts')}';
  const plane = await startControlPlane();
  console.log(JSON.stringify({ folder: plane.folder, pids: plane.pids }));
  setInterval(() => undefined, 1000);
`;

describe('a real control plane', function () {
  this.timeout(300_000);
  let plane: ControlPlane;

  before(async () => {
    plane = await sharedControlPlane();
  });

  it('reports one release, server and kubectl', async () => {
    const { stdout } = await run(plane.kubectl, ['--kubeconfig', plane.kubeconfig, 'version', '-o', 'json']);
    const { clientVersion, serverVersion } = JSON.parse(stdout) as Record<string, { gitVersion: string }>;
    expect(serverVersion?.gitVersion).to.match(/^v1\.\d+\.\d+$/);
    expect(clientVersion?.gitVersion).to.equal(serverVersion?.gitVersion);
  });

  it('knows nobody without a valid token', async () => {
    const stranger = new Api(plane.kubeconfigFor('stranger', 'no-such-token'));
    const error = await failure(stranger.get('/api/v1/namespaces/default'));
    expect(error.status).to.equal(401);
    stranger.client.close();
  });

  it('lets a service account do what a role allows, and nothing else', async () => {
    const name = freshName('account');
    const accounts = '/api/v1/namespaces/default/serviceaccounts';
    await plane.api.create(accounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name } });
    const account = new Api(plane.kubeconfigFor(name, await plane.tokenOfAccount('default', name)));
    const before = await failure(account.list(VOLUMES));
    expect([before.status, before.reason]).to.deep.equal([403, 'Forbidden']);
    const rbac = '/apis/rbac.authorization.k8s.io/v1';
    const group = 'rbac.authorization.k8s.io';
    await plane.api.create(`${rbac}/clusterroles`, {
      apiVersion: `${group}/v1`,
      kind: 'ClusterRole',
      metadata: { name },
      rules: [{ apiGroups: ['csi.meshstor.io'], resources: ['meshstorvolumes'], verbs: ['list'] }],
    });
    await plane.api.create(`${rbac}/clusterrolebindings`, {
      apiVersion: `${group}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup: group, kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', namespace: 'default', name }],
    });
    // The authoriser hears of it by a watch.
    await until('the role counts', () =>
      account.list(VOLUMES).then(
        () => true,
        () => false,
      ),
    );
    expect((await failure(account.create(VOLUMES, volume(freshName())))).status).to.equal(403);
    account.client.close();
  });

  it('keeps what it stores over a restart of the API server, even a forced one', async () => {
    const made = await plane.api.create(VOLUMES, volume(freshName()));
    await plane.stopApiServer('SIGKILL');
    await plane.startApiServer();
    expect(await plane.api.get(`${VOLUMES}/${made.metadata.name}`)).to.deep.equal(made);
  });

  it('ends with the process that started it, however that one ends, and its folder goes with the next start', async () => {
    const args = ['--import=tsx', '--input-type=module', '--eval', STARTER];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const { folder, pids } = JSON.parse(line.toString('utf8')) as { folder: string; pids: number[] };
    const identities = await Promise.all(pids.map(identify));
    expect(identities).to.have.length(2);
    child.kill('SIGKILL');
    await once(child, 'exit');
    for (const identity of identities) {
      if (identity === undefined) throw new Error('a component did not run');
      await until('the component to end', async () => !(await isRunning(identity)));
    }
    expect(existsSync(folder)).to.equal(true);
    const next = await startControlPlane();
    await next.stop();
    expect(existsSync(folder)).to.equal(false);
    expect(existsSync(next.folder)).to.equal(false);
  });
});
