import { DomainError } from '../api/errors.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import type { Access } from './validation.ts';

export function unknownVolume(doing: string, volumeId: string): DomainError {
  return new DomainError('notFound', `${doing} volume ${volumeId}: there is no such volume`);
}

/** Why this volume cannot be used in this way; undefined when it can. */
export function whyUnusable(volume: MeshStorVolume, wanted: Access): string | undefined {
  const { volumeMode, fsType } = volume.spec;
  const { access } = wanted;
  if ((access.kind === 'block') !== (volumeMode === 'Block')) {
    return `${access.kind} asked for, but volume ${volume.metadata.name} was created with mode ${volumeMode}`;
  }
  if (access.kind === 'mount' && access.fsType !== '' && access.fsType !== fsType) {
    return `fs_type ${access.fsType} asked for, but volume ${volume.metadata.name} was created with ${fsType}`;
  }
  return undefined;
}
