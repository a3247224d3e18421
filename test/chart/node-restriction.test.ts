/** The admission policies of the chart, on every write that the real roles make and on writes that no node should make. */
import { expect } from 'chai';
import type { User } from './admission.ts';
import { refusals } from './admission.ts';
import type { Manifest } from './helm.ts';
import { BUILD_LIMIT_MS, helm, CHART, objects, REGISTRIES, toolPath } from './helm.ts';
import type { Recording } from './recorded-cluster.ts';
import { recordEverything } from './recorded-cluster.ts';
import type { Wire, Write } from './recording-client.ts';

const ACCOUNT = 'system:serviceaccount:storage:release-meshstor-node';
const onNode = (node: string): User => ({ username: ACCOUNT, node });
const POLICY = 'ValidatingAdmissionPolicy';

function policiesIn(chart: readonly Manifest[]): readonly Manifest[] {
  return chart.filter(({ kind }) => kind === POLICY);
}

function partition(nodeID: string, changes: Wire = {}): Wire {
  return { nodeID, partitionUUID: `uuid-of-${nodeID}`, nvmeofNamespaceID: 1, state: 'Synced', ...changes };
}

/** Held by node1 and node2, consumed by node1. */
const VOLUME: Wire = {
  metadata: { name: 'pvc-1', finalizers: ['csi.meshstor.io/partitions'], labels: {}, annotations: { a: 'b' } },
  spec: { capacityBytes: 1024, volumeUUID: 'one' },
  status: {
    phase: 'Synced',
    nodeName: 'node1',
    machineID: 'm1',
    attachmentEpoch: 3,
    attachmentID: 'id',
    partitions: [partition('node1'), partition('node2')],
  },
};
const STATUS = VOLUME['status'] as Wire;

const DEVICE: Wire = { metadata: { name: 'node1-nvme0n1' }, spec: { node: 'node1', device: 'nvme0n1' }, status: {} };

function statusWrite(changes: Wire): Write {
  const object = { ...VOLUME, status: { ...STATUS, ...changes } };
  return { operation: 'UPDATE', resource: 'meshstorvolumes', subResource: 'status', object, oldObject: VOLUME };
}

function specWrite(changes: Wire, old: Wire = VOLUME): Write {
  return {
    operation: 'UPDATE',
    resource: 'meshstorvolumes',
    subResource: '',
    object: { ...old, ...changes },
    oldObject: old,
  };
}

function withSpec(changes: Wire): Wire {
  return { spec: { ...(VOLUME['spec'] as Wire), ...changes } };
}

function withMeta(changes: Wire): Wire {
  return { metadata: { ...(VOLUME['metadata'] as Wire), ...changes } };
}

function deviceWrite(operation: Write['operation'], object: Wire | null, oldObject: Wire | null, sub = ''): Write {
  return { operation, resource: 'meshstornodedevices', subResource: sub, object, oldObject };
}

