/** One volume's life under Kubernetes, from its claim to nothing left, told by moments that watches show. */
import type { Cluster } from '../cluster.ts';
import { formatBytes, MIB } from '../../../src/support/units.ts';
import type { KubernetesDeployment } from './deployment.ts';
import { CLAIMS, PODS, VOLUMES, claimObject, podObject } from './objects.ts';
import type { Kind } from './objects.ts';
import type { Moments } from './moments.ts';
import type { Pod } from './pod.ts';
import { bytesOf } from './quantity.ts';
import type { Times } from './times.ts';
import { waitFor } from './wait-for.ts';

/** A step takes seconds; a starved machine makes kubelet's call of two minutes end, and be made again. */
const LIMIT_MS = 480_000;
const DATA_MIB = 4;
const COMMAND = { timeoutMs: 120_000 };
const NEXT: Readonly<Record<string, string>> = { node1: 'node2', node2: 'node3', node3: 'node1' };
const EVENTS = '/api/v1/namespaces/default/events';

export interface LifeParts {
  readonly deployment: KubernetesDeployment;
  readonly cluster: Cluster;
  readonly moments: Moments;
  readonly times: Times;
  readonly note: (text: string) => void;
}

interface Running {
  readonly name: string;
  readonly node: string;
  readonly uid: string;
  readonly path: string;
}

export class Life {
  readonly #parts: LifeParts;
  readonly #kind: Kind;
  readonly #claim: string;

  constructor(parts: LifeParts, kind: Kind, claim: string) {
    this.#parts = parts;
    this.#kind = kind;
    this.#claim = claim;
  }

