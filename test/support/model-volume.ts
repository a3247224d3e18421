/** The volume that a model cluster begins with. */
import { DATA_OFFSET_BYTES, memberDataBytes, partitionSizeBytes } from '../../src/api/layout.ts';
import { partitionUuidFor } from '../../src/api/names.ts';
import type { Extent } from '../../src/api/kernel.ts';
import type { MeshStorVolume, PartitionStatus } from '../../src/api/volume.ts';
import { EMPTY_STATUS } from '../../src/api/volume.ts';
import { deriveStatus } from '../../src/plan/lifecycle.ts';
import { MIB } from '../../src/support/units.ts';

export const VOLUME_UUID = '9b2b5ad3-6d2c-4f0e-8d6f-1f2f3a4b5c6d';
export const NOW = '2026-11-21T23:00:00Z';

export interface Shape {
  readonly copies: number;
  readonly drives: number;
  readonly nodes: number;
  readonly mode: 'Filesystem' | 'Block';
}

/** Free space right behind a partition that begins at 1 MiB. */
export function roomBehind(roomBytes: number, sizeBytes: number | undefined): readonly Extent[] {
  const free = sizeBytes === undefined ? 0 : roomBytes - sizeBytes;
  return sizeBytes === undefined || free <= 0 ? [] : [{ startBytes: MIB + sizeBytes, sizeBytes: free }];
}

/** Placed: every copy on its own node, nothing made yet. */
export function newVolume(shape: Shape): MeshStorVolume {
  const capacityBytes = 512 * MIB * shape.drives;
  const partitions = Array.from({ length: shape.copies * shape.drives }, (_, slot): PartitionStatus => {
    const column = Math.floor(slot / shape.copies);
    const node = `node-${slot % shape.copies}`;
    return {
      nodeID: node,
      partitionUUID: partitionUuidFor(VOLUME_UUID, slot, 0),
      nvmeofNamespaceID: slot + 1,
      state: 'Requested',
      sizeBytes: partitionSizeBytes(capacityBytes, shape.drives),
      updatedAt: NOW,
      device: `nvme${column}n1`,
      serial: `${node}-${column}`,
      slot,
      generation: 0,
      transport: 'tcp',
      epoch: 0,
    };
  });
  const volume: MeshStorVolume = {
    metadata: {
      name: 'pvc-1',
      uid: 'u',
      resourceVersion: '1',
      generation: 1,
      creationTimestamp: NOW,
      finalizers: [],
      annotations: {},
      labels: {},
    },
    spec: {
      capacityBytes,
      numberOfCopies: shape.copies,
      drivesPerCopy: shape.drives,
      memberMissingTimeout: 900,
      nvmeofNamespaceIDs: [],
      volumeUUID: VOLUME_UUID,
      sectorSize: 512,
      fsType: 'xfs',
      volumeMode: shape.mode,
      dataLocality: 'best-effort',
      onWitnessLoss: 'suspend',
      onLastCopyLoss: 'hold',
    },
  };
  if (memberDataBytes(capacityBytes, shape.drives) + DATA_OFFSET_BYTES !== partitions[0]?.sizeBytes)
    throw new Error('sizes');
  return { ...volume, status: deriveStatus(volume, { ...EMPTY_STATUS, partitions }) };
}
