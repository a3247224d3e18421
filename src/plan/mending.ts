/** What the array of a staged volume needs while pods use it (SPEC §7.2, §8). NodeStage has ended by then: nobody calls. */
import type { Member } from './connections.ts';
import { stepsOf, waitsOf, wayOf } from './connections.ts';
import { refuseByObject } from './staging.ts';
import type { StageStep } from './steps.ts';
import { memberEntries, wait } from './view.ts';
import type { ConsumerWorld, Plan } from './world.ts';

/** Arrays that serve nobody: putting them together, or giving them up, is the business of the call that does it. */
const NOT_SERVING: ReadonlySet<string> = new Set(['inactive', 'clear', 'readonly', 'read-auto']);

/**
 * Path back: a guard that holds I/O gets a table over the device that is there now, and MD never noticed. `done` for whatever is not
 * this node's to mend: a volume that is fenced, taken away or being deleted belongs to its teardown.
 */
export function planMending(world: ConsumerWorld): Plan<StageStep> {
  const { array, volume } = world;
  const { status } = volume;
  if (array === undefined || status === undefined || NOT_SERVING.has(array.arrayState)) return { kind: 'done' };
  if (refuseByObject(world) !== undefined) return { kind: 'done' };
  const inArray = new Set(array.members.flatMap(({ partitionUUID, faulty }) => (faulty ? [] : (partitionUUID ?? []))));
  const members = memberEntries(status)
    .filter(({ partitionUUID }) => inArray.has(partitionUUID))
    .map((entry): Member => ({ entry, way: wayOf(world, status, entry) }));
  const steps = stepsOf(members);
  if (steps.length > 0) return { kind: 'steps', steps };
  const waits = waitsOf(members);
  return waits.length > 0 ? wait(waits.join('; ')) : { kind: 'done' };
}
