/** Every version that the API server ever had of every volume, and the rules that all of them keep together. */
import { expect } from 'chai';
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
    for (const life of this.lives) checkLife(life);
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
