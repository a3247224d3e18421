import { MIB } from '../../../src/support/units.ts';
import { VOLUMES as MESHSTOR_VOLUMES } from '../../kube/contract/server.ts';
import { allAre, capacityByNode } from '../kubernetes/capacity.ts';
import { KubernetesDeployment } from '../kubernetes/deployment.ts';
import { Life } from '../kubernetes/life.ts';
import type { LifeParts } from '../kubernetes/life.ts';
import { Moments } from '../kubernetes/moments.ts';
import {
  ATTACHMENTS,
  CLAIMS,
  KINDS,
  ONE_POD,
  PLAIN,
  PODS,
  SECTORS_512,
  VOLUMES,
  createClasses,
  watchAll,
} from '../kubernetes/objects.ts';
import { Times } from '../kubernetes/times.ts';
import { provideTools } from '../kubernetes/tools.ts';
import { waitFor } from '../kubernetes/wait-for.ts';
import { remainsAnywhere, remainsInKernels } from '../remains.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import { blankDrives, untilUsable } from '../with-driver.ts';

const LIMIT_MS = 240_000;
const COLLECTIONS = [PODS, CLAIMS, VOLUMES, ATTACHMENTS, MESHSTOR_VOLUMES];
/** What nobody may be told who asks for what can be done. */
const BUGS = /INTERNAL|UNKNOWN|INVALID_ARGUMENT|UNIMPLEMENTED|DATA_LOSS/;
/** Calls that are answered again where the caller is not sure count once. */
const ONCE: Readonly<Record<string, true>> = {
  CreateVolume: true,
  ControllerPublishVolume: true,
  ControllerUnpublishVolume: true,
  DeleteVolume: true,
};
const NEW_VOLUME = 'NodeStageVolume of a new volume';

class Story {
  readonly #context: ScenarioContext;
  readonly #deployment: KubernetesDeployment;
  readonly #moments = new Moments();
  readonly #times = new Times();

  constructor(context: ScenarioContext, deployment: KubernetesDeployment) {
    this.#context = context;
    this.#deployment = deployment;
  }

