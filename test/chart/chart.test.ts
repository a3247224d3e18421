/** What the chart says against what the program, its definitions and its tests say. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse } from 'yaml';
import { DRIVER_NAME } from '../../src/api/names.ts';
import type { ControllerOptions, NodeOptions } from '../../src/cli/options.ts';
import { runCli } from '../../src/cli/program.ts';
import { parseClassParameters } from '../../src/csi/parameters.ts';
import type { Manifest } from './helm.ts';
import {
  BUILD_LIMIT_MS,
  CHART,
  containerOf,
  helm,
  MONITORING_APIS,
  named,
  objects,
  podOf,
  REGISTRIES,
  REPO_ROOT,
  toolPath,
} from './helm.ts';

const EVERYTHING = ['--values', join(import.meta.dirname, 'values', 'everything.yaml')];
const NEWEST = ['--kube-version', '1.36.0'];

function textOf(...path: readonly string[]): string {
  return readFileSync(join(REPO_ROOT, ...path), 'utf8');
}

/** What Helm says to these settings when it refuses them. */
function refusal(...args: readonly string[]): string {
  const { ok, stderr } = helm('template', 'release', CHART, ...NEWEST, ...args);
  expect(ok, 'it was let in').to.equal(false);
  return stderr;
}

/** What the program makes of a container's arguments and environment; where the host's root is mounted there is none here. */
async function started(args: readonly string[], env: Readonly<Record<string, string>>) {
  const seen: { node?: NodeOptions; controller?: ControllerOptions } = {};
  const said: string[] = [];
  const handlers = {
    runNode: (options: NodeOptions) => Promise.resolve(((seen.node = options), 0)),
    runController: (options: ControllerOptions) => Promise.resolve(((seen.controller = options), 0)),
    runDoctor: () => Promise.resolve(1),
    runTakeover: () => Promise.resolve(1),
  };
  const io = { env, stdout: () => undefined, stderr: (text: string) => void said.push(text) };
  const code = await runCli(
    args.map((arg) => (arg === '--host-root=/host' ? '--host-root=/' : arg)),
    handlers,
    '0.0.0',
    io,
  );
  expect(code, said.join('')).to.equal(0);
  return seen;
}

