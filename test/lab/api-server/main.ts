/**
 * Runs the stand-in as a process of its own:
 *
 *   npx tsx test/lab/api-server/main.ts [--host ADDRESS] [--port N] [--kubeconfig FILE] [--definitions FOLDER]
 *
 * Prints one line with its address when it listens; ends on SIGTERM and SIGINT.
 */
import { parseArgs } from 'node:util';
import { createApiServer } from './index.ts';

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    kubeconfig: { type: 'string' },
    definitions: { type: 'string' },
  },
});
const server = await createApiServer({
  host: values.host,
  port: Number(values.port),
  ...(values.definitions === undefined ? {} : { definitions: values.definitions }),
});
if (values.kubeconfig !== undefined) server.writeKubeconfig(values.kubeconfig);
process.stdout.write(`stand-in API server (not Kubernetes) at ${server.url}\n`);
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    void server.close();
  });
}
