/** The controller role with the attach-detach controller in front of it: the driver's own rules of attaching over the API. */
import { DomainError } from '../../src/api/errors.ts';
import type { MeshStorVolume } from '../../src/api/volume.ts';
import { EMPTY_STATUS } from '../../src/api/volume.ts';
import {
  attach,
  detach,
  isConsumerAlive,
  isReportedInUse,
  unconfirmedHolders,
} from '../../src/controller/attachment.ts';
import { markDeleting } from '../../src/controller/volume-operations.ts';
import { deriveStatus } from '../../src/plan/lifecycle.ts';
import { uuidV5 } from '../../src/support/uuid.ts';
import { VOLUME_UUID } from '../support/model-volume.ts';
import { CONTROLLER } from './api-server.ts';
import type { Cluster } from './cluster.ts';
import type { Kubelet } from './kubelet.ts';
import { Random } from './random.ts';
import type { Actor } from './scheduler.ts';

export class Controller {
  readonly #cluster: Cluster;
  readonly #kubelets: ReadonlyMap<string, Kubelet>;
  readonly #random: Random;
  #attachments = 0;
  /** The claim is gone. */
  isDeletionWished = false;

  constructor(cluster: Cluster, kubelets: ReadonlyMap<string, Kubelet>) {
    this.#cluster = cluster;
    this.#kubelets = kubelets;
    this.#random = new Random(cluster.seed, 'controller');
  }

  start(): void {
    this.#cluster.time.spawn(this.#main());
  }

  *#main(): Actor {
    for (;;) {
      yield this.#random.between(100, 500);
      try {
        const volume = yield* this.#cluster.api.read(CONTROLLER);
        if (volume !== undefined) yield* this.#turn(volume);
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
      }
    }
  }

  *#turn(volume: MeshStorVolume): Actor {
    const status = volume.status ?? EMPTY_STATUS;
    if (status.phase === 'Deleting') return yield* this.#finishDeletion(volume);
    const { podOn } = this.#cluster;
    if (status.nodeName !== '' && status.nodeName !== podOn?.name) return yield* this.#detach(status.nodeName);
    if (status.nodeName !== '') return;
    if (this.isDeletionWished) {
      yield* this.#write((current) => markDeleting(current, ''));
      return;
    }
    if (podOn === undefined) return;
    // The detach is answered when every holder that can be reached has confirmed it; a forced one is not waited for.
    const waiting = unconfirmedHolders(status, (name) => this.#isReachable(name));
    if (waiting.length > 0 && !this.#cluster.isForced) return;
    yield* this.#attach(podOn.name);
  }

  #isReachable(name: string): boolean {
    const { api } = this.#cluster;
    return api.isFresh(name) && api.node(name)?.taints.length === 0;
  }

  *#write(change: (current: MeshStorVolume) => ReturnType<typeof markDeleting>): Actor {
    yield* this.#cluster.api.write(CONTROLLER, (current) => {
      const status = change(current);
      return status === undefined ? undefined : { ...current, status };
    });
  }

  *#attach(nodeName: string): Actor {
    const node = this.#cluster.api.node(nodeName);
    if (node === undefined) return;
    this.#attachments += 1;
    const attachmentID = uuidV5(VOLUME_UUID, `attachment/${this.#attachments}`);
    const wanted = { nodeName, machineID: node.machineID, attachmentID, transportFrom: () => 'tcp' as const };
    yield* this.#write((current) => attach(current, wanted));
    this.#cluster.tally.thing('attached');
  }

  *#detach(consumer: string): Actor {
    const { api, tally } = this.#cluster;
    // kubelet says that it has let go; else somebody has decided not to wait for it.
    if (this.#kubelets.get(consumer)?.isInUse === true && !this.#cluster.isForced) return;
    const seen = { node: api.node(consumer), heartbeatFresh: api.isFresh(consumer) };
    yield* this.#write((current) => {
      const status = current.status ?? EMPTY_STATUS;
      if (status.nodeName !== consumer) return undefined;
      if (isReportedInUse(status) && isConsumerAlive(status, seen)) {
        tally.thing('detach refused: in use');
        throw new DomainError('precondition', 'it is in use there');
      }
      tally.thing(isReportedInUse(status) ? 'detached, cut off' : 'detached, clean');
      return detach(current, status);
    });
  }

  /** As the volume reconciler: holders that will never confirm are released, then the object goes. */
  *#finishDeletion(volume: MeshStorVolume): Actor {
    const { api } = this.#cluster;
    const isGone = (name: string): boolean => api.isNodeDeleted(name) && !api.isFresh(name);
    const left = volume.status?.partitions ?? [];
    if (left.length === 0) return yield* api.remove(CONTROLLER);
    if (!left.some(({ nodeID }) => isGone(nodeID))) return;
    yield* this.#write((current) => {
      const status = current.status ?? EMPTY_STATUS;
      const partitions = status.partitions.filter(({ nodeID }) => !isGone(nodeID));
      if (status.phase !== 'Deleting' || partitions.length === status.partitions.length) return undefined;
      return deriveStatus(current, { ...status, partitions });
    });
  }
}
