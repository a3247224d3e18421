import { expect } from 'chai';
import { VolumeNodeOperations } from '../../src/node/volume-operations.ts';
import type { OperationParts } from '../../src/node/volume-operations.ts';
import { MIB } from '../../src/support/units.ts';
import { ModelCluster } from '../support/model-cluster.ts';
import { advance, wish } from '../support/model-growth.ts';
import { holdAll, publish, stage } from '../support/model-run.ts';

describe('the growing of an array in the background', () => {
  it('asks nothing of the API while it has to wait', async () => {
    const cluster = new ModelCluster({ copies: 2, drives: 1, nodes: 2, mode: 'Filesystem' });
    cluster.attach('node-0');
    stage(cluster);
    publish(cluster);
    wish(cluster, 1024 * MIB);
    holdAll(cluster);
    holdAll(cluster);
    advance(cluster);
    const seen = cluster.consumerWorld(cluster.node('node-0'), false);
    const legs = seen.legs.map((leg) => ({ ...leg, pathState: 'failed' as const }));
    let asked = 0;
    const parts = {
      worlds: {
        me: seen.me,
        reported: () => Promise.resolve({ ...seen, legs }),
        consumer: () => {
          asked += 1;
          return Promise.resolve({ ...seen, legs });
        },
      },
      acts: { me: seen.me, volumes: { get: () => cluster.volume } },
    };
    const operations = new VolumeNodeOperations(parts as unknown as OperationParts);
    expect(await operations.growOnce('v')).to.include('its path is lost');
    expect(asked).to.equal(0);
  });
});
