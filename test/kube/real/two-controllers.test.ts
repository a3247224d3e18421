/**
 * Two replicas of the controller, processes of the built program without leader election, are asked the same and opposite things,
 * at once and one after the other, in a seeded order: correctness comes from resourceVersion alone (SPEC §7).
 */
import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { MIB } from '../../../src/support/units.ts';
import { until } from '../harness.ts';
import type { Call, Outcome } from './controller-calls.ts';
import {
  AGAIN,
  capacity,
  create,
  done,
  expand,
  inspect,
  listed,
  publish,
  remove,
  settled,
  unpublish,
  validate,
} from './controller-calls.ts';
import type { ControllerProcess } from './controller-process.ts';
import { Replicas } from './replicas.ts';
import { Seeded } from './seeded.ts';
import type { Life } from './volume-history.ts';
import { tell } from '../../support/tell.ts';

const NODES = ['node1', 'node2', 'node3'] as const;
const VOLUMES = 5;
const ROUNDS = 50;
const STEP = 64 * MIB;
/** A growth takes as long as its nodes do: a call without an answer by then is made again, as by the resizer. */
const GROWTH_MS = 5_000;
const PATIENCE_MS = 60_000;
const SIZES = [512 * MIB, 768 * MIB] as const;
const SEED = Number(process.env['MESHSTOR_SEED'] ?? Date.now() % 1_000_000);

/** As sidecars do, which also ask again when they got no answer in time. */
function answered({ csi }: ControllerProcess, call: Call): Promise<Outcome> {
  return settled(csi, call, PATIENCE_MS, ({ code }) => AGAIN.has(code) || code === 'DEADLINE_EXCEEDED');
}

/** What a volume has to be like now. */
interface Story {
  readonly name: string;
  readonly random: Seeded;
  exists: boolean;
  bytes: number;
  node: string;
  /** Objects that this name has had. */
  lives: number;
}

