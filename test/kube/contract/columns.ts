import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { device } from './rules.ts';
import type { Api, ContractServer } from './server.ts';
import { DEVICES, partition, volume, VOLUMES } from './server.ts';

const run = promisify(execFile);

const NARROW = `
NAME    PHASE     MDSTATE      READY   DEGRADED   SYNC    NODE     AGE
col-a   Synced    active       2/2     0                  node-2   AGE
col-b   Syncing   recovering   1/2     1          45.2%   node-3   AGE
col-c                                                              AGE
`;
const WIDE = `
NAME    PHASE     MDSTATE      READY   DEGRADED   SYNC    NODE     AGE   TOTAL   ACTIVE   FAILED   MISSING   PARTITIONS
col-a   Synced    active       2/2     0                  node-2   AGE   2       2        0        0         node1,node2
col-b   Syncing   recovering   1/2     1          45.2%   node-3   AGE   2       1        0        1         node1
col-c                                                              AGE
`;
/** The same with `-o wide`. The heartbeat is shown as an age. */
const DRIVES = `
NAME            MODEL          SERIAL   LOCALPARTITIONS   REMOTEPARTITIONS   UNKNOWNPARTITIONS   MULTIQUEUE   BIGGESTUSABLEFREESPACE   SIZE      SECTORSIZE   UPDATEDAT
node1-nvme0n1   Example NVMe   S1-1     1                 2                  0                   8            900.5Gi                  931.5Gi   512          AGE
`;

/** Prints through the real kubectl. */
export function describeColumns(api: () => Api, server: () => ContractServer): void {
  describe('kubectl', () => {
    const kubectl = async (...args: string[]) => {
      const program = server().kubectl ?? 'kubectl';
      const { stdout } = await run(program, ['--kubeconfig', server().kubeconfig, ...args], { timeout: 30_000 });
      return stdout;
    };

    before(async function () {
      this.timeout(60_000);
      if (server().kubectl === undefined && !onPath('kubectl')) this.skip(); // There is no kubectl on this machine.
      for (const name of ['col-a', 'col-b', 'col-c']) await api().create(VOLUMES, volume(name));
      await api().patch(`${VOLUMES}/col-a/status`, { status: statusOf('Synced', 'active', 2, 'node-2') });
      await api().patch(`${VOLUMES}/col-b/status`, { status: statusOf('Syncing', 'recovering', 1, 'node-3') });
      await api().create(DEVICES, device('node1-nvme0n1'));
      const status = { localPartitions: 1, remotePartitions: 2, unknownPartitions: 0 };
      const updatedAt = new Date(Date.now() - 5_000).toISOString();
      const body = { status: { ...status, biggestUsableFreeSpace: '900.5Gi', updatedAt } };
      await api().patch(`${DEVICES}/node1-nvme0n1/status`, body);
    });

    it('prints the columns of volumes', async () => {
      expect(plain(await kubectl('get', 'msvol', 'col-a', 'col-b', 'col-c'))).to.equal(NARROW.trim());
    });

    it('prints more columns of volumes with -o wide', async () => {
      expect(plain(await kubectl('get', 'msvol', '-o', 'wide', 'col-a', 'col-b', 'col-c'))).to.equal(WIDE.trim());
    });

    for (const output of ['', 'wide']) {
      it(`prints the columns of drives${output && ' with -o wide'}`, async () => {
        const text = await kubectl('get', 'msnd', 'node1-nvme0n1', ...(output === '' ? [] : ['-o', output]));
        expect(text.trim().replace(/\d+s$/, 'AGE')).to.equal(DRIVES.trim());
      });
    }

    it('finds both kinds by their category', async () => {
      const text = await kubectl('get', 'meshstor', '-o', 'name');
      expect(text).to.contain('meshstorvolume.csi.meshstor.io/col-a');
      expect(text).to.contain('meshstornodedevice.csi.meshstor.io/node1-nvme0n1');
    });

    it('prints whole objects, and describes them with their events', async () => {
      const made = await api().get(`${VOLUMES}/col-a`);
      await api().create('/api/v1/namespaces/default/events', {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name: 'col-a.1', namespace: 'default' },
        involvedObject: { apiVersion: made.apiVersion, kind: made.kind, name: 'col-a', uid: made.metadata.uid },
        type: 'Normal',
        reason: 'Attached',
        message: 'attached to node-2',
        count: 1,
        firstTimestamp: new Date().toISOString(),
        lastTimestamp: new Date().toISOString(),
        source: { component: 'test' },
      });
      expect(await kubectl('get', 'msvol', 'col-a', '-o', 'yaml')).to.contain(
        `volumeUUID: ${String(made.spec['volumeUUID'])}`,
      );
      const described = await kubectl('describe', 'msvol', 'col-a');
      expect(described).to.match(/Volume UUID:\s+[0-9a-f-]{36}/);
      expect(described).to.match(/Attached\s.*attached to node-2/);
    });
  });
}

function statusOf(phase: string, mdState: string, active: number, nodeName: string): Record<string, unknown> {
  const missing = 2 - active;
  return {
    phase,
    mdState,
    nodeName,
    ready: `${active}/2`,
    syncPercentage: missing === 0 ? '' : '45.2%',
    totalDevices: 2,
    activeDevices: active,
    failedDevices: 0,
    downDevices: missing,
    degradedDevices: missing,
    partitionNodes: missing === 0 ? 'node1,node2' : 'node1',
    partitions: [partition()],
  };
}

/** Ages replaced by a word of the width of `12s`, and no blanks at the ends. */
export function plain(text: string): string {
  const lines = text.trimEnd().split('\n');
  const at = (lines[0] ?? '').indexOf('AGE');
  return lines
    .map((line, index) => {
      if (index === 0) return line.trimEnd();
      const age = /^\d+[a-z0-9]*/.exec(line.slice(at))?.[0] ?? '';
      return `${line.slice(0, at)}AGE${line.slice(at + Math.max(age.length, 3))}`.trimEnd();
    })
    .join('\n');
}

export function onPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(`${folder}/${program}`));
}
