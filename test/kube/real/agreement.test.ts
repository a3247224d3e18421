import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { ApiServer } from '../../lab/api-server/index.ts';
import { createApiServer } from '../../lab/api-server/index.ts';
import { describeContract } from '../contract/index.ts';
import type { Send } from './agreement.ts';
import { comparable, sender } from './agreement.ts';
import type { Case } from './agreement-case.ts';
import { GROUPS } from './agreement-cases.ts';
import { sharedControlPlane } from './shared.ts';
import { toolPath } from './tools.ts';

describe('the stand-in for the API server agrees with the real one', function () {
  this.timeout(300_000);
  const folder = mkdtempSync(join(tmpdir(), 'meshstor-agree-'));
  let standIn: ApiServer;
  let toStandIn: Send;
  let toReal: Send;

  before(async () => {
    const plane = await sharedControlPlane();
    toReal = sender(plane.kubeconfig);
    standIn = await createApiServer();
    const kubeconfig = join(folder, 'kubeconfig');
    standIn.writeKubeconfig(kubeconfig);
    toStandIn = sender(kubeconfig);
  });

  after(async () => {
    await (standIn as ApiServer | undefined)?.close();
    rmSync(folder, { recursive: true });
  });

  for (const [group, cases] of Object.entries(GROUPS)) {
    describe(group, () => {
      for (const [what, run] of cases) {
        it(what, async () => {
          const expected = await answersOf(run, toReal);
          expect(expected).not.to.be.empty;
          expect(await answersOf(run, toStandIn)).to.deep.equal(expected);
        });
      }
    });
  }
});

/** Every request with what can be compared of its answer. */
async function answersOf(run: Case[1], send: Send): Promise<readonly unknown[]> {
  const answers: unknown[] = [];
  await run(async (method, path, ...rest) => {
    const answer = await send(method, path, ...rest);
    answers.push([`${method} ${path}`, comparable(answer)]);
    return answer;
  });
  return answers;
}

describeContract('stand-in, seen by the kubectl of the real one', async () => {
  const kubectl = toolPath('kubectl');
  const folder = mkdtempSync(join(tmpdir(), 'meshstor-kubectl-'));
  const server = await createApiServer();
  const kubeconfig = join(folder, 'kubeconfig');
  server.writeKubeconfig(kubeconfig);
  return {
    kubeconfig,
    kubectl,
    compact: async () => server.compact(),
    close: async () => {
      await server.close();
      rmSync(folder, { recursive: true });
    },
  };
});
