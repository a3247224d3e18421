/** Cases of the suite that one thing keeps from running. */
export interface Skips {
  readonly because: string;
  readonly cases: readonly string[];
}

/** All cases of csi-sanity v5.5.0 that do not run against this driver, with the reason. Everything else must pass. */
export const SKIPS: readonly Skips[] = [
  {
    because:
      'the driver takes no snapshots: CREATE_DELETE_SNAPSHOT, LIST_SNAPSHOTS and GET_SNAPSHOT are not advertised',
    cases: [
      'DeleteSnapshot [Controller Server] should fail when no snapshot id is provided',
      'DeleteSnapshot [Controller Server] should succeed when an invalid snapshot id is used',
      'DeleteSnapshot [Controller Server] should return appropriate values (no optional values added)',
      'ListSnapshots [Controller Server] should return appropriate values (no optional values added)',
      'ListSnapshots [Controller Server] should return snapshots that match the specified snapshot id',
      'ListSnapshots [Controller Server] should return empty when the specified snapshot id does not exist',
      'ListSnapshots [Controller Server] should return snapshots that match the specified source volume id',
      'ListSnapshots [Controller Server] should return empty when the specified source volume id does not exist',
      'ListSnapshots [Controller Server] check the presence of new snapshots in the snapshot list',
      'ListSnapshots [Controller Server] should return next token when a limited number of entries are requested',
      'CreateSnapshot [Controller Server] should fail when no name is provided',
      'CreateSnapshot [Controller Server] should fail when no source volume id is provided',
      'CreateSnapshot [Controller Server] should succeed when requesting to create a snapshot with already existing name and same source volume ID',
      'CreateSnapshot [Controller Server] should fail when requesting to create a snapshot with already existing name and different source volume ID',
      'CreateSnapshot [Controller Server] should succeed when creating snapshot with maximum-length name',
      'Controller Service [Controller Server] CreateVolume should create volume from an existing source snapshot',
      'Controller Service [Controller Server] CreateVolume should fail when the volume source snapshot is not found',
      'GetSnapshot [Controller Server] should return an error',
      'GetSnapshot [Controller Server] should return snapshot that match the specified snapshot id',
      'GetSnapshot [Controller Server] should return an error when the specified snapshot id does not exist',
    ],
  },
  {
    because: 'there are no group snapshots without snapshots: GROUP_CONTROLLER_SERVICE is not advertised',
    cases: [
      'GroupController Service [GroupController Server] GroupControllerGetCapabilities should return appropriate capabilities',
      'GroupController Service [GroupController VolumeGroupSnapshots] CreateVolumeGroupSnapshot should fail when no name is provided',
      'GroupController Service [GroupController VolumeGroupSnapshots] GetVolumeGroupSnapshot should fail when no volume id is provided',
      'GroupController Service [GroupController VolumeGroupSnapshots] GetVolumeGroupSnapshot should fail when an invalid volume id is used',
      'GroupController Service [GroupController VolumeGroupSnapshots] DeleteVolumeGroupSnapshot should fail when no volume id is provided',
      'GroupController Service [GroupController VolumeGroupSnapshots] DeleteVolumeGroupSnapshot should succeed when an invalid volume id is used',
    ],
  },
  {
    because: 'the driver copies no volumes: CLONE_VOLUME is not advertised',
    cases: [
      'Controller Service [Controller Server] CreateVolume should create volume from an existing source volume',
      'Controller Service [Controller Server] CreateVolume should fail when the volume source volume is not found',
    ],
  },
  {
    because: 'nothing about a volume can be changed by a VolumeAttributesClass: MODIFY_VOLUME is not advertised',
    cases: [
      'ModifyVolume [Controller Server] should fail if no volume id is given',
      'ModifyVolume [Controller Server] should fail if volume does not exist',
      'ModifyVolume [Controller Server] should fail if specified mutable parameters are not supported by the volume',
      'ModifyVolume [Controller Server] should modify a volume created without a volume attribute class',
      'ModifyVolume [Controller Server] should modify a volume created with a volume attribute class',
      'ModifyVolume [Controller Server] should fail to modify a volume created with a volume attribute class if new mutable parameters are not supported by volume',
      'Controller Service [Controller Server] CreateVolume should create volume with a volume attribute class',
      'Controller Service [Controller Server] CreateVolume should not create volume with an invalid volume attribute class',
    ],
  },
  {
    because: "read-only is the node's matter: PUBLISH_READONLY is not advertised",
    cases: [
      'Controller Service [Controller Server] ControllerPublishVolume should fail when the volume is already published but is incompatible',
    ],
  },
  {
    because: 'a node has no limit of volumes: NodeGetInfo says none',
    cases: [
      'Controller Service [Controller Server] ControllerPublishVolume should fail when publishing more volumes than the node max attach limit',
    ],
  },
  {
    because: 'the suite itself has it switched off',
    cases: [
      'Controller Service [Controller Server] ListVolumes pagination should detect volumes added between pages and accept tokens when the last volume from a page is deleted',
    ],
  },
];

/** The names of all of them. */
export function skippedNames(skips: readonly Skips[] = SKIPS): ReadonlySet<string> {
  return new Set(skips.flatMap(({ cases }) => cases));
}