describe('the chart', () => {
  let chart: readonly Manifest[];
  let everything: readonly Manifest[];

  before(function () {
    this.timeout(BUILD_LIMIT_MS);
    toolPath('helm');
    chart = objects(...NEWEST);
    everything = objects(...EVERYTHING, ...NEWEST, ...MONITORING_APIS);
  });

  describe('values', () => {
    it('are refused with a typo', () => {
      expect(refusal(...REGISTRIES, '--set', 'controller.replicaCuont=3')).to.match(/replicaCuont/);
      expect(refusal(...REGISTRIES, '--set', 'sidecars.attacher.wokers=3')).to.match(/wokers/);
      expect(
        refusal(...REGISTRIES, '--set', 'storageClasses[0].name=a,storageClasses[0].parameters.copies=2'),
      ).to.match(/copies/);
      expect(refusal(...REGISTRIES, '--set', 'node.driveSelectors[0]=modell=X')).to.match(/driveSelectors/);
    });

    it('that have no default are asked for by name', () => {
      expect(refusal('--set', 'sidecars.registry=mirror.example.org')).to.match(/image\.registry is empty: set it to/);
      expect(refusal('--set', 'image.registry=registry.example.org')).to.match(
        /sidecars\.registry is empty: set it to/,
      );
    });

    it('take a registry without scheme and without a slash at the end', () => {
      expect(refusal('--set', 'image.registry=https://x.example.org,sidecars.registry=y')).to.match(/image\/registry/);
      expect(refusal('--set', 'image.registry=x/,sidecars.registry=y')).to.match(/image\/registry/);
    });

    it('give the node process no memory limit', () => {
      expect(refusal(...REGISTRIES, '--set', 'node.resources.limits.memory=1Gi')).to.match(/resources\/limits/);
      const { resources } = containerOf(named(everything, 'DaemonSet', 'mesh-node'), 'meshstor');
      expect(resources?.limits).to.deep.equal({ cpu: 2 });
    });
  });

  describe('containers', () => {
    it('start the program with options that it takes', async () => {
      const pod = { POD_NAME: 'controller-0', POD_NAMESPACE: 'storage' };
      const controller = containerOf(named(chart, 'Deployment', 'release-meshstor-controller'), 'meshstor');
      const { controller: options } = await started(controller.args, pod);
      expect(options).to.include({ leaderElection: true, leaseNamespace: 'storage', podName: 'controller-0' });
      expect(options?.unclaimedAfterMinutes).to.equal(10);
      const whole = containerOf(named(everything, 'Deployment', 'mesh-controller'), 'meshstor');
      expect((await started(whole.args, pod)).controller?.unclaimedAfterMinutes).to.equal(1440);
      const node = containerOf(named(chart, 'DaemonSet', 'release-meshstor-node'), 'meshstor');
      const { node: nodeOptions } = await started(node.args, { NODE_NAME: 'worker-1' });
      expect(nodeOptions).to.include({ nodeName: 'worker-1', initializeBlank: false });
      expect(node.args).to.include('--host-root=/host');
      expect(nodeOptions?.driveSelectors).to.deep.equal([]);
    });

    it('pass selectors of drives on as they were given', async () => {
      const node = containerOf(named(everything, 'DaemonSet', 'mesh-node'), 'meshstor');
      const { node: options } = await started(node.args, { NODE_NAME: 'worker-1' });
      expect(options).to.include({ initializeBlank: true, logLevel: 'warn' });
      expect(options?.metricsAddress).to.deep.equal({ host: '::', port: 19811 });
      expect(options?.driveSelectors).to.deep.equal([
        { model: 'SAMSUNG MZ*' },
        { path: '/dev/nvme1n1', nodeLabels: { storage: 'fast' } },
      ]);
    });

    it('take the names that the environment gives to them from the pod', () => {
      const names = (workload: Manifest) => containerOf(workload, 'meshstor').env?.map(({ name }) => name);
      expect(names(named(chart, 'Deployment', 'release-meshstor-controller'))).to.deep.equal([
        'POD_NAME',
        'POD_NAMESPACE',
      ]);
      expect(names(named(chart, 'DaemonSet', 'release-meshstor-node'))).to.deep.equal(['NODE_NAME']);
    });

    it('find the socket at one place, and kubelet finds it on the node', () => {
      const node = named(chart, 'DaemonSet', 'release-meshstor-node');
      const folder = `/var/lib/kubelet/plugins/${DRIVER_NAME}`;
      expect(podOf(node).volumes.find(({ name }) => name === 'socket')?.hostPath?.path).to.equal(folder);
      expect(containerOf(node, 'node-driver-registrar').args).to.include(
        `--kubelet-registration-path=${folder}/csi.sock`,
      );
      for (const workload of [node, named(chart, 'Deployment', 'release-meshstor-controller')]) {
        for (const { name, args, volumeMounts } of podOf(workload).containers) {
          const address = name === 'meshstor' ? '--csi-endpoint=unix:///csi/csi.sock' : '--csi-address=/csi/csi.sock';
          expect(args, name).to.include(address);
          expect(volumeMounts, name).to.deep.include({ name: 'socket', mountPath: '/csi' });
        }
      }
    });

    it('have rights only where the kernel is worked on', () => {
      const privileged = chart.flatMap((object) =>
        ['Deployment', 'DaemonSet'].includes(object.kind)
          ? podOf(object)
              .containers.filter(({ securityContext }) => securityContext['privileged'] === true)
              .map(({ name }) => `${object.kind} ${name}`)
          : [],
      );
      expect(privileged).to.deep.equal(['DaemonSet meshstor']);
      for (const { name, securityContext } of podOf(named(chart, 'Deployment', 'release-meshstor-controller'))
        .containers) {
        expect(securityContext, name).to.deep.include({
          readOnlyRootFilesystem: true,
          allowPrivilegeEscalation: false,
        });
      }
    });

    it('see mounts that the other side makes, and never the whole root of the node', () => {
      const node = named(chart, 'DaemonSet', 'release-meshstor-node');
      const propagation = containerOf(node, 'meshstor').volumeMounts.map(
        ({ mountPath, mountPropagation = 'None' }) => [mountPath, mountPropagation] as const,
      );
      expect(new Map(propagation).get('/var/lib/kubelet')).to.equal('Bidirectional');
      expect(new Map(propagation).get('/sys')).to.equal('HostToContainer');
      for (const { hostPath } of podOf(node).volumes) expect(hostPath?.path).not.to.equal('/');
      const bidirectional = propagation.filter(([, how]) => how === 'Bidirectional').map(([path]) => path);
      expect(bidirectional).to.deep.equal(['/var/lib/kubelet']);
    });

    it('run the components that the driver advertises something for, and no others', () => {
      const source = textOf('src', 'csi', 'controller-queries.ts');
      const advertised = /const CAPABILITIES = \[([^\]]*)\]/.exec(source)?.[1] ?? '';
      const names = podOf(named(chart, 'Deployment', 'release-meshstor-controller')).containers.map(({ name }) => name);
      expect(names.includes('resizer')).to.equal(advertised.includes('EXPAND_VOLUME'));
      expect(names.includes('provisioner')).to.equal(advertised.includes('CREATE_DELETE_VOLUME'));
      expect(names.includes('attacher')).to.equal(advertised.includes('PUBLISH_UNPUBLISH_VOLUME'));
      const hasHealth = advertised.includes('LIST_VOLUMES') && advertised.includes('VOLUME_CONDITION');
      expect(names.includes('health-monitor')).to.equal(hasHealth);
      expect(names.some((name) => name.includes('snapshot'))).to.equal(advertised.includes('SNAPSHOT'));
    });

    it('run the releases of components that the tests run', () => {
      const tools = join(REPO_ROOT, 'test', 'kube', 'tools');
      const { sidecars } = parse(textOf('deploy', 'chart', 'values.yaml')) as {
        readonly sidecars: Readonly<
          Record<string, { readonly image?: { readonly repository: string; readonly tag: string } }>
        >;
      };
      const compared = Object.values(sidecars).flatMap(({ image }) => {
        const tool = image?.repository.split('/').at(-1) ?? '';
        if (image === undefined || !readdirSync(tools).includes(tool)) return [];
        const tested = /^require \S+\/external-\S+ (v\S+)$/m.exec(textOf('test', 'kube', 'tools', tool, 'go.mod'))?.[1];
        return [{ tool, tag: image.tag, tested }];
      });
      expect(compared.map(({ tool }) => tool)).to.include.members(['csi-provisioner', 'csi-attacher', 'csi-resizer']);
      for (const { tool, tag, tested } of compared) expect(tag, tool).to.equal(tested);
    });
  });

  describe('objects', () => {
    it('are in step with the files that they repeat', () => {
      const options = { cwd: REPO_ROOT, encoding: 'utf8' } as const;
      const { status, stdout } = spawnSync(process.execPath, ['scripts/chart.mjs', '--check'], options);
      expect(stdout).to.equal('');
      expect(status).to.equal(0);
    });

    it('bring the definitions unchanged, and leave them when the release goes', () => {
      const definitions = readdirSync(join(REPO_ROOT, 'deploy', 'crds')).map(
        (name) => parse(textOf('deploy', 'crds', name)) as Manifest,
      );
      expect(definitions).to.have.length(2);
      for (const { kind, metadata, spec } of definitions) {
        const rendered = named(chart, kind, metadata.name);
        expect(rendered['spec']).to.deep.equal(spec);
        expect(rendered.metadata.annotations).to.deep.equal({ 'helm.sh/resource-policy': 'keep' });
      }
    });

    it('carry the driver by its name', () => {
      const spec = named(chart, 'CSIDriver', DRIVER_NAME)['spec'];
      expect(spec).to.deep.include({
        attachRequired: true,
        podInfoOnMount: false,
        storageCapacity: true,
        fsGroupPolicy: 'File',
        seLinuxMount: true,
      });
    });

    it('have classes whose parameters the driver takes', () => {
      const classes = [...chart, ...everything].filter(({ kind }) => kind === 'StorageClass');
      expect(classes.map(({ metadata }) => metadata.name)).to.deep.equal([
        ...['meshstor-local-storage', 'meshstor-replicated'].sort().reverse(),
        ...['fast', 'plain'],
      ]);
      for (const { metadata, ...fields } of classes) {
        const { provisioner, parameters } = fields as unknown as {
          readonly provisioner: string;
          readonly parameters?: Readonly<Record<string, string>>;
        };
        expect(provisioner, metadata.name).to.equal(DRIVER_NAME);
        expect(() => parseClassParameters(parameters ?? {}), metadata.name).not.to.throw();
      }
      const isDefault = (object: Manifest) =>
        object.metadata.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true';
      expect(chart.filter(isDefault).map(({ metadata }) => metadata.name)).to.deep.equal(['meshstor-replicated']);
    });

    it('let metrics be read at every port at which they are scraped', () => {
      const ports = (kind: string, path: (spec: never) => readonly { readonly port: string }[]) =>
        path(named(everything, kind, 'mesh-controller')['spec'] as never)
          .map(({ port }) => port)
          .sort();
      type Policy = { readonly ingress: readonly [{ readonly ports: readonly { readonly port: string }[] }] };
      type Monitor = { readonly podMetricsEndpoints: readonly { readonly port: string }[] };
      const scraped = ports('PodMonitor', (spec: Monitor) => spec.podMetricsEndpoints);
      expect(ports('NetworkPolicy', (spec: Policy) => spec.ingress[0].ports)).to.deep.equal(scraped);
      const open = podOf(named(everything, 'Deployment', 'mesh-controller')).containers.flatMap(
        (container) => container.ports?.map(({ name }) => name) ?? [],
      );
      expect(open).to.include.members(scraped);
    });

    it('ask for nothing that a cluster lacks unless told to', () => {
      expect(chart.filter(({ apiVersion }) => apiVersion.startsWith('monitoring.'))).to.deep.equal([]);
      const found = objects(...NEWEST, ...MONITORING_APIS).filter(({ apiVersion }) =>
        apiVersion.startsWith('monitoring.'),
      );
      expect(found.map(({ kind }) => kind).sort()).to.deep.equal(['PodMonitor', 'PodMonitor', 'PrometheusRule']);
      const insisting = refusal(...REGISTRIES, '--set', 'monitoring.podMonitor.mode=on');
      expect(insisting).to.match(/monitoring\.podMonitor\.mode is on, but the cluster has no PodMonitor/);
    });
  });

  it('asks for a Kubernetes whose kubelet the driver can talk to', () => {
    const old = helm('template', 'release', CHART, ...REGISTRIES, '--kube-version', '1.26.9');
    expect(old.ok).to.equal(false);
    expect(old.stderr).to.match(/requires kubeVersion: >=1\.27/);
  });
});
