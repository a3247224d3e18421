/** A credential plugin that fails: the log says why, and never what it must not. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { stringify } from 'yaml';
import { createKubeClient } from '../../src/kube/index.ts';
import type { Harness } from './harness.ts';
import { createHarness, until } from './harness.ts';

const TOKEN = 'eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJtZXNoc3RvciJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg';

describe('a credential plugin', () => {
  let harness: Harness;
  let folder: string;
  beforeEach(async () => {
    harness = await createHarness();
    folder = mkdtempSync(join(tmpdir(), 'plugin-'));
  });
  afterEach(async () => {
    await harness.close();
    rmSync(folder, { recursive: true });
  });

  /** A kubeconfig whose user's token comes from this program. */
  function kubeconfigWith(command: string): string {
    const path = join(folder, 'kubeconfig');
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command, interactiveMode: 'Never' };
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster: { server: harness.server.url } }],
      users: [{ name: 'u', user: { exec } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    };
    writeFileSync(path, stringify(config));
    return path;
  }

  function program(text: string): string {
    const path = join(folder, 'plugin');
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
    return path;
  }

  for (const [what, make, reason] of [
    [
      'that is refused by its provider',
      () => program(`echo 'refused: login expired, token=hunter2 ${TOKEN} Bearer swordfish' >&2; exit 1`),
      /refused: login expired, token=\*\*\* /,
    ],
    ['that answers with a bare token', () => program(`printf '%s' '${TOKEN}'`), /what came is no JSON/],
    ['that says nothing', () => program('exit 3'), /failed without a word/],
    ['that does not exist', () => join(folder, 'none'), /ENOENT.*\/none/],
  ] as const) {
    it(`${what} is told in the log with its reason and without any secret`, async () => {
      const client = createKubeClient({ kubeconfig: kubeconfigWith(make()) });
      const store = harness.volumes({ client });
      await until('a line', () => harness.lines.some(({ message }) => message === 'watch interrupted'));
      const problem: unknown = await client
        .request({ method: 'GET', path: '/', doing: 'test' })
        .catch((e: unknown) => e);
      expect(problem).to.be.instanceOf(Error).and.not.have.property('cause');
      await store.stop();
      client.close();
      const text = JSON.stringify(harness.lines);
      expect(harness.lines[0]?.fields['error']).to.match(reason);
      expect(text).to.not.match(/hunter2|swordfish|eyJ|c2lnbm/);
    });
  }
});
