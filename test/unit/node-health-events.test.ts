/** What people are told of a volume's health: once for each trouble and once for its end, whatever lies between. */
import { expect } from 'chai';
import type { MeshStorVolume, VolumeStatus } from '../../src/api/volume.ts';
import { observeConsumer } from '../../src/plan/health.ts';
import { recordObserved, recordReleased } from '../../src/plan/records.ts';
import type { ArraySeen, ConsumerWorld } from '../../src/plan/world.ts';
import type { HolderActs } from '../../src/node/act-holder.ts';
import type { Surroundings } from '../../src/node/converge.ts';
import { NodeVolumeReconciler } from '../../src/node/reconciler.ts';
import { VolumeReporter } from '../../src/node/reporter.ts';
import type { VolumeWorlds } from '../../src/node/volume-worlds.ts';
import { KeyedMutex } from '../../src/support/keyed-mutex.ts';
import { FakeEventRecorder, FakeServer, FakeStore } from '../fakes/fake-store.ts';
import { ModelCluster, NOW } from '../support/model-cluster.ts';
import { stage, tearDownFenced } from '../support/model-run.ts';
import { whoOf } from '../support/model-rules.ts';

type Look = 'clean' | 'gone' | 'recovering' | 'resyncing' | 'degraded';

const CHANGES: Readonly<Record<Exclude<Look, 'gone'>, (array: ArraySeen) => ArraySeen>> = {
  clean: (array) => array,
  recovering: (array) => ({ ...array, syncAction: 'recover', syncFraction: 0.25 }),
  resyncing: (array) => ({ ...array, syncAction: 'resync', syncFraction: 0.5 }),
  degraded: (array) => ({
    ...array,
    members: array.members.map((member, index) => (index === 0 ? member : { ...member, inSync: false })),
  }),
};

/** A staged volume, and the reconciler of its consumer over what is scripted of its kernel. */
class Stage {
  readonly events = new FakeEventRecorder();
  readonly server = new FakeServer<MeshStorVolume>();
  readonly cluster = new ModelCluster({ copies: 2, drives: 1, nodes: 3, mode: 'Filesystem' });
  #look: Look = 'clean';

  constructor() {
    this.cluster.attach('node-0');
    expect(stage(this.cluster)).to.deep.equal({ kind: 'done' });
    this.server.put(this.cluster.volume);
  }

  get #node() {
    const { consumer } = this.cluster;
    if (consumer === undefined) throw new Error('attached nowhere');
    return consumer;
  }

  get volume(): MeshStorVolume {
    const volume = this.server.objects.get(this.cluster.volume.metadata.name);
    if (volume === undefined) throw new Error('no volume');
    return volume;
  }

  /** Who is the consumer by the model. */
  who() {
    return whoOf(this.cluster, this.#node);
  }

  write(status: VolumeStatus | undefined): void {
    if (status !== undefined) this.server.put({ ...this.volume, status });
  }

  world(look: Look): ConsumerWorld {
    const { array, ...rest } = this.cluster.consumerWorld(this.#node, false);
    const world = { ...rest, volume: this.volume };
    return array === undefined || look === 'gone' ? world : { ...world, array: CHANGES[look](array) };
  }

  /** A new process each time: what was told is known from the object alone. */
  async report(...looks: readonly Look[]): Promise<void> {
    for (const look of looks) {
      this.#look = look;
      const worlds = {
        me: this.cluster.identity(this.#node),
        reported: () => Promise.resolve(this.world(this.#look)),
        planHolding: () => Promise.resolve({ kind: 'done' }),
      } as unknown as VolumeWorlds;
      const volumes = new FakeStore(this.server);
      const reconciler = new NodeVolumeReconciler({
        worlds,
        acts: { now: () => NOW } as HolderActs,
        around: { rounds: new KeyedMutex() } as Surroundings,
        volumes,
        reporter: new VolumeReporter({ volumes, events: this.events, now: () => NOW }),
        mender: { mend: () => Promise.resolve(undefined) },
        fencer: { fence: () => Promise.resolve(undefined) },
        grow: () => Promise.resolve(undefined),
      });
      await reconciler.reconcile(this.volume.metadata.name);
    }
  }

  get told(): readonly string[] {
    return this.events.events.map(({ reason }) => reason);
  }
}

describe('the health of a volume', () => {
  let made: Stage;

  beforeEach(() => {
    made = new Stage();
  });

  it('is not told of while there is no trouble', async () => {
    await made.report('clean', 'clean');
    expect(made.told).to.deep.equal([]);
    expect(made.volume.status?.conditions).to.deep.equal([]);
  });

  it('is told once when trouble begins and once when it is over, through any states between', async () => {
    await made.report('degraded', 'recovering', 'degraded', 'recovering', 'clean', 'clean');
    expect(made.told).to.deep.equal(['VolumeDegraded', 'VolumeHealthy']);
    await made.report('gone', 'resyncing', 'clean');
    expect(made.told).to.deep.equal(['VolumeDegraded', 'VolumeHealthy', 'VolumeDegraded', 'VolumeHealthy']);
  });

  it('is told to be good again when a start, not a report, ended the trouble', async () => {
    await made.report('gone');
    expect(made.volume.status?.mdState).to.equal('missing');
    made.write({ ...made.volume.status!, mdState: 'clean' });
    await made.report('clean', 'clean');
    expect(made.told).to.deep.equal(['VolumeDegraded', 'VolumeHealthy']);
  });

  it('is not told to be good because the array was stopped, and is told on the next node', async () => {
    await made.report('degraded');
    made.write(recordReleased(made.volume, made.who(), NOW));
    await made.report('gone');
    expect(made.volume.status?.mdState).to.equal('');
    expect(made.told).to.deep.equal(['VolumeDegraded']);
    const { cluster } = made;
    cluster.volume = made.volume;
    cluster.detach();
    cluster.attach('node-1');
    tearDownFenced(cluster);
    expect(stage(cluster)).to.deep.equal({ kind: 'done' });
    made.write(cluster.status);
    await made.report('clean', 'clean');
    expect(made.told).to.deep.equal(['VolumeDegraded', 'VolumeHealthy']);
  });

  it('is not told to be good when nobody was told of the trouble', async () => {
    made.write(recordObserved(made.volume, made.who(), observeConsumer(made.world('degraded')), NOW));
    expect(made.volume.status?.mdState).to.equal('degraded');
    await made.report('clean');
    expect(made.told).to.deep.equal([]);
  });
});
