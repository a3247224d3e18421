/** What every cluster of roles over fake kernels is made of, whatever its API is. */
import { hostIdFor, hostNqnFor } from '../../src/api/names.ts';
import type { ClassParameters, CreateVolumeRequest, PublishedVolume } from '../../src/controller/operations.ts';
import type { NodeParts } from '../../src/node/node.ts';
import type { StageRequest } from '../../src/node/operations.ts';
import type { Preflight } from '../../src/node/preflight-watch.ts';
import { MIB } from '../../src/support/units.ts';
import type { FakeNode } from '../fakes/fake-node.ts';

export const CLASS: ClassParameters = {
  numberOfCopies: 2,
  drivesPerCopy: 1,
  memberMissingTimeout: 900,
  sectorSize: 'auto',
  onWitnessLoss: 'suspend',
  onLastCopyLoss: 'hold',
  dataLocality: 'best-effort',
  fsType: 'xfs',
};

/** Nothing is wrong with the node. */
export const FIT: Preflight = {
  known: '',
  fatalFindings: () => Promise.resolve(''),
  lookAgain: () => Promise.resolve(),
  onChange: () => undefined,
};

/** What the API says of the machine behind a node name. */
export function machineOf(name: string): string {
  return `machine-of-${name}`;
}

/** A node role on this machine: all drives allowed, blank ones too. */
export function nodeParts(
  fake: FakeNode,
): Pick<NodeParts, 'kernel' | 'tools' | 'me' | 'policy' | 'preflight' | 'startGraceMs' | 'now'> {
  const { name } = fake;
  return {
    kernel: fake.kernel,
    tools: fake.tools,
    me: {
      nodeName: name,
      machineID: machineOf(name),
      bootID: fake.bootId,
      hostNqn: hostNqnFor(name),
      hostID: hostIdFor(name),
    },
    policy: { selectors: [{ serial: '*' }], initializeBlank: true },
    preflight: FIT,
    startGraceMs: 5000,
    now: () => new Date().toISOString(),
  };
}

/** What the provisioner asks for when the scheduler has chosen the node. */
export function newVolume(
  name: string,
  consumer: string,
  more: Partial<Pick<CreateVolumeRequest, 'requiredBytes' | 'volumeMode'>> & {
    readonly parameters?: Partial<ClassParameters>;
  } = {},
): CreateVolumeRequest {
  return {
    requiredBytes: 512 * MIB,
    limitBytes: 0,
    volumeMode: 'Filesystem',
    fsType: 'xfs',
    requisiteNodes: [consumer],
    preferredNodes: [consumer],
    ...more,
    name,
    parameters: { ...CLASS, ...more.parameters },
  };
}

/** What kubelet asks for with the context of the attachment. */
export function stageOf(volumeId: string, { epoch, attachmentID }: PublishedVolume, stagingPath: string): StageRequest {
  return {
    volumeId,
    stagingPath,
    access: { kind: 'mount', fsType: 'xfs', mountFlags: [] },
    readOnly: false,
    singleWriter: true,
    publishContext: { epoch: String(epoch), attachmentID },
  };
}