  async tell(): Promise<void> {
    const { step, note } = this.#context;
    await this.#install();
    const before = await step('every node has a CSIStorageCapacity of the class', () =>
      this.#capacities('there', () => true),
    );
    watchAll(this.#deployment.api, this.#moments);
    try {
      const count = await this.#lives(before);
      await step('no drive has anything of them, and what they took is free again', async () => {
        await this.#nothingLeft(remainsAnywhere);
        await this.#capacities('as before', (bytes, node) => bytes === before.get(node));
      });
      this.#checkRefusals();
      note(`${count} lives completed, nothing left over`);
    } finally {
      await this.#moments.stop();
      this.#recordCalls();
      for (const line of this.#times.table()) note(line);
    }
  }

  async #install(): Promise<void> {
    const { cluster, step, note } = this.#context;
    const deployment = this.#deployment;
    await step('the chart is installed', () => deployment.installChart());
    await step('node roles serve and are registered', () => deployment.startNodes());
    await step('every drive is usable', () => untilUsable(deployment, cluster.nodes));
    const sidecars = await step('the controller role serves, its sidecars start', () => deployment.startController());
    note(`sidecars: ${sidecars.join(', ')}`);
    await createClasses(deployment.api);
  }

  /** Waits until the objects of the class whose drives are few show what is wanted, and prints them. */
  async #capacities(
    what: string,
    isWanted: (bytes: number, node: string) => boolean,
  ): Promise<ReadonlyMap<string, number>> {
    const nodes = this.#context.cluster.nodes.map(({ name }) => name);
    const found = await waitFor(`capacity to be ${what}`, LIMIT_MS, async () => {
      this.#deployment.check();
      const shown = await capacityByNode(this.#deployment.api, SECTORS_512);
      return allAre(shown, nodes, isWanted) ? shown : undefined;
    });
    const list = nodes.map((node) => `${node} ${(found.get(node) ?? 0) / MIB} MiB`);
    this.#context.note(`room for a volume of ${SECTORS_512}: ${list.join(', ')}`);
    return found;
  }

  /** One life of each kind, then of the plain one, as many at a time as was asked for. */
  async #lives(before: ReadonlyMap<string, number>): Promise<number> {
    const { settings, step, note } = this.#context;
    const { lives = KINDS.length, atOnce = 1 } = settings;
    const kinds = Array.from({ length: lives }, (_, index) => KINDS[index] ?? PLAIN);
    const shrunk = ONE_POD.sizeMiB * MIB;
    const whileUsed = async (): Promise<void> => {
      await this.#capacities('less', (bytes, node) => bytes <= (before.get(node) ?? 0) - shrunk);
    };
    for (let index = 0; index < lives;) {
      const group = kinds.slice(index, index + atOnce);
      const until = index + group.length;
      const title = group.length === 1 ? `life ${until} of ${lives}` : `lives ${index + 1} to ${until} of ${lives}`;
      const start = index + 1;
      const stories = await step(title, async () => {
        const all = group.map((kind, offset) => {
          const life = new Life(this.#parts, kind, `claim-${start + offset}`);
          return kind === ONE_POD ? life.live(whileUsed) : life.live();
        });
        const ended = await Promise.allSettled(all);
        await this.#explain(ended);
        await this.#nothingLeft(remainsInKernels);
        return Promise.all(all);
      });
      for (const story of stories) note(story);
      index = until;
    }
    return lives;
  }

  get #parts(): LifeParts {
    const { cluster, note } = this.#context;
    return { cluster, note, deployment: this.#deployment, moments: this.#moments, times: this.#times };
  }

  /** Throws the first failure, with what Kubernetes shows of it. */
  async #explain(ended: readonly PromiseSettledResult<unknown>[]): Promise<void> {
    const failed = ended.find((one) => one.status === 'rejected');
    if (failed === undefined) return;
    const { note } = this.#context;
    const shown = [
      ['get', 'pods,pvc,pv,volumeattachments,msvol', '-o', 'wide'],
      ['get', 'events', '--field-selector', 'type=Warning', '--sort-by=.metadata.creationTimestamp'],
    ];
    for (const words of shown) note(await this.#deployment.kubectl(...words).catch(String));
    throw failed.reason as Error;
  }

  async #nothingLeft(look: typeof remainsAnywhere): Promise<void> {
    const lists = await Promise.all(
      COLLECTIONS.map(async (path) =>
        (await this.#deployment.api.list(path)).items.map(({ metadata }) => `${path}/${metadata.name}`),
      ),
    );
    const remains = [...lists.flat(), ...(await look(this.#context.cluster.nodes))];
    if (remains.length > 0) throw new Error(`something is left over:\n${remains.join('\n')}`);
  }

  #checkRefusals(): void {
    const refused = this.#deployment.calls().flatMap((calls) => [...calls.refused]);
    const list = refused.map(([call, times]) => `${call} ${times}`).join(', ');
    this.#context.note(`calls that were refused and made again: ${list === '' ? 'none' : list}`);
    const bug = refused.find(([call]) => BUGS.test(call));
    if (bug !== undefined) throw new Error(`the driver answered ${bug[0]}`);
  }

  #recordCalls(): void {
    const served = this.#deployment.calls().flatMap((calls) => calls.served);
    const staged = new Set<string>();
    for (const { rpc, volumeId, ms, before } of served.sort((a, b) => a.at - b.at)) {
      if (ONCE[rpc] && before > 0) continue;
      const isNew = rpc === 'NodeStageVolume' && !staged.has(volumeId);
      if (isNew) staged.add(volumeId);
      this.#times.record(isNew ? NEW_VOLUME : rpc, ms);
    }
  }
}

export const kubernetesLife: Scenario = {
  name: 'kubernetes-life',
  title: 'with a real control plane and the sidecars a claim is bound, written, moved to another node and deleted',
  nodes: 3,
  controlPlane: 'kubernetes',
  prepare: provideTools,
  run: async (context) => {
    const { cluster, step } = context;
    const deployment = await step('a real control plane starts, with the nodes', () =>
      KubernetesDeployment.start(cluster),
    );
    try {
      await new Story(context, deployment).tell();
    } finally {
      await deployment.stop();
    }
    await Promise.all(cluster.nodes.map(blankDrives));
  },
};
