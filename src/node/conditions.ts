/** Leaves a planner's refusal as a condition on the volume, where operators look first. */
import type { ObjectStore } from '../api/object.ts';
import type { MeshStorVolume } from '../api/volume.ts';
import type { TellingRefusal } from '../plan/recording.ts';
import { recordRefusal } from '../plan/recording.ts';

export function leaveCondition(
  volumes: ObjectStore<MeshStorVolume>,
  volumeId: string,
  now: () => string,
): (refusal: TellingRefusal) => Promise<void> {
  return async (refusal) => {
    if (refusal.condition === undefined) return;
    await volumes.mutateStatus(volumeId, (current) => recordRefusal(current, refusal, now()));
  };
}
