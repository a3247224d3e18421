/** Leaves a planner's refusal as a condition on the volume, where operators look first. */
import { setCondition } from '../api/conditions.ts';
import type { ObjectStore } from '../api/object.ts';
import type { MeshStorVolume } from '../api/volume.ts';

interface Refusal {
  readonly condition?: 'WitnessBehind' | 'StatusLost';
  readonly message: string;
  readonly judged?: { readonly epoch: number; readonly attachmentID: string };
}

export function leaveCondition(
  volumes: ObjectStore<MeshStorVolume>,
  volumeId: string,
  now: () => string,
): (refusal: Refusal) => Promise<void> {
  return async ({ condition, message, judged }) => {
    if (condition === undefined) return;
    await volumes.mutateStatus(volumeId, ({ status }) => {
      if (status === undefined) return undefined;
      // Attached anew since the look: what was seen then says nothing of the object as it is now.
      if (
        judged !== undefined &&
        (judged.epoch !== status.attachmentEpoch || judged.attachmentID !== status.attachmentID)
      ) {
        return undefined;
      }
      const conditions = setCondition(
        status.conditions,
        { type: condition, status: 'True', reason: condition, message },
        now(),
      );
      return conditions === status.conditions ? undefined : { ...status, conditions };
    });
  };
}