describe('the admission policies for nodes', () => {
  let policies: readonly Manifest[];
  let controller: Recording;
  let writes: readonly (readonly [string, Write])[];

  before(async function () {
    this.timeout(BUILD_LIMIT_MS);
    toolPath('helm');
    policies = policiesIn(objects('--kube-version', '1.30.0'));
    const recorded = await recordEverything();
    controller = recorded.controller;
    writes = [...recorded.nodes].flatMap(([name, node]) =>
      node.writes.filter(({ resource }) => resource.startsWith('meshstor')).map((write) => [name, write] as const),
    );
  });

  it('let in every write that the node role makes', () => {
    const kinds = new Set(
      writes.map(([, { operation, resource, subResource }]) => `${operation} ${resource}/${subResource}`),
    );
    expect([...kinds].sort()).to.deep.equal([
      'CREATE meshstornodedevices/',
      'DELETE meshstornodedevices/',
      'UPDATE meshstornodedevices/',
      'UPDATE meshstornodedevices/status',
      'UPDATE meshstorvolumes/',
      'UPDATE meshstorvolumes/status',
    ]);
    const refused = writes.map(([node, write]) => ({ write, why: refusals(policies, onNode(node), write) }));
    expect(refused.filter(({ why }) => why.length > 0)).to.deep.equal([]);
  });

  it('let none of them in from a node that has no part in it', () => {
    const letIn = writes.filter(([, write]) => refusals(policies, onNode('node9'), write).length === 0);
    expect(letIn).to.deep.equal([]);
  });

  it('let none of them in with a token that names no node', () => {
    for (const [, write] of writes) {
      expect(refusals(policies, { username: ACCOUNT }, write).join()).to.match(/does not say from which node/);
    }
  });

  it('say nothing to other accounts', () => {
    const user = { username: 'system:serviceaccount:storage:release-meshstor-controller' };
    expect(controller.writes.filter((write) => refusals(policies, user, write).length > 0)).to.deep.equal([]);
    expect(controller.writes.map(({ operation }) => operation)).to.include.members(['CREATE', 'UPDATE', 'DELETE']);
  });

  it('let nodes say what they may', () => {
    const both = [partition('node1', { state: 'Missing' }), partition('node2', { state: 'Missing' })];
    expect(refusals(policies, onNode('node1'), statusWrite({ partitions: both }))).to.deep.equal([]);
    const own = [partition('node1'), partition('node2', { epoch: 3 })];
    expect(refusals(policies, onNode('node2'), statusWrite({ partitions: own }))).to.deep.equal([]);
    expect(refusals(policies, onNode('node2'), statusWrite({ partitions: [partition('node1')] }))).to.deep.equal([]);
    expect(refusals(policies, onNode('node1'), specWrite(withSpec({ activatedAt: 'now' })))).to.deep.equal([]);
    expect(refusals(policies, onNode('node1'), specWrite(withMeta({ labels: undefined })))).to.deep.equal([]);
  });

  const FORBIDDEN: readonly (readonly [string, string, () => Write, RegExp])[] = [
    ['write to a volume of others', 'node3', () => statusWrite({ phase: 'Syncing' }), /neither holds nor consumes/],
    ['attach a volume to itself', 'node2', () => statusWrite({ nodeName: 'node2' }), /where a volume is attached/],
    ['raise the epoch', 'node1', () => statusWrite({ attachmentEpoch: 4 }), /where a volume is attached/],
    ['take the attachment away', 'node1', () => statusWrite({ attachmentID: undefined }), /where a volume is attached/],
    [
      'make itself a holder',
      'node1',
      () =>
        statusWrite({
          partitions: [partition('node1'), partition('node2'), partition('node1', { partitionUUID: 'x' })],
        }),
      /adds no partition/,
    ],
    [
      'give a partition to another node',
      'node1',
      () => statusWrite({ partitions: [partition('node1'), partition('node2', { nodeID: 'node3' })] }),
      /gives none to another/,
    ],
    [
      'remove the partition of another',
      'node1',
      () => statusWrite({ partitions: [partition('node1')] }),
      /removes no partition but its own/,
    ],
    ['remove all at once', 'node1', () => statusWrite({ partitions: undefined }), /removes no partition but its own/],
    [
      'change the partition of another without consuming',
      'node2',
      () => statusWrite({ partitions: [partition('node1', { state: 'Faulty' }), partition('node2')] }),
      /only the consumer changes/,
    ],
    ['delete a volume', 'node1', () => statusWrite({ phase: 'Deleting' }), /neither deletes a volume/],
    [
      'give up a partition',
      'node1',
      () => statusWrite({ partitions: [partition('node1'), partition('node2', { state: 'Deleting' })] }),
      /gives up no partition/,
    ],
    ['call a hand-over clean', 'node2', () => statusWrite({ releasedEpoch: 3 }), /only the consumer says/],
    [
      'speak of an array that it does not run',
      'node2',
      () => statusWrite({ mdState: 'active' }),
      /only the consumer says/,
    ],
    ['grow a volume', 'node1', () => specWrite(withSpec({ capacityBytes: 2048 })), /nothing in the spec/],
    ['add a field to the spec', 'node1', () => specWrite(withSpec({ fsType: 'xfs' })), /nothing in the spec/],
    ['remove a field of the spec', 'node1', () => specWrite({ spec: { volumeUUID: 'one' } }), /nothing in the spec/],
    [
      'record the birth of what it does not consume',
      'node2',
      () => specWrite(withSpec({ activatedAt: 'now' })),
      /nothing in the spec/,
    ],
    [
      'record it again',
      'node1',
      () => specWrite(withSpec({ activatedAt: 'later' }), { ...VOLUME, ...withSpec({ activatedAt: 'now' }) }),
      /nothing in the spec/,
    ],
    ['drop the finalizer', 'node1', () => specWrite(withMeta({ finalizers: [] })), /changes no labels/],
    ['change an annotation', 'node1', () => specWrite(withMeta({ annotations: { a: 'c' } })), /changes no labels/],
    ['add an owner', 'node1', () => specWrite(withMeta({ ownerReferences: [{ name: 'x' }] })), /changes no labels/],
    [
      'make a volume',
      'node1',
      () => ({ ...specWrite({}), operation: 'CREATE', oldObject: null }),
      /neither makes nor removes/,
    ],
    [
      'remove a volume',
      'node1',
      () => ({ ...specWrite({}), operation: 'DELETE', object: null }),
      /neither makes nor removes/,
    ],
    [
      'write to a drive of another',
      'node2',
      () => deviceWrite('UPDATE', DEVICE, DEVICE, 'status'),
      /does not have this/,
    ],
    ['remove a drive of another', 'node2', () => deviceWrite('DELETE', null, DEVICE), /does not have this/],
    ['speak for another node', 'node2', () => deviceWrite('CREATE', DEVICE, null), /its own drives alone/],
    [
      'give a drive of its own to another',
      'node1',
      () => deviceWrite('UPDATE', { ...DEVICE, spec: { node: 'node2', device: 'nvme0n1' } }, DEVICE),
      /its own drives alone/,
    ],
    [
      'take the name of a drive of another',
      'node1',
      () => deviceWrite('CREATE', { ...DEVICE, metadata: { name: 'node2-nvme0n1' } }, null),
      /must be called node1-DEVICE/,
    ],
    [
      'take it by a node name that goes on in the device',
      'node',
      () =>
        deviceWrite(
          'CREATE',
          { metadata: { name: 'node-2-nvme0n1' }, spec: { node: 'node', device: '2-nvme0n1' } },
          null,
        ),
      /must be called node-DEVICE/,
    ],
  ];

  for (const [what, node, write, why] of FORBIDDEN) {
    it(`do not let a node ${what}`, () => {
      expect(refusals(policies, onNode(node), write()).join('; ')).to.match(why);
    });
  }

  it('let a node with a very long name list its drives', () => {
    const node = 'n'.repeat(250);
    const name = `${node.slice(0, 236)}-0123456789abcdef`;
    const object = { metadata: { name }, spec: { node, device: 'nvme0n1' } };
    expect(refusals(policies, onNode(node), deviceWrite('CREATE', object, null))).to.deep.equal([]);
  });

  it('each have a binding that denies', () => {
    const chart = objects('--kube-version', '1.30.0');
    const bound = chart.filter(({ kind }) => kind === `${POLICY}Binding`).map(({ spec }) => spec);
    expect(bound).to.deep.equal(
      policies.map(({ metadata }) => ({ policyName: metadata.name, validationActions: ['Deny'] })),
    );
    expect(bound).to.have.length(2);
  });

  it('are left out before Kubernetes 1.30, whose tokens name no node', () => {
    expect(policiesIn(objects('--kube-version', '1.29.9'))).to.deep.equal([]);
    const args = [
      'template',
      'release',
      CHART,
      ...REGISTRIES,
      '--kube-version',
      '1.29.9',
      '--set',
      'nodeRestriction=on',
    ];
    const { ok, stderr } = helm(...args);
    expect(ok).to.equal(false);
    expect(stderr).to.match(/nodeRestriction is on, but the cluster has no .*Kubernetes 1\.30/);
    expect(policiesIn(objects('--kube-version', '1.36.0', '--set', 'nodeRestriction=off'))).to.deep.equal([]);
  });
});