  /**
   * The claim is bound and written by a first pod. A second one is made, on another node: it has to wait until the first is
   * deleted, then it reads what was written. Pods and claim are deleted. Resolves to a line about it.
   */
  async live(whileUsed: () => Promise<void> = () => Promise.resolve()): Promise<string> {
    const { deployment, times } = this.#parts;
    const { api } = deployment;
    const claim = this.#claim;
    const startedAt = performance.now();
    await api.create(CLAIMS, claimObject(claim, this.#kind));
    // With binding mode Immediate there is a volume before there is a pod.
    if (this.#kind.isImmediate) await this.#until(`claim ${claim} bound`);
    await api.create(PODS, podObject(`${claim}-writer`, claim, this.#kind));
    const writer = await this.#running(`${claim}-writer`);
    const pv = String((await api.get(`${CLAIMS}/${claim}`)).spec['volumeName']);
    const written = await this.#write(writer);
    const asked = this.#kind.sizeMiB * MIB;
    await this.#checkStats(writer, asked);
    if (this.#kind.grows) await this.#grow(writer, pv, 2 * asked);
    await whileUsed();
    const users = [writer];
    if (this.#kind.moves) users.push(await this.#move(writer, pv, written));
    else await api.delete(`${PODS}/${writer.name}`);
    for (const { name, node } of users) {
      if (name !== writer.name) await api.delete(`${PODS}/${name}`);
      await this.#until(`pod ${name} gone`);
      await this.#until(`${pv} on ${node} detached`);
    }
    await api.delete(`${CLAIMS}/${claim}`);
    await this.#until(`claim ${claim} gone`);
    await this.#until(`PersistentVolume ${pv} gone`);
    await this.#until(`volume ${pv} gone`);
    this.#record(pv, users);
    times.record(this.#kind.moves ? 'a whole life with a move' : 'a whole life', performance.now() - startedAt);
    return `${this.#kind.title}: ${pv} on ${users.map(({ node }) => node).join(', then on ')}`;
  }

  #until(moment: string): Promise<void> {
    const { moments, deployment } = this.#parts;
    return moments.until(moment, LIMIT_MS, () => deployment.check());
  }

  async #running(name: string): Promise<Running> {
    const { deployment } = this.#parts;
    await this.#until(`pod ${name} running`);
    const pod = (await deployment.api.get(`${PODS}/${name}`)) as Pod;
    const { uid } = pod.metadata;
    const node = pod.spec.nodeName ?? '';
    return { name, node, uid, path: deployment.agent(node).volumePath(uid) };
  }

  /** The second pod on another node. It waits for the first one's end, as Kubernetes makes it wait. */
  async #move(writer: Running, pv: string, written: string): Promise<Running> {
    const { api } = this.#parts.deployment;
    const name = `${this.#claim}-reader`;
    const selector = { nodeSelector: { 'kubernetes.io/hostname': NEXT[writer.node] ?? '' } };
    await api.create(PODS, podObject(name, this.#claim, this.#kind, selector));
    if (this.#kind.accessMode === 'ReadWriteOncePod') {
      await this.#until(`pod ${name} refused for a second pod`);
      await this.#pastTheScheduler(writer);
    } else {
      // The attach-detach controller holds it back.
      await this.#until(`pod ${name} scheduled`);
    }
    if (this.#parts.moments.has(`pod ${name} running`)) throw new Error(`${name} runs beside ${writer.name}`);
    await api.delete(`${PODS}/${writer.name}`);
    await this.#until(`pod ${writer.name} gone`);
    const reader = await this.#running(name);
    if (reader.node === writer.node) throw new Error(`${name} is on ${reader.node} as ${writer.name} was`);
    const read = await this.#read(reader);
    if (read !== written) throw new Error(`${pv}: the data is ${read.trim()}, ${written.trim()} was written`);
    return reader;
  }

  /** A pod that is put on the node of the first one by hand: kubelet refuses it. */
  async #pastTheScheduler(writer: Running): Promise<void> {
    const { api } = this.#parts.deployment;
    const name = `${this.#claim}-third`;
    await api.create(PODS, podObject(name, this.#claim, this.#kind, { nodeName: writer.node }));
    await waitFor(`kubelet to refuse ${name}`, LIMIT_MS, async () => {
      const { items } = await api.list(EVENTS, { fieldSelector: `involvedObject.name=${name},reason=FailedMount` });
      const messages = items.map((event) => String((event as { readonly message?: string }).message));
      return messages.find((message) => message.includes('ReadWriteOncePod access mode'));
    });
    await api.delete(`${PODS}/${name}`);
    await this.#until(`pod ${name} gone`);
  }

  async #write({ node, path }: Running): Promise<string> {
    const data = `/tmp/${this.#claim}`;
    const to = this.#isBlock ? `of=${path} oflag=direct conv=notrunc,fsync` : `of=${path}/data conv=fsync`;
    const make = `head -c ${DATA_MIB}M /dev/urandom > ${data}`;
    const copy = `dd if=${data} ${to} bs=1M status=none`;
    return this.#parts.cluster.node(node).run(`${make} && ${copy} && sha256sum < ${data} && rm ${data}`, COMMAND);
  }

  async #read({ node, path }: Running): Promise<string> {
    const from = this.#isBlock ? `if=${path} iflag=direct` : `if=${path}/data`;
    const count = `bs=1M count=${DATA_MIB}`;
    return this.#parts.cluster.node(node).run(`dd ${from} ${count} status=none | sha256sum`, COMMAND);
  }

  get #isBlock(): boolean {
    return this.#kind.volumeMode === 'Block';
  }

  /** csi-resizer takes what the claim asks for to the driver, kubelet then tells the node. */
  async #grow(writer: Running, pv: string, bytes: number): Promise<void> {
    const { deployment, times } = this.#parts;
    const startedAt = performance.now();
    const more = { spec: { resources: { requests: { storage: `${bytes / MIB}Mi` } } } };
    await deployment.api.patch(`${CLAIMS}/${this.#claim}`, more);
    await waitFor(`${pv} to have ${formatBytes(bytes)}`, LIMIT_MS, async () => {
      deployment.check();
      const { capacity } = (await deployment.api.get(`${VOLUMES}/${pv}`)).spec as { capacity?: { storage?: string } };
      return bytesOf(capacity?.storage ?? '0') === bytes ? true : undefined;
    });
    const served = await deployment.agent(writer.node).expand(writer.uid, bytes);
    if (served !== bytes) throw new Error(`${pv}: node ${writer.node} serves ${served} bytes of ${bytes}`);
    times.record('claim: asks for more → served on the node', performance.now() - startedAt);
    await this.#checkStats(writer, bytes);
  }

  async #checkStats({ node, uid }: Running, asked: number): Promise<void> {
    const stats = await this.#parts.deployment.agent(node).stats(uid);
    const { totalBytes, usedBytes, abnormal, message } = stats;
    // Filesystems keep some of the device for themselves.
    const isRight = this.#isBlock ? totalBytes === asked : totalBytes > asked * 0.8 && usedBytes >= DATA_MIB * MIB;
    if (!isRight || totalBytes > asked) throw new Error(`${this.#claim}: usage is ${JSON.stringify(stats)}`);
    if (abnormal) this.#parts.note(`${this.#claim}: its condition is abnormal: ${message}`);
  }

  #record(pv: string, users: readonly Running[]): void {
    const { moments, times } = this.#parts;
    const claim = this.#claim;
    const between = (what: string, from: string, to: string): void => times.record(what, moments.between(from, to));
    const start = this.#kind.isImmediate ? 'made' : 'chosen';
    between('claim: wants a volume → bound', `claim ${claim} ${start}`, `claim ${claim} bound`);
    for (const { name, node } of users) {
      between('VolumeAttachment: made → attached', `${pv} on ${node} wanted`, `${pv} on ${node} attached`);
      between('VolumeAttachment: deleted → gone', `${pv} on ${node} unwanted`, `${pv} on ${node} detached`);
      between('pod: deleted → gone', `pod ${name} unwanted`, `pod ${name} gone`);
    }
    const [writer, reader] = users;
    if (writer) between('first pod: made → running', `pod ${writer.name} made`, `pod ${writer.name} running`);
    if (writer && reader)
      between('move: first pod deleted → second runs', `pod ${writer.name} unwanted`, `pod ${reader.name} running`);
    between('claim: deleted → PersistentVolume gone', `claim ${claim} unwanted`, `PersistentVolume ${pv} gone`);
    between('claim: deleted → last partition gone', `claim ${claim} unwanted`, `volume ${pv} gone`);
  }
}
