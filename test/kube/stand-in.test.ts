import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApiServer } from '../lab/api-server/index.ts';
import { describeContract } from './contract/index.ts';

describeContract('stand-in', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'meshstor-kube-'));
  const server = await createApiServer();
  const kubeconfig = join(folder, 'kubeconfig');
  server.writeKubeconfig(kubeconfig);
  return {
    kubeconfig,
    compact: async () => server.compact(),
    close: async () => {
      await server.close();
      rmSync(folder, { recursive: true });
    },
  };
});
