/** Every version that the API server ever had of every volume, and the rules that all of them keep together. */
import { expect } from 'chai';
import { partitionSizeBytes } from '../../../src/api/layout.ts';
import type { MeshStorVolume } from '../../../src/api/volume.ts';
import type { KubeClient } from '../../../src/kube/index.ts';
import { createKubeClient, loadParsers } from '../../../src/kube/index.ts';
import { Watch } from '../../../src/kube/watch.ts';
import { VOLUMES } from '../contract/server.ts';
import { quiet } from '../harness.ts';

const parsers = loadParsers();

/** One object from its creation on. */
export interface Life {
  readonly name: string;
  readonly uid: string;
  readonly versions: MeshStorVolume[];
  /** The object is gone. */
  isOver: boolean;
}

export class VolumeHistory {
  /** In the order of their creation. */
  readonly lives: Life[] = [];
  readonly #watch: Watch;
  readonly #client: KubeClient;
  #lists = 0;

  constructor(kubeconfig: string) {
    this.#client = createKubeClient({ kubeconfig });
    this.#watch = new Watch({
      client: this.#client,
      path: VOLUMES,
      what: 'all versions',
      log: quiet,
      sink: {
        replace: (items) => {
          this.#lists += 1;
          for (const item of items) this.#note(item);
        },
        apply: (type, wire) => {
          const life = this.#note(wire);
          life.isOver = type === 'DELETED';
        },
        progress: () => undefined,
      },
    });
    this.#watch.start();
  }

  get ready(): Promise<void> {
    return this.#watch.synced;
  }

  livesOf(name: string): readonly Life[] {
    return this.lives.filter((life) => life.name === name);
  }

  /** Throws when the history breaks a rule, or has gaps. */
  check(): void {
    expect(this.#lists, 'a list in the middle would hide versions').to.equal(1);
    for (const life of this.lives) {
      checkLife(life);
      checkGrowth(life);
    }
    const uuids = this.lives.map(({ versions }) => versions[0]?.spec.volumeUUID);
    expect(new Set(uuids).size, 'each object has a UUID of its own').to.equal(uuids.length);
  }

  async stop(): Promise<void> {
    await this.#watch.stop();
    this.#client.close();
  }

  #note(wire: unknown): Life {
    const parsed = parsers.volume(wire);
    if (!parsed.ok) throw new Error(`a version that cannot be read: ${parsed.problem}`);
    const { name, uid } = parsed.value.metadata;
    let life = this.lives.find((known) => known.uid === uid);
    if (life === undefined) {
      life = { name, uid, versions: [], isOver: false };
      this.lives.push(life);
    }
    life.versions.push(parsed.value);
    return life;
  }
}

/** Nothing twice: one placement, one attachment for each epoch, one step up for each attachment and each end of one. */
function checkLife({ name, versions }: Life): void {
  const [first] = versions;
  const all = new Set<string>();
  let [epoch, consumer, isDeleting] = [0, '/', false];
  for (const { metadata, spec, status } of versions) {
    const at = `${name} at ${metadata.resourceVersion}`;
    expect(spec.volumeUUID, `${at}: one incarnation`).to.equal(first?.spec.volumeUUID);
    if (status === undefined) continue;
    const now = `${status.nodeName}/${status.attachmentID}`;
    const step = now === consumer ? 0 : 1;
    expect(status.attachmentEpoch, `${at}: an epoch for each change of the consumer, ${now}`).to.equal(epoch + step);
    const isHandedOver = consumer !== '/' && now !== '/' && now !== consumer;
    expect(isHandedOver, `${at}: detached before it is attached again`).to.equal(false);
    [epoch, consumer] = [status.attachmentEpoch, now];
    if (isDeleting) expect(status.phase, `${at}: deleting is final`).to.equal('Deleting');
    isDeleting = status.phase === 'Deleting';
    if (isDeleting) expect(status.nodeName, `${at}: deleted while attached`).to.equal('');
    const slots = status.partitions.map(({ slot }) => slot);
    expect(new Set(slots).size, `${at}: one entry for each slot`).to.equal(slots.length);
    for (const { partitionUUID } of status.partitions) all.add(partitionUUID);
    const members = spec.numberOfCopies * spec.drivesPerCopy;
    expect(all.size, `${at}: placed once`).to.be.within(0, members);
  }
}

/**
 * Nothing shrinks, no size comes from nowhere, and no partition is smaller than its volume needs: it would be lost data. A volume
 * with data remembers what its array has until then.
 */
function checkGrowth({ name, versions }: Life): void {
  const sizes = new Map<string, number>();
  let before: MeshStorVolume | undefined;
  for (const volume of versions) {
    const { metadata, spec, status } = volume;
    const at = `${name} at ${metadata.resourceVersion}`;
    if (before !== undefined && before.spec.capacityBytes !== spec.capacityBytes) {
      expect(spec.capacityBytes, `${at}: it has what was wished`).to.equal(before.spec.expandToBytes);
      expect(spec.capacityBytes, `${at}: more than before`).to.be.greaterThan(before.spec.capacityBytes);
      expect(spec, `${at}: the wish is fulfilled`).not.to.have.property('expandToBytes');
      const isRemembered = spec.activatedAt === undefined || status?.servedBytes !== undefined;
      expect(isRemembered, `${at}: the consumer has to follow`).to.equal(true);
    }
    const needed = partitionSizeBytes(spec.capacityBytes, spec.drivesPerCopy);
    for (const { partitionUUID, sizeBytes } of status?.partitions ?? []) {
      expect(sizeBytes, `${at}: ${partitionUUID} for ${spec.capacityBytes}`).to.be.at.least(needed);
      expect(sizeBytes, `${at}: ${partitionUUID} as before`).to.be.at.least(sizes.get(partitionUUID) ?? 0);
      sizes.set(partitionUUID, sizeBytes);
    }
    before = volume;
  }
}