describe(`two controllers that are asked side by side (MESHSTOR_SEED=${SEED})`, function () {
  this.timeout(600_000);
  let replicas: Replicas;
  let pair: readonly [ControllerProcess, ControllerProcess];
  const counts = new Map<string, number>();
  let [growths, refusedGrowths] = [0, 0];

  before(async () => {
    // As many drives as volumes, so that each has room behind its partitions.
    replicas = await Replicas.start(NODES, { drives: VOLUMES });
    pair = await Promise.all([replicas.startController(), replicas.startController()]);
  });

  after(async () => {
    await (replicas as Replicas | undefined)?.stop();
  });

  /** One call to each; which first, how much later the other, or only after the first answer: as the seed wants it. */
  async function both({ random }: Story, first: Call, second: Call): Promise<readonly [Outcome, Outcome]> {
    const [a, b] = random.isTrue() ? pair : ([pair[1], pair[0]] as const);
    const gapMs = random.below(4) === 0 ? Infinity : random.below(40);
    const one = answered(a, first);
    await (gapMs === Infinity ? one : new Promise((resolve) => setTimeout(resolve, gapMs)));
    return Promise.all([one, answered(b, second)]);
  }

  /** The same call to both has the same answer. */
  async function same(story: Story, what: string, call: Call): Promise<Outcome> {
    const [a, b] = await both(story, call, call);
    expect(a, `${what} of ${story.name}`).to.deep.equal(b);
    return a;
  }

  /** Whether another volume was ever on a drive of this one: nothing grows over its partitions. */
  function hadNeighbour(name: string): boolean {
    const drivesOf = (life: Life): readonly string[] =>
      life.versions.flatMap(({ status }) =>
        (status?.partitions ?? []).map(({ nodeID, serial }) => `${nodeID}/${serial}`),
      );
    const own = replicas.history.livesOf(name).flatMap(drivesOf);
    const others = replicas.history.lives.filter((life) => life.name !== name).flatMap(drivesOf);
    return own.some((drive) => others.includes(drive));
  }

  /** What came of being asked to grow to so much, by several perhaps: all of it, or nothing. */
  async function expectGrown(story: Story, outcomes: readonly Outcome[], wanted: number): Promise<void> {
    const { name } = story;
    const refused = outcomes.filter((outcome) => 'code' in outcome);
    for (const { code } of refused) expect(code, `to grow ${name}`).to.equal('RESOURCE_EXHAUSTED');
    if (refused.length > 0) expect(hadNeighbour(name), `${name} was in the way of nobody, nobody of it`).to.equal(true);
    growths += outcomes.length - refused.length;
    refusedGrowths += refused.length;
    for (const outcome of outcomes) {
      if ('answer' in outcome) expect(outcome.answer, `the answer about ${name}`).to.be.within(story.bytes, wanted);
    }
    const spec = (await replicas.read(name))?.spec ?? {};
    expect(spec, `the wish for ${name}`).not.to.have.property('expandToBytes');
    if (refused.length === 0) expect(spec['capacityBytes'], `size of ${name}`).to.equal(wanted);
    story.bytes = Number(spec['capacityBytes']);
  }

  /** Every step leaves the story as it has to be, and is checked against the API. */
  const STEPS: Readonly<Record<string, (story: Story) => Promise<void>>> = {
    create: async (story) => {
      const node = story.random.isTrue() ? story.random.oneOf(NODES) : undefined;
      const outcome = await same(story, 'CreateVolume', create(story.name, node, story.bytes));
      expect(outcome).to.have.property('answer');
      if (!story.exists) story.lives += 1;
      story.exists = true;
    },
    'create in two sizes': async (story) => {
      if (story.exists) return;
      const outcomes = await both(
        story,
        create(story.name, undefined, SIZES[0]),
        create(story.name, 'node1', SIZES[1]),
      );
      const winners = SIZES.filter((_, index) => 'answer' in (outcomes[index] ?? {}));
      expect(winners, JSON.stringify(outcomes)).to.have.length(1);
      expect(outcomes).to.deep.include({ code: 'ALREADY_EXISTS' });
      story.lives += 1;
      story.exists = true;
      story.bytes = winners[0] ?? 0;
    },
    publish: async (story) => {
      const node = story.random.oneOf(NODES);
      const outcome = await same(story, 'ControllerPublishVolume', publish(story.name, node));
      if (!story.exists) expect(outcome).to.deep.equal({ code: 'NOT_FOUND' });
      else if (story.node !== '' && story.node !== node) {
        expect(outcome).to.deep.equal({ code: 'FAILED_PRECONDITION' });
      } else {
        expect(outcome).to.have.property('answer');
        story.node = node;
      }
    },
    'publish on two nodes': async (story) => {
      if (!story.exists || story.node !== '') return;
      const nodes = story.random.isTrue() ? (['node1', 'node2'] as const) : (['node3', 'node1'] as const);
      const outcomes = await both(story, publish(story.name, nodes[0]), publish(story.name, nodes[1]));
      const winners = nodes.filter((_, index) => 'answer' in (outcomes[index] ?? {}));
      expect(winners, JSON.stringify(outcomes)).to.have.length(1);
      expect(outcomes).to.deep.include({ code: 'FAILED_PRECONDITION' });
      story.node = winners[0] ?? '';
    },
    use: async (story) => {
      if (story.node !== '') await replicas.use(story.name, story.node);
    },
    unpublish: async (story) => {
      const outcome = await same(story, 'ControllerUnpublishVolume', unpublish(story.name, story.node));
      expect(outcome).to.have.property('answer');
      story.node = '';
    },
    'unpublish against publish': async (story) => {
      if (story.node === '') return;
      const [, published] = await both(story, unpublish(story.name, story.node), publish(story.name, story.node));
      expect(published).to.have.property('answer');
      // Either may have been last: the answers' sense is in the history.
      story.node = (await replicas.status(story.name)).nodeName ?? '';
    },
    remove: async (story) => {
      const outcome = await same(story, 'DeleteVolume', remove(story.name));
      if (story.node !== '') {
        expect(outcome).to.deep.equal({ code: 'FAILED_PRECONDITION' });
        return;
      }
      expect(outcome).to.have.property('answer');
      await replicas.untilGone(story.name);
      story.exists = false;
    },
    'remove against publish': async (story) => {
      if (!story.exists || story.node !== '') return;
      const node = story.random.oneOf(NODES);
      const [removed, published] = await both(story, remove(story.name), publish(story.name, node));
      const isAttached = 'answer' in published;
      expect(removed, JSON.stringify(published)).to.deep.equal(
        isAttached ? { code: 'FAILED_PRECONDITION' } : { answer: {} },
      );
      if (isAttached) story.node = node;
      else {
        expect(published).to.deep.equal({ code: 'NOT_FOUND' });
        await replicas.untilGone(story.name);
        story.exists = false;
      }
    },
    'remove against create': async (story) => {
      if (!story.exists || story.node !== '') return;
      const again = create(story.name, undefined, story.bytes);
      for (const outcome of await both(story, remove(story.name), again)) expect(outcome).to.have.property('answer');
      const first = replicas.history.livesOf(story.name).at(story.lives - 1);
      await until('the first one to be gone', () => first?.isOver === true, 60_000);
      story.exists = (await replicas.read(story.name)) !== undefined;
      if (story.exists) story.lives += 1;
    },
    expand: async (story) => {
      const wanted = story.bytes + STEP;
      const call = expand(story.name, wanted, GROWTH_MS);
      const outcomes = await both(story, call, call);
      if (story.exists) await expectGrown(story, outcomes, wanted);
      else expect(outcomes).to.deep.equal([{ code: 'NOT_FOUND' }, { code: 'NOT_FOUND' }]);
    },
    'expand to two sizes': async (story) => {
      if (!story.exists) return;
      const sizes = [1, 2].map((steps) => story.bytes + steps * STEP);
      const [one, two] = sizes.map((bytes) => expand(story.name, bytes, GROWTH_MS)) as [Call, Call];
      const outcomes = await both(story, one, two);
      await expectGrown(story, outcomes, story.bytes + 2 * STEP);
      outcomes.forEach((outcome, index) => {
        if ('answer' in outcome) expect(outcome.answer).to.be.at.least(sizes[index] ?? 0);
      });
    },
    'expand against publish': async (story) => {
      if (!story.exists || story.node !== '') return;
      const node = story.random.oneOf(NODES);
      const wanted = story.bytes + STEP;
      const grow = expand(story.name, wanted, GROWTH_MS);
      const [published, grown] = await both(story, publish(story.name, node), grow);
      expect(published).to.have.property('answer');
      story.node = node;
      await expectGrown(story, [grown], wanted);
    },
    'expand against unpublish': async (story) => {
      if (story.node === '') return;
      const wanted = story.bytes + STEP;
      const grow = expand(story.name, wanted, GROWTH_MS);
      const [grown, unpublished] = await both(story, grow, unpublish(story.name, story.node));
      expect(unpublished).to.have.property('answer');
      story.node = '';
      await expectGrown(story, [grown], wanted);
    },
    'expand against remove': async (story) => {
      if (!story.exists || story.node !== '') return;
      const [removed, grown] = await both(story, remove(story.name), expand(story.name, story.bytes + STEP, GROWTH_MS));
      expect(removed).to.deep.equal({ answer: {} });
      if ('code' in grown) expect(grown.code).to.be.oneOf(['NOT_FOUND', 'FAILED_PRECONDITION', 'RESOURCE_EXHAUSTED']);
      await replicas.untilGone(story.name);
      story.exists = false;
    },
    inspect: async (story) => {
      const outcome = await same(story, 'ControllerGetVolume', inspect(story.name));
      const nodes = story.node === '' ? [] : [story.node];
      expect(outcome).to.deep.equal(story.exists ? { answer: { bytes: story.bytes, nodes } } : { code: 'NOT_FOUND' });
    },
    validate: async (story) => {
      const outcome = await same(story, 'ValidateVolumeCapabilities', validate(story.name));
      expect(outcome).to.deep.equal(story.exists ? { answer: 1 } : { code: 'NOT_FOUND' });
    },
    list: async (story) => {
      const nodes = story.node === '' ? [] : [story.node];
      const expected = story.exists ? { answer: nodes } : { answer: undefined };
      // A list comes from the replica's cache, which hears of the other's writes by its watch.
      for (const { csi } of pair) {
        const isSo = async () => JSON.stringify(await settled(csi, listed(story.name))) === JSON.stringify(expected);
        await until(`${story.name} in the list: ${JSON.stringify(expected)}`, isSo, 30_000);
      }
    },
    capacity: async ({ random }) => {
      const node = random.oneOf(NODES);
      for (const { csi } of pair) expect(await done(csi, capacity(node))).to.be.a('number');
    },
  };

  async function checkNow({ name, exists, bytes, node, lives }: Story): Promise<void> {
    const found = await replicas.read(name);
    if (exists) expect(found?.spec['capacityBytes'], `size of ${name}`).to.equal(bytes);
    expect(found !== undefined, `${name} is there`).to.equal(exists);
    expect(found?.status?.['nodeName'] ?? '', `where ${name} is attached`).to.equal(node);
    await until(`${lives} objects called ${name}`, () => replicas.history.livesOf(name).length >= lives);
    expect(replicas.history.livesOf(name), `objects called ${name}`).to.have.length(lives);
  }

  async function liveThrough(story: Story): Promise<void> {
    for (let round = 0; round < ROUNDS; round += 1) {
      const isDue = !story.exists && story.random.below(3) > 0;
      const what = isDue
        ? story.random.oneOf(['create', 'create in two sizes'])
        : story.random.oneOf(Object.keys(STEPS));
      counts.set(what, (counts.get(what) ?? 0) + 1);
      await STEPS[what]?.(story);
      await checkNow(story);
    }
    await STEPS['unpublish']?.(story);
    await STEPS['remove']?.(story);
    await checkNow(story);
  }

  it('answer alike, do nothing twice and lose nothing', async () => {
    const stories = Array.from({ length: VOLUMES }, (_, index): Story => {
      const random = new Seeded(SEED + index);
      return { name: `pvc-${randomUUID()}`, random, exists: false, bytes: SIZES[0], node: '', lives: 0 };
    });
    await Promise.all(stories.map(liveThrough));
    replicas.history.check();
    expect(await replicas.remains()).to.deep.equal([]);
    expect(await replicas.toldTwice()).to.deep.equal([]);
    for (const { name, runs } of pair) expect(runs, name).to.equal(true);
    const steps = [...counts].map(([what, count]) => `${what} ${count}`).join(', ');
    const versions = replicas.history.lives.reduce((sum, life) => sum + life.versions.length, 0);
    tell(`expanded ${growths} times, ${refusedGrowths} times refused for a neighbour`);
    expect(growths, 'most find room').to.be.greaterThan(refusedGrowths);
    tell(`${steps}; ${replicas.history.lives.length} objects in ${versions} versions`);
    expect(counts.size).to.equal(Object.keys(STEPS).length);
  });

  it('have the same capacity on all drives when all volumes are gone', async () => {
    for (const node of NODES) {
      const values = async () => Promise.all(pair.map(({ csi }) => done(csi, capacity(node))));
      await until('the same capacity', async () => new Set(await values()).size === 1, 30_000);
      expect(Number((await values())[0])).to.be.greaterThan(1024 * MIB);
    }
  });
});
