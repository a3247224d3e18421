import { describeColumns } from './columns.ts';
import { describeObjects } from './objects.ts';
import { describeRules } from './rules.ts';
import type { ContractServer, ServerFactory } from './server.ts';
import { Api } from './server.ts';
import { describeUnclaimed } from './unclaimed.ts';
import { describeWatches } from './watches.ts';

export type { ContractServer, ServerFactory } from './server.ts';

/** What the driver, kubectl and the sidecars rely on, said as tests for any API server with our kinds installed. */
export function describeContract(name: string, factory: ServerFactory): void {
  describe(`API server contract: ${name}`, () => {
    let server: ContractServer;
    let api: Api;

    before(async function () {
      this.timeout(300_000); // A real one starts cold here.
      server = await factory();
      api = new Api(server.kubeconfig);
    });

    after(async () => {
      // Undefined after a start that failed.
      (api as Api | undefined)?.client.close();
      await (server as ContractServer | undefined)?.close();
    });

    describeObjects(() => api);
    describeRules(() => api);
    describeWatches(
      () => api,
      () => server,
    );
    describeColumns(
      () => api,
      () => server,
    );
    describeUnclaimed(
      () => api,
      () => server,
    );
  });
}
